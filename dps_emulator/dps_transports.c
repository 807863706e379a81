#include "dps_transport.h"

const dps_transport *const dps_transports[] = {
    &dps_transport_mqtt,
    NULL,
};

const dps_transport_host *dps_transport_host_of(struct lws *wsi)
{
    return lws_context_user(lws_get_context(wsi));
}
