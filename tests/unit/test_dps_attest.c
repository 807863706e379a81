/* The service with every kind of attestation but TPM, and with the policies that follow it. */
#include "dps_service.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <cmocka.h>

#include "dps_sas.h"
#include "test_dps_pki.h"

#define KEY_A "primary-key-of-32-bytes-aaaaaaaa"
#define KEY_B "secondary-key-of-32-bytes-bbbbbb"

typedef struct fixture {
    char dir[64];
    dps_store *store;
    dps_service *service;
    dps_peer peer;
    char sas[512];
} fixture;

static int setup(void **state)
{
    char path[80];
    fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    test_dir_make(f->dir);
    snprintf(path, sizeof(path), "%s/dps.db", f->dir);
    assert_true(dps_store_open(path, true, &f->store, NULL));
    const dps_hubs hubs = {.names = {"hub1.test", "hub2.test", "hub3.test"}, .count = 3};
    const dps_service_config config = {.hubs = &hubs};
    assert_true(dps_service_new(f->store, &config, &f->service, NULL));
    f->peer = (dps_peer){.tls_version = "TLSv1.3", .address = "test"};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    dps_service_free(&f->service);
    dps_store_close(&f->store);
    test_dir_remove(f->dir);
    free(f);
    return 0;
}

static dps_blob blob_of(const void *bytes, size_t n)
{
    dps_blob blob = {0};
    assert_true(dps_blob_copy(bytes, n, &blob));
    return blob;
}

static dps_blob der_of(X509 *cert)
{
    unsigned char *der = NULL;
    int n = i2d_X509(cert, &der);
    assert_true(n > 0);
    dps_blob blob = blob_of(der, (size_t)n);
    OPENSSL_free(der);
    return blob;
}

static dps_enrollment an_enrollment(const char *id, bool is_group, dps_attestation attestation)
{
    dps_enrollment e = {.is_group = is_group,
                        .attestation = attestation,
                        .enabled = true,
                        .update_hub = true,
                        .migrate_data = true,
                        .etag = "e"};
    snprintf(e.id, sizeof(e.id), "%s", id);
    return e;
}

/* Takes the enrollment. */
static void add(fixture *f, dps_enrollment e)
{
    assert_int_equal(dps_store_enrollment_add(f->store, &e, NULL), DPS_STORE_OK);
    dps_enrollment_clear(&e);
}

static void add_symmetric(fixture *f, const char *id, bool is_group)
{
    dps_enrollment e = an_enrollment(id, is_group, DPS_ATTEST_SYMMETRIC);
    e.primary = blob_of(KEY_A, 32);
    e.secondary = blob_of(KEY_B, 32);
    add(f, e);
}

/* Signs as a device does; nothing of the service is used but HMAC and base64. */
static dps_span sign(fixture *f, const char *id, const void *key, size_t key_len, long long se)
{
    char text[300];
    uint8_t mac[DPS_HMAC_SIZE];
    char escaped[160] = "";
    int n = snprintf(text, sizeof(text), "%s%%2Fregistrations%%2F%s\n%lld", dps_service_id_scope(f->service),
                     id, se);
    assert_true(dps_hmac_sha256(key, key_len, text, (size_t)n, mac));
    char *b64 = dps_base64_encode(mac, sizeof(mac));
    assert_non_null(b64);
    for (const char *c = b64; *c != '\0'; c++)
        snprintf(escaped + strlen(escaped), sizeof(escaped) - strlen(escaped),
                 *c == '+' || *c == '/' || *c == '=' ? "%%%02X" : "%c", (unsigned char)*c);
    free(b64);
    snprintf(f->sas, sizeof(f->sas),
             "SharedAccessSignature sr=%s%%2Fregistrations%%2F%s&sig=%s&skn=registration&se=%lld",
             dps_service_id_scope(f->service), id, escaped, se);
    return dps_span_of(f->sas);
}

static dps_request a_request(const fixture *f, const char *id, dps_span sas)
{
    return (dps_request){
        .transport = "mqtt",
        .id_scope = dps_span_of(dps_service_id_scope(f->service)),
        .registration_id = dps_span_of(id),
        .api_version = dps_span_of("2021-06-01"),
        .client_version = dps_span_of("t"),
        .sas = sas,
        .body = dps_span_of("{\"payload\":{\"p\":1}}"),
    };
}

static const dps_span no_sas = {"", 0};
static const long long later = 4000000000;

static void refused(fixture *f, const char *id, dps_span sas, const char *part)
{
    dps_response response = {0};
    dps_request request = a_request(f, id, sas);
    dps_service_register(f->service, &f->peer, &request, &response);
    if (response.status != 401 || strstr(response.body, part) == NULL ||
        strstr(response.body, "401002") == NULL)
        fail_msg("%d %s", response.status, response.body);
    dps_response_clear(&response);
    if (sas.len > 0) { /* so is the connection */
        assert_false(dps_service_admit(f->service, &f->peer, &request, &response));
        assert_int_equal(response.status, 401);
        dps_response_clear(&response);
    }
}

/* Registers and polls; returns the answer. */
static cJSON *accepted(fixture *f, const char *id, dps_span sas)
{
    dps_response response = {0};
    dps_request request = a_request(f, id, sas);
    assert_true(dps_service_admit(f->service, &f->peer, &request, &response));
    dps_service_register(f->service, &f->peer, &request, &response);
    if (response.status != 202)
        fail_msg("%d %s", response.status, response.body);
    char operation[DPS_OPERATION_LEN];
    memcpy(operation, response.operation_id, sizeof(operation));
    dps_response_clear(&response);
    request.operation_id = operation;
    dps_service_status(f->service, &f->peer, &request, &response);
    assert_int_equal(response.status, 200);
    cJSON *root = cJSON_Parse(response.body);
    assert_non_null(root);
    dps_response_clear(&response);
    return root;
}

static const cJSON *state_of(const cJSON *root, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(root, "registrationState"),
                                            name);
}

static void expect_state(const cJSON *root, const char *name, const char *value)
{
    const char *text = cJSON_GetStringValue(state_of(root, name));
    if (text == NULL || strcmp(text, value) != 0)
        fail_msg("%s is %s, not %s", name, text != NULL ? text : "missing", value);
}

static void test_individual_key(void **state)
{
    fixture *f = *state;
    dps_registration r;
    add_symmetric(f, "Dev-1", false);
    cJSON *root = accepted(f, "dev-1", sign(f, "dev-1", KEY_A, 32, later));
    assert_non_null(state_of(root, "symmetricKey"));
    assert_null(cJSON_GetObjectItemCaseSensitive(state_of(root, "symmetricKey"), "enrollmentGroupId"));
    expect_state(root, "deviceId", "dev-1");
    cJSON_Delete(root);
    cJSON_Delete(accepted(f, "dev-1", sign(f, "dev-1", KEY_B, 32, later)));
    /* what the hub needs */
    assert_int_equal(dps_store_registration_get(f->store, "dev-1", &r), DPS_STORE_OK);
    assert_int_equal(r.attestation, DPS_ATTEST_SYMMETRIC);
    assert_true(r.keys[0].len == 32 && memcmp(r.keys[0].bytes, KEY_A, 32) == 0);
    assert_true(r.keys[1].len == 32 && memcmp(r.keys[1].bytes, KEY_B, 32) == 0);
    dps_registration_clear(&r);

    refused(f, "dev-1", sign(f, "dev-1", "another key of thirty-two bytes!", 32, later), "signature");
    refused(f, "dev-1", sign(f, "dev-2", KEY_A, 32, later), "another resource");
    refused(f, "dev-1", sign(f, "dev-1", KEY_A, 32, 1000), "expired");
    refused(f, "dev-1", dps_span_of("SharedAccessSignature nonsense"), "cannot be read");
    refused(f, "dev-1", no_sas, "no SAS token");
    refused(f, "dev-2", sign(f, "dev-2", KEY_A, 32, later), "no enrollment");
    assert_int_equal(dps_store_enrollment_enable(f->store, false, "dev-1", false), DPS_STORE_OK);
    refused(f, "dev-1", sign(f, "dev-1", KEY_A, 32, later), "disabled");
}

static void test_clock(void **state)
{
    fixture *f = *state;
    add_symmetric(f, "dev-1", false);
    long long now = dps_time_now_ms() / 1000;
    dps_time_set_skew_ms(7200000); /* the service's clock is ahead */
    refused(f, "dev-1", sign(f, "dev-1", KEY_A, 32, now + 3600), "expired");
    dps_time_set_skew_ms(-7200000);
    cJSON_Delete(accepted(f, "dev-1", sign(f, "dev-1", KEY_A, 32, now - 3600)));
    dps_time_set_skew_ms(0);
    refused(f, "dev-1", sign(f, "dev-1", KEY_A, 32, now - 3600), "expired");
}

static void test_group_key(void **state)
{
    fixture *f = *state;
    uint8_t key[DPS_HMAC_SIZE], other[DPS_HMAC_SIZE];
    dps_registration r;
    add_symmetric(f, "Fleet", true);
    assert_true(dps_hmac_sha256(KEY_A, 32, "Dev-7", 5, key)); /* as the device spells itself */
    cJSON *root = accepted(f, "Dev-7", sign(f, "Dev-7", key, 32, later));
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(state_of(root, "symmetricKey"),
                                                                              "enrollmentGroupId")),
                        "Fleet");
    cJSON_Delete(root);
    assert_true(dps_hmac_sha256(KEY_B, 32, "Dev-7", 5, other));
    assert_int_equal(dps_store_registration_get(f->store, "dev-7", &r), DPS_STORE_OK);
    assert_memory_equal(r.keys[0].bytes, key, 32);
    assert_memory_equal(r.keys[1].bytes, other, 32);
    dps_registration_clear(&r);
    cJSON_Delete(accepted(f, "Dev-7", sign(f, "Dev-7", other, 32, later)));
    assert_true(dps_hmac_sha256(KEY_A, 32, "dev-7", 5, key)); /* or in lower case */
    cJSON_Delete(accepted(f, "Dev-7", sign(f, "Dev-7", key, 32, later)));
    refused(f, "dev-7", sign(f, "dev-7", KEY_A, 32, later), "no enrollment"); /* not the group's own key */
    refused(f, "dev-8", sign(f, "dev-8", key, 32, later), "no enrollment");   /* nor another device's */
    /* one device is shut out by an individual enrollment of its own */
    add_symmetric(f, "dev-7", false);
    assert_int_equal(dps_store_enrollment_enable(f->store, false, "dev-7", false), DPS_STORE_OK);
    refused(f, "dev-7", sign(f, "dev-7", key, 32, later), "disabled");
    assert_int_equal(dps_store_enrollment_delete(f->store, false, "dev-7", NULL), DPS_STORE_OK);
    cJSON_Delete(accepted(f, "dev-7", sign(f, "dev-7", key, 32, later)));
    assert_int_equal(dps_store_enrollment_enable(f->store, true, "fleet", false), DPS_STORE_OK);
    refused(f, "dev-7", sign(f, "dev-7", key, 32, later), "group is disabled");
}

static void test_individual_certificate(void **state)
{
    fixture *f = *state;
    test_cert ca = test_cert_make(&(test_cert_spec){.cn = "CA", .ca = 1});
    test_cert own = test_cert_make(&(test_cert_spec){.cn = "dev-1"}); /* self-signed */
    test_cert signed_one =
        test_cert_make(&(test_cert_spec){.cn = "DEV-1", .issuer = &ca, .eku = "clientAuth"});
    test_cert stranger = test_cert_make(&(test_cert_spec){.cn = "dev-1", .issuer = &ca});
    dps_enrollment e = an_enrollment("dev-1", false, DPS_ATTEST_X509_CLIENT);
    e.primary = der_of(own.cert);
    e.secondary = der_of(signed_one.cert);
    snprintf(e.device_id, sizeof(e.device_id), "the-device");
    add(f, e);
    f->peer.leaf = own.cert;
    cJSON *root = accepted(f, "dev-1", no_sas);
    expect_state(root, "deviceId", "the-device");
    expect_state(root, "registrationId", "dev-1");
    const cJSON *x509 = state_of(root, "x509");
    assert_non_null(cJSON_GetObjectItemCaseSensitive(x509, "certificateInfo"));
    assert_null(cJSON_GetObjectItemCaseSensitive(x509, "enrollmentGroupId"));
    cJSON_Delete(root);
    f->peer.leaf = signed_one.cert;
    cJSON_Delete(accepted(f, "dev-1", no_sas));
    f->peer.leaf = stranger.cert;
    refused(f, "dev-1", no_sas, "not the one of the enrollment");
    f->peer.leaf = NULL;
    refused(f, "dev-1", no_sas, "no certificate");
    /* the individual enrollment decides alone, also where a group would let the device in */
    dps_enrollment group = an_enrollment("group", true, DPS_ATTEST_X509_SIGNING);
    group.primary = der_of(ca.cert);
    add(f, group);
    f->peer.leaf = stranger.cert;
    refused(f, "dev-1", no_sas, "not the one of the enrollment");
    static const struct {
        test_cert_spec spec;
        const char *message;
    } rows[] = {
        {{.cn = "dev-2", .from_s = -20, .to_s = -10}, "has expired"},
        {{.cn = "dev-2", .from_s = 100, .to_s = 200}, "not yet valid"},
        {{.cn = "dev-2", .eku = "serverAuth"}, "client authentication"},
        {{.cn = "dev-3"}, "is not the registration id"},
    };
    for (size_t i = 0; i < 4; i++) {
        test_cert cert = test_cert_make(&rows[i].spec);
        e = an_enrollment("dev-2", false, DPS_ATTEST_X509_CLIENT);
        e.primary = der_of(cert.cert);
        add(f, e);
        f->peer.leaf = cert.cert;
        refused(f, "dev-2", no_sas, rows[i].message);
        assert_int_equal(dps_store_enrollment_delete(f->store, false, "dev-2", NULL), DPS_STORE_OK);
        test_cert_free(&cert);
    }
    test_cert_free(&stranger);
    test_cert_free(&signed_one);
    test_cert_free(&own);
    test_cert_free(&ca);
}

/* Root and intermediate each have a group: the intermediate's decides, so disabling it revokes what it
 * signed. */
static void test_intermediate(void **state)
{
    fixture *f = *state;
    test_cert root = test_cert_make(&(test_cert_spec){.cn = "Root", .ca = 1});
    test_cert middle = test_cert_make(&(test_cert_spec){.cn = "Middle", .ca = 1, .issuer = &root});
    test_cert leaf = test_cert_make(&(test_cert_spec){.cn = "dev-1", .issuer = &middle, .eku = "clientAuth"});
    dps_enrollment e = an_enrollment("all", true, DPS_ATTEST_X509_SIGNING);
    e.primary = der_of(leaf.cert); /* the primary is another one: the secondary counts as well */
    e.secondary = der_of(root.cert);
    add(f, e);
    f->peer.leaf = leaf.cert;
    f->peer.untrusted = sk_X509_new_null();
    assert_true(sk_X509_push(f->peer.untrusted, middle.cert) > 0);
    cJSON *answer = accepted(f, "dev-1", no_sas);
    assert_string_equal(
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(state_of(answer, "x509"), "enrollmentGroupId")),
        "all");
    cJSON_Delete(answer);
    e = an_enrollment("some", true, DPS_ATTEST_X509_SIGNING);
    e.primary = der_of(middle.cert);
    e.enabled = false;
    add(f, e);
    refused(f, "dev-1", no_sas, "group is disabled");
    sk_X509_free(f->peer.untrusted);
    test_cert_free(&leaf);
    test_cert_free(&middle);
    test_cert_free(&root);
}

static void test_reference(void **state)
{
    fixture *f = *state;
    test_cert root = test_cert_make(&(test_cert_spec){.cn = "Root", .ca = 1});
    test_cert leaf = test_cert_make(&(test_cert_spec){.cn = "dev-1", .issuer = &root, .eku = "clientAuth"});
    dps_ca ca = {.name = "Our-Root", .etag = "1"};
    ca.certificate = der_of(root.cert);
    dps_enrollment e = an_enrollment("group", true, DPS_ATTEST_X509_REFERENCE);
    e.primary = blob_of("our-root", 8);
    add(f, e);
    f->peer.leaf = leaf.cert;
    refused(f, "dev-1", no_sas, "CA certificate not found"); /* there is no such certificate */
    assert_int_equal(dps_store_ca_save(f->store, &ca, NULL), DPS_STORE_OK);
    refused(f, "dev-1", no_sas, "CA certificate not found"); /* nobody proved to have its key */
    ca.verified = true;
    assert_int_equal(dps_store_ca_save(f->store, &ca, ""), DPS_STORE_OK);
    cJSON_Delete(accepted(f, "dev-1", no_sas));
    assert_int_equal(dps_store_ca_delete(f->store, "our-root", NULL), DPS_STORE_OK);
    refused(f, "dev-1", no_sas, "CA certificate not found");
    dps_ca_clear(&ca);
    test_cert_free(&leaf);
    test_cert_free(&root);
}

/* Replaces the enrollment "dev-1". */
static void change(fixture *f, const char *hub, bool update_hub, bool migrate_data, const char *twin)
{
    dps_enrollment e = an_enrollment("dev-1", false, DPS_ATTEST_SYMMETRIC);
    e.primary = blob_of(KEY_A, 32);
    snprintf(e.hub, sizeof(e.hub), "%s", hub);
    e.update_hub = update_hub;
    e.migrate_data = migrate_data;
    e.initial_twin = strdup(twin);
    assert_int_equal(dps_store_enrollment_update(f->store, &e, NULL, NULL), DPS_STORE_OK);
    dps_enrollment_clear(&e);
}

static void expect_assignment(fixture *f, const char *hub, const char *substatus, const char *twin)
{
    dps_registration r;
    cJSON *root = accepted(f, "dev-1", sign(f, "dev-1", KEY_A, 32, later));
    expect_state(root, "assignedHub", hub);
    expect_state(root, "substatus", substatus);
    cJSON_Delete(root);
    assert_int_equal(dps_store_registration_get(f->store, "dev-1", &r), DPS_STORE_OK);
    assert_string_equal(r.initial_twin, twin);
    dps_registration_clear(&r);
}

static void test_reprovision(void **state)
{
    fixture *f = *state;
    add_symmetric(f, "dev-1", false);
    change(f, "a.test", true, true, "{\"tags\":{\"n\":1}}");
    expect_assignment(f, "a.test", "initialAssignment", "{\"tags\":{\"n\":1}}");
    change(f, "b.test", false, false, "{\"tags\":{\"n\":2}}"); /* never */
    expect_assignment(f, "a.test", "initialAssignment", "{\"tags\":{\"n\":1}}");
    change(f, "b.test", true, true, "{\"tags\":{\"n\":3}}"); /* migrate */
    expect_assignment(f, "b.test", "deviceDataMigrated", "{\"tags\":{\"n\":1}}");
    change(f, "c.test", true, false, "{\"tags\":{\"n\":4}}"); /* reset */
    expect_assignment(f, "c.test", "deviceDataReset", "{\"tags\":{\"n\":4}}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_individual_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_group_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_individual_certificate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_intermediate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reference, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reprovision, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
