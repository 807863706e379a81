#include "hub_transport.h"

#include <stdlib.h>
#include <string.h>

const hub_transport *const hub_transports[] = {
    &hub_transport_mqtt,    &hub_transport_mqtt_ws, &hub_transport_amqp,
    &hub_transport_amqp_ws, &hub_transport_https,
};
const size_t hub_transports_count = sizeof hub_transports / sizeof hub_transports[0];

const hub_transport *hub_transport_find(const char *name)
{
    for (size_t i = 0; i < hub_transports_count; i++) {
        if (strcmp(name, hub_transports[i]->name) == 0)
            return hub_transports[i];
    }
    return NULL;
}

void hub_incoming_clear(hub_incoming *incoming)
{
    free(incoming->body);
    free(incoming->properties);
    *incoming = (hub_incoming){.body = NULL};
}

kn_prov_code hub_copy(const void *bytes, size_t size, char **ret_text, prov_error *error)
{
    char *text = malloc(size + 1);

    if (!text)
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for what came in");
    if (size)
        memcpy(text, bytes, size);
    text[size] = '\0';
    *ret_text = text;
    return KN_PROV_OK;
}
