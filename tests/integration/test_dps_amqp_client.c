#include "test_dps_amqp_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <proton/sasl.h>

const amqp_dialect amqp_npm = {"npm", NULL, "", "2019-03-31", true, true};
const amqp_dialect amqp_c_sdk = {"C SDK",      NULL,  "amqps://global.azure-devices-provisioning.net/",
                                 "2021-06-01", false, false};

static void keep_condition(amqp_peer *p, pn_condition_t *condition)
{
    if (!pn_condition_is_set(condition))
        return;
    snprintf(p->condition, sizeof(p->condition), "%s", pn_condition_get_name(condition));
    const char *text = pn_condition_get_description(condition);
    snprintf(p->description, sizeof(p->description), "%s", text != NULL ? text : "");
}

static void on_delivery(amqp_peer *p, pn_delivery_t *d)
{
    if (pn_link_is_sender(pn_delivery_link(d))) {
        p->accepted = pn_delivery_remote_state(d) == PN_ACCEPTED;
        p->rejected = pn_delivery_remote_state(d) == PN_REJECTED;
        if (p->rejected) {
            keep_condition(p, pn_disposition_condition(pn_delivery_remote(d)));
            pn_data_t *info = pn_condition_info(pn_disposition_condition(pn_delivery_remote(d)));
            pn_data_rewind(info);
            if (pn_data_next(info) && pn_data_get_map(info) == 2 && pn_data_enter(info) &&
                pn_data_next(info) && pn_data_next(info))
                p->retry_after = pn_data_get_int(info);
        }
        pn_delivery_settle(d);
    } else if (pn_delivery_readable(d) && !pn_delivery_partial(d)) {
        char bytes[16384];
        ssize_t n = pn_link_recv(pn_delivery_link(d), bytes, sizeof(bytes));
        assert_true(n > 0);
        pn_message_clear(p->answer); /* decoding leaves what is not in the bytes */
        assert_int_equal(pn_message_decode(p->answer, bytes, (size_t)n), 0);
        p->answered = true;
        pn_delivery_settle(d);
    }
}

static void on_event(amqp_peer *p, pn_event_t *e)
{
    switch (pn_event_type(e)) { /* proton's long list */
    case PN_DELIVERY:
        on_delivery(p, pn_event_delivery(e));
        break;
    case PN_LINK_REMOTE_CLOSE:
        keep_condition(p, pn_link_remote_condition(pn_event_link(e)));
        break;
    case PN_TRANSPORT_ERROR:
        keep_condition(p, pn_transport_condition(p->driver.transport));
        break;
    default:
        break;
    }
}

static bool done(const amqp_peer *p)
{
    return p->answered || p->rejected || p->condition[0] != '\0' || p->closed;
}

static void flush(amqp_peer *p)
{
    for (;;) {
        pn_event_t *e;
        while ((e = pn_connection_driver_next_event(&p->driver)) != NULL)
            on_event(p, e);
        pn_bytes_t out = pn_connection_driver_write_buffer(&p->driver);
        if (out.size == 0)
            break;
        size_t n = out.size < 8000 ? out.size : 8000;
        client_send(&p->tls, out.start, n);
        pn_connection_driver_write_done(&p->driver, n);
    }
}

/* Talks until something has happened that done() looks for, or until the links are there. */
void amqp_talk(amqp_peer *p, bool until_attached)
{
    for (;;) {
        flush(p);
        bool attached = p->receiver != NULL && (pn_link_state(p->sender) & PN_REMOTE_ACTIVE) != 0 &&
                        pn_link_credit(p->sender) > 0 && (pn_link_state(p->receiver) & PN_REMOTE_ACTIVE) != 0;
        if (done(p) || (until_attached && attached))
            return;
        pn_rwbytes_t room = pn_connection_driver_read_buffer(&p->driver);
        size_t n = room.size > 0 ? client_read_some(&p->tls, (uint8_t *)room.start, room.size) : 0;
        if (n == 0)
            p->closed = true;
        else
            pn_connection_driver_read_done(&p->driver, n);
    }
}

static void put_version(pn_data_t *properties, const char *version)
{
    static const char name[] = "com.microsoft:api-version";
    pn_data_put_map(properties);
    pn_data_enter(properties);
    pn_data_put_symbol(properties, pn_bytes(sizeof(name) - 1, name));
    pn_data_put_string(properties, pn_bytes(strlen(version), version));
    pn_data_exit(properties);
}

void amqp_open(amqp_peer *p, const amqp_dialect *d, const char *user, const char *password)
{
    p->answer = pn_message();
    assert_int_equal(pn_connection_driver_init(&p->driver, NULL, NULL), 0);
    pn_connection_set_container(p->driver.connection, "test");
    pn_connection_set_hostname(p->driver.connection, "dps.test");
    if (user != NULL) {
        pn_connection_set_user(p->driver.connection, user);
        pn_connection_set_password(p->driver.connection, password);
    }
    if (d->sasl != NULL) {
        pn_sasl_allowed_mechs(pn_sasl(p->driver.transport), d->sasl);
        pn_sasl_set_allow_insecure_mechs(pn_sasl(p->driver.transport), true);
    }
    pn_connection_driver_bind(&p->driver);
    pn_connection_open(p->driver.connection);
}

void amqp_attach(amqp_peer *p, const amqp_dialect *d, const char *path)
{
    char address[512];
    snprintf(address, sizeof(address), "%s%s", d->host, path);
    pn_session_t *session = pn_session(p->driver.connection);
    pn_session_open(session);
    p->receiver = pn_receiver(session, "recv_link");
    pn_terminus_set_address(pn_link_source(p->receiver), address);
    put_version(pn_link_properties(p->receiver), d->version);
    pn_link_open(p->receiver);
    pn_link_flow(p->receiver, 1000);
    p->sender = pn_sender(session, "sender_link");
    pn_terminus_set_address(pn_link_target(p->sender), address);
    put_version(pn_link_properties(p->sender), d->version);
    pn_link_open(p->sender);
    amqp_talk(p, true);
}

/* Connects, opens and attaches both links for the registration id. */
void amqp_begin(amqp_peer *p, const server *s, const amqp_dialect *d, const test_cert *leaf, bool ws,
                const char *id)
{
    char path[256];
    server at = *s;
    *p = (amqp_peer){.sender = NULL};
    at.port = ws ? s->https_port : s->amqp_port;
    client_open(&p->tls, &at, 0, leaf, NULL);
    if (ws)
        client_upgrade(&p->tls, "AMQPWSB10");
    amqp_open(p, d, NULL, NULL);
    snprintf(path, sizeof(path), "%s/registrations/%s", s->scope, id);
    amqp_attach(p, d, path);
}

void amqp_finish(amqp_peer *p)
{
    pn_message_free(p->answer);
    pn_connection_driver_destroy(&p->driver);
    client_close(&p->tls);
}

static void put_property(pn_data_t *data, const char *name, const char *value)
{
    pn_data_put_string(data, pn_bytes(strlen(name), name));
    pn_data_put_string(data, pn_bytes(strlen(value), value));
}

/* @operation NULL registers; @type replaces the operation type when it is not NULL. */
void amqp_ask(amqp_peer *p, const amqp_dialect *d, const char *operation, const char *type, const char *body)
{
    static unsigned long tag;
    char bytes[100000];
    size_t n = sizeof(bytes);
    pn_message_t *m = pn_message();
    pn_data_t *properties = pn_message_properties(m);
    pn_data_put_map(properties);
    pn_data_enter(properties);
    if (type == NULL)
        type = operation == NULL ? "iotdps-register" : "iotdps-get-operationstatus";
    put_property(properties, "iotdps-operation-type", type);
    if (operation != NULL)
        put_property(properties, "iotdps-operation-id", operation);
    pn_data_put_string(properties, pn_bytes(24, "iotdps-forceRegistration"));
    pn_data_put_bool(properties, false);
    pn_data_exit(properties);
    if (d->correlation)
        pn_message_set_correlation_id(m, (pn_atom_t){.type = PN_STRING, .u.as_bytes = pn_bytes(4, "c-17")});
    if (operation != NULL && d->poll_with_string) {
        pn_data_put_string(pn_message_body(m), pn_bytes(0, ""));
    } else {
        pn_message_set_inferred(m, true);
        pn_data_put_binary(pn_message_body(m), pn_bytes(strlen(body), body));
    }
    assert_int_equal(pn_message_encode(m, bytes, &n), 0);
    pn_message_free(m);
    p->answered = p->rejected = p->accepted = false;
    p->condition[0] = p->description[0] = '\0';
    tag++;
    pn_delivery(p->sender, pn_dtag((const char *)&tag, sizeof(tag)));
    assert_int_equal(pn_link_send(p->sender, bytes, n), (ssize_t)n);
    pn_link_advance(p->sender);
    amqp_talk(p, false);
}

/* The answer's JSON; it must be in a data section, as the C SDK insists. */
cJSON *amqp_answer(amqp_peer *p, const amqp_dialect *d)
{
    pn_data_t *body = pn_message_body(p->answer);
    assert_true(p->answered);
    assert_true(pn_message_is_inferred(p->answer));
    pn_data_rewind(body);
    assert_true(pn_data_next(body));
    assert_int_equal(pn_data_type(body), PN_BINARY);
    pn_bytes_t bytes = pn_data_get_binary(body);
    cJSON *json = cJSON_ParseWithLength(bytes.start, bytes.size);
    assert_non_null(json);
    pn_atom_t id = pn_message_get_correlation_id(p->answer);
    if (d->correlation) {
        assert_int_equal(id.type, PN_STRING);
        assert_memory_equal(id.u.as_bytes.start, "c-17", 4);
    } else {
        assert_int_equal(id.type, PN_NULL);
    }
    return json;
}

/* The application property retry-after, an int; 0: none. */
int amqp_retry_after(amqp_peer *p)
{
    pn_data_t *data = pn_message_properties(p->answer);
    pn_data_rewind(data);
    if (!pn_data_next(data) || pn_data_get_map(data) != 2)
        return 0;
    pn_data_enter(data);
    assert_true(pn_data_next(data));
    pn_bytes_t key = pn_data_get_string(data);
    assert_int_equal(key.size, 11);
    assert_memory_equal(key.start, "retry-after", 11);
    assert_true(pn_data_next(data));
    assert_int_equal(pn_data_type(data), PN_INT);
    return pn_data_get_int(data);
}
