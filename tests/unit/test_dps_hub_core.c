/* The hub without a transport: who is admitted, what is kept, what becomes of a twin. */
#include "dps_hub.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dps_mqtt_hub.h"
#include "dps_sas.h"
#include "test_dps_pki.h"

typedef struct fixture {
    char dir[64];
    dps_hub hub;
    test_cert cert;
    dps_peer peer;
} fixture;

static const uint8_t device_key[32] = {1, 2, 3};

static dps_blob copy(const void *bytes, size_t n)
{
    dps_blob blob;
    assert_true(dps_blob_copy(bytes, n, &blob));
    return blob;
}

/* A registration that is assigned. */
static void save(fixture *f, const char *id, const char *hub, dps_attestation attestation,
                 const char *substatus, const char *twin)
{
    dps_registration r = {.attestation = attestation, .created_ms = 1, .updated_ms = dps_time_now_ms()};
    dps_operation operation = {.created_ms = 1};
    snprintf(r.id, sizeof(r.id), "%s", id);
    snprintf(r.device_id, sizeof(r.device_id), "%s", id);
    snprintf(r.hub, sizeof(r.hub), "%s", hub);
    snprintf(r.substatus, sizeof(r.substatus), "%s", substatus);
    snprintf(r.etag, sizeof(r.etag), "e");
    if (twin != NULL)
        r.initial_twin = strdup(twin);
    if (attestation == DPS_ATTEST_SYMMETRIC) {
        r.keys[1] = copy(device_key, sizeof(device_key)); /* the secondary key is as good */
    } else {
        unsigned char *der = NULL;
        int n = i2d_X509(f->cert.cert, &der);
        r.evidence.leaf = copy(der, (size_t)n);
        OPENSSL_free(der);
    }
    assert_true(dps_random_operation_id(operation.id));
    snprintf(operation.registration_id, sizeof(operation.registration_id), "%s", id);
    assert_int_equal(dps_store_registration_save(f->hub.registrations, &r, &operation), DPS_STORE_OK);
    dps_registration_clear(&r);
}

static int setup(void **state)
{
    char path[80];
    fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    test_dir_make(f->dir);
    snprintf(path, sizeof(path), "%s/dps.db", f->dir);
    assert_true(dps_store_open(path, true, &f->hub.registrations, NULL));
    assert_true(dps_hub_store_open(f->dir, true, &f->hub.store, NULL));
    f->cert = test_cert_make(&(test_cert_spec){.cn = "dev1"});
    f->peer.leaf = f->cert.cert;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    dps_hub_store_close(&f->hub.store);
    dps_store_close(&f->hub.registrations);
    test_cert_free(&f->cert);
    test_dir_remove(f->dir);
    free(f);
    return 0;
}

static bool admit(fixture *f, const dps_peer *peer, const char *hub, const char *id, const char *sas,
                  const char *why)
{
    char reason[DPS_MESSAGE_LEN] = "";
    dps_hub_device device;
    bool ok =
        dps_hub_admit(&f->hub, peer, dps_span_of(hub), dps_span_of(id), dps_span_of(sas), &device, reason);
    if (!ok && strstr(reason, why) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", why, reason);
    return ok;
}

static void test_certificate(void **state)
{
    fixture *f = *state;
    test_cert other = test_cert_make(&(test_cert_spec){.cn = "dev1"});
    dps_peer stranger = {.leaf = other.cert};
    dps_peer nobody = {.leaf = NULL};
    save(f, "dev1", "hub.test", DPS_ATTEST_X509_SIGNING, "initialAssignment", NULL);
    assert_true(admit(f, &f->peer, "hub.test", "dev1", "", ""));
    assert_true(admit(f, &f->peer, "HUB.test:8883", "DEV1", "", ""));
    assert_false(admit(f, &f->peer, "hub.test", "dev2", "", "no device"));
    assert_false(admit(f, &f->peer, "hub.test.", "dev1", "", "another hub"));
    assert_false(admit(f, &f->peer, "", "dev1", "", "another hub"));
    assert_false(admit(f, &f->peer, "hub.test", "", "", "device id"));
    assert_false(admit(f, &stranger, "hub.test", "dev1", "", "not the one"));
    assert_false(admit(f, &nobody, "hub.test", "dev1", "", "no certificate"));
    assert_false(admit(f, &f->peer, "hub.test", "dev1", "SharedAccessSignature sr=a", "not by a token"));
    test_cert_free(&other);
}

static void test_expired_certificate(void **state)
{
    fixture *f = *state;
    test_cert_free(&f->cert);
    f->cert = test_cert_make(&(test_cert_spec){.cn = "dev1", .from_s = -20, .to_s = -10});
    f->peer.leaf = f->cert.cert;
    save(f, "dev1", "hub.test", DPS_ATTEST_X509_CLIENT, "initialAssignment", NULL);
    assert_false(admit(f, &f->peer, "hub.test", "dev1", "", "not valid at this time"));
}

/* A token for @resource, percent-encoded signature and all. */
static void sign(const char *resource, const uint8_t *key, size_t key_len, long long expiry, char *out,
                 size_t cap)
{
    char text[256];
    uint8_t mac[DPS_HMAC_SIZE];
    snprintf(text, sizeof(text), "%s\n%lld", resource, expiry);
    assert_true(dps_hmac_sha256(key, key_len, text, strlen(text), mac));
    char *b64 = dps_base64_encode(mac, sizeof(mac));
    size_t n = (size_t)snprintf(out, cap, "SharedAccessSignature sr=%s&sig=", resource);
    for (const char *c = b64; *c != '\0'; c++)
        n += (size_t)(strchr("+/=", *c) != NULL ? snprintf(out + n, cap - n, "%%%02x", (unsigned)*c)
                                                : snprintf(out + n, cap - n, "%c", *c));
    snprintf(out + n, cap - n, "&se=%lld", expiry);
    free(b64);
}

static void test_token(void **state)
{
    fixture *f = *state;
    char good[512], old[512], other[512], forged[512];
    const long long later = (long long)(dps_time_now_ms() / 1000) + 100;
    uint8_t wrong[32] = {9};
    dps_peer nobody = {.leaf = NULL};
    save(f, "dev2", "hub.test", DPS_ATTEST_SYMMETRIC, "initialAssignment", NULL);
    sign("hub.test/devices/dev2", device_key, 32, later, good, sizeof(good));
    sign("hub.test/devices/dev2", device_key, 32, later - 10000, old, sizeof(old));
    sign("hub.test/devices/dev3", device_key, 32, later, other, sizeof(other));
    sign("hub.test/devices/dev2", wrong, 32, later, forged, sizeof(forged));
    assert_true(admit(f, &nobody, "hub.test", "dev2", good, ""));
    assert_true(admit(f, &f->peer, "hub.test", "dev2", good, "")); /* a certificate besides changes nothing */
    assert_false(admit(f, &nobody, "hub.test", "dev2", old, dps_sas_verdict_text(DPS_SAS_EXPIRED)));
    assert_false(admit(f, &nobody, "hub.test", "dev2", other, dps_sas_verdict_text(DPS_SAS_WRONG_RESOURCE)));
    assert_false(
        admit(f, &nobody, "hub.test", "dev2", forged, dps_sas_verdict_text(DPS_SAS_WRONG_SIGNATURE)));
    assert_false(admit(f, &nobody, "hub.test", "dev2", "x", dps_sas_verdict_text(DPS_SAS_MALFORMED)));
    assert_false(admit(f, &f->peer, "hub.test", "dev2", "", "no SAS token"));
}

static bool count(const dps_hub_event *event, void *user)
{
    int64_t *seen = user;
    assert_int_equal(event->body.len, 3);
    seen[0]++;
    seen[1] = event->id;
    return true;
}

static void test_events(void **state)
{
    fixture *f = *state;
    const dps_hub_device a = {.id = "a", .hub = "hub.test"}, b = {.id = "b", .hub = "hub.test"};
    int64_t seen[2] = {0, 0};
    assert_true(dps_hub_receive(&f->hub, &a, "mqtt", "{\"k\":\"v\"}", dps_span_of("one")));
    assert_true(dps_hub_receive(&f->hub, &b, "mqtt", NULL, dps_span_of("two")));
    assert_int_equal(dps_hub_event_each(f->hub.store, NULL, 0, count, seen), DPS_STORE_OK);
    assert_int_equal(seen[0], 2);
    assert_int_equal(dps_hub_event_each(f->hub.store, "B", 0, count, seen), DPS_STORE_OK);
    assert_int_equal(seen[0], 3);
    assert_int_equal(dps_hub_event_each(f->hub.store, NULL, seen[1], count, seen), DPS_STORE_OK);
    assert_int_equal(seen[0], 3);
    char *large = calloc(1, DPS_HUB_EVENT_MAX + 1);
    assert_non_null(large);
    assert_false(dps_hub_receive(&f->hub, &a, "mqtt", NULL, (dps_span){large, DPS_HUB_EVENT_MAX + 1}));
    free(large);
}

static void test_queue(void **state)
{
    fixture *f = *state;
    char text[] = "{}";
    dps_hub_message m = {.device_id = "a", .properties = text}, first;
    for (int i = 0; i < DPS_HUB_QUEUE_MAX; i++) {
        assert_true(dps_random_uuid(m.message_id));
        assert_int_equal(dps_hub_message_add(f->hub.store, &m), DPS_STORE_OK);
    }
    assert_int_equal(dps_hub_message_add(f->hub.store, &m), DPS_STORE_CONFLICT);
    assert_int_equal(dps_hub_message_next(f->hub.store, "A", 0, &first), DPS_STORE_OK);
    assert_int_equal(dps_hub_message_delete(f->hub.store, "b", first.message_id), DPS_STORE_NOT_FOUND);
    assert_int_equal(dps_hub_message_delete(f->hub.store, "a", first.message_id), DPS_STORE_OK);
    assert_int_equal(dps_hub_message_delete(f->hub.store, "a", first.message_id), DPS_STORE_NOT_FOUND);
    assert_int_equal(dps_hub_message_add(f->hub.store, &m), DPS_STORE_OK);
    dps_hub_message_clear(&first);
}

static void expect_twin(fixture *f, const char *id, const char *hub, const char *text)
{
    dps_hub_device device = {.hub = ""};
    snprintf(device.id, sizeof(device.id), "%s", id);
    snprintf(device.hub, sizeof(device.hub), "%s", hub);
    char *twin = dps_hub_twin(&f->hub, &device, NULL);
    assert_non_null(twin);
    assert_string_equal(twin, text);
    free(twin);
}

static int patch(fixture *f, dps_twin_part part, const char *text, int64_t *ret_version)
{
    const dps_hub_device device = {.id = "dev1", .hub = "hub.test"};
    const char *problem = NULL;
    return dps_hub_twin_patch(&f->hub, &device, part, dps_span_of(text), ret_version, &problem);
}

static void test_twin(void **state)
{
    fixture *f = *state;
    static const char initial[] =
        "{\"tags\":{\"t\":1},\"properties\":{\"desired\":{\"a\":{\"b\":1,\"c\":2}}}}";
    int64_t version = 0;
    char *text = NULL;
    save(f, "dev1", "hub.test", DPS_ATTEST_X509_SIGNING, "initialAssignment", initial);
    expect_twin(f, "dev1", "hub.test",
                "{\"desired\":{\"a\":{\"b\":1,\"c\":2},\"$version\":1},\"reported\":{\"$version\":1}}");
    assert_int_equal(
        patch(f, DPS_TWIN_DESIRED, "{\"a\":{\"b\":null},\"d\":{\"e\":null,\"f\":[1]}}", &version), 200);
    assert_int_equal(version, 2);
    assert_int_equal(patch(f, DPS_TWIN_REPORTED, "{\"x\":true}", &version), 200);
    assert_int_equal(version, 2);
    expect_twin(f, "dev1", "hub.test",
                "{\"desired\":{\"a\":{\"c\":2},\"d\":{\"f\":[1]},\"$version\":2},\"reported\":{\"x\":true,\"$"
                "version\":2}}");
    assert_int_equal(dps_hub_patch_next(f->hub.store, "dev1", 1, &version, &text), DPS_STORE_OK);
    assert_int_equal(version, 2);
    assert_string_equal(text, "{\"a\":{\"b\":null},\"d\":{\"e\":null,\"f\":[1]}}");
    free(text);
    assert_int_equal(dps_hub_patch_next(f->hub.store, "dev1", 2, &version, &text), DPS_STORE_NOT_FOUND);
    static const char *const bad[] = {"", "[]", "1", "{", "{} x", "{\"a\":\"\xff\"}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(patch(f, DPS_TWIN_REPORTED, bad[i], NULL), 400);
}

/* To another hub: with its data, or without. */
static void test_twin_moves(void **state)
{
    fixture *f = *state;
    save(f, "dev1", "hub.test", DPS_ATTEST_X509_SIGNING, "initialAssignment", NULL);
    assert_int_equal(patch(f, DPS_TWIN_REPORTED, "{\"x\":1}", NULL), 200);
    save(f, "dev1", "hub2.test", DPS_ATTEST_X509_SIGNING, "deviceDataMigrated", NULL);
    expect_twin(f, "dev1", "hub2.test",
                "{\"desired\":{\"$version\":1},\"reported\":{\"x\":1,\"$version\":2}}");
    save(f, "dev1", "hub3.test", DPS_ATTEST_X509_SIGNING, "deviceDataReset", NULL);
    expect_twin(f, "dev1", "hub3.test", "{\"desired\":{\"$version\":1},\"reported\":{\"$version\":1}}");
}

static void test_names(void **state)
{
    (void)state;
    dps_hub_username user;
    assert_true(dps_hub_username_parse(dps_span_of("hub.test/dev/?api-version=1&a=b/c"), &user));
    assert_true(dps_span_is(user.hub, "hub.test") && dps_span_is(user.device, "dev"));
    assert_true(dps_hub_username_parse(dps_span_of("hub.test/dev"), &user));
    assert_true(dps_span_is(user.device, "dev"));
    static const char *const bad[] = {"", "hub", "/dev", "hub/", "hub//", "hub/dev/module/?x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(dps_hub_username_parse(dps_span_of(bad[i]), &user));
    char *json = dps_hub_bag_to_json(dps_span_of("%24.ct=a%2Fb&&k=v=w&flag"));
    assert_string_equal(json, "{\"$.ct\":\"a/b\",\"k\":\"v=w\",\"flag\":\"\"}");
    char *bag = dps_hub_bag_from_json(json);
    assert_string_equal(bag, "%24.ct=a%2Fb&k=v%3Dw&flag=");
    free(json);
    free(bag);
    assert_null(dps_hub_bag_to_json(dps_span_of("a=%zz")));
    assert_null(dps_hub_bag_to_json(dps_span_of("a=%ff")));
    assert_null(dps_hub_bag_to_json(dps_span_of("=b")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_certificate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expired_certificate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_token, setup, teardown),
        cmocka_unit_test_setup_teardown(test_events, setup, teardown),
        cmocka_unit_test_setup_teardown(test_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_twin, setup, teardown),
        cmocka_unit_test_setup_teardown(test_twin_moves, setup, teardown),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
