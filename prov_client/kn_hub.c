#include "kn_hub.h"

#include "hub_transport.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_MIN_MS 1000U
#define BACKOFF_MAX_MS 60000U

struct kn_hub {
    kn_hub_request request;
    const hub_transport *transport;
    const prov_attestation *attestation;
    prov_session session;
    prov_identity identity;
    hub_connection *connection; /* NULL: lost */
    int64_t renew_at_ms;        /* of the SAS token; INT64_MAX: there is none */
    unsigned losses;            /* connections of this call that were of no use, one after the other */
    kn_prov_code lost_code;     /* of the last one */
    unsigned registrations;     /* since a connection was of use */
    char *assigned_hub, *assigned_device; /* by the last one; NULL: those of the request */
    kn_hub_on_event on_event;   /* while listening */
    void *on_event_context;
    char problem[PROV_DETAIL_MAX + 200];
};

static kn_prov_code fail(kn_hub *hub, kn_prov_code code, const prov_error *error)
{
    if (code)
        (void)snprintf(hub->problem, sizeof hub->problem, "%s: %s", kn_prov_error_of(code)->sentence,
                       error->detail);
    return code;
}

static bool tell(kn_hub *hub, kn_hub_event_kind kind, const char *body)
{
    kn_hub_event event = {.kind = kind, .body = body, .body_size = strlen(body), .properties = ""};

    return !hub->on_event || hub->on_event(&event, hub->on_event_context);
}

/* ---- connecting ---- */

static kn_prov_code check_request(kn_hub *hub, prov_error *error)
{
    const kn_hub_request *request = &hub->request;
    const char *transport = request->transport ? request->transport : KN_PROV_DEFAULT_TRANSPORT;
    const prov_transport *known;
    kn_prov_code code;

    if (!request->hub || !request->device_id)
        return prov_fail(error, KN_PROV_E_ARGUMENT, "the hub or the device ID is missing");
    if ((code = prov_transport_find(transport, &known, error)))
        return code;
    hub->transport = hub_transport_find(known->name);
    if ((code = prov_device_id_check(request->device_id, error)))
        return code;
    if ((code =
             prov_attestation_find(request->attestation ? request->attestation : KN_PROV_DEFAULT_ATTESTATION,
                                   &hub->attestation, error)))
        return code;
    /* A certificate or a token: every transport carries both to the hub. */
    return prov_endpoint_parse(request->hub, hub->transport->default_port, &hub->session.endpoint, error);
}

static void set_up_session(kn_hub *hub)
{
    const kn_hub_request *request = &hub->request;

    hub->session.device_id = request->device_id;
    hub->session.sas_lifetime_s =
        request->sas_lifetime_s ? request->sas_lifetime_s : KN_HUB_DEFAULT_SAS_LIFETIME_S;
    hub->session.identity = &hub->identity;
    hub->session.on_trace = request->on_trace;
    hub->session.context = request->context;
    hub->session.tls = (prov_tls_config){
        .endpoint = &hub->session.endpoint,
        .ca_file = request->ca_file,
        .certificate_pem = hub->identity.certificate_pem,
        .key_pem = hub->identity.key_pem,
        .proxy = request->proxy,
        .proxy_user = request->proxy_user,
        .proxy_password = request->proxy_password,
    };
}

/* The clock of one call's reconnecting starts. */
static void start_clock(kn_hub *hub)
{
    const kn_hub_request *request = &hub->request;

    hub->session.limits = prov_limits_start(
        request->step_timeout_ms ? request->step_timeout_ms : KN_PROV_DEFAULT_STEP_TIMEOUT_MS,
        request->timeout_ms ? request->timeout_ms : KN_PROV_DEFAULT_TIMEOUT_MS, request->cancel);
}

static kn_prov_code open_identity(kn_hub *hub, prov_error *error)
{
    kn_prov_code code = hub->attestation->open(hub->request.device_id, &hub->identity, error);

    if (code == KN_PROV_OK)
        set_up_session(hub);
    return code;
}

static void close_identity(kn_hub *hub)
{
    if (hub->attestation && hub->identity.hsm)
        hub->attestation->close(&hub->identity);
    hub->identity = (prov_identity){.hsm = NULL};
    hub->session.tls.certificate_pem = hub->session.tls.key_pem = NULL;
}

/* The identity is closed at first, and after a registration. */
static kn_prov_code connect_once(kn_hub *hub, prov_error *error)
{
    int64_t now = prov_now_ms();
    kn_prov_code code = hub->identity.hsm ? KN_PROV_OK : open_identity(hub, error);

    if (code == KN_PROV_OK)
        code = hub->transport->open(&hub->session, &hub->connection, error);
    hub->renew_at_ms = hub->identity.sign ? now + (int64_t)hub->session.sas_lifetime_s * 800 : INT64_MAX;
    if (code == KN_PROV_OK)
        prov_trace(&hub->session, "connected with the hub %s as %s over %s", hub->session.endpoint.host,
                   hub->session.device_id, hub->transport->name);
    return code;
}

static void disconnect(kn_hub *hub)
{
    if (hub->connection)
        hub->transport->close(hub->connection);
    hub->connection = NULL;
}

/* May the same succeed a little later? */
static bool is_passing(kn_prov_code code)
{
    return code == KN_PROV_E_CLOSED || code == KN_PROV_E_TIMEOUT || code == KN_PROV_E_RESOLVE ||
           code == KN_PROV_E_UNREACHABLE || code == KN_PROV_E_TLS || code == KN_PROV_E_THROTTLED ||
           code == KN_PROV_E_SERVICE;
}

/* Up to half as much again, so that devices which lost the same hub spread out. */
static uint32_t with_jitter(uint32_t pause_ms)
{
    uint16_t jitter = 0;

    if (RAND_bytes((unsigned char *)&jitter, sizeof jitter) != 1)
        jitter = 0;
    return pause_ms + (uint32_t)((uint64_t)pause_ms * jitter / (2 * 65536U));
}

static kn_prov_code wait_ms(kn_hub *hub, uint32_t pause_ms, prov_error *error)
{
    if (prov_now_ms() + pause_ms > hub->session.limits.end_ms)
        return prov_fail(error, KN_PROV_E_TIMEOUT, "no connection with the hub within %u s",
                         hub->session.limits.timeout_ms / 1000);
    return prov_deadline_sleep(&hub->session.limits, pause_ms, error);
}

/* The first lost connection is replaced at once, those after it with back-off: a hub that accepts every
 * connection and then closes it, or one over HTTPS, which connects with its first request, is not hammered. */
static kn_prov_code wait_after_losses(kn_hub *hub, prov_error *error)
{
    uint32_t pause_ms = BACKOFF_MIN_MS;
    prov_error why = *error;

    for (unsigned i = 2; i < hub->losses && pause_ms < BACKOFF_MAX_MS; i++)
        pause_ms *= 2;
    if (hub->losses < 2 || !wait_ms(hub, with_jitter(pause_ms < BACKOFF_MAX_MS ? pause_ms : BACKOFF_MAX_MS), error))
        return KN_PROV_OK;
    if (hub->request.cancel && atomic_load(hub->request.cancel))
        return KN_PROV_E_CANCELLED;
    *error = why;
    return hub->lost_code;
}

/* ---- registering again ---- */

static uint32_t left_ms(const kn_hub *hub)
{
    int64_t left = hub->session.limits.end_ms - prov_now_ms();

    return left <= 0 ? 0 : left > (int64_t)UINT32_MAX ? UINT32_MAX : (uint32_t)left;
}

/* The hub and the device that the session talks of are those of @result from now on. */
static kn_prov_code move_to(kn_hub *hub, const kn_prov_result *result, prov_error *error)
{
    char *name = strdup(result->assigned_hub), *device = strdup(result->device_id);

    if (!name || !device) {
        free(name);
        free(device);
        return prov_fail(error, KN_PROV_E_MEMORY, "a registration");
    }
    free(hub->assigned_hub);
    free(hub->assigned_device);
    hub->request.hub = hub->assigned_hub = name;
    hub->request.device_id = hub->assigned_device = device;
    return prov_endpoint_parse(name, hub->session.endpoint.port, &hub->session.endpoint, error);
}

/* With the identity closed: of a TPM, a registration replaces the key that the hub's tokens are signed with. */
static kn_prov_code register_and_move(kn_hub *hub, prov_error *error)
{
    kn_prov_request request = *hub->request.reprovision;
    kn_prov_result result = KN_PROV_RESULT_INIT;
    kn_prov_code code;

    request.on_status = NULL;
    request.on_trace = hub->request.on_trace;
    request.context = hub->request.context;
    request.cancel = hub->request.cancel;
    if ((request.timeout_ms ? request.timeout_ms : KN_PROV_DEFAULT_TIMEOUT_MS) > left_ms(hub))
        request.timeout_ms = left_ms(hub) ? left_ms(hub) : 1;
    code = kn_prov_register(&request, &result);
    if (code) {
        (void)prov_fail(error, code, "%s", result.message ? result.message : kn_prov_error_of(code)->sentence);
    } else {
        if (hub->request.on_registered)
            hub->request.on_registered(&result, hub->request.context);
        code = move_to(hub, &result, error);
    }
    kn_prov_result_clear(&result);
    return code;
}

static bool refuses_identity(kn_prov_code code)
{
    return code == KN_PROV_E_UNAUTHORIZED || code == KN_PROV_E_NOT_ENROLLED;
}

/* May the hub that was assigned now be connected with? *@code is what the hub's refusal comes to otherwise. */
static bool register_again(kn_hub *hub, kn_prov_code *code, prov_error *error)
{
    prov_error refusal = *error, why = {.detail = ""};
    uint32_t pause_ms = hub->registrations ? BACKOFF_MIN_MS << (hub->registrations - 1) : 0;
    kn_prov_code failed;

    if (!refuses_identity(*code) || !hub->request.reprovision)
        return false;
    if (hub->registrations >= KN_HUB_REGISTRATIONS_MAX) {
        (void)prov_fail(error, *code, "%.500s; it was registered again %u times", refusal.detail, hub->registrations);
        return false;
    }
    if (pause_ms && wait_ms(hub, with_jitter(pause_ms), &why)) {
        *code = hub->request.cancel && atomic_load(hub->request.cancel) ? KN_PROV_E_CANCELLED : *code;
        return false;
    }
    prov_trace(&hub->session, "the hub refuses the device: %s; it registers again", refusal.detail);
    hub->registrations++;
    disconnect(hub);
    close_identity(hub);
    failed = register_and_move(hub, &why);
    if (failed) {
        *code = prov_fail(error, failed, "the hub refuses the device (%.250s), and it could not register again: %.400s", refusal.detail,
                          why.detail);
        return false;
    }
    (void)tell(hub, KN_HUB_REGISTERED, hub->assigned_hub);
    return true;
}

/* ---- calls share ---- */

/* Connects when the connection is lost or its token grows old; again and again while the failures are passing
 * ones. */
static kn_prov_code connect_to_same(kn_hub *hub, prov_error *error)
{
    uint32_t pause_ms = BACKOFF_MIN_MS;
    kn_prov_code code;

    if (hub->connection && prov_now_ms() >= hub->renew_at_ms) {
        prov_trace(&hub->session, "the SAS token is renewed by a new connection");
        disconnect(hub);
    }
    if (hub->connection)
        return KN_PROV_OK;
    if ((code = wait_after_losses(hub, error)))
        return code;
    while (is_passing(code = connect_once(hub, error))) {
        prov_error why = *error;

        prov_trace(&hub->session, "no connection: %s; next try in %u.%03u s", error->detail, pause_ms / 1000,
                   pause_ms % 1000);
        if (wait_ms(hub, with_jitter(pause_ms), error))
            return hub->request.cancel && atomic_load(hub->request.cancel) ? KN_PROV_E_CANCELLED
                                                                           : (*error = why, code);
        pause_ms = 2 * pause_ms < BACKOFF_MAX_MS ? 2 * pause_ms : BACKOFF_MAX_MS;
    }
    if (code == KN_PROV_OK)
        (void)tell(hub, KN_HUB_CONNECTED, "");
    return code;
}

/* The same, and with another hub when this one refuses the identity. */
static kn_prov_code ensure_connection(kn_hub *hub, prov_error *error)
{
    kn_prov_code code;

    do
        code = connect_to_same(hub, error);
    while (register_again(hub, &code, error));
    return code;
}

/* After a failure: is it worth another connection? *@code is what the failure comes to otherwise. */
static bool lose_connection(kn_hub *hub, kn_prov_code *code, prov_error *error)
{
    if (*code == KN_PROV_OK)
        hub->registrations = 0;
    if (*code == KN_PROV_OK || *code == KN_PROV_E_ARGUMENT)
        return false;
    disconnect(hub);
    hub->losses++;
    hub->lost_code = *code;
    prov_trace(&hub->session, "the connection with the hub is lost: %s", error->detail);
    (void)tell(hub, KN_HUB_DISCONNECTED, error->detail);
    return is_passing(*code) || register_again(hub, code, error);
}

kn_prov_code kn_hub_open(const kn_hub_request *request, kn_hub **ret_hub)
{
    prov_error error = {.detail = ""};
    kn_hub *hub = calloc(1, sizeof *hub);
    kn_prov_code code;

    *ret_hub = hub;
    if (!hub)
        return KN_PROV_E_MEMORY;
    hub->request = *request;
    start_clock(hub);
    code = check_request(hub, &error);
    if (code == KN_PROV_OK) {
        do
            code = connect_once(hub, &error);
        while (register_again(hub, &code, &error));
    }
    return fail(hub, code, &error);
}

const char *kn_hub_problem(const kn_hub *hub)
{
    return hub->problem;
}

/* ---- calls ---- */

kn_prov_code kn_hub_send(kn_hub *hub, const kn_hub_message *message)
{
    prov_error error = {.detail = ""};
    kn_prov_code code;

    if (message->body_size > KN_HUB_BODY_MAX ||
        (message->properties && strlen(message->properties) >= KN_HUB_PROPERTIES_MAX))
        return fail(hub,
                    prov_fail(&error, KN_PROV_E_ARGUMENT,
                              "a message of more than %u bytes, or %u of properties", KN_HUB_BODY_MAX,
                              KN_HUB_PROPERTIES_MAX),
                    &error);
    start_clock(hub);
    hub->losses = 0;
    do {
        code = ensure_connection(hub, &error);
        if (code)
            break;
        code = hub->transport->send(hub->connection, message, &error);
    } while (lose_connection(hub, &code, &error));
    return fail(hub, code, &error);
}

kn_prov_code kn_hub_twin(kn_hub *hub, char **ret_json)
{
    prov_error error = {.detail = ""};
    kn_prov_code code;

    if (!hub->transport->twin)
        return fail(
            hub,
            prov_fail(&error, KN_PROV_E_ARGUMENT, "%s has no twin; use mqtt or amqp", hub->transport->name),
            &error);
    start_clock(hub);
    hub->losses = 0;
    do {
        code = ensure_connection(hub, &error);
        if (code)
            break;
        code = hub->transport->twin(hub->connection, ret_json, &error);
    } while (lose_connection(hub, &code, &error));
    return fail(hub, code, &error);
}

/* Waits for one thing to come, until @end_ms or until the token grows old. False in @ret_go_on: the caller
 * had enough. */
static kn_prov_code listen_once(kn_hub *hub, int64_t end_ms, bool *ret_go_on, prov_error *error)
{
    int64_t now = prov_now_ms(), until = end_ms < hub->renew_at_ms ? end_ms : hub->renew_at_ms;
    int64_t slice = until - now > (int64_t)UINT32_MAX / 2 ? (int64_t)UINT32_MAX / 2 : until - now;
    prov_deadline deadline = prov_deadline_of_pause(&hub->session.limits, slice > 0 ? (uint32_t)slice : 0);
    hub_incoming incoming = {.body = NULL};
    kn_hub_event event;
    kn_prov_code code = hub->transport->receive(hub->connection, &deadline, &incoming, error);

    if (code == KN_PROV_E_TIMEOUT && prov_deadline_left_ms(&deadline) == 0)
        return KN_PROV_OK;
    if (code)
        return code;
    event = (kn_hub_event){.kind = incoming.kind,
                           .body = incoming.body,
                           .body_size = incoming.body_size,
                           .properties = incoming.properties ? incoming.properties : ""};
    *ret_go_on = hub->on_event(&event, hub->on_event_context);
    hub_incoming_clear(&incoming);
    return KN_PROV_OK;
}

kn_prov_code kn_hub_listen(kn_hub *hub, uint32_t duration_ms, kn_hub_on_event on_event, void *context)
{
    int64_t end_ms = duration_ms ? prov_now_ms() + duration_ms : INT64_MAX;
    prov_error error = {.detail = ""};
    bool go_on = true;
    kn_prov_code code = KN_PROV_OK;

    hub->on_event = on_event;
    hub->on_event_context = context;
    hub->losses = 0;
    while (go_on && code == KN_PROV_OK && prov_now_ms() < end_ms) {
        start_clock(hub);
        code = ensure_connection(hub, &error);
        if (code == KN_PROV_OK)
            code = listen_once(hub, end_ms, &go_on, &error);
        if (code == KN_PROV_OK)
            hub->losses = hub->registrations = 0;
        if (code && code != KN_PROV_E_CANCELLED && lose_connection(hub, &code, &error))
            code = KN_PROV_OK;
    }
    hub->on_event = NULL;
    return code == KN_PROV_E_CANCELLED ? KN_PROV_OK : fail(hub, code, &error);
}

void kn_hub_close(kn_hub **hub)
{
    if (!*hub)
        return;
    disconnect(*hub);
    close_identity(*hub);
    free((*hub)->assigned_hub);
    free((*hub)->assigned_device);
    free(*hub);
    *hub = NULL;
}
