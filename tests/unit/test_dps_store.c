#include "dps_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sqlite3.h>
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

static dps_group a_group(const char *id, const char *bytes)
{
    dps_group group = {
        .enabled = true, .created_ms = 1000, .updated_ms = 1000, .hub = "hub.test", .etag = "e1"};
    snprintf(group.id, sizeof(group.id), "%s", id);
    group.certificate = (dps_blob){(uint8_t *)strdup(bytes), strlen(bytes)};
    return group;
}

static void add_group(dps_store *store, const char *id, const char *bytes, dps_store_result expected,
                      char *ret_holder)
{
    dps_group group = a_group(id, bytes);
    assert_int_equal(dps_store_group_add(store, &group, ret_holder), expected);
    dps_group_clear(&group);
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
    dps_group group;
    add_group(f->store, "Group-1", "cert1", DPS_STORE_OK, NULL);
    add_group(f->store, "group-1", "cert2", DPS_STORE_CONFLICT, holder); /* ids have no case */
    assert_string_equal(holder, "Group-1");
    add_group(f->store, "other", "cert1", DPS_STORE_CONFLICT, holder);
    assert_string_equal(holder, "Group-1");
    assert_int_equal(dps_store_group_get(f->store, "GROUP-1", &group), DPS_STORE_OK);
    assert_string_equal(group.id, "Group-1");
    assert_string_equal(group.hub, "hub.test");
    assert_true(group.enabled);
    assert_int_equal(group.certificate.len, 5);
    assert_memory_equal(group.certificate.bytes, "cert1", 5);
    dps_group_clear(&group);
    assert_int_equal(dps_store_group_enable(f->store, "group-1", false), DPS_STORE_OK);
    assert_int_equal(dps_store_group_get(f->store, "group-1", &group), DPS_STORE_OK);
    assert_false(group.enabled);
    assert_string_not_equal(group.etag, "e1");
    dps_group_clear(&group);
    assert_int_equal(dps_store_group_delete(f->store, "group-1"), DPS_STORE_OK);
    assert_int_equal(dps_store_group_get(f->store, "group-1", &group), DPS_STORE_NOT_FOUND);
    assert_int_equal(dps_store_group_delete(f->store, "group-1"), DPS_STORE_NOT_FOUND);
    assert_int_equal(dps_store_group_enable(f->store, "group-1", true), DPS_STORE_NOT_FOUND);
}

static bool append_id(const dps_group *group, void *user)
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
    assert_int_equal(dps_store_group_each(f->store, append_id, ids), DPS_STORE_OK);
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
    assert_int_equal(dps_store_group_enable(other, "g", false), DPS_STORE_OK);
    assert_int_equal(dps_store_groups_version(f->store, &version[2]), DPS_STORE_OK);
    assert_int_equal(dps_store_group_delete(other, "g"), DPS_STORE_OK);
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
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_survives_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newer_schema, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
