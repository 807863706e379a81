#include "kn_prov.h"

#include "prov_json.h"
#include "prov_retry.h"
#include "prov_sas.h"
#include "prov_transport.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* One registration from the checked request to its outcome. */
typedef struct run {
    const kn_prov_request *request;
    const prov_transport *transport;
    const prov_attestation *attestation;
    prov_session session;
    prov_identity identity;
    prov_connection *connection;
    char *body;     /* of the registration request */
    bool connected; /* and reported */
    prov_register machine;
    prov_retry retry;        /* as in request->retry_file */
    prov_retry retry_before; /* before this registration was counted */
    uint32_t retry_after_s;  /* of the last answer, 0: none */
    char warning[PROV_DETAIL_MAX];
} run;

static void report(const run *r, kn_prov_status status)
{
    if (r->request->on_status)
        r->request->on_status(status, r->request->context);
}

static void report_connected(run *r)
{
    if (r->connected)
        return;
    r->connected = true;
    report(r, KN_PROV_STATUS_CONNECTED);
    report(r, KN_PROV_STATUS_REGISTERING);
}

static uint32_t random_jitter(void)
{
    uint16_t jitter = 0;

    if (RAND_bytes((unsigned char *)&jitter, sizeof jitter) != 1)
        jitter = 0; /* a device without randomness has no TLS either */
    return jitter;
}

static kn_prov_code check_payload(const char *payload, prov_error *error)
{
    static const prov_json_rules rules = {
        .what = "the payload",
        .code = KN_PROV_E_ARGUMENT,
        .size_max = KN_PROV_PAYLOAD_MAX,
        .depth_max = PROV_RESPONSE_DEPTH_MAX,
    };
    cJSON *tree = NULL;
    kn_prov_code code;

    if (!payload)
        return KN_PROV_OK;
    code = prov_json_parse(&rules, payload, strlen(payload), &tree, error);
    cJSON_Delete(tree);
    return code;
}

static kn_prov_code check_request(run *r, prov_error *error)
{
    const kn_prov_request *request = r->request;
    const char *transport = request->transport ? request->transport : KN_PROV_DEFAULT_TRANSPORT;
    const char *attestation = request->attestation ? request->attestation : KN_PROV_DEFAULT_ATTESTATION;
    const char *endpoint = request->endpoint ? request->endpoint : KN_PROV_DEFAULT_ENDPOINT;
    kn_prov_code code;

    if ((code = prov_id_scope_check(request->id_scope, error)))
        return code;
    if ((code = prov_transport_find(transport, &r->transport, error)))
        return code;
    if ((code = prov_attestation_find(attestation, &r->attestation, error)))
        return code;
    if (!(r->transport->attestations & r->attestation->kind))
        return prov_fail(error, KN_PROV_E_ARGUMENT, "transport \"%s\" cannot carry attestation \"%s\"",
                         transport, attestation);
    if ((code = prov_endpoint_parse(endpoint, r->transport->default_port, &r->session.endpoint, error)))
        return code;
    if (request->registration_id && (code = prov_registration_id_check(request->registration_id, error)))
        return code;
    return check_payload(request->payload, error);
}

/* The payload goes in as it is, so that its numbers stay what the caller wrote. The registration ID needs no
 * escapes: its rule has been checked. */
static kn_prov_code make_body(run *r, prov_error *error)
{
    const char *payload = r->request->payload;
    const prov_identity *identity = &r->identity;
    char *tpm = NULL;
    int length = -1;

    if (!r->transport->sends_tpm_keys || !identity->endorsement_key || prov_tpm_member(identity, &tpm))
        length = asprintf(&r->body, "{\"registrationId\":\"%s\"%s%s%s}", identity->registration_id, tpm ? tpm : "",
                          payload ? ",\"payload\":" : "", payload ? payload : "");
    free(tpm);
    if (length < 0) {
        r->body = NULL;
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the request");
    }
    return KN_PROV_OK;
}

static kn_prov_code prepare(run *r, prov_error *error)
{
    const kn_prov_request *request = r->request;
    kn_prov_code code = check_request(r, error);

    if (code)
        return code;
    if ((code = r->attestation->open(request->registration_id, &r->identity, error)))
        return code;
    if (r->attestation->prepare && (code = r->attestation->prepare(&r->identity, error)))
        return code;
    if ((code = prov_registration_id_check(r->identity.registration_id, error)))
        return code;
    r->session.id_scope = request->id_scope;
    r->session.sas_lifetime_s = PROV_SAS_LIFETIME_S;
    r->session.tls = (prov_tls_config){
        .endpoint = &r->session.endpoint,
        .ca_file = request->ca_file,
        .certificate_pem = r->identity.certificate_pem,
        .key_pem = r->identity.key_pem,
        .proxy = request->proxy,
        .proxy_user = request->proxy_user,
        .proxy_password = request->proxy_password,
    };
    r->session.identity = &r->identity;
    r->session.on_trace = request->on_trace;
    r->session.context = request->context;
    prov_trace(&r->session, "registration ID %s, ID scope %s, transport %s", r->identity.registration_id,
               request->id_scope, r->transport->name);
    return make_body(r, error);
}

/* ---- the state that outlives the process ---- */

static void save_retry(run *r)
{
    prov_error error;

    if (r->request->retry_file && prov_retry_save(r->request->retry_file, &r->retry, &error)) {
        (void)snprintf(r->warning, sizeof r->warning, "%s", error.detail);
        prov_trace(&r->session, "%s", error.detail);
    }
}

static uint32_t first_pause_ms(run *r)
{
    uint32_t spread_ms = (uint32_t)((uint64_t)r->request->spread_ms * random_jitter() / PROV_JITTER_RANGE);
    uint32_t pause_ms = 0;
    prov_error error;

    if (r->request->retry_file) {
        if (prov_retry_load(r->request->retry_file, &r->retry, &error)) {
            (void)snprintf(r->warning, sizeof r->warning, "%s", error.detail);
            prov_trace(&r->session, "%s", error.detail);
        }
        pause_ms = prov_retry_pause_ms(&r->retry, time(NULL));
    }
    r->retry_before = r->retry;
    return pause_ms > spread_ms ? pause_ms : spread_ms;
}

/* Waits as the state says, and at random up to spread_ms, then counts this registration before it begins, so that a power
 * cut in the middle of it is a failure as well. */
static kn_prov_code begin_retry(run *r, prov_error *error)
{
    const prov_limits *limits = &r->session.limits;
    uint32_t pause_ms = first_pause_ms(r);
    kn_prov_code code;

    if (prov_now_ms() + pause_ms > limits->end_ms)
        return prov_fail(error, KN_PROV_E_TIMEOUT,
                         "the overall limit of %u.%03u s ends before the pause of %u.%03u s after %u failed "
                         "registrations does",
                         limits->timeout_ms / 1000, limits->timeout_ms % 1000, pause_ms / 1000,
                         pause_ms % 1000, r->retry.failures);
    if (pause_ms > 0) {
        prov_trace(&r->session, "after %u failed registrations the next begins in %u.%03u s",
                   r->retry.failures, pause_ms / 1000, pause_ms % 1000);
        if ((code = prov_deadline_sleep(limits, pause_ms, error)))
            return code;
    }
    prov_retry_count(&r->retry, time(NULL), random_jitter());
    save_retry(r);
    return KN_PROV_OK;
}

/* Did the service, or the way to it, have a part in this outcome? */
static bool counts_as_failure(kn_prov_code code)
{
    return code != KN_PROV_E_CANCELLED && code != KN_PROV_E_MEMORY && code != KN_PROV_E_ARGUMENT &&
           code != KN_PROV_E_IDENTITY && code != KN_PROV_E_KEY && code != KN_PROV_E_CERTIFICATE &&
           code != KN_PROV_E_KEY_MISMATCH && code != KN_PROV_E_CA_FILE;
}

static void end_retry(run *r, kn_prov_code code)
{
    if (code == KN_PROV_OK)
        r->retry = (prov_retry){.failures = 0};
    else if (!counts_as_failure(code))
        r->retry = r->retry_before;
    else
        prov_retry_not_before(&r->retry, time(NULL), r->retry_after_s);
    save_retry(r);
}

/* ---- the conversation ---- */

/* A pause that would outlast the overall limit is not begun. */
static kn_prov_code wait_for_turn(run *r, const prov_action *action, prov_error *error)
{
    const prov_limits *limits = &r->session.limits;

    if (action->pause_ms == 0)
        return KN_PROV_OK;
    if (r->machine.transient > 0) {
        prov_retry_not_before(&r->retry, time(NULL), (action->pause_ms + 999) / 1000);
        save_retry(r);
    }
    if (prov_now_ms() + action->pause_ms > limits->end_ms)
        return prov_fail(
            error, KN_PROV_E_TIMEOUT,
            "the overall limit of %u.%03u s ends before the pause of %u.%03u s after status %d does",
            limits->timeout_ms / 1000, limits->timeout_ms % 1000, action->pause_ms / 1000,
            action->pause_ms % 1000, r->machine.status);
    prov_trace(&r->session, "next request in %u.%03u s", action->pause_ms / 1000, action->pause_ms % 1000);
    return r->transport->pause(r->connection, action->pause_ms, error);
}

static kn_prov_code take_turn(run *r, prov_action *action, prov_error *error)
{
    bool poll = action->kind == PROV_ACTION_POLL;
    prov_reply reply = {.status = 0};
    kn_prov_code code = wait_for_turn(r, action, error);

    if (code)
        return code;
    code =
        r->transport->exchange(r->connection, poll ? r->machine.operation_id : NULL, r->body, &reply, error);
    if (code)
        return code;
    report_connected(r);
    prov_trace(&r->session, "answer with status %d, retry-after %u s, %zu bytes", reply.status,
               reply.retry_after_s, reply.body_size);
    r->retry_after_s = reply.retry_after_s;
    code = prov_register_next(&r->machine, &reply, random_jitter(), action, error);
    free(reply.body);
    return code;
}

/* The key for the hub's tokens comes with the assignment; the one that signed so far was for the registration only. */
static kn_prov_code take_hub_key(const run *r, prov_error *error)
{
    if (!r->machine.response.tpm_key)
        return prov_fail(error, KN_PROV_E_RESPONSE,
                         "the service's answer lacks the member \"registrationState.tpm.authenticationKey\"");
    prov_trace(&r->session, "the TPM takes the key for the hub");
    return prov_identity_take_key(&r->identity, r->machine.response.tpm_key, error);
}

static kn_prov_code converse(run *r, prov_error *error)
{
    prov_action action = {.kind = PROV_ACTION_REGISTER};
    kn_prov_code code = r->transport->open(&r->session, &r->connection, error);

    if (code)
        return code;
    if (!r->transport->connects_late)
        report_connected(r);
    while (code == KN_PROV_OK && action.kind != PROV_ACTION_DONE) {
        code = take_turn(r, &action, error);
        if (code == KN_PROV_OK && r->machine.response.status == PROV_RESPONSE_ASSIGNING)
            report(r, KN_PROV_STATUS_ASSIGNING);
    }
    r->transport->close(r->connection);
    r->connection = NULL;
    if (code == KN_PROV_OK && r->identity.activate)
        code = take_hub_key(r, error);
    return code;
}

static char *move(char **from)
{
    char *text = *from;

    *from = NULL;
    if (text)
        prov_text_make_printable(text);
    return text;
}

static void fill_result(run *r, kn_prov_code code, const prov_error *error, kn_prov_result *result)
{
    const kn_prov_error_row *row = kn_prov_error_of(code);
    prov_response *response = &r->machine.response;

    *result = (kn_prov_result){
        .code = code,
        .registration_id = move(&r->identity.registration_id),
        .assigned_hub = move(&response->assigned_hub),
        .device_id = move(&response->device_id),
        .status = move(&response->status_text),
        .substatus = move(&response->substatus),
        .payload = response->payload, /* JSON is for programs: not a byte of it changes */
        .service_status = r->machine.status,
        .error_code = response->error_code,
        .tracking_id = move(&response->tracking_id),
        .service_message = move(&response->error_message),
        .warning = *r->warning ? strdup(r->warning) : NULL,
    };
    response->payload = NULL;
    if (code && asprintf(&result->message, "%s: %s", row->sentence, error->detail) < 0)
        result->message = NULL;
}

kn_prov_code kn_prov_register(const kn_prov_request *request, kn_prov_result *ret_result)
{
    run r = {.request = request, .machine = PROV_REGISTER_INIT};
    prov_error error = {.detail = ""};
    kn_prov_code code;

    r.session.limits = prov_limits_start(
        request->step_timeout_ms ? request->step_timeout_ms : KN_PROV_DEFAULT_STEP_TIMEOUT_MS,
        request->timeout_ms ? request->timeout_ms : KN_PROV_DEFAULT_TIMEOUT_MS, request->cancel);
    code = prepare(&r, &error);
    if (code == KN_PROV_OK)
        code = begin_retry(&r, &error);
    if (code == KN_PROV_OK) {
        code = converse(&r, &error);
        end_retry(&r, code);
    }
    report(&r, code ? KN_PROV_STATUS_ERROR : KN_PROV_STATUS_ASSIGNED);
    fill_result(&r, code, &error, ret_result);
    prov_register_clear(&r.machine);
    free(r.body);
    if (r.attestation)
        r.attestation->close(&r.identity);
    return code;
}

void kn_prov_result_clear(kn_prov_result *result)
{
    if (!result)
        return;
    free(result->registration_id);
    free(result->assigned_hub);
    free(result->device_id);
    free(result->status);
    free(result->substatus);
    free(result->payload);
    free(result->tracking_id);
    free(result->service_message);
    free(result->warning);
    free(result->message);
    *result = (kn_prov_result)KN_PROV_RESULT_INIT;
}
