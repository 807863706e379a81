#include "dps_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dps_store_sql.h"

enum {
    SCHEMA_VERSION = 1,
    BUSY_TIMEOUT_MS = 5000, /* an admin command and the server write at the same time */
};

/* Version 1. A later version adds its step to migrate(); a step is never edited after a release. */
static const char schema_1[] =
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "INSERT INTO meta VALUES ('groups_version', 1);"
    "CREATE TABLE enrollment_groups ("
    "  id TEXT PRIMARY KEY COLLATE NOCASE, certificate BLOB NOT NULL UNIQUE, hub TEXT NOT NULL,"
    "  enabled INTEGER NOT NULL, etag TEXT NOT NULL, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT "
    "NULL);"
    "CREATE TABLE registrations ("
    "  id TEXT PRIMARY KEY COLLATE NOCASE, group_id TEXT NOT NULL, hub TEXT NOT NULL, substatus TEXT NOT "
    "NULL,"
    "  etag TEXT NOT NULL, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, ready_ms INTEGER NOT "
    "NULL,"
    "  payload TEXT, leaf BLOB, tls_version TEXT, tls_cipher TEXT, tls_signature TEXT, api_version TEXT,"
    "  client_version TEXT, transport TEXT);"
    "CREATE TABLE operations ("
    "  id TEXT PRIMARY KEY, registration_id TEXT NOT NULL COLLATE NOCASE, created_ms INTEGER NOT NULL,"
    "  ready_ms INTEGER NOT NULL);"
    "CREATE INDEX operations_by_registration ON operations (registration_id, created_ms);"
    "CREATE TABLE refusals ("
    "  id TEXT PRIMARY KEY COLLATE NOCASE, at_ms INTEGER NOT NULL, error_code INTEGER NOT NULL,"
    "  message TEXT NOT NULL, leaf BLOB, tls_version TEXT, tls_cipher TEXT, tls_signature TEXT, api_version "
    "TEXT,"
    "  client_version TEXT, transport TEXT);"
    "CREATE INDEX refusals_by_time ON refusals (at_ms);"
    "CREATE TRIGGER groups_added AFTER INSERT ON enrollment_groups BEGIN"
    "  UPDATE meta SET value = value + 1 WHERE key = 'groups_version'; END;"
    "CREATE TRIGGER groups_changed AFTER UPDATE ON enrollment_groups BEGIN"
    "  UPDATE meta SET value = value + 1 WHERE key = 'groups_version'; END;"
    "CREATE TRIGGER groups_removed AFTER DELETE ON enrollment_groups BEGIN"
    "  UPDATE meta SET value = value + 1 WHERE key = 'groups_version'; END;"
    "PRAGMA user_version = 1;";

const char *const dps_sql_texts[DPS_SQL_COUNT] = {
    [DPS_SQL_BEGIN] = "BEGIN IMMEDIATE",
    [DPS_SQL_COMMIT] = "COMMIT",
    [DPS_SQL_ROLLBACK] = "ROLLBACK",
    [DPS_SQL_META_GET] = "SELECT value FROM meta WHERE key = ?1",
    [DPS_SQL_GROUP_INSERT] = "INSERT INTO enrollment_groups (id, certificate, hub, enabled, etag, created_ms,"
                             " updated_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [DPS_SQL_GROUP_HOLDER] = "SELECT id FROM enrollment_groups WHERE id = ?1 OR certificate = ?2",
    [DPS_SQL_GROUP_GET] = "SELECT id, certificate, hub, enabled, etag, created_ms, updated_ms"
                          " FROM enrollment_groups WHERE id = ?1",
    [DPS_SQL_GROUP_LIST] = "SELECT id, certificate, hub, enabled, etag, created_ms, updated_ms"
                           " FROM enrollment_groups ORDER BY id",
    [DPS_SQL_GROUP_DELETE] = "DELETE FROM enrollment_groups WHERE id = ?1",
    [DPS_SQL_GROUP_ENABLE] =
        "UPDATE enrollment_groups SET enabled = ?2, etag = ?3, updated_ms = ?4 WHERE id = ?1",
    [DPS_SQL_REGISTRATION_SAVE] =
        "INSERT OR REPLACE INTO registrations (id, group_id, hub, substatus, etag, created_ms, updated_ms,"
        " ready_ms, payload, leaf, tls_version, tls_cipher, tls_signature, api_version, client_version, "
        "transport)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    [DPS_SQL_REGISTRATION_GET] =
        "SELECT id, group_id, hub, substatus, etag, created_ms, updated_ms, ready_ms, payload, leaf, "
        "tls_version,"
        " tls_cipher, tls_signature, api_version, client_version, transport FROM registrations WHERE id = ?1",
    [DPS_SQL_REGISTRATION_LIST] =
        "SELECT id, group_id, hub, substatus, etag, created_ms, updated_ms, ready_ms, payload, leaf, "
        "tls_version,"
        " tls_cipher, tls_signature, api_version, client_version, transport FROM registrations ORDER BY id",
    [DPS_SQL_OPERATION_ADD] =
        "INSERT INTO operations (id, registration_id, created_ms, ready_ms) VALUES (?1, ?2, ?3, ?4)",
    [DPS_SQL_OPERATION_PRUNE] =
        "DELETE FROM operations WHERE registration_id = ?1 AND id NOT IN (SELECT id FROM operations"
        " WHERE registration_id = ?1 ORDER BY created_ms DESC, rowid DESC LIMIT ?2)",
    [DPS_SQL_OPERATION_GET] =
        "SELECT id, registration_id, created_ms, ready_ms FROM operations WHERE id = ?1",
    [DPS_SQL_REFUSAL_SAVE] =
        "INSERT OR REPLACE INTO refusals (id, at_ms, error_code, message, leaf, tls_version, tls_cipher,"
        " tls_signature, api_version, client_version, transport)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    [DPS_SQL_REFUSAL_PRUNE] = "DELETE FROM refusals WHERE rowid IN (SELECT rowid FROM refusals"
                              " ORDER BY at_ms DESC, rowid DESC LIMIT -1 OFFSET ?1)",
    [DPS_SQL_REFUSAL_GET] =
        "SELECT id, at_ms, error_code, message, leaf, tls_version, tls_cipher, tls_signature,"
        " api_version, client_version, transport FROM refusals WHERE id = ?1",
    [DPS_SQL_REFUSAL_LIST] =
        "SELECT id, at_ms, error_code, message, leaf, tls_version, tls_cipher, tls_signature,"
        " api_version, client_version, transport FROM refusals ORDER BY id",
};

void dps_blob_clear(dps_blob *blob)
{
    free(blob->bytes);
    *blob = (dps_blob){0};
}

dps_store_result dps_store_step(dps_store *store, sqlite3_stmt *statement)
{
    (void)store;
    switch (sqlite3_step(statement)) { /* SQLite's numbers, not an enum of ours */
    case SQLITE_ROW:
        return DPS_STORE_OK;
    case SQLITE_DONE:
        return DPS_STORE_NOT_FOUND;
    case SQLITE_CONSTRAINT:
        return DPS_STORE_CONFLICT;
    default:
        return DPS_STORE_FAILED;
    }
}

void dps_store_done(sqlite3_stmt *statement)
{
    sqlite3_reset(statement); /* repeats the error of the last step, which was reported there */
    sqlite3_clear_bindings(statement);
}

dps_store_result dps_store_run(dps_store *store, sqlite3_stmt *statement)
{
    dps_store_result result = dps_store_step(store, statement);
    dps_store_done(statement);
    return result == DPS_STORE_NOT_FOUND ? DPS_STORE_OK : result; /* no row: it ran to its end */
}

/* A binding fails only when out of memory; the statement then fails at its step with NULL for NOT NULL. */
void dps_store_bind_text(sqlite3_stmt *statement, int parameter, const char *text)
{
    if (text != NULL)
        sqlite3_bind_text(statement, parameter, text, -1, SQLITE_STATIC);
    else
        sqlite3_bind_null(statement, parameter);
}

void dps_store_bind_blob(sqlite3_stmt *statement, int parameter, const dps_blob *blob)
{
    if (blob->len > 0)
        sqlite3_bind_blob64(statement, parameter, blob->bytes, blob->len, SQLITE_STATIC);
    else
        sqlite3_bind_null(statement, parameter);
}

void dps_store_column_text(sqlite3_stmt *statement, int column, char *out, size_t cap)
{
    const unsigned char *text = sqlite3_column_text(statement, column);
    snprintf(out, cap, "%s", text != NULL ? (const char *)text : "");
}

bool dps_store_column_blob(sqlite3_stmt *statement, int column, dps_blob *ret_blob)
{
    const void *bytes = sqlite3_column_blob(statement, column);
    int n = sqlite3_column_bytes(statement, column);
    if (bytes == NULL || n <= 0) {
        *ret_blob = (dps_blob){0};
        return true;
    }
    uint8_t *copy = malloc((size_t)n);
    if (copy == NULL)
        return false;
    memcpy(copy, bytes, (size_t)n);
    *ret_blob = (dps_blob){copy, (size_t)n};
    return true;
}

const char *dps_store_message(const dps_store *store)
{
    return sqlite3_errmsg(store->db);
}

static bool exec(dps_store *store, const char *sql, dps_fail *fail)
{
    if (sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return true;
    return dps_fail_set(fail, DPS_EXIT_FAILED, "the database refuses a command: %s",
                        dps_store_message(store));
}

static bool user_version(dps_store *store, int *ret_version, dps_fail *fail)
{
    sqlite3_stmt *statement = NULL;
    bool ok = sqlite3_prepare_v2(store->db, "PRAGMA user_version", -1, &statement, NULL) == SQLITE_OK &&
              sqlite3_step(statement) == SQLITE_ROW;
    if (ok)
        *ret_version = sqlite3_column_int(statement, 0);
    else
        dps_fail_set(fail, DPS_EXIT_FAILED, "the database cannot be read: %s", dps_store_message(store));
    sqlite3_finalize(statement);
    return ok;
}

/* Creates what a new database needs, under one lock, so that two first starts cannot make two id scopes. */
static bool migrate(dps_store *store, dps_fail *fail)
{
    int version = 0;
    if (!exec(store, "BEGIN IMMEDIATE", fail))
        return false;
    bool ok = user_version(store, &version, fail);
    if (ok && version > SCHEMA_VERSION)
        ok = dps_fail_set(
            fail, DPS_EXIT_FAILED,
            "the database has schema version %d, this program knows %d; use the newer keynym-dps", version,
            SCHEMA_VERSION);
    if (ok && version < 1) {
        char scope[DPS_SCOPE_LEN];
        char sql[80];
        ok = exec(store, schema_1, fail);
        if (ok && !dps_random_id_scope(scope))
            ok = dps_fail_set(fail, DPS_EXIT_FAILED,
                              "OpenSSL gives no random numbers; check its configuration");
        if (ok) {
            snprintf(sql, sizeof(sql), "INSERT INTO meta VALUES ('id_scope', '%s')", scope);
            ok = exec(store, sql, fail);
        }
    }
    if (ok)
        return exec(store, "COMMIT", fail);
    sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    return false;
}

static bool prepare_all(dps_store *store, dps_fail *fail)
{
    for (int i = 0; i < DPS_SQL_COUNT; i++) {
        if (sqlite3_prepare_v3(store->db, dps_sql_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &store->statements[i], NULL) != SQLITE_OK)
            return dps_fail_set(fail, DPS_EXIT_FAILED, "the database does not have the expected tables: %s",
                                dps_store_message(store));
    }
    return true;
}

bool dps_store_open(const char *path, bool create, dps_store **ret_store, dps_fail *fail)
{
    dps_store *store = calloc(1, sizeof(*store));
    if (store == NULL)
        return dps_fail_set(fail, DPS_EXIT_FAILED, "out of memory");
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
    if (sqlite3_open_v2(path, &store->db, flags, NULL) != SQLITE_OK) {
        dps_fail_set(fail, DPS_EXIT_FAILED,
                     "cannot open the database \"%s\": %s; check the path and its rights", path,
                     store->db != NULL ? dps_store_message(store) : "out of memory");
        goto failed;
    }
    sqlite3_extended_result_codes(store->db, 0);
    sqlite3_busy_timeout(store->db, BUSY_TIMEOUT_MS);
    /* synchronous=NORMAL: with WAL a commit survives the end of the process; only a power cut may lose the
     * last. */
    if (!exec(store, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA trusted_schema=OFF;",
              fail) ||
        !migrate(store, fail) || !prepare_all(store, fail))
        goto failed;
    *ret_store = store;
    return true;
failed:
    dps_store_close(&store);
    return false;
}

void dps_store_close(dps_store **store)
{
    if (*store == NULL)
        return;
    for (int i = 0; i < DPS_SQL_COUNT; i++)
        sqlite3_finalize((*store)->statements[i]);
    sqlite3_close((*store)->db);
    free(*store);
    *store = NULL;
}

dps_store_result dps_store_id_scope(dps_store *store, char ret_scope[DPS_SCOPE_LEN])
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_META_GET];
    dps_store_bind_text(statement, 1, "id_scope");
    dps_store_result result = dps_store_step(store, statement);
    if (result == DPS_STORE_OK)
        dps_store_column_text(statement, 0, ret_scope, DPS_SCOPE_LEN);
    dps_store_done(statement);
    return result;
}

dps_store_result dps_store_groups_version(dps_store *store, int64_t *ret_version)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_META_GET];
    dps_store_bind_text(statement, 1, "groups_version");
    dps_store_result result = dps_store_step(store, statement);
    if (result == DPS_STORE_OK)
        *ret_version = sqlite3_column_int64(statement, 0);
    dps_store_done(statement);
    return result;
}
