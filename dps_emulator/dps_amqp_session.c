#include "dps_amqp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <proton/logger.h>

#include "dps_log.h"

static const dps_amqp_node *const nodes[] = {
    &dps_amqp_device_node,   &dps_amqp_cbs_node,  &dps_amqp_events_node,
    &dps_amqp_messages_node, &dps_amqp_twin_node,
};

static void end(dps_amqp_session *s, const char *why)
{
    if (!s->ended)
        dps_log(DPS_LOG_WARN, "%s: connection closed: %s", s->peer->address, why);
    s->ended = true;
    pn_connection_driver_close(&s->driver);
}

/* "amqps://host/path" and "/path" and "path": everything from the path on, without its '/'. */
static const char *path_of(const char *address)
{
    const char *scheme = strstr(address, "://");
    if (scheme != NULL) {
        const char *slash = strchr(scheme + 3, '/');
        address = slash != NULL ? slash : "";
    }
    return address[0] == '/' ? address + 1 : address;
}

/* A string or symbol of the link's properties. */
static void link_property(pn_link_t *link, const char *name, char *out, size_t cap)
{
    pn_data_t *data = pn_link_remote_properties(link); /* NULL: the peer sent none */
    out[0] = '\0';
    if (data == NULL)
        return;
    pn_data_rewind(data);
    if (!pn_data_next(data) || pn_data_type(data) != PN_MAP)
        return;
    size_t pairs = pn_data_get_map(data) / 2;
    pn_data_enter(data);
    for (size_t i = 0; i < pairs && pn_data_next(data); i++) {
        pn_bytes_t key = pn_data_get_symbol(data);
        if (!pn_data_next(data))
            break;
        pn_bytes_t value = pn_data_get_string(data);
        if (key.size == strlen(name) && memcmp(key.start, name, key.size) == 0 && value.size < cap) {
            memcpy(out, value.start, value.size);
            out[value.size] = '\0';
        }
    }
    pn_data_exit(data);
    pn_data_rewind(data);
}

static void refuse_link(pn_link_t *link, const char *condition, const char *description)
{
    pn_condition_set_name(pn_link_condition(link), condition);
    pn_condition_set_description(pn_link_condition(link), description);
    pn_link_open(link);
    pn_link_close(link);
}

/* The row for the link's address, with its names in a new context. NULL: nobody's. */
static dps_amqp_link *find_node(dps_amqp_session *s, pn_link_t *link)
{
    const char *address = pn_terminus_get_address(pn_link_is_receiver(link) ? pn_link_remote_target(link)
                                                                            : pn_link_remote_source(link));
    dps_amqp_link *context = calloc(1, sizeof(*context));
    if (context == NULL || address == NULL || strlen(address) >= DPS_AMQP_ADDRESS_LEN) {
        free(context);
        return NULL;
    }
    context->link = link;
    context->sends = pn_link_is_sender(link);
    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
        if (!nodes[i]->match(s, path_of(address), context))
            continue;
        context->node = nodes[i];
        link_property(link, "com.microsoft:api-version", context->api_version, sizeof(context->api_version));
        link_property(link, "com.microsoft:client-version", context->client_version,
                      sizeof(context->client_version));
        return context;
    }
    free(context);
    return NULL;
}

static void on_link_open(dps_amqp_session *s, pn_link_t *link)
{
    const char *condition = "amqp:not-found";
    if ((pn_link_state(link) & PN_LOCAL_UNINIT) == 0)
        return;
    if (s->links == DPS_AMQP_LINKS_MAX) {
        refuse_link(link, "amqp:resource-limit-exceeded", "A connection has at most 16 links");
        return;
    }
    dps_amqp_link *context = find_node(s, link);
    if (context == NULL) {
        refuse_link(link, condition, "Nothing is served at this address");
        return;
    }
    if (context->node->attach != NULL && !context->node->attach(s, context, &condition)) {
        refuse_link(link, condition, "The link is refused");
        free(context);
        return;
    }
    s->links++;
    pn_link_set_context(link, context);
    pn_terminus_copy(pn_link_source(link), pn_link_remote_source(link));
    pn_terminus_copy(pn_link_target(link), pn_link_remote_target(link));
    /* Without a max-message-size the C SDK's hub client sends nothing. */
    pn_link_set_max_message_size(link, context->node->message_max);
    pn_link_open(link);
    if (pn_link_is_receiver(link))
        pn_link_flow(link, DPS_AMQP_CREDIT);
}

static void on_link_close(dps_amqp_session *s, pn_link_t *link)
{
    dps_amqp_link *context = pn_link_get_context(link);
    if (context != NULL) {
        free(context);
        pn_link_set_context(link, NULL);
        s->links--;
    }
    if ((pn_link_state(link) & PN_LOCAL_ACTIVE) != 0)
        pn_link_close(link);
    pn_link_free(link);
}

/* Reads a whole message into session->message. */
static bool read_message(dps_amqp_session *s, pn_link_t *link, pn_delivery_t *delivery)
{
    size_t n = pn_delivery_pending(delivery);
    char *bytes = malloc(n + 1);
    pn_message_clear(s->message); /* decoding leaves what is not in the bytes */
    bool ok = bytes != NULL && (n == 0 || pn_link_recv(link, bytes, n) == (ssize_t)n);
    ok = ok && pn_message_decode(s->message, bytes, n) == 0;
    if (bytes != NULL)
        OPENSSL_cleanse(bytes, n);
    free(bytes);
    return ok;
}

static void on_delivery(dps_amqp_session *s, pn_delivery_t *delivery)
{
    pn_link_t *link = pn_delivery_link(delivery);
    dps_amqp_link *context = pn_link_get_context(link);
    if (pn_link_is_sender(link)) {
        if (pn_delivery_updated(delivery) &&
            (pn_delivery_remote_state(delivery) != 0 || pn_delivery_settled(delivery))) {
            if (context != NULL && context->node->settled != NULL)
                context->node->settled(s, context, delivery);
            pn_delivery_settle(delivery);
        }
        return;
    }
    if (context == NULL || !pn_delivery_readable(delivery))
        return;
    if (pn_delivery_pending(delivery) > context->node->message_max) {
        end(s, "an AMQP message is larger than the link allows");
        return;
    }
    if (pn_delivery_partial(delivery))
        return;
    if (pn_delivery_aborted(delivery)) {
        pn_delivery_settle(delivery);
    } else if (read_message(s, link, delivery)) {
        pn_link_advance(link);
        context->node->receive(s, context, delivery);
        pn_message_clear(s->message);
    } else {
        pn_link_advance(link);
        dps_amqp_reject(delivery, 400, "The message cannot be decoded", 0);
    }
    pn_link_flow(link, DPS_AMQP_CREDIT - pn_link_credit(link));
}

static void on_session_open(dps_amqp_session *s, pn_session_t *session)
{
    (void)s;
    if ((pn_session_state(session) & PN_LOCAL_UNINIT) == 0)
        return;
    pn_session_set_incoming_capacity(session, 8 * DPS_AMQP_FRAME_MAX);
    pn_session_open(session);
}

static void wake_link(dps_amqp_session *s, pn_link_t *link)
{
    dps_amqp_link *context = pn_link_get_context(link);
    if (context != NULL && pn_link_is_sender(link) && context->node->ready != NULL)
        context->node->ready(s, context);
}

static void on_event(dps_amqp_session *s, pn_event_t *event)
{
    pn_connection_t *connection = s->driver.connection;
    switch (pn_event_type(event)) { /* proton's long list */
    case PN_CONNECTION_REMOTE_OPEN:
        s->opened = true;
        pn_connection_set_container(connection, "keynym-dps");
        pn_connection_open(connection);
        break;
    case PN_CONNECTION_REMOTE_CLOSE:
        dps_log(DPS_LOG_DEBUG, "%s: CLOSE", s->peer->address);
        pn_connection_close(connection);
        break;
    case PN_SESSION_REMOTE_OPEN:
        on_session_open(s, pn_event_session(event));
        break;
    case PN_SESSION_REMOTE_CLOSE:
        pn_session_close(pn_event_session(event));
        break;
    case PN_LINK_REMOTE_OPEN:
        on_link_open(s, pn_event_link(event));
        break;
    case PN_LINK_REMOTE_CLOSE:
    case PN_LINK_REMOTE_DETACH:
        on_link_close(s, pn_event_link(event));
        break;
    case PN_LINK_FLOW:
        wake_link(s, pn_event_link(event));
        break;
    case PN_DELIVERY:
        on_delivery(s, pn_event_delivery(event));
        break;
    case PN_TRANSPORT_ERROR:
        dps_log(DPS_LOG_WARN, "%s: connection closed: AMQP: %s", s->peer->address,
                pn_condition_get_description(pn_transport_condition(s->driver.transport)));
        break;
    default:
        break;
    }
}

static void run_events(dps_amqp_session *s)
{
    pn_event_t *event;
    while ((event = pn_connection_driver_next_event(&s->driver)) != NULL)
        on_event(s, event);
}

static void input(void *self, const uint8_t *bytes, size_t n)
{
    dps_amqp_session *s = self;
    s->heard = true;
    while (n > 0 && !s->ended) {
        pn_rwbytes_t room = pn_connection_driver_read_buffer(&s->driver);
        if (room.size == 0) { /* the peer has closed, or proton reads no more */
            pn_connection_driver_read_close(&s->driver);
            s->ended = true;
            break;
        }
        size_t piece = n < room.size ? n : room.size;
        memcpy(room.start, bytes, piece);
        pn_connection_driver_read_done(&s->driver, piece);
        bytes += piece;
        n -= piece;
        run_events(s);
    }
}

static const uint8_t *output(void *self, size_t *ret_n)
{
    dps_amqp_session *s = self;
    run_events(s);
    pn_bytes_t bytes = pn_connection_driver_write_buffer(&s->driver);
    run_events(s);
    *ret_n = bytes.size;
    return bytes.size > 0 ? (const uint8_t *)bytes.start : NULL;
}

static void sent(void *self, size_t n)
{
    dps_amqp_session *s = self;
    pn_connection_driver_write_done(&s->driver, n);
    run_events(s);
}

static bool is_open(const void *self)
{
    const dps_amqp_session *s = self;
    return !s->ended &&
           pn_transport_pending(s->driver.transport) >= 0; /* negative: the last byte was taken */
}

static bool progress(void *self)
{
    dps_amqp_session *s = self;
    bool was = s->heard && s->opened;
    s->heard = false;
    return was;
}

static unsigned timeout_s(const void *self)
{
    (void)self;
    return 2 * DPS_AMQP_IDLE_MS / 1000; /* proton is first, and says why */
}

/* Sends empty frames to a peer that wants to hear something. */
static unsigned tick_ms(void *self)
{
    dps_amqp_session *s = self;
    int64_t now = dps_time_now_ms();
    int64_t next = pn_transport_tick(s->driver.transport, now);
    run_events(s);
    return next > now ? (unsigned)(next - now) : next > 0 ? 1 : 0;
}

static void wake(void *self)
{
    dps_amqp_session *s = self;
    for (pn_link_t *link = pn_link_head(s->driver.connection, PN_LOCAL_ACTIVE | PN_REMOTE_ACTIVE);
         link != NULL; link = pn_link_next(link, PN_LOCAL_ACTIVE | PN_REMOTE_ACTIVE))
        wake_link(s, link);
}

static void free_session(void *self)
{
    dps_amqp_session *s = self;
    for (pn_link_t *link = pn_link_head(s->driver.connection, 0); link != NULL;
         link = pn_link_next(link, 0)) {
        free(pn_link_get_context(link));
        pn_link_set_context(link, NULL);
    }
    pn_message_free(s->message);
    pn_connection_driver_destroy(&s->driver);
    dps_amqp_sasl_free(s);
    if (s->hub_token != NULL)
        OPENSSL_cleanse(s->hub_token, strlen(s->hub_token));
    free(s->hub_token);
    free(s);
}

static const dps_stream_kind kind = {
    .input = input,
    .output = output,
    .sent = sent,
    .open = is_open,
    .progress = progress,
    .timeout_s = timeout_s,
    .tick_ms = tick_ms,
    .wake = wake,
    .free = free_session,
};

/* Proton's own lines go where ours go. Never its frames, whatever PN_TRACE_FRM says: tokens are in them. */
static void on_proton_log(intptr_t context, pn_log_subsystem_t subsystem, pn_log_level_t level,
                          const char *line)
{
    (void)context;
    (void)subsystem;
    (void)level;
    dps_log(DPS_LOG_DEBUG, "proton: %s", line);
}

static void take_log(pn_transport_t *transport)
{
    pn_logger_t *logger = pn_transport_logger(transport);
    pn_logger_reset_mask(logger, PN_SUBSYSTEM_ALL, PN_LEVEL_ALL);
    pn_logger_set_mask(logger, PN_SUBSYSTEM_ALL,
                       (uint16_t)(PN_LEVEL_CRITICAL | PN_LEVEL_ERROR | PN_LEVEL_WARNING));
    pn_logger_set_log_sink(logger, on_proton_log, 0);
}

bool dps_amqp_stream_new(const dps_transport_host *host, const dps_peer *peer, const char *transport,
                         dps_stream *ret_stream)
{
    dps_amqp_session *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return false;
    s->host = host;
    s->peer = peer;
    s->transport = transport;
    s->message = pn_message();
    if (s->message == NULL || pn_connection_driver_init(&s->driver, NULL, NULL) != 0) {
        pn_message_free(s->message);
        free(s);
        return false;
    }
    pn_transport_t *t = s->driver.transport;
    take_log(t);
    pn_transport_set_server(t);
    pn_transport_require_auth(t, false); /* without a SASL layer the certificate speaks */
    pn_transport_set_max_frame(t, DPS_AMQP_FRAME_MAX);
    pn_transport_set_channel_max(t, DPS_AMQP_SESSIONS_MAX - 1);
    pn_transport_set_idle_timeout(t, DPS_AMQP_IDLE_MS);
    dps_amqp_sasl_install(s);
    pn_connection_driver_bind(&s->driver);
    *ret_stream = (dps_stream){&kind, s};
    return true;
}

dps_span dps_amqp_body(pn_message_t *message)
{
    pn_data_t *body = pn_message_body(message);
    pn_data_rewind(body);
    pn_bytes_t bytes = {0, NULL};
    if (pn_data_next(body)) {
        if (pn_data_type(body) == PN_BINARY)
            bytes = pn_data_get_binary(body);
        else if (pn_data_type(body) == PN_STRING)
            bytes = pn_data_get_string(body);
    }
    return bytes.start != NULL ? (dps_span){bytes.start, bytes.size} : (dps_span){"", 0};
}

bool dps_amqp_begin_answer(dps_amqp_session *session, bool from_message_id)
{
    pn_msgid_t id = from_message_id ? pn_message_get_id(session->message)
                                    : pn_message_get_correlation_id(session->message);
    char text[128];
    if (id.type == PN_STRING || id.type == PN_BINARY) { /* it points into what is cleared next */
        if (id.u.as_bytes.size > sizeof(text))
            return false;
        memcpy(text, id.u.as_bytes.start, id.u.as_bytes.size);
        id.u.as_bytes.start = text;
    }
    pn_message_clear(session->message);
    if (id.type != PN_NULL)
        pn_message_set_correlation_id(session->message, id);
    return true;
}

bool dps_amqp_property(pn_message_t *message, const char *name, char *out, size_t cap)
{
    pn_data_t *data = pn_message_properties(message);
    bool found = false;
    pn_data_rewind(data);
    if (!pn_data_next(data) || pn_data_type(data) != PN_MAP)
        return false;
    size_t pairs = pn_data_get_map(data) / 2;
    pn_data_enter(data);
    for (size_t i = 0; i < pairs && !found && pn_data_next(data); i++) {
        pn_bytes_t key = pn_data_get_string(data);
        bool same = key.size == strlen(name) && memcmp(key.start, name, key.size) == 0;
        if (!pn_data_next(data))
            break;
        if (!same || pn_data_type(data) != PN_STRING)
            continue;
        pn_bytes_t value = pn_data_get_string(data);
        if (value.size >= cap || memchr(value.start, '\0', value.size) != NULL)
            break;
        memcpy(out, value.start, value.size);
        out[value.size] = '\0';
        found = true;
    }
    pn_data_exit(data);
    return found;
}

pn_link_t *dps_amqp_sender_for(dps_amqp_session *session, const dps_amqp_link *link)
{
    const pn_state_t both = PN_LOCAL_ACTIVE | PN_REMOTE_ACTIVE;
    for (pn_link_t *at = pn_link_head(session->driver.connection, both); at != NULL;
         at = pn_link_next(at, both)) {
        const dps_amqp_link *other = pn_link_get_context(at);
        if (pn_link_is_sender(at) && other != NULL && other->node == link->node &&
            strcmp(other->first, link->first) == 0 && strcmp(other->second, link->second) == 0)
            return at;
    }
    return NULL;
}

static bool send_message(dps_amqp_session *session, pn_link_t *sender, pn_delivery_tag_t tag, bool settled)
{
    size_t cap = 1024;
    char *bytes = NULL;
    int result = PN_OVERFLOW;
    size_t n = 0;
    if (pn_link_queued(sender) >= DPS_AMQP_QUEUED_MAX) {
        end(session, "the peer does not read its answers");
        return false;
    }
    while (result == PN_OVERFLOW && cap < 2 * 1024 * 1024) {
        free(bytes);
        cap *= 2;
        n = cap;
        bytes = malloc(cap);
        result = bytes != NULL ? pn_message_encode(session->message, bytes, &n) : PN_OUT_OF_MEMORY;
    }
    pn_delivery_t *delivery = result == 0 ? pn_delivery(sender, tag) : NULL;
    bool ok = delivery != NULL && pn_link_send(sender, bytes, n) == (ssize_t)n && pn_link_advance(sender);
    if (ok && settled) /* this pointer: after the advance the link's current delivery is another */
        pn_delivery_settle(delivery);
    if (!ok)
        end(session, "an answer cannot be written");
    free(bytes);
    return ok;
}

bool dps_amqp_send(dps_amqp_session *session, pn_link_t *sender)
{
    uint64_t tag = ++session->next_tag;
    return send_message(session, sender, pn_dtag((const char *)&tag, sizeof(tag)), true);
}

bool dps_amqp_send_tagged(dps_amqp_session *session, pn_link_t *sender, const char *tag)
{
    return send_message(session, sender, pn_dtag(tag, strlen(tag)), false);
}

void dps_amqp_accept(pn_delivery_t *delivery)
{
    pn_delivery_update(delivery, PN_ACCEPTED);
    pn_delivery_settle(delivery);
}

const char *dps_amqp_condition(int status)
{
    static const struct {
        int status;
        const char *condition;
    } rows[] = {
        {401, "amqp:unauthorized-access"},
        {404, "amqp:not-found"},
        {429, "com.microsoft:device-container-throttled"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].status == status)
            return rows[i].condition;
    }
    return status < 500 ? "com.microsoft:argument-error" : "amqp:internal-error";
}

void dps_amqp_reject(pn_delivery_t *delivery, int status, const char *description, unsigned retry_after_s)
{
    pn_condition_t *condition = pn_disposition_condition(pn_delivery_local(delivery));
    pn_condition_set_name(condition, dps_amqp_condition(status));
    pn_condition_set_description(condition, description);
    if (retry_after_s > 0) {
        static const char name[] = "retry-after";
        pn_data_t *info = pn_condition_info(condition);
        pn_data_put_map(info);
        pn_data_enter(info);
        pn_data_put_symbol(info, pn_bytes(sizeof(name) - 1, name));
        pn_data_put_int(info, (int32_t)retry_after_s);
        pn_data_exit(info);
    }
    pn_delivery_update(delivery, PN_REJECTED);
    pn_delivery_settle(delivery);
}
