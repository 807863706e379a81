#include "dps_mqtt_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "dps_id.h"
#include "dps_log.h"
#include "dps_mqtt_codec.h"
#include "dps_mqtt_hub.h"
#include "dps_topic.h"

enum connack {
    CONNACK_ACCEPTED = 0,
    CONNACK_PROTOCOL_VERSION = 1,
    CONNACK_IDENTIFIER = 2,
    CONNACK_BAD_USERNAME = 4,
    CONNACK_NOT_AUTHORIZED = 5,
};

enum {
    SUBACK_FAILURE = 0x80,
    OUTPUT_MIN = 256, /* bytes; doubles up to DPS_MQTT_OUTPUT_MAX */
};

typedef enum session_state {
    STATE_WAITING,
    STATE_CONNECTED,
    STATE_CLOSED,
} session_state;

struct dps_mqtt_session {
    dps_service *service;
    const dps_peer *peer;
    const char *transport;
    session_state state;
    dps_mqtt_reader reader;
    char username_text[DPS_USERNAME_MAX];
    dps_username username; /* points into username_text */
    char *password;        /* a SAS token; NULL without one */
    size_t password_len;
    dps_hub *hub;         /* NULL: there is none */
    dps_mqtt_hub *at_hub; /* the user name was that of a device of the hub; else NULL */
    unsigned timeout_s;
    bool heard; /* something came in since the time-out was last asked about */
    bool subscribed;
    uint8_t response_qos;
    uint16_t last_packet_id;
    uint8_t *out;
    size_t out_len;
    size_t out_cap;
};

dps_mqtt_session *dps_mqtt_session_new(dps_service *service, const dps_peer *peer, const char *transport)
{
    dps_mqtt_session *session = calloc(1, sizeof(*session));
    if (session == NULL)
        return NULL;
    session->service = service;
    session->peer = peer;
    session->transport = transport;
    session->timeout_s = DPS_MQTT_IDLE_TIMEOUT_S;
    return session;
}

void dps_mqtt_session_free(dps_mqtt_session **session)
{
    if (*session == NULL)
        return;
    dps_mqtt_reader_free(&(*session)->reader);
    if ((*session)->password != NULL)
        OPENSSL_cleanse((*session)->password, (*session)->password_len);
    free((*session)->password);
    free((*session)->at_hub);
    free((*session)->out);
    free(*session);
    *session = NULL;
}

const uint8_t *dps_mqtt_session_output(const dps_mqtt_session *session, size_t *ret_n)
{
    *ret_n = session->out_len;
    return session->out_len > 0 ? session->out : NULL;
}

void dps_mqtt_session_sent(dps_mqtt_session *session, size_t n)
{
    if (n >= session->out_len) {
        free(session->out); /* an idle connection keeps no buffer */
        session->out = NULL;
        session->out_len = session->out_cap = 0;
        return;
    }
    memmove(session->out, session->out + n, session->out_len - n);
    session->out_len -= n;
}

bool dps_mqtt_session_open(const dps_mqtt_session *session)
{
    return session->state != STATE_CLOSED;
}

bool dps_mqtt_session_connected(const dps_mqtt_session *session)
{
    return session->state == STATE_CONNECTED;
}

unsigned dps_mqtt_session_timeout_s(const dps_mqtt_session *session)
{
    return session->timeout_s;
}

static void close_session(dps_mqtt_session *s, const char *why)
{
    if (s->state != STATE_CLOSED)
        dps_log(DPS_LOG_WARN, "%s: connection closed: %s", s->peer->address, why);
    s->state = STATE_CLOSED;
}

/* Room for @n more bytes of output, or NULL and the session is closed. */
static uint8_t *reserve(dps_mqtt_session *s, size_t n)
{
    if (n > DPS_MQTT_OUTPUT_MAX - s->out_len) {
        close_session(s, "the peer does not read its answers");
        return NULL;
    }
    if (n > s->out_cap - s->out_len) {
        size_t cap = s->out_cap > 0 ? s->out_cap : OUTPUT_MIN;
        while (cap < s->out_len + n)
            cap *= 2;
        uint8_t *grown = realloc(s->out, cap);
        if (grown == NULL) {
            close_session(s, "out of memory");
            return NULL;
        }
        s->out = grown;
        s->out_cap = cap;
    }
    return s->out + s->out_len;
}

static void put_connack(dps_mqtt_session *s, enum connack code)
{
    uint8_t *out = reserve(s, 4);
    if (out != NULL)
        s->out_len += dps_mqtt_put_connack(out, 4, (uint8_t)code);
}

static void refuse_connect(dps_mqtt_session *s, enum connack code, const char *why)
{
    put_connack(s, code);
    close_session(s, why);
}

static dps_request request_of(const dps_mqtt_session *s, dps_span body, const char *operation_id)
{
    return (dps_request){
        .transport = s->transport,
        .id_scope = s->username.id_scope,
        .registration_id = s->username.registration_id,
        .api_version = s->username.api_version,
        .client_version = s->username.client_version,
        .sas = {s->password != NULL ? s->password : "", s->password_len},
        .body = body,
        .operation_id = operation_id,
    };
}

/* A token is judged at once: it is refused by CONNACK 5, a certificate only by the answer to a request. */
static bool take_password(dps_mqtt_session *s, dps_span password)
{
    s->password = malloc(password.len + 1);
    if (s->password == NULL) {
        close_session(s, "out of memory");
        return false;
    }
    memcpy(s->password, password.at, password.len);
    s->password[password.len] = '\0';
    s->password_len = password.len;
    dps_response response = {0};
    dps_request request = request_of(s, (dps_span){"", 0}, NULL);
    bool admitted = dps_service_admit(s->service, s->peer, &request, &response);
    dps_response_clear(&response);
    if (!admitted)
        refuse_connect(s, CONNACK_NOT_AUTHORIZED, "the SAS token is refused");
    return admitted;
}

static void accept_connect(dps_mqtt_session *s, const dps_mqtt_connect *connect)
{
    unsigned patience_s =
        connect->keepalive_s + (connect->keepalive_s + 1u) / 2u; /* 3.1.2.10: one and a half times */
    s->timeout_s =
        patience_s > 0 && patience_s < DPS_MQTT_IDLE_TIMEOUT_S ? patience_s : DPS_MQTT_IDLE_TIMEOUT_S;
    s->state = STATE_CONNECTED;
    dps_log(DPS_LOG_DEBUG, "%s: CONNECT as \"%.*s\", keepalive %u s", s->peer->address,
            (int)connect->client_id.len, connect->client_id.at, connect->keepalive_s);
    put_connack(s, CONNACK_ACCEPTED);
}

/* A device of the hub. Here the certificate is judged at once too. */
static void connect_to_hub(dps_mqtt_session *s, const dps_mqtt_connect *connect, const dps_hub_username *user)
{
    char reason[DPS_MESSAGE_LEN];
    dps_mqtt_hub *h = calloc(1, sizeof(*h));
    if (h == NULL) {
        close_session(s, "out of memory");
        return;
    }
    *h = (dps_mqtt_hub){.hub = s->hub, .transport = s->transport};
    if (!dps_text_equal_nocase(connect->client_id.at, connect->client_id.len, user->device.at,
                               user->device.len)) {
        refuse_connect(s, CONNACK_IDENTIFIER, "the client id is not the device id of the user name");
    } else if (!dps_hub_admit(s->hub, s->peer, user->hub, user->device,
                              connect->has_password ? connect->password : (dps_span){"", 0}, &h->device,
                              reason)) {
        dps_log(DPS_LOG_WARN, "%s: device \"%.*s\" refused by the hub: %s", s->peer->address,
                (int)user->device.len, user->device.at, reason);
        refuse_connect(s, CONNACK_NOT_AUTHORIZED, "the hub refuses the device");
    } else {
        s->at_hub = h;
        s->reader.body_max = DPS_MQTT_HUB_PACKET_MAX;
        accept_connect(s, connect);
        return;
    }
    free(h);
}

static void on_connect(dps_mqtt_session *s, const dps_mqtt_frame *frame)
{
    dps_mqtt_connect connect;
    dps_mqtt_err err = dps_mqtt_parse_connect(frame, &connect);
    if (err == DPS_MQTT_E_PROTOCOL_LEVEL) {
        refuse_connect(s, CONNACK_PROTOCOL_VERSION, dps_mqtt_err_text(err));
        return;
    }
    if (err != DPS_MQTT_OK) {
        close_session(s, dps_mqtt_err_text(err));
        return;
    }
    if (!connect.has_username || connect.username.len > sizeof(s->username_text)) {
        refuse_connect(s, CONNACK_BAD_USERNAME, "CONNECT has no user name, or one of more than 1024 bytes");
        return;
    }
    memcpy(s->username_text, connect.username.at, connect.username.len);
    dps_span text = {s->username_text, connect.username.len};
    dps_hub_username hub_user;
    dps_topic_err topic_err = dps_username_parse(text, &s->username);
    if (topic_err == DPS_TOPIC_E_SHAPE && s->hub != NULL && dps_hub_username_parse(text, &hub_user)) {
        connect_to_hub(s, &connect, &hub_user);
        return;
    }
    if (topic_err != DPS_TOPIC_OK) {
        dps_log(DPS_LOG_WARN, "%s: user name \"%.*s\": %s", s->peer->address, (int)text.len, text.at,
                dps_topic_err_text(topic_err));
        refuse_connect(s, CONNACK_BAD_USERNAME, "the user name cannot be used");
        return;
    }
    if (!dps_text_equal_nocase(connect.client_id.at, connect.client_id.len, s->username.registration_id.at,
                               s->username.registration_id.len)) {
        refuse_connect(s, CONNACK_IDENTIFIER, "the client id is not the registration id of the user name");
        return;
    }
    if (connect.has_password && !take_password(s, connect.password))
        return;
    accept_connect(s, &connect);
}

static void on_subscribe(dps_mqtt_session *s, const dps_mqtt_frame *frame)
{
    dps_mqtt_filters filters;
    dps_mqtt_err err = dps_mqtt_parse_filters(frame, &filters);
    if (err != DPS_MQTT_OK) {
        close_session(s, dps_mqtt_err_text(err));
        return;
    }
    uint8_t codes[DPS_MQTT_FILTERS_MAX];
    for (size_t i = 0; i < filters.count; i++) {
        if (s->at_hub != NULL) {
            codes[i] = dps_mqtt_hub_subscribe(s->at_hub, filters.filter[i], filters.qos[i]);
        } else if (dps_span_is(filters.filter[i], DPS_TOPIC_RES_FILTER)) {
            codes[i] = filters.qos[i] > 1 ? 1 : filters.qos[i];
            s->subscribed = true;
            s->response_qos = codes[i];
        } else {
            dps_log(DPS_LOG_WARN,
                    "%s: subscription to \"%.*s\" refused; only " DPS_TOPIC_RES_FILTER " exists",
                    s->peer->address, (int)filters.filter[i].len, filters.filter[i].at);
            codes[i] = SUBACK_FAILURE;
        }
    }
    const size_t n = 4 + filters.count;
    uint8_t *out = reserve(s, n);
    if (out != NULL)
        s->out_len += dps_mqtt_put_suback(out, n, filters.packet_id, codes, filters.count);
}

static void on_unsubscribe(dps_mqtt_session *s, const dps_mqtt_frame *frame)
{
    dps_mqtt_filters filters;
    dps_mqtt_err err = dps_mqtt_parse_filters(frame, &filters);
    if (err != DPS_MQTT_OK) {
        close_session(s, dps_mqtt_err_text(err));
        return;
    }
    for (size_t i = 0; i < filters.count; i++) {
        if (s->at_hub != NULL)
            dps_mqtt_hub_unsubscribe(s->at_hub, filters.filter[i]);
        else if (dps_span_is(filters.filter[i], DPS_TOPIC_RES_FILTER))
            s->subscribed = false;
    }
    uint8_t *out = reserve(s, 4);
    if (out != NULL)
        s->out_len += dps_mqtt_put_unsuback(out, 4, filters.packet_id);
}

/* Takes the next packet identifier when there is one. */
static bool put_publish(dps_mqtt_session *s, const char *topic, dps_span payload, uint8_t qos)
{
    if (qos > 0 && ++s->last_packet_id == 0)
        s->last_packet_id = 1;
    dps_mqtt_publish publish = {
        .topic = dps_span_of(topic),
        .payload = payload,
        .qos = qos,
        .packet_id = qos > 0 ? s->last_packet_id : 0,
    };
    const size_t room = 1 + 4 + 2 + publish.topic.len + 2 + publish.payload.len;
    uint8_t *out = reserve(s, room);
    if (out == NULL)
        return false;
    size_t n = dps_mqtt_put_publish(out, room, &publish);
    if (n == 0)
        close_session(s, "an answer is larger than a packet");
    s->out_len += n;
    return n > 0;
}

static bool emit_publish(void *user, const char *topic, dps_span payload, uint8_t qos,
                         uint16_t *ret_packet_id)
{
    dps_mqtt_session *s = user;
    bool ok = put_publish(s, topic, payload, qos);
    *ret_packet_id = s->last_packet_id;
    return ok;
}

static bool has_room(void *user)
{
    const dps_mqtt_session *s = user;
    return s->state == STATE_CONNECTED && s->out_len < OUTPUT_MIN;
}

/* What waits for a device of the hub goes out when the peer has read what was sent before. */
static void wake_session(dps_mqtt_session *s)
{
    const dps_mqtt_emit emit = {emit_publish, has_room, s};
    if (s->at_hub != NULL)
        dps_mqtt_hub_wake(s->at_hub, &emit);
}

static void publish_response(dps_mqtt_session *s, dps_span rid, const dps_response *response)
{
    if (response->body == NULL) {
        close_session(s, "out of memory for an answer");
        return;
    }
    if (!s->subscribed) {
        dps_log(DPS_LOG_WARN,
                "%s: an answer is not sent: the client did not subscribe to " DPS_TOPIC_RES_FILTER,
                s->peer->address);
        return;
    }
    char topic[DPS_RES_TOPIC_LEN];
    dps_topic_response(topic, response->status, rid, response->retry_after_s);
    (void)put_publish(s, topic, dps_span_of(response->body), s->response_qos);
}

static void answer(dps_mqtt_session *s, dps_topic_err topic_err, const dps_topic *topic, dps_span body)
{
    dps_response response = {0};
    dps_request request = request_of(s, body, topic->operation_id);
    if (topic_err != DPS_TOPIC_OK) {
        char message[DPS_MESSAGE_LEN];
        snprintf(message, sizeof(message), "Invalid topic: %s", dps_topic_err_text(topic_err));
        dps_service_reject(s->service, DPS_ERR_INVALID_ARGUMENT, message, &response);
    } else {
        switch (topic->kind) {
        case DPS_TOPIC_REGISTER:
            dps_service_register(s->service, s->peer, &request, &response);
            break;
        case DPS_TOPIC_STATUS:
            dps_service_status(s->service, s->peer, &request, &response);
            break;
        }
    }
    publish_response(s, topic->rid, &response);
    dps_response_clear(&response);
}

/* Acknowledged only after the message is kept. */
static void publish_to_hub(dps_mqtt_session *s, const dps_mqtt_publish *publish)
{
    const dps_mqtt_emit emit = {emit_publish, has_room, s};
    const char *problem = dps_mqtt_hub_publish(s->at_hub, publish, &emit);
    if (problem != NULL) {
        close_session(s, problem);
        return;
    }
    uint8_t *out = publish->qos == 1 ? reserve(s, 4) : NULL;
    if (out != NULL)
        s->out_len += dps_mqtt_put_puback(out, 4, publish->packet_id);
}

static void on_publish(dps_mqtt_session *s, const dps_mqtt_frame *frame)
{
    dps_mqtt_publish publish;
    dps_mqtt_err err = dps_mqtt_parse_publish(frame, &publish);
    if (err != DPS_MQTT_OK) {
        close_session(s, dps_mqtt_err_text(err));
        return;
    }
    if (publish.qos == 2) {
        close_session(s, "PUBLISH with QoS 2, which the service does not support");
        return;
    }
    if (s->at_hub != NULL) {
        publish_to_hub(s, &publish);
        return;
    }
    dps_topic topic;
    dps_topic_err topic_err = dps_topic_parse(publish.topic, &topic);
    if (topic_err == DPS_TOPIC_E_UNKNOWN || topic_err == DPS_TOPIC_E_LENGTH) {
        dps_log(DPS_LOG_WARN, "%s: PUBLISH to \"%.*s\"", s->peer->address, (int)publish.topic.len,
                publish.topic.at);
        close_session(s, dps_topic_err_text(topic_err));
        return;
    }
    if (publish.qos == 1) {
        uint8_t *out = reserve(s, 4);
        if (out == NULL)
            return;
        s->out_len += dps_mqtt_put_puback(out, 4, publish.packet_id);
    }
    answer(s, topic_err, &topic, publish.payload);
}

static void on_puback(dps_mqtt_session *s, const dps_mqtt_frame *frame)
{
    uint16_t packet_id;
    dps_mqtt_err err = dps_mqtt_parse_puback(frame, &packet_id);
    if (err != DPS_MQTT_OK)
        close_session(s, dps_mqtt_err_text(err));
    else if (s->at_hub != NULL)
        dps_mqtt_hub_acked(s->at_hub, packet_id);
    /* Nothing is resent within a connection, and sessions do not outlive it: there is nothing to forget. */
}

static void on_pingreq(dps_mqtt_session *s, const dps_mqtt_frame *frame)
{
    dps_mqtt_err err = dps_mqtt_parse_empty(frame);
    if (err != DPS_MQTT_OK) {
        close_session(s, dps_mqtt_err_text(err));
        return;
    }
    uint8_t *out = reserve(s, 2);
    if (out != NULL)
        s->out_len += dps_mqtt_put_pingresp(out, 2);
}

static void on_disconnect(dps_mqtt_session *s, const dps_mqtt_frame *frame)
{
    dps_mqtt_err err = dps_mqtt_parse_empty(frame);
    if (err != DPS_MQTT_OK) {
        close_session(s, dps_mqtt_err_text(err));
        return;
    }
    dps_log(DPS_LOG_DEBUG, "%s: DISCONNECT", s->peer->address);
    s->state = STATE_CLOSED;
}

static const struct {
    dps_mqtt_type type;
    void (*handle)(dps_mqtt_session *s, const dps_mqtt_frame *frame);
} handlers[] = {
    {DPS_MQTT_SUBSCRIBE, on_subscribe}, {DPS_MQTT_UNSUBSCRIBE, on_unsubscribe},
    {DPS_MQTT_PUBLISH, on_publish},     {DPS_MQTT_PUBACK, on_puback},
    {DPS_MQTT_PINGREQ, on_pingreq},     {DPS_MQTT_DISCONNECT, on_disconnect},
};

static void on_frame(dps_mqtt_session *s, const dps_mqtt_frame *frame)
{
    if (s->state == STATE_WAITING) {
        if (frame->type == DPS_MQTT_CONNECT)
            on_connect(s, frame);
        else
            close_session(s, "the first packet is not CONNECT");
        return;
    }
    for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
        if (handlers[i].type == (dps_mqtt_type)frame->type) {
            handlers[i].handle(s, frame);
            return;
        }
    }
    close_session(s, "a second CONNECT");
}

void dps_mqtt_session_input(dps_mqtt_session *session, const uint8_t *bytes, size_t n)
{
    session->heard = true;
    while (n > 0 && session->state != STATE_CLOSED) {
        size_t used = 0;
        bool complete = false;
        dps_mqtt_frame frame;
        dps_mqtt_err err = dps_mqtt_reader_feed(&session->reader, bytes, n, &used, &complete, &frame);
        if (err != DPS_MQTT_OK) {
            close_session(session, dps_mqtt_err_text(err));
            return;
        }
        bytes += used;
        n -= used;
        if (complete)
            on_frame(session, &frame);
    }
    wake_session(session);
}

static void stream_input(void *self, const uint8_t *bytes, size_t n)
{
    dps_mqtt_session_input(self, bytes, n);
}

static const uint8_t *stream_output(void *self, size_t *ret_n)
{
    return dps_mqtt_session_output(self, ret_n);
}

static void stream_sent(void *self, size_t n)
{
    dps_mqtt_session_sent(self, n);
    wake_session(self);
}

static bool stream_open(const void *self)
{
    return dps_mqtt_session_open(self);
}

/* Bytes before CONNECT do not prolong the time for it. */
static bool stream_progress(void *self)
{
    dps_mqtt_session *session = self;
    bool progress = session->heard && session->state == STATE_CONNECTED;
    session->heard = false;
    return progress;
}

static unsigned stream_timeout_s(const void *self)
{
    return dps_mqtt_session_timeout_s(self);
}

static void stream_free(void *self)
{
    dps_mqtt_session *session = self;
    dps_mqtt_session_free(&session);
}

static void stream_wake(void *self)
{
    wake_session(self);
}

static const dps_stream_kind stream_kind = {
    .input = stream_input,
    .output = stream_output,
    .sent = stream_sent,
    .open = stream_open,
    .progress = stream_progress,
    .timeout_s = stream_timeout_s,
    .wake = stream_wake,
    .free = stream_free,
};

bool dps_mqtt_stream_new(const dps_transport_host *host, const dps_peer *peer, const char *transport,
                         dps_stream *ret_stream)
{
    dps_mqtt_session *session = dps_mqtt_session_new(host->service, peer, transport);
    if (session == NULL)
        return false;
    session->hub = host->hub;
    *ret_stream = (dps_stream){&stream_kind, session};
    return true;
}
