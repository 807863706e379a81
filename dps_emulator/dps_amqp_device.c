#include "dps_amqp.h"

#include <stdio.h>
#include <string.h>

#include "dps_service.h"

/* "<scope>/registrations/<id>" */
static bool match(dps_amqp_session *session, const char *address, dps_amqp_link *link)
{
    static const char middle[] = "/registrations/";
    (void)session;
    const char *at = strstr(address, middle);
    const char *id = at != NULL ? at + sizeof(middle) - 1 : NULL;
    if (at == NULL || at == address || memchr(address, '/', (size_t)(at - address)) != NULL ||
        id[0] == '\0' || strchr(id, '/') != NULL)
        return false;
    snprintf(link->first, sizeof(link->first), "%.*s", (int)(at - address), address);
    snprintf(link->second, sizeof(link->second), "%s", id);
    return true;
}

/* What the C SDK asks for comes without a correlation id: then the answer has none either. */
static bool send_answer(dps_amqp_session *s, pn_link_t *sender, const dps_response *response)
{
    static const char name[] = "retry-after";
    if (!dps_amqp_begin_answer(s, false))
        return false;
    pn_message_set_inferred(s->message, true); /* a data section: the C SDK takes nothing else */
    pn_data_put_binary(pn_message_body(s->message), pn_bytes(strlen(response->body), response->body));
    if (response->retry_after_s > 0) {
        pn_data_t *properties = pn_message_properties(s->message);
        pn_data_put_map(properties);
        pn_data_enter(properties);
        pn_data_put_string(properties, pn_bytes(sizeof(name) - 1, name));
        pn_data_put_int(properties, (int32_t)response->retry_after_s); /* int or string, says the C SDK */
        pn_data_exit(properties);
    }
    return dps_amqp_send(s, sender);
}

static void answer(dps_amqp_session *s, const dps_amqp_link *link, pn_delivery_t *delivery,
                   const dps_response *response)
{
    pn_link_t *sender = dps_amqp_sender_for(s, link);
    if (response->body == NULL)
        dps_amqp_reject(delivery, 500, "Out of memory", 0);
    else if (response->status >= 300)
        dps_amqp_reject(delivery, response->status, response->body, response->retry_after_s);
    else if (sender == NULL)
        dps_amqp_reject(delivery, 400,
                        "There is no link for the answer: attach a receiver to the same address", 0);
    else if (send_answer(s, sender, response))
        dps_amqp_accept(delivery);
    else
        dps_amqp_reject(delivery, 500, "The answer cannot be sent", 0);
}

static void receive(dps_amqp_session *s, dps_amqp_link *link, pn_delivery_t *delivery)
{
    char type[64] = "", operation[DPS_OPERATION_LEN] = "";
    dps_response response = {0};
    bool has_type = dps_amqp_property(s->message, "iotdps-operation-type", type, sizeof(type));
    bool mine =
        s->token != NULL && strcmp(s->scope, link->first) == 0 &&
        dps_text_equal_nocase(s->registration, strlen(s->registration), link->second, strlen(link->second));
    const dps_request request = {
        .transport = s->transport,
        .id_scope = dps_span_of(link->first),
        .registration_id = dps_span_of(link->second),
        .api_version = dps_span_of(link->api_version),
        .client_version = dps_span_of(link->client_version),
        .sas =
            dps_span_of(mine ? s->token : ""), /* a token speaks for the registration that it was given for */
        .body = dps_amqp_body(s->message),
        .operation_id = operation,
    };
    if (has_type && strcmp(type, "iotdps-register") == 0) {
        dps_service_register(s->host->service, s->peer, &request, &response);
    } else if (has_type && strcmp(type, "iotdps-get-operationstatus") == 0) {
        if (dps_amqp_property(s->message, "iotdps-operation-id", operation, sizeof(operation)))
            dps_service_status(s->host->service, s->peer, &request, &response);
        else
            dps_service_reject(s->host->service, DPS_ERR_INVALID_ARGUMENT,
                               "The application property iotdps-operation-id is missing or too long",
                               &response);
    } else {
        dps_service_reject(s->host->service, DPS_ERR_INVALID_ARGUMENT,
                           "The application property iotdps-operation-type is not one that is known",
                           &response);
    }
    answer(s, link, delivery, &response);
    dps_response_clear(&response);
}

const dps_amqp_node dps_amqp_device_node = {
    .match = match,
    .receive = receive,
    .message_max = DPS_AMQP_MESSAGE_MAX,
};
