#include "dps_amqp.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <proton/sasl.h>
#include <proton/sasl_plugin.h>

#include "dps_log.h"
#include "dps_service.h"

/* Proton's own SASL without Cyrus knows no server that checks a password, and no TPM. The vtable is what its
 * Cyrus glue uses too (proton/sasl_plugin.h). */

enum {
    CONTROL_SEGMENT = 0x80, /* in the first byte of a challenge */
    CONTROL_LAST = 0x40,
    CONTROL_SEQUENCE = 0x03,
};

static dps_amqp_session *session_of(pn_transport_t *transport)
{
    return pnx_sasl_get_context(transport);
}

static void succeed(pn_transport_t *transport, const char *who)
{
    pnx_sasl_set_succeeded(transport, who, NULL);
    pnx_sasl_set_desired_state(transport, SASL_POSTED_OUTCOME);
}

static void fail(pn_transport_t *transport, const char *why)
{
    dps_log(DPS_LOG_WARN, "%s: SASL refused: %s", session_of(transport)->peer->address, why);
    pnx_sasl_set_failed(transport);
    pnx_sasl_set_desired_state(transport, SASL_POSTED_OUTCOME);
}

static void challenge(pn_transport_t *transport, const uint8_t *bytes, size_t n)
{
    pnx_sasl_set_bytes_out(transport, pn_bytes(n, (const char *)bytes));
    pnx_sasl_set_desired_state(transport, SASL_POSTED_CHALLENGE);
}

/* The text up to the next NUL or the end, into @out; takes it from @rest with its NUL. */
static bool take_text(dps_span *rest, char *out, size_t cap)
{
    const char *nul = rest->len > 0 ? memchr(rest->at, '\0', rest->len) : NULL;
    size_t n = nul != NULL ? (size_t)(nul - rest->at) : rest->len;
    if (n >= cap)
        return false;
    memcpy(out, rest->at, n);
    out[n] = '\0';
    size_t skip = nul != NULL ? n + 1 : n;
    *rest = (dps_span){rest->at + skip, rest->len - skip};
    return true;
}

static void forget(dps_amqp_session *s)
{
    if (s->token != NULL)
        OPENSSL_cleanse(s->token, strlen(s->token));
    free(s->token);
    s->token = NULL;
}

static dps_request request_of(const dps_amqp_session *s)
{
    return (dps_request){
        .transport = s->transport,
        .id_scope = dps_span_of(s->scope),
        .registration_id = dps_span_of(s->registration),
        .api_version = {"", 0},
        .client_version = {"", 0},
        .sas = dps_span_of(s->token != NULL ? s->token : ""),
        .body = {"", 0},
    };
}

/* Keeps the token when the service admits it. */
static bool admit(dps_amqp_session *s, dps_span token)
{
    dps_response response = {0};
    forget(s);
    if (token.len == 0 || memchr(token.at, '\0', token.len) != NULL)
        return false;
    s->token = malloc(token.len + 1);
    if (s->token == NULL)
        return false;
    memcpy(s->token, token.at, token.len);
    s->token[token.len] = '\0';
    const dps_request request = request_of(s);
    bool admitted = dps_service_admit(s->host->service, s->peer, &request, &response);
    dps_response_clear(&response);
    if (!admitted)
        forget(s);
    return admitted;
}

/* "<scope>/registrations/<id>" */
static bool split_user(dps_amqp_session *s, char *user)
{
    static const char middle[] = "/registrations/";
    char *at = strstr(user, middle);
    if (at == NULL)
        return false;
    *at = '\0';
    memcpy(s->scope, user, strlen(user) + 1);
    const char *id = at + sizeof(middle) - 1;
    memcpy(s->registration, id, strlen(id) + 1);
    return true;
}

/* RFC 4616: [authzid] NUL authcid NUL password */
static void on_plain(pn_transport_t *transport, dps_span message)
{
    dps_amqp_session *s = session_of(transport);
    char ignored[DPS_AMQP_ADDRESS_LEN], user[DPS_AMQP_ADDRESS_LEN];
    if (!take_text(&message, ignored, sizeof(ignored)) || !take_text(&message, user, sizeof(user)) ||
        !split_user(s, user))
        fail(transport, "PLAIN without <idScope>/registrations/<registrationId>");
    else if (!admit(s, message))
        fail(transport, "the SAS token is refused");
    else
        succeed(transport, s->registration);
}

static void on_external(pn_transport_t *transport, dps_span message)
{
    (void)message;
    if (session_of(transport)->peer->leaf != NULL)
        succeed(transport, "external");
    else
        fail(transport, "EXTERNAL without a certificate");
}

/* Nobody yet: the certificate, or a token for $cbs, is judged with each request. */
static void on_nobody(pn_transport_t *transport, dps_span message)
{
    (void)message;
    succeed(transport, "anonymous");
}

/* NUL scope NUL registration id NUL endorsement key */
static void on_tpm_init(pn_transport_t *transport, dps_span message)
{
    static const uint8_t ask[1] = {0};
    dps_amqp_session *s = session_of(transport);
    char empty[2];
    if (!take_text(&message, empty, sizeof(empty)) || empty[0] != '\0' ||
        !take_text(&message, s->scope, sizeof(s->scope)) ||
        !take_text(&message, s->registration, sizeof(s->registration)) || message.len == 0 ||
        message.len > sizeof(s->sasl.endorsement_key)) {
        fail(transport, "TPM without id scope, registration id and endorsement key");
        return;
    }
    memcpy(s->sasl.endorsement_key, message.at, message.len);
    s->sasl.endorsement_key_len = message.len;
    s->sasl.state = DPS_AMQP_TPM_SRK;
    challenge(transport, ask, sizeof(ask));
}

static void send_segment(pn_transport_t *transport)
{
    dps_amqp_sasl *sasl = &session_of(transport)->sasl;
    size_t left = sasl->challenge.len - sasl->sent;
    size_t n = left < DPS_AMQP_TPM_SEGMENT ? left : DPS_AMQP_TPM_SEGMENT;
    bool last = n == left;
    sasl->segment[0] =
        (uint8_t)(CONTROL_SEGMENT | (last ? CONTROL_LAST : 0u) | (sasl->sequence++ & CONTROL_SEQUENCE));
    memcpy(sasl->segment + 1, sasl->challenge.bytes + sasl->sent, n);
    sasl->sent += n;
    sasl->state = last ? DPS_AMQP_TPM_TOKEN : DPS_AMQP_TPM_SENDING;
    challenge(transport, sasl->segment, n + 1);
}

/* NUL storage root key */
static void on_tpm_srk(pn_transport_t *transport, dps_span message)
{
    dps_amqp_session *s = session_of(transport);
    dps_response response = {0};
    const dps_request request = request_of(s);
    const dps_blob endorsement_key = {s->sasl.endorsement_key, s->sasl.endorsement_key_len};
    uint8_t srk[DPS_AMQP_TPM_KEY_MAX];
    if (message.len < 2 || message.len > sizeof(srk) + 1 || message.at[0] != '\0') {
        fail(transport, "TPM without a storage root key");
        return;
    }
    memcpy(srk, message.at + 1, message.len - 1);
    const dps_blob storage_root_key = {srk, message.len - 1};
    bool ok = dps_service_tpm_challenge(s->host->service, s->peer, &request, &endorsement_key,
                                        &storage_root_key, &s->sasl.challenge, &response);
    dps_response_clear(&response);
    if (ok && s->sasl.challenge.len > 0)
        send_segment(transport);
    else
        fail(transport, "the TPM is refused");
}

/* NUL between segments, NUL and the token at the end. */
static void on_tpm_token(pn_transport_t *transport, dps_span message)
{
    dps_amqp_session *s = session_of(transport);
    if (message.len < 1 || message.at[0] != '\0')
        fail(transport, "TPM: a response that does not begin with a zero byte");
    else if (s->sasl.state == DPS_AMQP_TPM_SENDING)
        send_segment(transport);
    else if (admit(s, (dps_span){message.at + 1, message.len - 1}))
        succeed(transport, s->registration);
    else
        fail(transport, "the SAS token is refused");
}

static const struct {
    const char *name;
    void (*init)(pn_transport_t *transport, dps_span message);
} mechanisms[] = {
    {"EXTERNAL", on_external}, {"PLAIN", on_plain},    {"ANONYMOUS", on_nobody},
    {"TPM", on_tpm_init},      {"MSSBCBS", on_nobody},
};

static const char *list_mechanisms(pn_transport_t *transport)
{
    (void)transport;
    return "EXTERNAL PLAIN ANONYMOUS TPM MSSBCBS";
}

static dps_span span_of(const pn_bytes_t *bytes)
{
    return bytes->start != NULL ? (dps_span){bytes->start, bytes->size} : (dps_span){"", 0};
}

static void process_init(pn_transport_t *transport, const char *mechanism, const pn_bytes_t *received)
{
    for (size_t i = 0; i < sizeof(mechanisms) / sizeof(mechanisms[0]); i++) {
        if (mechanism == NULL || strcmp(mechanism, mechanisms[i].name) != 0) /* an init may have none */
            continue;
        mechanisms[i].init(transport, span_of(received));
        return;
    }
    fail(transport, "a mechanism that was not offered");
}

static void process_response(pn_transport_t *transport, const pn_bytes_t *received)
{
    dps_amqp_session *s = session_of(transport);
    switch (s->sasl.state) {
    case DPS_AMQP_TPM_INIT:
        fail(transport, "a response to no challenge");
        break;
    case DPS_AMQP_TPM_SRK:
        on_tpm_srk(transport, span_of(received));
        break;
    case DPS_AMQP_TPM_SENDING:
    case DPS_AMQP_TPM_TOKEN:
        on_tpm_token(transport, span_of(received));
        break;
    }
}

static void nothing(pn_transport_t *transport)
{
    (void)transport;
}

static bool init_server(pn_transport_t *transport)
{
    pnx_sasl_set_desired_state(transport, SASL_POSTED_MECHANISMS);
    return true;
}

static bool never(pn_transport_t *transport)
{
    (void)transport;
    return false;
}

static bool no_mechanisms(pn_transport_t *transport, const char *mechanism_list)
{
    (void)transport;
    (void)mechanism_list;
    return false;
}

static void no_bytes(pn_transport_t *transport, const pn_bytes_t *received)
{
    (void)transport;
    (void)received;
}

static ssize_t no_size(pn_transport_t *transport)
{
    (void)transport;
    return 0;
}

static ssize_t no_coding(pn_transport_t *transport, pn_bytes_t in, pn_bytes_t *out)
{
    (void)transport;
    (void)in;
    (void)out;
    return 0;
}

static const pnx_sasl_implementation implementation = {
    .free = nothing,
    .list_mechanisms = list_mechanisms,
    .init_server = init_server,
    .init_client = never,
    .prepare_write = nothing,
    .process_init = process_init,
    .process_response = process_response,
    .process_mechanisms = no_mechanisms,
    .process_challenge = no_bytes,
    .process_outcome = no_bytes,
    .can_encrypt = never,
    .max_encrypt_size = no_size,
    .encode = no_coding,
    .decode = no_coding,
};

void dps_amqp_sasl_install(dps_amqp_session *session)
{
    pn_sasl_set_allow_insecure_mechs(pn_sasl(session->driver.transport),
                                     true); /* TLS is below, unknown to proton */
    pnx_sasl_set_implementation(session->driver.transport, &implementation, session);
}

void dps_amqp_sasl_free(dps_amqp_session *session)
{
    forget(session);
    dps_blob_clear(&session->sasl.challenge);
}
