#include "dps_store.h"

#include <string.h>

#include "dps_store_sql.h"

void dps_ca_clear(dps_ca *ca)
{
    dps_blob_clear(&ca->certificate);
    *ca = (dps_ca){0};
}

void dps_service_key_clear(dps_service_key *key)
{
    dps_blob_clear(&key->primary);
    dps_blob_clear(&key->secondary);
    *key = (dps_service_key){0};
}

/* Columns of DPS_SQL_CA_GET and _LIST. */
static bool read_ca(sqlite3_stmt *statement, dps_ca *ret)
{
    dps_ca ca = {.verified = sqlite3_column_int(statement, 2) != 0};
    if (!dps_store_column_blob(statement, 1, &ca.certificate))
        return false;
    dps_store_column_text(statement, 0, ca.name, sizeof(ca.name));
    dps_store_column_text(statement, 3, ca.code, sizeof(ca.code));
    dps_store_column_text(statement, 4, ca.etag, sizeof(ca.etag));
    ca.created_ms = sqlite3_column_int64(statement, 5);
    ca.updated_ms = sqlite3_column_int64(statement, 6);
    *ret = ca;
    return true;
}

dps_store_result dps_store_ca_get(dps_store *store, const char *name, dps_ca *ret_ca)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_CA_GET];
    dps_store_bind_text(statement, 1, name);
    dps_store_result result = dps_store_step(store, statement);
    if (result == DPS_STORE_OK && !read_ca(statement, ret_ca))
        result = DPS_STORE_FAILED;
    dps_store_done(statement);
    return result;
}

dps_store_result dps_store_ca_save(dps_store *store, const dps_ca *ca, const char *if_match)
{
    dps_ca before;
    dps_store_result result = dps_store_begin(store);
    if (result != DPS_STORE_OK)
        return result;
    result = dps_store_ca_get(store, ca->name, &before);
    if (result == DPS_STORE_OK) {
        if (if_match == NULL)
            result = DPS_STORE_CONFLICT;
        else if (if_match[0] != '\0' && strcmp(if_match, before.etag) != 0)
            result = DPS_STORE_STALE;
        dps_ca_clear(&before);
    } else if (result == DPS_STORE_NOT_FOUND && if_match == NULL) {
        result = DPS_STORE_OK;
    }
    if (result == DPS_STORE_OK) {
        sqlite3_stmt *statement = store->statements[DPS_SQL_CA_SAVE];
        dps_store_bind_text(statement, 1, ca->name);
        dps_store_bind_blob(statement, 2, &ca->certificate);
        sqlite3_bind_int(statement, 3, ca->verified);
        dps_store_bind_text(statement, 4, ca->code);
        dps_store_bind_text(statement, 5, ca->etag);
        sqlite3_bind_int64(statement, 6, ca->created_ms);
        sqlite3_bind_int64(statement, 7, ca->updated_ms);
        result = dps_store_run(store, statement);
    }
    return dps_store_end(store, result);
}

dps_store_result dps_store_ca_delete(dps_store *store, const char *name, const char *if_match)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_CA_DELETE];
    dps_ca found;
    dps_store_bind_text(statement, 1, name);
    dps_store_bind_text(statement, 2, if_match);
    dps_store_result result = dps_store_run_one(store, statement);
    if (result != DPS_STORE_NOT_FOUND)
        return result;
    result = dps_store_ca_get(store, name, &found);
    if (result != DPS_STORE_OK)
        return result;
    dps_ca_clear(&found);
    return DPS_STORE_STALE;
}

dps_store_result dps_store_ca_each(dps_store *store, bool (*each)(const dps_ca *, void *), void *user)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_CA_LIST];
    dps_store_result result;
    bool more = true;
    while (more && (result = dps_store_step(store, statement)) == DPS_STORE_OK) {
        dps_ca ca;
        if (!read_ca(statement, &ca)) {
            result = DPS_STORE_FAILED;
            break;
        }
        more = each(&ca, user);
        dps_ca_clear(&ca);
    }
    dps_store_done(statement);
    return result == DPS_STORE_NOT_FOUND ? DPS_STORE_OK : result;
}

dps_store_result dps_store_service_key_get(dps_store *store, const char *name, dps_service_key *ret_key)
{
    dps_service_key key = {0};
    sqlite3_stmt *statement = store->statements[DPS_SQL_SERVICE_KEY_GET];
    dps_store_bind_text(statement, 1, name);
    dps_store_result result = dps_store_step(store, statement);
    if (result == DPS_STORE_OK) {
        dps_store_column_text(statement, 0, key.name, sizeof(key.name));
        if (dps_store_column_blob(statement, 1, &key.primary) &&
            dps_store_column_blob(statement, 2, &key.secondary)) {
            *ret_key = key;
        } else {
            dps_service_key_clear(&key);
            result = DPS_STORE_FAILED;
        }
    }
    dps_store_done(statement);
    return result;
}

dps_store_result dps_store_tpm_root_save(dps_store *store, const char *id, const dps_blob *root)
{
    dps_store_result result = dps_store_begin(store);
    if (result != DPS_STORE_OK)
        return result;
    sqlite3_stmt *statement = store->statements[DPS_SQL_TPM_ROOT_SAVE];
    dps_store_bind_text(statement, 1, id);
    sqlite3_bind_int64(statement, 2, dps_time_now_ms());
    dps_store_bind_blob(statement, 3, root);
    result = dps_store_run(store, statement);
    if (result == DPS_STORE_OK) {
        statement = store->statements[DPS_SQL_TPM_ROOT_PRUNE];
        sqlite3_bind_int(statement, 1, DPS_STORE_TPM_ROOTS_MAX);
        result = dps_store_run(store, statement);
    }
    return dps_store_end(store, result);
}

dps_store_result dps_store_tpm_root_get(dps_store *store, const char *id, dps_blob *ret_root)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_TPM_ROOT_GET];
    dps_store_bind_text(statement, 1, id);
    dps_store_result result = dps_store_step(store, statement);
    if (result == DPS_STORE_OK && !dps_store_column_blob(statement, 0, ret_root))
        result = DPS_STORE_FAILED;
    dps_store_done(statement);
    return result;
}
