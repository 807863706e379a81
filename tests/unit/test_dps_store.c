#include "dps_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_dps_pki.h"

typedef struct fixture {
    char dir[64];
    char path[80];
    dps_store *store;
} fixture;

static dps_store *open_store(const char *path)
{
    dps_store *store = NULL;
    dps_fail fail = {.text = ""};
    if (!dps_store_open(path, true, &store, &fail))
        fail_msg("%s", fail.text);
    return store;
}

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    test_dir_make(f->dir);
    snprintf(f->path, sizeof(f->path), "%s/dps.db", f->dir);
    f->store = open_store(f->path);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    dps_store_close(&f->store);
    test_dir_remove(f->dir);
    free(f);
    return 0;
}

static dps_enrollment a_group(const char *id, const char *bytes)
{
    dps_enrollment group = {.is_group = true,
                            .attestation = DPS_ATTEST_X509_SIGNING,
                            .enabled = true,
                            .created_ms = 1000,
                            .updated_ms = 1000,
                            .hub = "hub.test",
                            .etag = "e1"};
    snprintf(group.id, sizeof(group.id), "%s", id);
    group.primary = (dps_blob){(uint8_t *)strdup(bytes), strlen(bytes)};
    return group;
}

static void add_group(dps_store *store, const char *id, const char *bytes, dps_store_result expected,
                      char *ret_holder)
{
    dps_enrollment group = a_group(id, bytes);
    assert_int_equal(dps_store_enrollment_add(store, &group, ret_holder), expected);
    dps_enrollment_clear(&group);
}

static void test_scope_is_kept(void **state)
{
    fixture *f = *state;
    char first[DPS_SCOPE_LEN], second[DPS_SCOPE_LEN];
    assert_int_equal(dps_store_id_scope(f->store, first), DPS_STORE_OK);
    dps_store_close(&f->store);
    f->store = open_store(f->path);
    assert_int_equal(dps_store_id_scope(f->store, second), DPS_STORE_OK);
    assert_string_equal(first, second);
}

static void test_groups(void **state)
{
    fixture *f = *state;
    char holder[DPS_ID_LEN];
    dps_enrollment group;
    add_group(f->store, "Group-1", "cert1", DPS_STORE_OK, NULL);
    add_group(f->store, "group-1", "cert2", DPS_STORE_CONFLICT, holder); /* ids have no case */
    assert_string_equal(holder, "Group-1");
    add_group(f->store, "other", "cert1", DPS_STORE_CONFLICT, holder);
    assert_string_equal(holder, "Group-1");
    assert_int_equal(dps_store_enrollment_get(f->store, true, "GROUP-1", &group), DPS_STORE_OK);
    assert_string_equal(group.id, "Group-1");
    assert_string_equal(group.hub, "hub.test");
    assert_true(group.enabled);
    assert_int_equal(group.primary.len, 5);
    assert_memory_equal(group.primary.bytes, "cert1", 5);
    dps_enrollment_clear(&group);
    assert_int_equal(dps_store_enrollment_enable(f->store, true, "group-1", false), DPS_STORE_OK);
    assert_int_equal(dps_store_enrollment_get(f->store, true, "group-1", &group), DPS_STORE_OK);
    assert_false(group.enabled);
    assert_string_not_equal(group.etag, "e1");
    dps_enrollment_clear(&group);
    assert_int_equal(dps_store_enrollment_delete(f->store, true, "group-1", NULL), DPS_STORE_OK);
    assert_int_equal(dps_store_enrollment_get(f->store, true, "group-1", &group), DPS_STORE_NOT_FOUND);
    assert_int_equal(dps_store_enrollment_delete(f->store, true, "group-1", NULL), DPS_STORE_NOT_FOUND);
    assert_int_equal(dps_store_enrollment_enable(f->store, true, "group-1", true), DPS_STORE_NOT_FOUND);
}

static bool append_id(const dps_enrollment *group, void *user)
{
    strcat(user, group->id);
    return strlen(user) < 2;
}

static void test_group_order_and_stop(void **state)
{
    fixture *f = *state;
    char ids[16] = "";
    add_group(f->store, "c", "1", DPS_STORE_OK, NULL);
    add_group(f->store, "A", "2", DPS_STORE_OK, NULL);
    add_group(f->store, "b", "3", DPS_STORE_OK, NULL);
    assert_int_equal(dps_store_enrollment_each(f->store, true, NULL, append_id, ids), DPS_STORE_OK);
    assert_string_equal(ids, "Ab");
}

/* A server must see what an admin command in another process did. */
static void test_groups_version(void **state)
{
    fixture *f = *state;
    dps_store *other = open_store(f->path);
    int64_t version[5];
    assert_int_equal(dps_store_groups_version(f->store, &version[0]), DPS_STORE_OK);
    add_group(other, "g", "1", DPS_STORE_OK, NULL);
    assert_int_equal(dps_store_groups_version(f->store, &version[1]), DPS_STORE_OK);
    assert_int_equal(dps_store_enrollment_enable(other, true, "g", false), DPS_STORE_OK);
    assert_int_equal(dps_store_groups_version(f->store, &version[2]), DPS_STORE_OK);
    assert_int_equal(dps_store_enrollment_delete(other, true, "g", NULL), DPS_STORE_OK);
    assert_int_equal(dps_store_groups_version(f->store, &version[3]), DPS_STORE_OK);
    assert_int_equal(dps_store_groups_version(f->store, &version[4]), DPS_STORE_OK);
    assert_true(version[0] < version[1] && version[1] < version[2] && version[2] < version[3]);
    assert_true(version[3] == version[4]);
    dps_store_close(&other);
}

static dps_registration a_registration(const char *id)
{
    dps_registration r = {
        .group_id = "g",
        .hub = "hub.test",
        .substatus = "initialAssignment",
        .etag = "e",
        .created_ms = 1,
        .updated_ms = 2,
        .ready_ms = 3,
        .payload = strdup("{\"a\":1}"),
        .evidence = {.tls_version = "TLSv1.3",
                     .tls_cipher = "c",
                     .tls_signature = "s",
                     .api_version = "v",
                     .client_version = "cv",
                     .transport = "mqtt"},
    };
    snprintf(r.id, sizeof(r.id), "%s", id);
    r.evidence.leaf = (dps_blob){(uint8_t *)strdup("leaf"), 4};
    r.attestation = DPS_ATTEST_TPM;
    r.outcome = DPS_OUTCOME_FAILED;
    r.error_code = 400208;
    snprintf(r.error_message, sizeof(r.error_message), "no hub");
    snprintf(r.device_id, sizeof(r.device_id), "device-%s", id);
    r.payload_out = strdup("{\"b\":2}");
    r.initial_twin = strdup("{\"tags\":{}}");
    r.tpm_key = strdup("blob");
    assert_true(dps_blob_copy("key1", 4, &r.keys[0]) && dps_blob_copy("key-2", 5, &r.keys[1]));
    return r;
}

static void save(dps_store *store, const char *id, const char *operation_id, int64_t at_ms)
{
    dps_registration r = a_registration(id);
    dps_operation o = {.created_ms = at_ms, .ready_ms = at_ms + 5};
    snprintf(o.id, sizeof(o.id), "%s", operation_id);
    snprintf(o.registration_id, sizeof(o.registration_id), "%s", id);
    assert_int_equal(dps_store_registration_save(store, &r, &o), DPS_STORE_OK);
    dps_registration_clear(&r);
}

static void test_registration(void **state)
{
    fixture *f = *state;
    dps_registration r;
    dps_operation o;
    save(f->store, "Dev-1", "op1", 10);
    assert_int_equal(dps_store_registration_get(f->store, "dev-1", &r), DPS_STORE_OK);
    assert_string_equal(r.id, "Dev-1");
    assert_string_equal(r.payload, "{\"a\":1}");
    assert_string_equal(r.evidence.tls_signature, "s");
    assert_string_equal(r.evidence.client_version, "cv");
    assert_int_equal(r.evidence.leaf.len, 4);
    assert_int_equal(r.attestation, DPS_ATTEST_TPM);
    assert_int_equal(r.outcome, DPS_OUTCOME_FAILED);
    assert_int_equal(r.error_code, 400208);
    assert_string_equal(r.error_message, "no hub");
    assert_string_equal(r.device_id, "device-Dev-1");
    assert_string_equal(r.payload_out, "{\"b\":2}");
    assert_string_equal(r.initial_twin, "{\"tags\":{}}");
    assert_string_equal(r.tpm_key, "blob");
    assert_int_equal(r.keys[0].len, 4);
    assert_memory_equal(r.keys[1].bytes, "key-2", 5);
    assert_true(r.created_ms == 1 && r.updated_ms == 2 && r.ready_ms == 3);
    dps_registration_clear(&r);
    assert_int_equal(dps_store_operation_get(f->store, "op1", &o), DPS_STORE_OK);
    assert_string_equal(o.registration_id, "Dev-1");
    assert_true(o.created_ms == 10 && o.ready_ms == 15);
    assert_int_equal(dps_store_operation_get(f->store, "op2", &o), DPS_STORE_NOT_FOUND);
    assert_int_equal(dps_store_registration_get(f->store, "dev-2", &r), DPS_STORE_NOT_FOUND);
}

static void test_operations_are_bounded(void **state)
{
    fixture *f = *state;
    dps_operation o;
    char id[16];
    for (int i = 0; i < DPS_STORE_OPERATIONS_MAX + 3; i++) {
        snprintf(id, sizeof(id), "op%d", i);
        save(f->store, i % 2 ? "DEV" : "dev", id, 100 + i);
    }
    save(f->store, "other", "opx", 1);
    for (int i = 0; i < DPS_STORE_OPERATIONS_MAX + 3; i++) {
        snprintf(id, sizeof(id), "op%d", i);
        assert_int_equal(dps_store_operation_get(f->store, id, &o),
                         i < 3 ? DPS_STORE_NOT_FOUND : DPS_STORE_OK);
    }
    assert_int_equal(dps_store_operation_get(f->store, "opx", &o), DPS_STORE_OK);
}

/* An operation id that exists already: the registration must not change either. */
static void test_transaction_is_whole(void **state)
{
    fixture *f = *state;
    dps_registration r = a_registration("dev");
    dps_operation o = {.id = "op", .registration_id = "dev"};
    save(f->store, "first", "op", 1);
    assert_int_equal(dps_store_registration_save(f->store, &r, &o), DPS_STORE_CONFLICT);
    dps_registration_clear(&r);
    assert_int_equal(dps_store_registration_get(f->store, "dev", &r), DPS_STORE_NOT_FOUND);
    save(f->store, "dev", "op2", 2); /* and the store still works */
}

static void test_registration_changes(void **state)
{
    fixture *f = *state;
    dps_registration r;
    dps_operation o;
    save(f->store, "Dev-1", "op1", 10);
    assert_int_equal(dps_store_registration_get(f->store, "dev-1", &r), DPS_STORE_OK);
    snprintf(r.hub, sizeof(r.hub), "other.hub");
    assert_int_equal(dps_store_registration_update(f->store, &r, "not this"), DPS_STORE_STALE);
    assert_int_equal(dps_store_registration_update(f->store, &r, "e"), DPS_STORE_OK);
    dps_registration_clear(&r);
    assert_int_equal(dps_store_registration_get(f->store, "dev-1", &r), DPS_STORE_OK);
    assert_string_equal(r.hub, "other.hub");
    assert_int_equal(dps_store_registration_delete(f->store, "dev-1", "not this"), DPS_STORE_STALE);
    assert_int_equal(dps_store_registration_delete(f->store, "DEV-1", "e"), DPS_STORE_OK);
    assert_int_equal(dps_store_registration_delete(f->store, "dev-1", NULL), DPS_STORE_NOT_FOUND);
    assert_int_equal(dps_store_registration_update(f->store, &r, "e"), DPS_STORE_NOT_FOUND);
    dps_registration_clear(&r);
    assert_int_equal(dps_store_operation_get(f->store, "op1", &o), DPS_STORE_NOT_FOUND);
}

static bool add_up(const dps_registration *r, void *user)
{
    strcat(user, r->id);
    return true;
}

static void test_registration_pages(void **state)
{
    fixture *f = *state;
    char ids[32] = "";
    save(f->store, "b", "1", 1);
    save(f->store, "A", "2", 1);
    save(f->store, "c", "3", 1);
    assert_int_equal(dps_store_registration_each(f->store, "a", add_up, ids), DPS_STORE_OK);
    assert_string_equal(ids, "bc");
}

static dps_enrollment an_individual(const char *id)
{
    dps_enrollment e = {
        .attestation = DPS_ATTEST_SYMMETRIC,
        .enabled = true,
        .iot_edge = true,
        .update_hub = true,
        .allocation = DPS_ALLOCATE_CUSTOM,
        .device_id = "device",
        .webhook_url = "https://127.0.0.1/x",
        .webhook_api_version = "2021-10-01",
        .hub = "h",
        .hubs = strdup("h1 h2"),
        .initial_twin = strdup("{}"),
        .device_information = strdup("{\"k\":1}"),
        .etag = "e1",
        .created_ms = 5,
        .updated_ms = 6,
    };
    snprintf(e.id, sizeof(e.id), "%s", id);
    assert_true(dps_blob_copy("0123456789abcdef", 16, &e.primary));
    return e;
}

static void test_individual(void **state)
{
    fixture *f = *state;
    char holder[DPS_ID_LEN];
    dps_enrollment got;
    dps_enrollment e = an_individual("Dev");
    add_group(f->store, "dev", "cert", DPS_STORE_OK, NULL); /* a group of the same name is another thing */
    assert_int_equal(dps_store_enrollment_add(f->store, &e, NULL), DPS_STORE_OK);
    assert_int_equal(dps_store_enrollment_add(f->store, &e, holder), DPS_STORE_CONFLICT);
    assert_string_equal(holder, "Dev");
    assert_int_equal(dps_store_enrollment_get(f->store, false, "dEV", &got), DPS_STORE_OK);
    assert_false(got.is_group);
    assert_string_equal(got.id, "Dev");
    assert_string_equal(got.device_id, "device");
    assert_int_equal(got.attestation, DPS_ATTEST_SYMMETRIC);
    assert_int_equal(got.allocation, DPS_ALLOCATE_CUSTOM);
    assert_true(got.enabled && got.iot_edge && got.update_hub && !got.migrate_data);
    assert_string_equal(got.webhook_url, "https://127.0.0.1/x");
    assert_string_equal(got.webhook_api_version, "2021-10-01");
    assert_string_equal(got.hubs, "h1 h2");
    assert_string_equal(got.initial_twin, "{}");
    assert_string_equal(got.device_information, "{\"k\":1}");
    assert_true(dps_blob_equal(&got.primary, &e.primary) && got.secondary.len == 0);
    assert_true(got.created_ms == 5 && got.updated_ms == 6);
    dps_enrollment_clear(&got);
    /* updates keep the time of creation and ask for the ETag */
    snprintf(e.etag, sizeof(e.etag), "e2");
    e.created_ms = 99;
    e.enabled = false;
    assert_int_equal(dps_store_enrollment_update(f->store, &e, "e0", NULL), DPS_STORE_STALE);
    assert_int_equal(dps_store_enrollment_update(f->store, &e, "e1", NULL), DPS_STORE_OK);
    assert_int_equal(dps_store_enrollment_get(f->store, false, "dev", &got), DPS_STORE_OK);
    assert_true(got.created_ms == 5 && !got.enabled);
    assert_string_equal(got.etag, "e2");
    dps_enrollment_clear(&got);
    assert_int_equal(dps_store_enrollment_delete(f->store, false, "dev", "e1"), DPS_STORE_STALE);
    assert_int_equal(dps_store_enrollment_delete(f->store, false, "dev", "e2"), DPS_STORE_OK);
    assert_int_equal(dps_store_enrollment_update(f->store, &e, NULL, NULL), DPS_STORE_NOT_FOUND);
    dps_enrollment_clear(&e);
}

/* A signing certificate belongs to one group, be it the primary or the secondary of either. */
static void test_certificate_of_one_group(void **state)
{
    fixture *f = *state;
    char holder[DPS_ID_LEN];
    dps_enrollment b = a_group("b", "cert-b");
    add_group(f->store, "a", "cert-a", DPS_STORE_OK, NULL);
    assert_int_equal(dps_store_enrollment_add(f->store, &b, NULL), DPS_STORE_OK);
    assert_true(dps_blob_copy("cert-a", 6, &b.secondary));
    assert_int_equal(dps_store_enrollment_update(f->store, &b, NULL, holder), DPS_STORE_CONFLICT);
    assert_string_equal(holder, "a");
    dps_enrollment_clear(&b);
    assert_int_equal(dps_store_enrollment_get(f->store, true, "b", &b), DPS_STORE_OK);
    assert_int_equal(b.secondary.len, 0); /* nothing was changed */
    dps_enrollment_clear(&b);
}

static bool count_ca(const dps_ca *ca, void *user)
{
    (void)ca;
    (*(int *)user)++;
    return true;
}

static void test_certificates_and_keys(void **state)
{
    fixture *f = *state;
    int64_t before, after;
    int count = 0;
    dps_ca got, ca = {.name = "Root", .etag = "1", .code = "code", .created_ms = 1, .updated_ms = 2};
    assert_true(dps_blob_copy("der", 3, &ca.certificate));
    assert_int_equal(dps_store_groups_version(f->store, &before), DPS_STORE_OK);
    assert_int_equal(dps_store_ca_save(f->store, &ca, ""), DPS_STORE_NOT_FOUND);
    assert_int_equal(dps_store_ca_save(f->store, &ca, NULL), DPS_STORE_OK);
    assert_int_equal(dps_store_ca_save(f->store, &ca, NULL), DPS_STORE_CONFLICT);
    ca.verified = true;
    assert_int_equal(dps_store_ca_save(f->store, &ca, "2"), DPS_STORE_STALE);
    assert_int_equal(dps_store_ca_save(f->store, &ca, "1"), DPS_STORE_OK);
    assert_int_equal(dps_store_groups_version(f->store, &after), DPS_STORE_OK);
    assert_true(after > before); /* a running server looks again */
    assert_int_equal(dps_store_ca_get(f->store, "root", &got), DPS_STORE_OK);
    assert_true(got.verified);
    assert_string_equal(got.code, "code");
    dps_ca_clear(&got);
    assert_int_equal(dps_store_ca_each(f->store, count_ca, &count), DPS_STORE_OK);
    assert_int_equal(count, 1);
    assert_int_equal(dps_store_ca_delete(f->store, "root", "2"), DPS_STORE_STALE);
    assert_int_equal(dps_store_ca_delete(f->store, "root", NULL), DPS_STORE_OK);
    assert_int_equal(dps_store_ca_delete(f->store, "root", NULL), DPS_STORE_NOT_FOUND);
    dps_ca_clear(&ca);

    dps_service_key key;
    dps_blob secret = {0};
    assert_int_equal(dps_store_service_key_get(f->store, "provisioningserviceowner", &key), DPS_STORE_OK);
    assert_true(key.primary.len == DPS_KEY_SIZE && key.secondary.len == DPS_KEY_SIZE);
    assert_false(dps_blob_equal(&key.primary, &key.secondary));
    dps_service_key_clear(&key);
    assert_int_equal(dps_store_service_key_get(f->store, "nobody", &key), DPS_STORE_NOT_FOUND);
    assert_int_equal(dps_store_tpm_secret(f->store, &secret), DPS_STORE_OK);
    assert_int_equal(secret.len, 32);
    assert_int_equal(dps_store_tpm_root_save(f->store, "dev", &secret), DPS_STORE_OK);
    dps_blob root = {0};
    assert_int_equal(dps_store_tpm_root_get(f->store, "DEV", &root), DPS_STORE_OK);
    assert_true(dps_blob_equal(&root, &secret));
    dps_blob_clear(&root);
    dps_blob_clear(&secret);
    assert_int_equal(dps_store_tpm_root_get(f->store, "other", &root), DPS_STORE_NOT_FOUND);
}

/* It holds keys. */
static void test_private_file(void **state)
{
    fixture *f = *state;
    struct stat st;
    char path[96];
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s%s", f->path, suffixes[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
}

/* A state folder of version 1: its groups and registrations are there afterwards, with the same id scope. */
static void test_migration(void **state)
{
    fixture *f = *state;
    static const char old[] =
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
        "INSERT INTO meta VALUES ('groups_version', 7), ('id_scope', '0neOLD');"
        "CREATE TABLE enrollment_groups (id TEXT PRIMARY KEY COLLATE NOCASE, certificate BLOB NOT NULL "
        "UNIQUE,"
        " hub TEXT NOT NULL, enabled INTEGER NOT NULL, etag TEXT NOT NULL, created_ms INTEGER NOT NULL,"
        " updated_ms INTEGER NOT NULL);"
        "INSERT INTO enrollment_groups VALUES ('Fleet', x'3001', 'hub.old', 0, 'etag', 11, 12);"
        "CREATE TABLE registrations (id TEXT PRIMARY KEY COLLATE NOCASE, group_id TEXT NOT NULL, hub TEXT "
        "NOT NULL,"
        " substatus TEXT NOT NULL, etag TEXT NOT NULL, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT "
        "NULL,"
        " ready_ms INTEGER NOT NULL, payload TEXT, leaf BLOB, tls_version TEXT, tls_cipher TEXT, "
        "tls_signature TEXT,"
        " api_version TEXT, client_version TEXT, transport TEXT);"
        "INSERT INTO registrations VALUES ('Dev', 'Fleet', 'hub.old', 'initialAssignment', 'e', 1, 2, 3, "
        "'{}', x'00',"
        " 'TLSv1.3', 'c', 's', 'v', 'cv', 'mqtt');"
        "CREATE TABLE operations (id TEXT PRIMARY KEY, registration_id TEXT NOT NULL COLLATE NOCASE,"
        " created_ms INTEGER NOT NULL, ready_ms INTEGER NOT NULL);"
        "CREATE TABLE refusals (id TEXT PRIMARY KEY COLLATE NOCASE, at_ms INTEGER NOT NULL, error_code "
        "INTEGER NOT"
        " NULL, message TEXT NOT NULL, leaf BLOB, tls_version TEXT, tls_cipher TEXT, tls_signature TEXT,"
        " api_version TEXT, client_version TEXT, transport TEXT);"
        "PRAGMA user_version = 1;";
    sqlite3 *db = NULL;
    char path[96], scope[DPS_SCOPE_LEN];
    dps_store *store;
    dps_enrollment group;
    dps_registration r;
    dps_service_key key;
    snprintf(path, sizeof(path), "%s/old.db", f->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, old, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    for (int again = 0; again < 2; again++) {
        store = open_store(path);
        assert_int_equal(dps_store_id_scope(store, scope), DPS_STORE_OK);
        assert_string_equal(scope, "0neOLD");
        assert_int_equal(dps_store_enrollment_get(store, true, "fleet", &group), DPS_STORE_OK);
        assert_string_equal(group.hub, "hub.old");
        assert_int_equal(group.attestation, DPS_ATTEST_X509_SIGNING);
        assert_true(!group.enabled && group.update_hub && group.migrate_data && group.created_ms == 11);
        assert_int_equal(group.primary.len, 2);
        dps_enrollment_clear(&group);
        assert_int_equal(dps_store_registration_get(store, "dev", &r), DPS_STORE_OK);
        assert_string_equal(r.device_id, "Dev");
        assert_int_equal(r.outcome, DPS_OUTCOME_ASSIGNED);
        assert_int_equal(r.attestation, DPS_ATTEST_X509_SIGNING);
        dps_registration_clear(&r);
        assert_int_equal(dps_store_service_key_get(store, "enrollmentread", &key), DPS_STORE_OK);
        dps_service_key_clear(&key);
        dps_store_close(&store);
    }
}

static bool count_refusal(const dps_refusal *refusal, void *user)
{
    (void)refusal;
    (*(int *)user)++;
    return true;
}

static void test_refusals(void **state)
{
    fixture *f = *state;
    dps_refusal r = {.message = "no", .error_code = 401002, .evidence = {.tls_version = "TLSv1.2"}};
    for (int i = 0; i < DPS_STORE_REFUSALS_MAX + 5; i++) {
        r.at_ms = 1000 + i;
        snprintf(r.registration_id, sizeof(r.registration_id), "dev%d", i);
        assert_int_equal(dps_store_refusal_save(f->store, &r), DPS_STORE_OK);
    }
    int count = 0;
    assert_int_equal(dps_store_refusal_each(f->store, count_refusal, &count), DPS_STORE_OK);
    assert_int_equal(count, DPS_STORE_REFUSALS_MAX);
    dps_refusal got;
    assert_int_equal(dps_store_refusal_get(f->store, "dev4", &got), DPS_STORE_NOT_FOUND);
    assert_int_equal(dps_store_refusal_get(f->store, "DEV5", &got), DPS_STORE_OK);
    assert_string_equal(got.message, "no");
    assert_int_equal(got.error_code, 401002);
    assert_int_equal(got.evidence.leaf.len, 0);
    assert_string_equal(got.evidence.tls_version, "TLSv1.2");
    dps_refusal_clear(&got);
}

/* What was acknowledged is there after the process is gone without a goodbye. */
static void test_survives_kill(void **state)
{
    fixture *f = *state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dps_store *store = NULL;
        dps_registration r = a_registration("killed");
        const dps_operation o = {.id = "op", .registration_id = "killed"};
        if (dps_store_open(f->path, false, &store, NULL) &&
            dps_store_registration_save(store, &r, &o) == DPS_STORE_OK)
            _exit(0);
        _exit(1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    dps_registration r;
    assert_int_equal(dps_store_registration_get(f->store, "killed", &r), DPS_STORE_OK);
    dps_registration_clear(&r);
}

static void test_open_failures(void **state)
{
    fixture *f = *state;
    char path[96];
    dps_store *store = NULL;
    dps_fail fail;
    snprintf(path, sizeof(path), "%s/missing.db", f->dir);
    assert_false(dps_store_open(path, false, &store, &fail));
    assert_non_null(strstr(fail.text, "cannot open"));
    snprintf(path, sizeof(path), "%s/text.db", f->dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < 200; i++)
        fputs("this is not a database\n", file);
    fclose(file);
    assert_false(dps_store_open(path, false, &store, &fail));
    assert_null(store);
}

static void test_newer_schema(void **state)
{
    fixture *f = *state;
    dps_fail fail;
    sqlite3 *db = NULL;
    dps_store_close(&f->store);
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_false(dps_store_open(f->path, false, &f->store, &fail));
    assert_non_null(strstr(fail.text, "schema version 99"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_scope_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_groups, setup, teardown),
        cmocka_unit_test_setup_teardown(test_group_order_and_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_groups_version, setup, teardown),
        cmocka_unit_test_setup_teardown(test_registration, setup, teardown),
        cmocka_unit_test_setup_teardown(test_operations_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transaction_is_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_registration_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_registration_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_individual, setup, teardown),
        cmocka_unit_test_setup_teardown(test_certificate_of_one_group, setup, teardown),
        cmocka_unit_test_setup_teardown(test_certificates_and_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_private_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_migration, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_survives_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newer_schema, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
