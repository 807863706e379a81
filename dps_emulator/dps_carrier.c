#include "dps_carrier.h"

#include <string.h>

#include "dps_faults.h"
#include "dps_log.h"

enum {
    WRITE_MAX = 16 * 1024,   /* bytes per lws_write */
    WAITING_MAX = 64 * 1024, /* bytes of output above which a peer is not listened to */
};

static dps_carrier_host *host_of(struct lws *wsi)
{
    return lws_context_user(lws_get_context(wsi));
}

/* One timer for three purposes: the next thing to do, the end of a delay, and the end of the peer's time. */
static void set_timer(dps_carrier *c)
{
    lws_usec_t now = lws_now_usecs();
    lws_usec_t next = c->tick_us != 0 && c->tick_us < c->deadline_us ? c->tick_us : c->deadline_us;
    if (c->hold_us != 0 && c->hold_us < next)
        next = c->hold_us;
    lws_set_timer_usecs(c->wsi, next > now ? next - now : 1);
}

static void allow_time(dps_carrier *c, unsigned seconds)
{
    c->deadline_us = lws_now_usecs() + (lws_usec_t)seconds * LWS_US_PER_SEC;
}

static void tick(dps_carrier *c)
{
    unsigned ms = c->stream.kind->tick_ms != NULL ? c->stream.kind->tick_ms(c->stream.self) : 0;
    c->tick_us = ms > 0 ? lws_now_usecs() + (lws_usec_t)ms * LWS_US_PER_MS : 0;
}

/* A delay on demand; the peer's time does not run meanwhile. */
static bool holding(dps_carrier *c)
{
    lws_usec_t now = lws_now_usecs();
    if (c->gate.delay_ms > 0) {
        lws_usec_t delay = (lws_usec_t)c->gate.delay_ms * LWS_US_PER_MS;
        c->hold_us = (c->hold_us > now ? c->hold_us : now) + delay;
        c->deadline_us += delay;
        c->gate.delay_ms = 0;
    }
    if (c->hold_us != 0 && c->hold_us <= now)
        c->hold_us = 0;
    return c->hold_us != 0;
}

/* What the faults on demand do to a connection as such. False: close it. */
static bool may_go_on(struct lws *wsi, dps_fault_step step)
{
    dps_fault_plan plan;
    dps_faults_pick(dps_service_faults(host_of(wsi)->host.service), step, (dps_span){"", 0}, &plan);
    return !plan.drop_before && !plan.drop_after;
}

/* A peer that does not take its answers is not read from either. libwebsockets leaves input alone while it has output
 * that the socket did not take, but goes on polling for it, without a pause. */
static void keep_pace(dps_carrier *c, size_t waiting)
{
    bool paused = waiting > WAITING_MAX || lws_partial_buffered(c->wsi) || !c->stream.kind->open(c->stream.self);
    if (paused == c->paused)
        return;
    c->paused = paused;
    (void)lws_rx_flow_control(c->wsi, paused ? 0 : 1);
}

/* After anything happened to the stream: send what there is, end what has ended. */
static int settle(dps_carrier *c)
{
    size_t waiting = 0;
    if (c->gate.drop)
        return -1;
    if (c->stream.kind->progress(c->stream.self))
        allow_time(c, c->stream.kind->timeout_s(c->stream.self));
    tick(c);
    bool held = holding(c);
    set_timer(c);
    if (held)
        return 0;
    if (c->stream.kind->output(c->stream.self, &waiting) != NULL)
        lws_callback_on_writable(c->wsi);
    else if (!c->stream.kind->open(c->stream.self))
        return -1;
    keep_pace(c, waiting);
    return 0;
}

/* At LWS_CALLBACK_RAW_ADOPT the TLS handshake is still to come; with the first bytes the certificate is
 * there. */
static bool begin(dps_carrier *c)
{
    char address[DPS_ADDRESS_LEN] = "?";
    SSL *ssl = lws_get_ssl(c->wsi);
    const dps_transport *transport = lws_get_protocol(c->wsi)->user;
    lws_get_peer_simple(c->wsi, address, sizeof(address));
    if (ssl == NULL || !dps_peer_from_ssl(ssl, address, &c->peer))
        return false;
    c->peer.gate = &c->gate;
    if (!transport->start(&host_of(c->wsi)->host, &c->peer, &c->stream))
        return false;
    lws_set_timeout(c->wsi, NO_PENDING_TIMEOUT, 0); /* the handshake's; from here on the timer counts */
    return true;
}

static int on_input(dps_carrier *c, const uint8_t *bytes, size_t n)
{
    bool first = c->stream.kind == NULL;
    if (c->stream.kind == NULL && !begin(c)) {
        dps_log(DPS_LOG_ERROR, "a connection cannot be set up: out of memory");
        return -1;
    }
    if (first && !may_go_on(c->wsi, DPS_STEP_HANDSHAKE))
        return -1;
    c->stream.kind->input(c->stream.self, bytes, n);
    return settle(c);
}

static int on_writable(dps_carrier *c)
{
    size_t n = 0;
    if (c->stream.kind == NULL || holding(c))
        return 0;
    const uint8_t *bytes = c->stream.kind->output(c->stream.self, &n);
    keep_pace(c, n);
    if (bytes != NULL) {
        unsigned char buffer[LWS_PRE + WRITE_MAX];
        size_t chunk = n < WRITE_MAX ? n : WRITE_MAX;
        memcpy(buffer + LWS_PRE, bytes, chunk);
        if (lws_write(c->wsi, buffer + LWS_PRE, chunk, LWS_WRITE_RAW) < (int)chunk)
            return -1; /* what the socket did not take, libwebsockets keeps; less than all is an error */
        c->stream.kind->sent(c->stream.self, chunk);
        keep_pace(c, n - chunk);
        lws_callback_on_writable(c->wsi); /* the rest, or the close below once this is out */
        return 0;
    }
    return c->stream.kind->open(c->stream.self) ? 0 : -1;
}

static int on_timer(dps_carrier *c)
{
    if (lws_now_usecs() >= c->deadline_us) {
        dps_log(DPS_LOG_INFO, "%s: connection closed: silent for too long",
                c->stream.kind != NULL ? c->peer.address : "a peer without a request");
        return -1;
    }
    return c->stream.kind != NULL ? settle(c) : 0;
}

int dps_carrier_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    dps_carrier *c = user;
    switch (reason) { /* libwebsockets' long list: the rest is not for raw connections */
    case LWS_CALLBACK_FILTER_NETWORK_CONNECTION: /* accepted, and nothing else; there is no connection of ours
                                                    yet */
        return may_go_on(wsi, DPS_STEP_CONNECT) ? 0 : -1;
    case LWS_CALLBACK_RAW_ADOPT:
        c->wsi = wsi;
        lws_dll2_add_tail(&c->list, &host_of(wsi)->connections);
        allow_time(c, host_of(wsi)->connect_timeout_s);
        set_timer(c);
        return 0;
    case LWS_CALLBACK_RAW_RX:
        return on_input(c, in, len);
    case LWS_CALLBACK_RAW_WRITEABLE:
        return on_writable(c);
    case LWS_CALLBACK_TIMER:
        return on_timer(c);
    case LWS_CALLBACK_RAW_CLOSE:
        if (c != NULL) {
            lws_dll2_remove(&c->list);
            dps_stream_free(&c->stream);
            dps_peer_clear(&c->peer);
        }
        return 0;
    default:
        return 0;
    }
}

void dps_carrier_wake_all(dps_carrier_host *host)
{
    lws_start_foreach_dll_safe(struct lws_dll2 *, item, next, lws_dll2_get_head(&host->connections))
    {
        dps_carrier *c = lws_container_of(item, dps_carrier, list);
        if (c->stream.kind != NULL && c->stream.kind->wake != NULL) {
            c->stream.kind->wake(c->stream.self);
            lws_callback_on_writable(c->wsi);
        }
    }
    lws_end_foreach_dll_safe(item, next);
}
