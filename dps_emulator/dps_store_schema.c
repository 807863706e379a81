#include "dps_store_sql.h"

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

enum {
    SCHEMA_VERSION = 2,
    SECRET_SIZE = 32, /* bytes */
};

/* Version 1. A later version adds its step to steps[]; a step is never edited after a release. */
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

/* Version 2: individual enrollments, all kinds of attestation, allocation, the service API's keys. */
static const char schema_2[] =
    "CREATE TABLE enrollments ("
    "  is_group INTEGER NOT NULL, id TEXT NOT NULL COLLATE NOCASE, attestation TEXT NOT NULL,"
    "  primary_material BLOB, secondary_material BLOB, device_id TEXT NOT NULL, enabled INTEGER NOT NULL,"
    "  iot_edge INTEGER NOT NULL, update_hub INTEGER NOT NULL, migrate_data INTEGER NOT NULL,"
    "  allocation TEXT NOT NULL, hub TEXT NOT NULL, hubs TEXT, webhook_url TEXT NOT NULL,"
    "  webhook_api_version TEXT NOT NULL, initial_twin TEXT, device_information TEXT, etag TEXT NOT NULL,"
    "  created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, PRIMARY KEY (is_group, id)) WITHOUT ROWID;"
    "INSERT INTO enrollments SELECT 1, id, 'x509Signing', certificate, NULL, '', enabled, 0, 1, 1, '', hub, "
    "NULL,"
    "  '', '', NULL, NULL, etag, created_ms, updated_ms FROM enrollment_groups;"
    "DROP TABLE enrollment_groups;"
    "CREATE TABLE certificates ("
    "  name TEXT PRIMARY KEY COLLATE NOCASE, certificate BLOB NOT NULL, verified INTEGER NOT NULL,"
    "  code TEXT NOT NULL, etag TEXT NOT NULL, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL)"
    "  WITHOUT ROWID;"
    "CREATE TABLE service_keys ("
    "  name TEXT PRIMARY KEY, primary_key BLOB NOT NULL, secondary_key BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE tpm_roots (id TEXT PRIMARY KEY COLLATE NOCASE, at_ms INTEGER NOT NULL, root BLOB NOT NULL);"
    "CREATE INDEX tpm_roots_by_time ON tpm_roots (at_ms);"
    "CREATE TRIGGER enrollments_added AFTER INSERT ON enrollments WHEN NEW.is_group BEGIN"
    "  UPDATE meta SET value = value + 1 WHERE key = 'groups_version'; END;"
    "CREATE TRIGGER enrollments_changed AFTER UPDATE ON enrollments WHEN NEW.is_group BEGIN"
    "  UPDATE meta SET value = value + 1 WHERE key = 'groups_version'; END;"
    "CREATE TRIGGER enrollments_removed AFTER DELETE ON enrollments WHEN OLD.is_group BEGIN"
    "  UPDATE meta SET value = value + 1 WHERE key = 'groups_version'; END;"
    "CREATE TRIGGER certificates_added AFTER INSERT ON certificates BEGIN"
    "  UPDATE meta SET value = value + 1 WHERE key = 'groups_version'; END;"
    "CREATE TRIGGER certificates_changed AFTER UPDATE ON certificates BEGIN"
    "  UPDATE meta SET value = value + 1 WHERE key = 'groups_version'; END;"
    "CREATE TRIGGER certificates_removed AFTER DELETE ON certificates BEGIN"
    "  UPDATE meta SET value = value + 1 WHERE key = 'groups_version'; END;"
    "ALTER TABLE registrations ADD COLUMN device_id TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE registrations ADD COLUMN attestation TEXT NOT NULL DEFAULT 'x509Signing';"
    "ALTER TABLE registrations ADD COLUMN key_primary BLOB;"
    "ALTER TABLE registrations ADD COLUMN key_secondary BLOB;"
    "ALTER TABLE registrations ADD COLUMN tpm_key TEXT;"
    "ALTER TABLE registrations ADD COLUMN outcome INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE registrations ADD COLUMN error_code INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE registrations ADD COLUMN error_message TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE registrations ADD COLUMN payload_out TEXT;"
    "ALTER TABLE registrations ADD COLUMN initial_twin TEXT;"
    "UPDATE registrations SET device_id = id;"
    "CREATE INDEX registrations_by_device ON registrations (device_id COLLATE NOCASE, updated_ms);"
    "PRAGMA user_version = 2;";

static bool exec(dps_store *store, const char *sql, dps_fail *fail)
{
    if (sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return true;
    return dps_fail_set(fail, DPS_EXIT_FAILED, "the database refuses a command: %s",
                        dps_store_message(store));
}

static bool no_random(dps_fail *fail)
{
    return dps_fail_set(fail, DPS_EXIT_FAILED, "OpenSSL gives no random numbers; check its configuration");
}

static bool step_1(dps_store *store, dps_fail *fail)
{
    char scope[DPS_SCOPE_LEN];
    char sql[80];
    if (!exec(store, schema_1, fail))
        return false;
    if (!dps_random_id_scope(scope))
        return no_random(fail);
    snprintf(sql, sizeof(sql), "INSERT INTO meta VALUES ('id_scope', '%s')", scope);
    return exec(store, sql, fail);
}

/* Inserts a row of a name and @secrets random blobs. */
static bool insert_random(dps_store *store, const char *sql, const char *name, int secrets, dps_fail *fail)
{
    uint8_t random[2][SECRET_SIZE];
    sqlite3_stmt *statement = NULL;
    if (RAND_bytes(random[0], sizeof(random)) != 1)
        return no_random(fail);
    bool ok = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) == SQLITE_OK;
    if (ok) {
        sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
        for (int i = 0; i < secrets; i++)
            sqlite3_bind_blob(statement, 2 + i, random[i], SECRET_SIZE, SQLITE_STATIC);
        ok = sqlite3_step(statement) == SQLITE_DONE;
    }
    if (!ok)
        dps_fail_set(fail, DPS_EXIT_FAILED, "the database refuses a command: %s", dps_store_message(store));
    sqlite3_finalize(statement);
    OPENSSL_cleanse(random, sizeof(random));
    return ok;
}

static bool step_2(dps_store *store, dps_fail *fail)
{
    static const char *const policies[] = {"provisioningserviceowner", "enrollmentread", "enrollmentwrite",
                                           "registrationstatusread", "registrationstatuswrite"};
    bool ok = exec(store, schema_2, fail) &&
              insert_random(store, "INSERT INTO meta VALUES (?1, ?2)", "tpm_secret", 1, fail);
    for (size_t i = 0; ok && i < sizeof(policies) / sizeof(policies[0]); i++)
        ok = insert_random(store, "INSERT INTO service_keys VALUES (?1, ?2, ?3)", policies[i], 2, fail);
    return ok;
}

/* Row n brings version n to n + 1. A row is never changed after a release. */
static bool (*const steps[SCHEMA_VERSION])(dps_store *store, dps_fail *fail) = {step_1, step_2};

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

/* Under one lock, so that two first starts cannot make two id scopes. */
bool dps_store_migrate(dps_store *store, dps_fail *fail)
{
    int version = 0;
    if (!exec(store, "BEGIN IMMEDIATE", fail))
        return false;
    bool ok = user_version(store, &version, fail);
    if (ok && (version > SCHEMA_VERSION || version < 0))
        ok = dps_fail_set(
            fail, DPS_EXIT_FAILED,
            "the database has schema version %d, this program knows %d; use the newer keynym-dps", version,
            SCHEMA_VERSION);
    for (; ok && version < SCHEMA_VERSION; version++)
        ok = steps[version](store, fail);
    if (ok)
        return exec(store, "COMMIT", fail);
    sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    return false;
}
