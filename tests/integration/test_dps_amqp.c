/* The device API over AMQP and AMQP over WebSocket, against the real server. The client is proton's engine.
 */
#include "test_dps_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <cmocka.h>
#include <proton/connection_driver.h>
#include <proton/engine.h>
#include <proton/message.h>
#include <proton/sasl.h>
#include <signal.h>

static server dps; /* its port is the AMQP one */
static test_cert root, dev1;

static int start(void **state)
{
    (void)state;
    char path[96];
    test_dir_make(dps.dir);
    root = test_cert_make(&(test_cert_spec){.cn = "Root", .ca = 1});
    dev1 = test_cert_make(&(test_cert_spec){.cn = "dev1", .issuer = &root, .eku = "clientAuth"});
    snprintf(path, sizeof(path), "%s/root.pem", dps.dir);
    test_cert_write(root.cert, path);
    assert_int_equal(run_program(NULL, "group", "create", "--dir", dps.dir, "--id", "fleet", "--certificate",
                                 path, "--hub", "hub.example.test", NULL),
                     0);
    server_start(&dps, (const char *const[]){"--free-ports", NULL});
    dps.port = dps.amqp_port;
    assert_true(dps.port > 0);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    int code = server_stop(&dps, SIGTERM);
    test_cert_free(&root);
    test_cert_free(&dev1);
    test_dir_remove(dps.dir);
    return code;
}

/* How a client introduces itself, and how it spells things. */
typedef struct dialect {
    const char *name;
    const char *sasl; /* NULL: no SASL layer */
    const char *host; /* in front of the link addresses; "" or "amqps://..." */
    const char *version;
    bool correlation;
    bool poll_with_string; /* the body of the poll is an AmqpValue */
} dialect;

static const dialect npm = {"npm", NULL, "", "2019-03-31", true, true};
static const dialect c_sdk = {"C SDK",      NULL,  "amqps://global.azure-devices-provisioning.net/",
                              "2021-06-01", false, false};

typedef struct peer {
    client tls;
    pn_connection_driver_t driver;
    pn_link_t *sender;
    pn_link_t *receiver;
    pn_delivery_t *sent;
    pn_message_t *answer; /* the last message that came in */
    bool answered;
    char condition[64]; /* of the last rejection, refused link, or failed SASL */
    char description[1024];
    int retry_after; /* of the rejection's info; 0: none */
    bool rejected, accepted, closed;
} peer;

static void keep_condition(peer *p, pn_condition_t *condition)
{
    if (!pn_condition_is_set(condition))
        return;
    snprintf(p->condition, sizeof(p->condition), "%s", pn_condition_get_name(condition));
    const char *text = pn_condition_get_description(condition);
    snprintf(p->description, sizeof(p->description), "%s", text != NULL ? text : "");
}

static void on_delivery(peer *p, pn_delivery_t *d)
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

static void on_event(peer *p, pn_event_t *e)
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

static bool done(const peer *p)
{
    return p->answered || p->rejected || p->condition[0] != '\0' || p->closed;
}

static void flush(peer *p)
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
static void talk(peer *p, bool until_attached)
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

static void open_amqp(peer *p, const dialect *d, const char *user, const char *password)
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

static void attach(peer *p, const dialect *d, const char *path)
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
    talk(p, true);
}

/* Connects, opens and attaches both links for the registration id. */
static void begin(peer *p, const dialect *d, const test_cert *leaf, bool ws, const char *id)
{
    char path[256];
    server at = dps;
    *p = (peer){.sender = NULL};
    at.port = ws ? dps.https_port : dps.amqp_port;
    client_open(&p->tls, &at, 0, leaf, NULL);
    if (ws)
        client_upgrade(&p->tls, "AMQPWSB10");
    open_amqp(p, d, NULL, NULL);
    snprintf(path, sizeof(path), "%s/registrations/%s", dps.scope, id);
    attach(p, d, path);
}

static void finish(peer *p)
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
static void ask(peer *p, const dialect *d, const char *operation, const char *type, const char *body)
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
    talk(p, false);
}

/* The answer's JSON; it must be in a data section, as the C SDK insists. */
static cJSON *answer_body(peer *p, const dialect *d)
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
static int retry_after(peer *p)
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

static void provision(const dialect *d, bool ws)
{
    peer p;
    char operation[128];
    begin(&p, d, &dev1, ws, "dev1");
    assert_true(pn_link_remote_max_message_size(p.sender) >=
                1024); /* else the C SDK's hub client is silent */
    ask(&p, d, NULL, NULL, "{\"registrationId\":\"dev1\"}");
    if (p.rejected)
        fail_msg("%s: %s", d->name, p.description);
    cJSON *json = answer_body(&p, d);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "status")), "assigning");
    snprintf(operation, sizeof(operation), "%s",
             cJSON_GetStringValue(cJSON_GetObjectItem(json, "operationId")));
    cJSON_Delete(json);
    assert_int_equal(retry_after(&p), 3);
    ask(&p, d, operation, NULL, "{\"registrationId\":\"dev1\"}");
    json = answer_body(&p, d);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "status")), "assigned");
    cJSON_Delete(json);
    assert_int_equal(retry_after(&p), 0);
    assert_true(p.accepted);
    finish(&p);
}

static void test_dialects(void **state)
{
    (void)state;
    provision(&npm, false);
    provision(&c_sdk, false);
}

static void test_websocket(void **state)
{
    (void)state;
    char out[OUTPUT_MAX];
    provision(&npm, true);
    assert_int_equal(run_program(out, "registrations", "--dir", dps.dir, "--id", "dev1", "--json", NULL), 0);
    assert_non_null(strstr(out, "\"transport\":\"amqp-ws\""));
    provision(&c_sdk, true);
}

static void test_sasl(void **state)
{
    (void)state;
    static const char *const mechanisms[] = {"EXTERNAL", "ANONYMOUS"};
    for (size_t i = 0; i < 2; i++) {
        dialect d = npm;
        d.sasl = mechanisms[i];
        provision(&d, false);
    }
}

static void expect_sasl_failure(const char *mechanism, const test_cert *leaf, const char *user,
                                const char *password)
{
    peer p = {.sender = NULL};
    dialect d = npm;
    d.sasl = mechanism;
    client_open(&p.tls, &dps, 0, leaf, NULL);
    open_amqp(&p, &d, user, password);
    talk(&p, false);
    assert_string_equal(p.condition, "amqp:unauthorized-access");
    finish(&p);
}

static void test_sasl_refused(void **state)
{
    (void)state;
    char user[64];
    snprintf(user, sizeof(user), "%s/registrations/nobody", dps.scope);
    expect_sasl_failure("EXTERNAL", NULL, NULL, NULL);
    expect_sasl_failure("PLAIN", NULL, user, "SharedAccessSignature sr=a&sig=b&se=1&skn=registration");
    expect_sasl_failure("PLAIN", NULL, user, "x");
    expect_sasl_failure("PLAIN", NULL, "nobody", "x");
}

/* The TPM mechanism by hand: header, init with keys that are none, and a response to nothing. The outcome is
 * "auth" (code 1). */
static void test_sasl_tpm_refused(void **state)
{
    (void)state;
    static const char *const inits[] = {
        "\0scope\0id\0not a key",
        "no zero in front",
    };
    static const size_t sizes[] = {19, 16};
    for (size_t i = 0; i < 2; i++) {
        client c;
        uint8_t frame[128] = {0,    0,    0, 0, 2,    1, 0,   0,   0x00, 0x53,
                              0x41, 0xc0, 0, 2, 0xa3, 3, 'T', 'P', 'M',  0xa0};
        uint8_t got[256];
        size_t n = 20;
        client_open(&c, &dps, 0, NULL, NULL);
        client_send(&c, "AMQP\3\1\0\0", 8);
        client_expect(&c, "AMQP\3\1\0\0", 8);
        client_read(&c, got, 4); /* the mechanisms */
        size_t rest = ((size_t)got[2] << 8 | got[3]) - 4;
        assert_true(rest < sizeof(got));
        client_read(&c, got, rest);
        got[rest] = 0;
        assert_non_null(memmem(got, rest, "TPM", 3));
        frame[n++] = (uint8_t)sizes[i];
        memcpy(frame + n, inits[i], sizes[i]);
        n += sizes[i];
        frame[12] = (uint8_t)(n - 13);
        frame[3] = (uint8_t)n;
        client_send(&c, frame, n);
        if (i == 0) { /* asked for the storage root key: one zero byte */
            static const uint8_t srk[] = {0,    0,    0, 19, 2,    1, 0, 0,   0,  0x53,
                                          0x43, 0xc0, 6, 1,  0xa0, 3, 0, 'x', 'y'};
            client_read(&c, got, 4);
            rest = ((size_t)got[2] << 8 | got[3]) - 4;
            client_read(&c, got, rest);
            assert_memory_equal(got + 4, "\0\x53\x42", 3);
            assert_memory_equal(got + rest - 3, "\xa0\1\0", 3);
            client_send(&c, srk, sizeof(srk));
        }
        client_read(&c, got, 4);
        rest = ((size_t)got[2] << 8 | got[3]) - 4;
        client_read(&c, got, rest);
        assert_memory_equal(got + 4, "\0\x53\x44", 3);   /* sasl-outcome */
        assert_non_null(memmem(got, rest, "\x50\1", 2)); /* ubyte 1 */
        client_close(&c);
    }
}

static void expect_rejected(peer *p, const char *condition, int code, const char *text)
{
    assert_true(p->rejected);
    assert_string_equal(p->condition, condition);
    cJSON *json = cJSON_Parse(p->description);
    assert_int_equal((int)cJSON_GetNumberValue(cJSON_GetObjectItem(json, "errorCode")), code);
    assert_true(cJSON_IsString(cJSON_GetObjectItem(json, "trackingId")));
    if (strstr(p->description, text) == NULL)
        fail_msg("\"%s\" is not in %s", text, p->description);
    cJSON_Delete(json);
}

static void test_rejected(void **state)
{
    (void)state;
    peer p;
    begin(&p, &npm, &dev1, false, "dev1");
    ask(&p, &npm, "5.0.none", NULL, "");
    expect_rejected(&p, "amqp:not-found", 404202, "Operation not found");
    ask(&p, &npm, NULL, NULL, "{");
    expect_rejected(&p, "com.microsoft:argument-error", 400000, "JSON");
    ask(&p, &npm, NULL, "iotdps-dance", "{}");
    expect_rejected(&p, "com.microsoft:argument-error", 400004, "iotdps-operation-type");
    ask(&p, &npm, NULL, NULL, "{\"registrationId\":\"dev1\"}"); /* the link is as good as before */
    assert_true(p.answered);
    finish(&p);
    begin(&p, &npm, &dev1, false, "dev2");
    ask(&p, &npm, NULL, NULL, "{\"registrationId\":\"dev2\"}");
    expect_rejected(&p, "amqp:unauthorized-access", 401002, "common name");
    finish(&p);
    dialect old = npm;
    old.version = "1999-01-01";
    begin(&p, &old, &dev1, false, "dev1");
    ask(&p, &old, NULL, NULL, "{}");
    expect_rejected(&p, "com.microsoft:argument-error", 400001, "api-version");
    finish(&p);
}

static void test_unknown_address(void **state)
{
    (void)state;
    peer p = {.sender = NULL};
    client_open(&p.tls, &dps, 0, &dev1, NULL);
    open_amqp(&p, &npm, NULL, NULL);
    attach(&p, &npm, "nowhere");
    assert_string_equal(p.condition, "amqp:not-found");
    finish(&p);
}

/* More than the max-message-size of the link ends the connection; garbage ends it too. */
static void test_hostile(void **state)
{
    (void)state;
    peer p;
    char *body = malloc(80000);
    assert_non_null(body);
    memset(body, ' ', 79999);
    body[79999] = '\0';
    begin(&p, &npm, &dev1, false, "dev1");
    ask(&p, &npm, NULL, NULL, body);
    assert_false(p.answered || p.accepted);
    finish(&p);
    free(body);
    static const char *const garbage[] = {"GET / HTTP/1.1\r\n\r\n", "AMQP\0\1\0\0\xff\xff\xff\xff\2\0\0\0",
                                          "AMQP\0\1\0\0\0\0\0\1\2\0\0\0",
                                          "AMQP\3\1\0\0\0\0\0\x0c\2\1\0\0zzzz"};
    static const size_t sizes[] = {18, 16, 16, 20};
    for (size_t i = 0; i < 4; i++) {
        client c;
        char rest[4096];
        client_open(&c, &dps, 0, &dev1, NULL);
        client_send(&c, garbage[i], sizes[i]);
        assert_true(client_read_all(&c, rest, sizeof(rest)) < sizeof(rest) - 1); /* an end, not a time-out */
        client_close(&c);
    }
    provision(&npm, false);
}

static void test_silence(void **state)
{
    (void)state;
    server quick = {.pid = 0};
    client mute, half;
    test_dir_make(quick.dir);
    server_start(&quick, (const char *const[]){"--free-ports", "--connect-timeout", "1", NULL});
    quick.port = quick.amqp_port;
    client_open(&mute, &quick, 0, NULL, NULL);
    client_open(&half, &quick, 0, NULL, NULL);
    client_send(&half, "AMQP\0\1\0\0", 8);
    client_expect(&half, "AMQP\0\1\0\0", 8);
    client_expect_end(&mute);
    client_expect_end(&half);
    client_close(&mute);
    client_close(&half);
    assert_int_equal(server_stop(&quick, SIGTERM), 0);
    test_dir_remove(quick.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dialects),
        cmocka_unit_test(test_websocket),
        cmocka_unit_test(test_sasl),
        cmocka_unit_test(test_sasl_refused),
        cmocka_unit_test(test_rejected),
        cmocka_unit_test(test_unknown_address),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_sasl_tpm_refused),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
