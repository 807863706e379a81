/* Units:     column and parameter numbers are SQLite's: parameters from 1, columns from 0.
 * Ownership: statements belong to the store and are reset by dps_store_done().
 * Errors:    as in dps_store.h.
 * Threads:   as in dps_store.h.
 * Spec:      private to dps_store*.c: the prepared statements, one row each. */
#ifndef DPS_STORE_SQL_H
#define DPS_STORE_SQL_H

#include <sqlite3.h>

#include "dps_store.h"

typedef enum dps_sql {
    DPS_SQL_BEGIN,
    DPS_SQL_COMMIT,
    DPS_SQL_ROLLBACK,
    DPS_SQL_META_GET,
    DPS_SQL_ENROLLMENT_INSERT,
    DPS_SQL_ENROLLMENT_UPDATE,
    DPS_SQL_ENROLLMENT_HOLDER,
    DPS_SQL_ENROLLMENT_GET,
    DPS_SQL_ENROLLMENT_LIST,
    DPS_SQL_ENROLLMENT_DELETE,
    DPS_SQL_ENROLLMENT_ENABLE,
    DPS_SQL_REGISTRATION_SAVE,
    DPS_SQL_REGISTRATION_GET,
    DPS_SQL_REGISTRATION_BY_DEVICE,
    DPS_SQL_REGISTRATION_LIST,
    DPS_SQL_REGISTRATION_DELETE,
    DPS_SQL_OPERATION_FORGET,
    DPS_SQL_OPERATION_ADD,
    DPS_SQL_OPERATION_PRUNE,
    DPS_SQL_OPERATION_GET,
    DPS_SQL_REFUSAL_SAVE,
    DPS_SQL_REFUSAL_PRUNE,
    DPS_SQL_REFUSAL_GET,
    DPS_SQL_REFUSAL_LIST,
    DPS_SQL_CA_GET,
    DPS_SQL_CA_LIST,
    DPS_SQL_CA_SAVE,
    DPS_SQL_CA_DELETE,
    DPS_SQL_SERVICE_KEY_GET,
    DPS_SQL_TPM_ROOT_SAVE,
    DPS_SQL_TPM_ROOT_PRUNE,
    DPS_SQL_TPM_ROOT_GET,
    DPS_SQL_COUNT,
} dps_sql;

struct dps_store {
    sqlite3 *db;
    sqlite3_stmt *statements[DPS_SQL_COUNT];
};

extern const char *const dps_sql_texts[DPS_SQL_COUNT];

/* Runs a statement that returns no row. CONFLICT for a violated constraint. */
DPS_MUST_CHECK dps_store_result dps_store_run(dps_store *store, sqlite3_stmt *statement);
/* Fetches the first or next row: OK, NOT_FOUND at the end, FAILED. */
DPS_MUST_CHECK dps_store_result dps_store_step(dps_store *store, sqlite3_stmt *statement);
void dps_store_done(sqlite3_stmt *statement);

/* Runs a change of one row: NOT_FOUND when there was none. */
DPS_MUST_CHECK dps_store_result dps_store_run_one(dps_store *store, sqlite3_stmt *statement);
DPS_MUST_CHECK dps_store_result dps_store_begin(dps_store *store);
/* Ends what dps_store_begin() began: commits after OK, else rolls back. Returns @result, or FAILED. */
DPS_MUST_CHECK dps_store_result dps_store_end(dps_store *store, dps_store_result result);

/* dps_store_schema.c: brings the database to the newest version. */
DPS_MUST_CHECK bool dps_store_migrate(dps_store *store, dps_fail *fail);

void dps_store_bind_text(sqlite3_stmt *statement, int parameter, const char *text);
void dps_store_bind_blob(sqlite3_stmt *statement, int parameter, const dps_blob *blob);
/* @ret_text: a copy, NULL for NULL. */
DPS_MUST_CHECK bool dps_store_column_string(sqlite3_stmt *statement, int column, char **ret_text);
void dps_store_column_text(sqlite3_stmt *statement, int column, char *out, size_t cap);
DPS_MUST_CHECK bool dps_store_column_blob(sqlite3_stmt *statement, int column, dps_blob *ret_blob);

#endif
