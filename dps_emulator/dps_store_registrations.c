#include "dps_store.h"

#include <stdlib.h>
#include <string.h>

#include "dps_store_sql.h"

void dps_registration_clear(dps_registration *registration)
{
    free(registration->payload);
    free(registration->payload_out);
    free(registration->initial_twin);
    free(registration->tpm_key);
    for (size_t i = 0; i < DPS_DEVICE_KEYS; i++)
        dps_blob_clear(&registration->keys[i]);
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
    dps_store_bind_text(statement, 17, registration->device_id);
    dps_store_bind_text(statement, 18, dps_attestation_name(registration->attestation));
    dps_store_bind_blob(statement, 19, &registration->keys[0]);
    dps_store_bind_blob(statement, 20, &registration->keys[1]);
    dps_store_bind_text(statement, 21, registration->tpm_key);
    sqlite3_bind_int(statement, 22, (int)registration->outcome);
    sqlite3_bind_int(statement, 23, registration->error_code);
    dps_store_bind_text(statement, 24, registration->error_message);
    dps_store_bind_text(statement, 25, registration->payload_out);
    dps_store_bind_text(statement, 26, registration->initial_twin);
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

dps_store_result dps_store_registration_save(dps_store *store, const dps_registration *registration,
                                             const dps_operation *operation)
{
    dps_store_result result = dps_store_begin(store);
    if (result != DPS_STORE_OK)
        return result;
    result = save_row(store, registration);
    if (result == DPS_STORE_OK)
        result = add_operation(store, operation);
    return dps_store_end(store, result);
}

/* The columns after the evidence. */
static bool read_assignment(sqlite3_stmt *statement, dps_registration *r)
{
    char attestation[32];
    int outcome = sqlite3_column_int(statement, 21);
    dps_store_column_text(statement, 16, r->device_id, sizeof(r->device_id));
    dps_store_column_text(statement, 17, attestation, sizeof(attestation));
    r->error_code = sqlite3_column_int(statement, 22);
    dps_store_column_text(statement, 23, r->error_message, sizeof(r->error_message));
    if (outcome < 0 || outcome >= DPS_OUTCOME_COUNT)
        return false;
    r->outcome = (dps_outcome)outcome;
    return dps_attestation_parse(attestation, &r->attestation) &&
           dps_store_column_blob(statement, 18, &r->keys[0]) &&
           dps_store_column_blob(statement, 19, &r->keys[1]) &&
           dps_store_column_string(statement, 20, &r->tpm_key) &&
           dps_store_column_string(statement, 24, &r->payload_out) &&
           dps_store_column_string(statement, 25, &r->initial_twin);
}

/* Columns of DPS_SQL_REGISTRATION_GET and _LIST. */
static bool read_registration(sqlite3_stmt *statement, dps_registration *ret)
{
    dps_registration r = {0};
    dps_store_column_text(statement, 0, r.id, sizeof(r.id));
    dps_store_column_text(statement, 1, r.group_id, sizeof(r.group_id));
    dps_store_column_text(statement, 2, r.hub, sizeof(r.hub));
    dps_store_column_text(statement, 3, r.substatus, sizeof(r.substatus));
    dps_store_column_text(statement, 4, r.etag, sizeof(r.etag));
    r.created_ms = sqlite3_column_int64(statement, 5);
    r.updated_ms = sqlite3_column_int64(statement, 6);
    r.ready_ms = sqlite3_column_int64(statement, 7);
    if (!dps_store_column_string(statement, 8, &r.payload) || !read_evidence(statement, 9, &r.evidence) ||
        !read_assignment(statement, &r)) {
        dps_registration_clear(&r);
        return false;
    }
    *ret = r;
    return true;
}

/* After a change that met no row: which of the two it was. */
static dps_store_result missing_or_stale(dps_store *store, const char *id)
{
    dps_registration found;
    dps_store_result result = dps_store_registration_get(store, id, &found);
    if (result != DPS_STORE_OK)
        return result;
    dps_registration_clear(&found);
    return DPS_STORE_STALE;
}

dps_store_result dps_store_registration_update(dps_store *store, const dps_registration *registration,
                                               const char *etag)
{
    dps_registration before;
    dps_store_result result = dps_store_begin(store);
    if (result != DPS_STORE_OK)
        return result;
    result = dps_store_registration_get(store, registration->id, &before);
    if (result == DPS_STORE_OK) {
        result = strcmp(before.etag, etag) == 0 ? save_row(store, registration) : DPS_STORE_STALE;
        dps_registration_clear(&before);
    }
    return dps_store_end(store, result);
}

dps_store_result dps_store_registration_delete(dps_store *store, const char *id, const char *if_match)
{
    dps_store_result result = dps_store_begin(store);
    if (result != DPS_STORE_OK)
        return result;
    sqlite3_stmt *statement = store->statements[DPS_SQL_REGISTRATION_DELETE];
    dps_store_bind_text(statement, 1, id);
    dps_store_bind_text(statement, 2, if_match);
    result = dps_store_run_one(store, statement);
    if (result == DPS_STORE_NOT_FOUND)
        result = missing_or_stale(store, id);
    if (result == DPS_STORE_OK) {
        statement = store->statements[DPS_SQL_OPERATION_FORGET];
        dps_store_bind_text(statement, 1, id);
        result = dps_store_run(store, statement);
    }
    return dps_store_end(store, result);
}

/* The one row of a statement that looks for @key. */
static dps_store_result get_one(dps_store *store, dps_sql sql, const char *key,
                                dps_registration *ret_registration)
{
    sqlite3_stmt *statement = store->statements[sql];
    dps_store_bind_text(statement, 1, key);
    dps_store_result result = dps_store_step(store, statement);
    if (result == DPS_STORE_OK && !read_registration(statement, ret_registration))
        result = DPS_STORE_FAILED;
    dps_store_done(statement);
    return result;
}

dps_store_result dps_store_registration_get(dps_store *store, const char *id,
                                            dps_registration *ret_registration)
{
    return get_one(store, DPS_SQL_REGISTRATION_GET, id, ret_registration);
}

dps_store_result dps_store_registration_by_device(dps_store *store, const char *device_id,
                                                  dps_registration *ret_registration)
{
    return get_one(store, DPS_SQL_REGISTRATION_BY_DEVICE, device_id, ret_registration);
}

dps_store_result dps_store_registration_each(dps_store *store, const char *after,
                                             bool (*each)(const dps_registration *, void *), void *user)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_REGISTRATION_LIST];
    dps_store_bind_text(statement, 1, after != NULL ? after : "");
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
    dps_store_result result = dps_store_begin(store);
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
    return dps_store_end(store, result);
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
