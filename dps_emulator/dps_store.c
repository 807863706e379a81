#include "dps_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dps_store_sql.h"

enum { BUSY_TIMEOUT_MS = 5000 }; /* an admin command and the server write at the same time */

#define ENROLLMENT_COLUMNS                                                                                   \
    "is_group, id, attestation, primary_material, secondary_material, device_id, enabled, iot_edge, "        \
    "update_hub,"                                                                                            \
    " migrate_data, allocation, hub, hubs, webhook_url, webhook_api_version, initial_twin, "                 \
    "device_information,"                                                                                    \
    " etag, created_ms, updated_ms"
#define REGISTRATION_COLUMNS                                                                                 \
    "id, group_id, hub, substatus, etag, created_ms, updated_ms, ready_ms, payload, leaf, tls_version,"      \
    " tls_cipher, tls_signature, api_version, client_version, transport, device_id, attestation, "           \
    "key_primary,"                                                                                           \
    " key_secondary, tpm_key, outcome, error_code, error_message, payload_out, initial_twin"

const char *const dps_sql_texts[DPS_SQL_COUNT] = {
    [DPS_SQL_BEGIN] = "BEGIN IMMEDIATE",
    [DPS_SQL_COMMIT] = "COMMIT",
    [DPS_SQL_ROLLBACK] = "ROLLBACK",
    [DPS_SQL_META_GET] = "SELECT value FROM meta WHERE key = ?1",
    [DPS_SQL_ENROLLMENT_INSERT] =
        "INSERT INTO enrollments (" ENROLLMENT_COLUMNS ")"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
    [DPS_SQL_ENROLLMENT_UPDATE] =
        "UPDATE enrollments SET attestation = ?3, primary_material = ?4, secondary_material = ?5, device_id "
        "= ?6,"
        " enabled = ?7, iot_edge = ?8, update_hub = ?9, migrate_data = ?10, allocation = ?11, hub = ?12,"
        " hubs = ?13, webhook_url = ?14, webhook_api_version = ?15, initial_twin = ?16, device_information = "
        "?17,"
        " etag = ?18, updated_ms = ?20 WHERE is_group = ?1 AND id = ?2 AND (?21 IS NULL OR etag = ?21)",
    /* ?3 is NULL where a certificate may have several enrollments */
    [DPS_SQL_ENROLLMENT_HOLDER] =
        "SELECT id FROM enrollments WHERE is_group = ?1 AND (id = ?2 COLLATE NOCASE OR (attestation = ?3"
        " AND (primary_material IN (?4, ?5) OR secondary_material IN (?4, ?5)))) ORDER BY id <> ?2 COLLATE "
        "NOCASE"
        " LIMIT 1 OFFSET ?6",
    [DPS_SQL_ENROLLMENT_GET] =
        "SELECT " ENROLLMENT_COLUMNS " FROM enrollments WHERE is_group = ?1 AND id = ?2",
    [DPS_SQL_ENROLLMENT_LIST] =
        "SELECT " ENROLLMENT_COLUMNS " FROM enrollments WHERE is_group = ?1 AND id > ?2 ORDER BY id",
    [DPS_SQL_ENROLLMENT_DELETE] =
        "DELETE FROM enrollments WHERE is_group = ?1 AND id = ?2 AND (?3 IS NULL OR etag = ?3)",
    [DPS_SQL_ENROLLMENT_ENABLE] = "UPDATE enrollments SET enabled = ?3, etag = ?4, updated_ms = ?5"
                                  " WHERE is_group = ?1 AND id = ?2",
    [DPS_SQL_REGISTRATION_SAVE] = "INSERT OR REPLACE INTO registrations (" REGISTRATION_COLUMNS ")"
                                  " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, "
                                  "?15, ?16, ?17, ?18, ?19, ?20, ?21,"
                                  " ?22, ?23, ?24, ?25, ?26)",
    [DPS_SQL_REGISTRATION_GET] = "SELECT " REGISTRATION_COLUMNS " FROM registrations WHERE id = ?1",
    [DPS_SQL_REGISTRATION_BY_DEVICE] =
        "SELECT " REGISTRATION_COLUMNS " FROM registrations"
        " WHERE device_id = ?1 COLLATE NOCASE ORDER BY updated_ms DESC LIMIT 1",
    [DPS_SQL_REGISTRATION_LIST] =
        "SELECT " REGISTRATION_COLUMNS " FROM registrations WHERE id > ?1 ORDER BY id",
    [DPS_SQL_REGISTRATION_DELETE] = "DELETE FROM registrations WHERE id = ?1 AND (?2 IS NULL OR etag = ?2)",
    [DPS_SQL_OPERATION_FORGET] = "DELETE FROM operations WHERE registration_id = ?1",
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
    [DPS_SQL_CA_GET] =
        "SELECT name, certificate, verified, code, etag, created_ms, updated_ms FROM certificates"
        " WHERE name = ?1",
    [DPS_SQL_CA_LIST] =
        "SELECT name, certificate, verified, code, etag, created_ms, updated_ms FROM certificates"
        " ORDER BY name",
    [DPS_SQL_CA_SAVE] = "INSERT OR REPLACE INTO certificates VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [DPS_SQL_CA_DELETE] = "DELETE FROM certificates WHERE name = ?1 AND (?2 IS NULL OR etag = ?2)",
    [DPS_SQL_SERVICE_KEY_GET] = "SELECT name, primary_key, secondary_key FROM service_keys WHERE name = ?1",
    [DPS_SQL_TPM_ROOT_SAVE] = "INSERT OR REPLACE INTO tpm_roots VALUES (?1, ?2, ?3)",
    [DPS_SQL_TPM_ROOT_PRUNE] = "DELETE FROM tpm_roots WHERE rowid IN (SELECT rowid FROM tpm_roots"
                               " ORDER BY at_ms DESC, rowid DESC LIMIT -1 OFFSET ?1)",
    [DPS_SQL_TPM_ROOT_GET] = "SELECT root FROM tpm_roots WHERE id = ?1",
};

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

dps_store_result dps_store_run_one(dps_store *store, sqlite3_stmt *statement)
{
    dps_store_result result = dps_store_run(store, statement);
    if (result == DPS_STORE_OK && sqlite3_changes(store->db) == 0)
        return DPS_STORE_NOT_FOUND;
    return result;
}

dps_store_result dps_store_begin(dps_store *store)
{
    return dps_store_run(store, store->statements[DPS_SQL_BEGIN]);
}

dps_store_result dps_store_end(dps_store *store, dps_store_result result)
{
    if (result == DPS_STORE_OK)
        result = dps_store_run(store, store->statements[DPS_SQL_COMMIT]);
    if (result != DPS_STORE_OK && dps_store_run(store, store->statements[DPS_SQL_ROLLBACK]) != DPS_STORE_OK)
        return DPS_STORE_FAILED;
    return result;
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
    return dps_blob_copy(bytes, (size_t)n, ret_blob);
}

bool dps_store_column_string(sqlite3_stmt *statement, int column, char **ret_text)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    char *copy = text != NULL ? strdup(text) : NULL;
    if (text != NULL && copy == NULL)
        return false;
    *ret_text = copy;
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

/* The database holds keys. SQLite gives its other files the mode of this one. */
static bool make_private(const char *path, dps_fail *fail)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool ok = fd >= 0 && fchmod(fd, 0600) == 0;
    int error = errno;
    if (fd >= 0)
        close(fd);
    return ok || dps_fail_set(fail, DPS_EXIT_FAILED,
                              "cannot open the database \"%s\": %s; check the path and its rights", path,
                              strerror(error));
}

bool dps_store_open(const char *path, bool create, dps_store **ret_store, dps_fail *fail)
{
    dps_store *store = calloc(1, sizeof(*store));
    if (store == NULL)
        return dps_fail_set(fail, DPS_EXIT_FAILED, "out of memory");
    if (create && !make_private(path, fail))
        goto failed;
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
    if (!exec(store,
              "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA trusted_schema=OFF; PRAGMA "
              "secure_delete=ON;",
              fail) ||
        !dps_store_migrate(store, fail) || !prepare_all(store, fail))
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

dps_store_result dps_store_tpm_secret(dps_store *store, dps_blob *ret_secret)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_META_GET];
    dps_store_bind_text(statement, 1, "tpm_secret");
    dps_store_result result = dps_store_step(store, statement);
    if (result == DPS_STORE_OK && !dps_store_column_blob(statement, 0, ret_secret))
        result = DPS_STORE_FAILED;
    dps_store_done(statement);
    return result;
}
