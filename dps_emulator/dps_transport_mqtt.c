#include "dps_transport.h"

#include <string.h>

#include "dps_log.h"
#include "dps_mqtt_session.h"

enum { WRITE_MAX = 16 * 1024 }; /* bytes per lws_write */

/* Zeroed by libwebsockets before the first callback. */
typedef struct connection {
    dps_mqtt_session *session; /* NULL until the first bytes: the handshake is not done before them */
    dps_peer peer;
} connection;

static void set_timeout(struct lws *wsi, unsigned seconds)
{
    lws_set_timer_usecs(wsi, (lws_usec_t)seconds * LWS_US_PER_SEC);
}

/* At LWS_CALLBACK_RAW_ADOPT the TLS handshake is still to come; with the first bytes the certificate is
 * there. */
static bool begin(struct lws *wsi, connection *c)
{
    char address[DPS_ADDRESS_LEN] = "?";
    SSL *ssl = lws_get_ssl(wsi);
    lws_get_peer_simple(wsi, address, sizeof(address));
    if (ssl == NULL || !dps_peer_from_ssl(ssl, address, &c->peer))
        return false;
    c->session = dps_mqtt_session_new(dps_transport_host_of(wsi)->service, &c->peer, dps_transport_mqtt.name);
    if (c->session == NULL)
        return false;
    lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0); /* the handshake's; from here on the timer counts */
    return true;
}

static int on_input(struct lws *wsi, connection *c, const uint8_t *bytes, size_t n)
{
    if (c->session == NULL && !begin(wsi, c)) {
        dps_log(DPS_LOG_ERROR, "a connection cannot be set up: out of memory");
        return -1;
    }
    dps_mqtt_session_input(c->session, bytes, n);
    if (dps_mqtt_session_connected(c->session)) /* bytes before CONNECT do not prolong the time for it */
        set_timeout(wsi, dps_mqtt_session_timeout_s(c->session));
    size_t waiting = 0;
    if (dps_mqtt_session_output(c->session, &waiting) != NULL)
        lws_callback_on_writable(wsi);
    else if (!dps_mqtt_session_open(c->session))
        return -1;
    return 0;
}

static int on_writable(struct lws *wsi, connection *c)
{
    size_t n = 0;
    const uint8_t *bytes = c->session != NULL ? dps_mqtt_session_output(c->session, &n) : NULL;
    if (bytes != NULL) {
        unsigned char buffer[LWS_PRE + WRITE_MAX];
        size_t chunk = n < WRITE_MAX ? n : WRITE_MAX;
        memcpy(buffer + LWS_PRE, bytes, chunk);
        if (lws_write(wsi, buffer + LWS_PRE, chunk, LWS_WRITE_RAW) < (int)chunk)
            return -1; /* what the socket did not take, libwebsockets keeps; less than all is an error */
        dps_mqtt_session_sent(c->session, chunk);
        lws_callback_on_writable(wsi); /* the rest, or the close below once this is out */
        return 0;
    }
    return c->session == NULL || dps_mqtt_session_open(c->session) ? 0 : -1;
}

static void on_close(connection *c)
{
    dps_mqtt_session_free(&c->session);
    dps_peer_clear(&c->peer);
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    connection *c = user;
    switch (reason) { /* libwebsockets' long list: the rest is not for raw connections */
    case LWS_CALLBACK_RAW_ADOPT:
        set_timeout(wsi, dps_transport_host_of(wsi)->connect_timeout_s);
        return 0;
    case LWS_CALLBACK_RAW_RX:
        return on_input(wsi, c, in, len);
    case LWS_CALLBACK_RAW_WRITEABLE:
        return on_writable(wsi, c);
    case LWS_CALLBACK_TIMER:
        dps_log(DPS_LOG_INFO, "%s: connection closed: silent for too long",
                c->session != NULL ? c->peer.address : "a peer without CONNECT");
        return -1;
    case LWS_CALLBACK_RAW_CLOSE:
        if (c != NULL)
            on_close(c);
        return 0;
    default:
        return 0;
    }
}

const dps_transport dps_transport_mqtt = {
    .name = "mqtt",
    .accept_role = "raw-skt",
    .alpn = "mqtt",
    .default_port = 8883,
    .session_size = sizeof(connection),
    .callback = callback,
};
