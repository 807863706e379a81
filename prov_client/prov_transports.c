#include "prov_transport.h"

#include "prov_sas.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const prov_transport *const prov_transports[] = {
    &prov_transport_mqtt,    &prov_transport_mqtt_ws, &prov_transport_amqp,
    &prov_transport_amqp_ws, &prov_transport_https,
};
const size_t prov_transports_count = sizeof prov_transports / sizeof prov_transports[0];

const char *kn_prov_transport_name(size_t index)
{
    return index < prov_transports_count ? prov_transports[index]->name : NULL;
}

kn_prov_code prov_transport_find(const char *name, const prov_transport **ret_transport, prov_error *error)
{
    char known[200] = "";
    size_t used = 0;

    for (size_t i = 0; i < prov_transports_count; i++) {
        if (strcmp(name, prov_transports[i]->name) == 0) {
            *ret_transport = prov_transports[i];
            return KN_PROV_OK;
        }
        if (used < sizeof known)
            used += (size_t)snprintf(known + used, sizeof known - used, " %s", prov_transports[i]->name);
    }
    return prov_fail(error, KN_PROV_E_ARGUMENT, "no transport \"%.40s\"; there are:%s", name, known);
}

/* {scope}/registrations/{id} with a policy, or {hub}/devices/{id} with none. */
kn_prov_code prov_session_token(const prov_session *session, char **ret_token, prov_error *error)
{
    char resource[PROV_HOST_MAX + PROV_ID_SCOPE_MAX + PROV_DEVICE_ID_MAX + 32];
    const char *policy = session->device_id ? NULL : "registration";

    *ret_token = NULL;
    if (!session->identity->sign)
        return KN_PROV_OK;
    if (session->device_id)
        (void)snprintf(resource, sizeof resource, "%s/devices/%s", session->endpoint.host,
                       session->device_id);
    else
        (void)snprintf(resource, sizeof resource, "%s/registrations/%s", session->id_scope,
                       session->identity->registration_id);
    return prov_sas_make(session->identity, resource, policy, session->sas_lifetime_s, ret_token, error);
}

void prov_trace(const prov_session *session, const char *format, ...)
{
    char line[PROV_DETAIL_MAX];
    va_list args;

    if (!session->on_trace)
        return;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    prov_text_make_printable(line);
    session->on_trace(line, session->context);
}
