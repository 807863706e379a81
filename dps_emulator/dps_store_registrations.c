#include "dps_store.h"

#include <stdlib.h>
#include <string.h>

#include "dps_store_sql.h"

void dps_registration_clear(dps_registration *registration)
{
    free(registration->payload);
    dps_blob_clear(&registration->evidence.leaf);
    *registration = (dps_registration){0};
}

void dps_refusal_clear(dps_refusal *refusal)
{
    dps_blob_clear(&refusal->evidence.leaf);
    *refusal = (dps_refusal){0};
}

static void bind_evidence(sqlite3_stmt *statement, int first, const dps_evidence *evidence)
{
    dps_store_bind_blob(statement, first, &evidence->leaf);
    dps_store_bind_text(statement, first + 1, evidence->tls_version);
    dps_store_bind_text(statement, first + 2, evidence->tls_cipher);
    dps_store_bind_text(statement, first + 3, evidence->tls_signature);
    dps_store_bind_text(statement, first + 4, evidence->api_version);
    dps_store_bind_text(statement, first + 5, evidence->client_version);
    dps_store_bind_text(statement, first + 6, evidence->transport);
}

static bool read_evidence(sqlite3_stmt *statement, int first, dps_evidence *ret)
{
    if (!dps_store_column_blob(statement, first, &ret->leaf))
        return false;
    dps_store_column_text(statement, first + 1, ret->tls_version, sizeof(ret->tls_version));
    dps_store_column_text(statement, first + 2, ret->tls_cipher, sizeof(ret->tls_cipher));
    dps_store_column_text(statement, first + 3, ret->tls_signature, sizeof(ret->tls_signature));
    dps_store_column_text(statement, first + 4, ret->api_version, sizeof(ret->api_version));
    dps_store_column_text(statement, first + 5, ret->client_version, sizeof(ret->client_version));
    dps_store_column_text(statement, first + 6, ret->transport, sizeof(ret->transport));
    return true;
}

static dps_store_result save_row(dps_store *store, const dps_registration *registration)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_REGISTRATION_SAVE];
    dps_store_bind_text(statement, 1, registration->id);
    dps_store_bind_text(statement, 2, registration->group_id);
    dps_store_bind_text(statement, 3, registration->hub);
    dps_store_bind_text(statement, 4, registration->substatus);
    dps_store_bind_text(statement, 5, registration->etag);
    sqlite3_bind_int64(statement, 6, registration->created_ms);
    sqlite3_bind_int64(statement, 7, registration->updated_ms);
    sqlite3_bind_int64(statement, 8, registration->ready_ms);
    dps_store_bind_text(statement, 9, registration->payload);
    bind_evidence(statement, 10, &registration->evidence);
    return dps_store_run(store, statement);
}

static dps_store_result add_operation(dps_store *store, const dps_operation *operation)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_OPERATION_ADD];
    dps_store_bind_text(statement, 1, operation->id);
    dps_store_bind_text(statement, 2, operation->registration_id);
    sqlite3_bind_int64(statement, 3, operation->created_ms);
    sqlite3_bind_int64(statement, 4, operation->ready_ms);
    dps_store_result result = dps_store_run(store, statement);
    if (result != DPS_STORE_OK)
        return result;
    statement = store->statements[DPS_SQL_OPERATION_PRUNE];
    dps_store_bind_text(statement, 1, operation->registration_id);
    sqlite3_bind_int(statement, 2, DPS_STORE_OPERATIONS_MAX);
    return dps_store_run(store, statement);
}

/* Ends the transaction that DPS_SQL_BEGIN opened: commits after OK, else rolls back. */
static dps_store_result end_transaction(dps_store *store, dps_store_result result)
{
    if (result == DPS_STORE_OK)
        result = dps_store_run(store, store->statements[DPS_SQL_COMMIT]);
    if (result != DPS_STORE_OK && dps_store_run(store, store->statements[DPS_SQL_ROLLBACK]) != DPS_STORE_OK)
        return DPS_STORE_FAILED;
    return result;
}

dps_store_result dps_store_registration_save(dps_store *store, const dps_registration *registration,
                                             const dps_operation *operation)
{
    dps_store_result result = dps_store_run(store, store->statements[DPS_SQL_BEGIN]);
    if (result != DPS_STORE_OK)
        return result;
    result = save_row(store, registration);
    if (result == DPS_STORE_OK)
        result = add_operation(store, operation);
    return end_transaction(store, result);
}

/* Columns of DPS_SQL_REGISTRATION_GET and _LIST. */
static bool read_registration(sqlite3_stmt *statement, dps_registration *ret)
{
    dps_registration r = {0};
    const char *payload = (const char *)sqlite3_column_text(statement, 8);
    if (payload != NULL && (r.payload = strdup(payload)) == NULL)
        return false;
    if (!read_evidence(statement, 9, &r.evidence)) {
        free(r.payload);
        return false;
    }
    dps_store_column_text(statement, 0, r.id, sizeof(r.id));
    dps_store_column_text(statement, 1, r.group_id, sizeof(r.group_id));
    dps_store_column_text(statement, 2, r.hub, sizeof(r.hub));
    dps_store_column_text(statement, 3, r.substatus, sizeof(r.substatus));
    dps_store_column_text(statement, 4, r.etag, sizeof(r.etag));
    r.created_ms = sqlite3_column_int64(statement, 5);
    r.updated_ms = sqlite3_column_int64(statement, 6);
    r.ready_ms = sqlite3_column_int64(statement, 7);
    *ret = r;
    return true;
}

dps_store_result dps_store_registration_get(dps_store *store, const char *id,
                                            dps_registration *ret_registration)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_REGISTRATION_GET];
    dps_store_bind_text(statement, 1, id);
    dps_store_result result = dps_store_step(store, statement);
    if (result == DPS_STORE_OK && !read_registration(statement, ret_registration))
        result = DPS_STORE_FAILED;
    dps_store_done(statement);
    return result;
}

dps_store_result dps_store_registration_each(dps_store *store, bool (*each)(const dps_registration *, void *),
                                             void *user)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_REGISTRATION_LIST];
    dps_store_result result;
    bool more = true;
    while (more && (result = dps_store_step(store, statement)) == DPS_STORE_OK) {
        dps_registration registration;
        if (!read_registration(statement, &registration)) {
            result = DPS_STORE_FAILED;
            break;
        }
        more = each(&registration, user);
        dps_registration_clear(&registration);
    }
    dps_store_done(statement);
    return result == DPS_STORE_NOT_FOUND ? DPS_STORE_OK : result;
}

dps_store_result dps_store_operation_get(dps_store *store, const char *id, dps_operation *ret_operation)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_OPERATION_GET];
    dps_store_bind_text(statement, 1, id);
    dps_store_result result = dps_store_step(store, statement);
    if (result == DPS_STORE_OK) {
        dps_store_column_text(statement, 0, ret_operation->id, sizeof(ret_operation->id));
        dps_store_column_text(statement, 1, ret_operation->registration_id,
                              sizeof(ret_operation->registration_id));
        ret_operation->created_ms = sqlite3_column_int64(statement, 2);
        ret_operation->ready_ms = sqlite3_column_int64(statement, 3);
    }
    dps_store_done(statement);
    return result;
}

dps_store_result dps_store_refusal_save(dps_store *store, const dps_refusal *refusal)
{
    dps_store_result result = dps_store_run(store, store->statements[DPS_SQL_BEGIN]);
    if (result != DPS_STORE_OK)
        return result;
    sqlite3_stmt *statement = store->statements[DPS_SQL_REFUSAL_SAVE];
    dps_store_bind_text(statement, 1, refusal->registration_id);
    sqlite3_bind_int64(statement, 2, refusal->at_ms);
    sqlite3_bind_int(statement, 3, refusal->error_code);
    dps_store_bind_text(statement, 4, refusal->message);
    bind_evidence(statement, 5, &refusal->evidence);
    result = dps_store_run(store, statement);
    if (result == DPS_STORE_OK) {
        statement = store->statements[DPS_SQL_REFUSAL_PRUNE];
        sqlite3_bind_int(statement, 1, DPS_STORE_REFUSALS_MAX);
        result = dps_store_run(store, statement);
    }
    return end_transaction(store, result);
}

/* Columns of DPS_SQL_REFUSAL_GET and _LIST. */
static bool read_refusal(sqlite3_stmt *statement, dps_refusal *ret)
{
    dps_refusal r = {0};
    if (!read_evidence(statement, 4, &r.evidence))
        return false;
    dps_store_column_text(statement, 0, r.registration_id, sizeof(r.registration_id));
    r.at_ms = sqlite3_column_int64(statement, 1);
    r.error_code = sqlite3_column_int(statement, 2);
    dps_store_column_text(statement, 3, r.message, sizeof(r.message));
    *ret = r;
    return true;
}

dps_store_result dps_store_refusal_get(dps_store *store, const char *id, dps_refusal *ret_refusal)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_REFUSAL_GET];
    dps_store_bind_text(statement, 1, id);
    dps_store_result result = dps_store_step(store, statement);
    if (result == DPS_STORE_OK && !read_refusal(statement, ret_refusal))
        result = DPS_STORE_FAILED;
    dps_store_done(statement);
    return result;
}

dps_store_result dps_store_refusal_each(dps_store *store, bool (*each)(const dps_refusal *, void *),
                                        void *user)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_REFUSAL_LIST];
    dps_store_result result;
    bool more = true;
    while (more && (result = dps_store_step(store, statement)) == DPS_STORE_OK) {
        dps_refusal refusal;
        if (!read_refusal(statement, &refusal)) {
            result = DPS_STORE_FAILED;
            break;
        }
        more = each(&refusal, user);
        dps_refusal_clear(&refusal);
    }
    dps_store_done(statement);
    return result == DPS_STORE_NOT_FOUND ? DPS_STORE_OK : result;
}
