#include "prov_register.h"

#include <stdio.h>
#include <string.h>

typedef struct refusal_row {
    int status;
    kn_prov_code code;
} refusal_row;

static const refusal_row refusals[] = {
    {.status = 401, .code = KN_PROV_E_UNAUTHORIZED},
    {.status = 403, .code = KN_PROV_E_UNAUTHORIZED},
    {.status = 404, .code = KN_PROV_E_NOT_ENROLLED},
    {.status = 429, .code = KN_PROV_E_THROTTLED},
};

/* registrationState.errorCode of a registration that failed. */
static const refusal_row failures[] = {
    {.status = 400208, .code = KN_PROV_E_NO_HUB},
    {.status = 400209, .code = KN_PROV_E_UNAUTHORIZED},
};

static uint32_t retry_after_s(const prov_reply *reply)
{
    return reply->retry_after_s >= 1 && reply->retry_after_s <= PROV_RETRY_MAX_S ? reply->retry_after_s
                                                                                 : PROV_RETRY_DEFAULT_S;
}

static uint32_t backoff_ms(const prov_reply *reply, unsigned transient, uint32_t jitter)
{
    uint32_t floor_ms = retry_after_s(reply) * 1000;
    uint32_t pause_ms = floor_ms;

    for (unsigned i = 1; i < transient && pause_ms < PROV_BACKOFF_MAX_S * 1000; i++)
        pause_ms *= 2;
    if (pause_ms > PROV_BACKOFF_MAX_S * 1000)
        pause_ms = PROV_BACKOFF_MAX_S * 1000;
    if (pause_ms < floor_ms)
        pause_ms = floor_ms;
    return pause_ms + (uint32_t)((uint64_t)pause_ms * (jitter % PROV_JITTER_RANGE) / (2 * PROV_JITTER_RANGE));
}

/* " (error 401002, tracking id ..., "...")": only the parts that the service sent. */
static const char *service_words(const prov_response *response, char *buffer, size_t capacity)
{
    char number[40] = "", tracking[160] = "", message[360] = "";

    if (response->error_code)
        (void)snprintf(number, sizeof number, ", error code %ld", response->error_code);
    if (response->tracking_id)
        (void)snprintf(tracking, sizeof tracking, ", tracking id %.100s", response->tracking_id);
    if (response->error_message)
        (void)snprintf(message, sizeof message, ": %.300s", response->error_message);
    (void)snprintf(buffer, capacity, "%s%s%s", number, tracking, message);
    return buffer;
}

static kn_prov_code refuse(const prov_register *machine, prov_error *error)
{
    kn_prov_code code = machine->status >= 500   ? KN_PROV_E_SERVICE
                        : machine->status >= 400 ? KN_PROV_E_REFUSED
                                                 : KN_PROV_E_PROTOCOL;
    char words[600];

    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        if (refusals[i].status == machine->status)
            code = refusals[i].code;
    }
    return prov_fail(error, code, "status %d%s", machine->status,
                     service_words(&machine->response, words, sizeof words));
}

static kn_prov_code fail_assignment(const prov_register *machine, prov_error *error)
{
    kn_prov_code code = KN_PROV_E_FAILED;
    char words[600];

    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
        if (failures[i].status == machine->response.error_code)
            code = failures[i].code;
    }
    return prov_fail(error, code, "registration status \"%s\"%s", machine->response.status_text,
                     service_words(&machine->response, words, sizeof words));
}

static kn_prov_code take_error(prov_register *machine, const prov_reply *reply, uint32_t jitter,
                               prov_action *ret_action, prov_error *error)
{
    prov_error unread;

    /* The status decides; a body that is no JSON (a gateway's page) only leaves the words out. */
    if (reply->body_size > 0 &&
        prov_response_parse_error(reply->body, reply->body_size, &machine->response, &unread) != KN_PROV_OK)
        machine->response.error_code = 0;
    if (reply->status != 429 && reply->status < 500)
        goto ended;
    if (++machine->transient > PROV_TRANSIENT_MAX)
        goto ended;
    *ret_action = (prov_action){
        .kind = machine->state == PROV_STATE_ASSIGNING ? PROV_ACTION_POLL : PROV_ACTION_REGISTER,
        .pause_ms = backoff_ms(reply, machine->transient, jitter),
    };
    return KN_PROV_OK;

ended:
    machine->state = PROV_STATE_ENDED;
    return refuse(machine, error);
}

static kn_prov_code take_status(prov_register *machine, const prov_reply *reply, prov_action *ret_action,
                                prov_error *error)
{
    prov_register_state before = machine->state;

    machine->state = PROV_STATE_ENDED;
    switch (machine->response.status) {
    case PROV_RESPONSE_ASSIGNING:
        if (before == PROV_STATE_ASSIGNING && strcmp(machine->operation_id, machine->response.operation_id))
            return prov_fail(error, KN_PROV_E_RESPONSE, "the answer is about another operation, \"%s\"",
                             machine->response.operation_id);
        machine->state = PROV_STATE_ASSIGNING;
        (void)snprintf(machine->operation_id, sizeof machine->operation_id, "%s",
                       machine->response.operation_id);
        *ret_action = (prov_action){.kind = PROV_ACTION_POLL, .pause_ms = retry_after_s(reply) * 1000};
        return KN_PROV_OK;
    case PROV_RESPONSE_ASSIGNED:
        *ret_action = (prov_action){.kind = PROV_ACTION_DONE};
        return KN_PROV_OK;
    case PROV_RESPONSE_FAILED:
        return fail_assignment(machine, error);
    case PROV_RESPONSE_DISABLED:
        return prov_fail(error, KN_PROV_E_DISABLED, "registration status \"%s\"",
                         machine->response.status_text);
    case PROV_RESPONSE_UNASSIGNED:
    case PROV_RESPONSE_NONE:
        return prov_fail(error, KN_PROV_E_RESPONSE,
                         "registration status \"unassigned\", which belongs to TPM attestation only");
    }
    return prov_fail(error, KN_PROV_E_RESPONSE, "registration status unknown");
}

kn_prov_code prov_register_next(prov_register *machine, const prov_reply *reply, uint32_t jitter,
                                prov_action *ret_action, prov_error *error)
{
    kn_prov_code code;

    prov_response_clear(&machine->response);
    machine->status = reply->status;
    if (reply->status < 200 || reply->status >= 300)
        return take_error(machine, reply, jitter, ret_action, error);
    code = prov_response_parse(reply->body ? reply->body : "", reply->body_size, &machine->response, error);
    if (code) {
        machine->state = PROV_STATE_ENDED;
        return code;
    }
    machine->transient = 0;
    return take_status(machine, reply, ret_action, error);
}

void prov_register_clear(prov_register *machine)
{
    prov_response_clear(&machine->response);
    *machine = (prov_register)PROV_REGISTER_INIT;
}
