#include "dps_transport.h"

#include "dps_amqp.h"
#include "dps_http_session.h"
#include "dps_mqtt_session.h"

static bool start_mqtt(const dps_transport_host *host, const dps_peer *peer, dps_stream *ret_stream)
{
    return dps_mqtt_stream_new(host, peer, "mqtt", ret_stream);
}

static const dps_transport mqtt = {
    .name = "mqtt",
    .alpn = "mqtt",
    .port_option = "mqtt-port",
    .default_port = 8883,
    .start = start_mqtt,
};

static bool start_amqp(const dps_transport_host *host, const dps_peer *peer, dps_stream *ret_stream)
{
    return dps_amqp_stream_new(host, peer, "amqp", ret_stream);
}

static const dps_transport amqp = {
    .name = "amqp",
    .alpn = "amqp",
    .port_option = "amqp-port",
    .default_port = 5671,
    .start = start_amqp,
};

static const dps_transport https = {
    .name = "https",
    .alpn = "http/1.1",
    .port_option = "https-port",
    .default_port = 443,
    .start = dps_http_session_new,
};

const dps_transport *const dps_transports[] = {
    &mqtt,
    &amqp,
    &https,
    NULL,
};
