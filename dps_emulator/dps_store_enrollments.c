#include "dps_store.h"

#include "dps_store_sql.h"

/* Columns of DPS_SQL_ENROLLMENT_GET and _LIST. */
static bool read_enrollment(sqlite3_stmt *statement, dps_enrollment *ret)
{
    dps_enrollment e = {.is_group = sqlite3_column_int(statement, 0) != 0};
    char attestation[32];
    char allocation[32];
    dps_store_column_text(statement, 1, e.id, sizeof(e.id));
    dps_store_column_text(statement, 2, attestation, sizeof(attestation));
    dps_store_column_text(statement, 5, e.device_id, sizeof(e.device_id));
    e.enabled = sqlite3_column_int(statement, 6) != 0;
    e.iot_edge = sqlite3_column_int(statement, 7) != 0;
    e.update_hub = sqlite3_column_int(statement, 8) != 0;
    e.migrate_data = sqlite3_column_int(statement, 9) != 0;
    dps_store_column_text(statement, 10, allocation, sizeof(allocation));
    dps_store_column_text(statement, 11, e.hub, sizeof(e.hub));
    dps_store_column_text(statement, 13, e.webhook_url, sizeof(e.webhook_url));
    dps_store_column_text(statement, 14, e.webhook_api_version, sizeof(e.webhook_api_version));
    dps_store_column_text(statement, 17, e.etag, sizeof(e.etag));
    e.created_ms = sqlite3_column_int64(statement, 18);
    e.updated_ms = sqlite3_column_int64(statement, 19);
    bool ok = dps_attestation_parse(attestation, &e.attestation) &&
              dps_allocation_parse(allocation, &e.allocation) &&
              dps_store_column_blob(statement, 3, &e.primary) &&
              dps_store_column_blob(statement, 4, &e.secondary) &&
              dps_store_column_string(statement, 12, &e.hubs) &&
              dps_store_column_string(statement, 15, &e.initial_twin) &&
              dps_store_column_string(statement, 16, &e.device_information);
    if (!ok) {
        dps_enrollment_clear(&e);
        return false;
    }
    *ret = e;
    return true;
}

static void bind_enrollment(sqlite3_stmt *statement, const dps_enrollment *e)
{
    sqlite3_bind_int(statement, 1, e->is_group);
    dps_store_bind_text(statement, 2, e->id);
    dps_store_bind_text(statement, 3, dps_attestation_name(e->attestation));
    dps_store_bind_blob(statement, 4, &e->primary);
    dps_store_bind_blob(statement, 5, &e->secondary);
    dps_store_bind_text(statement, 6, e->device_id);
    sqlite3_bind_int(statement, 7, e->enabled);
    sqlite3_bind_int(statement, 8, e->iot_edge);
    sqlite3_bind_int(statement, 9, e->update_hub);
    sqlite3_bind_int(statement, 10, e->migrate_data);
    dps_store_bind_text(statement, 11, dps_allocation_name(e->allocation));
    dps_store_bind_text(statement, 12, e->hub);
    dps_store_bind_text(statement, 13, e->hubs);
    dps_store_bind_text(statement, 14, e->webhook_url);
    dps_store_bind_text(statement, 15, e->webhook_api_version);
    dps_store_bind_text(statement, 16, e->initial_twin);
    dps_store_bind_text(statement, 17, e->device_information);
    dps_store_bind_text(statement, 18, e->etag);
    sqlite3_bind_int64(statement, 19, e->created_ms);
    sqlite3_bind_int64(statement, 20, e->updated_ms);
}

static bool is_exclusive(const dps_enrollment *e)
{
    return e->is_group && e->attestation == DPS_ATTEST_X509_SIGNING;
}

/* Another enrollment than the @skip that were found before with this id or, among groups, one of these
 * signing certificates. That with the id comes first. */
static dps_store_result find_holder(dps_store *store, const dps_enrollment *e, int skip,
                                    char ret_holder[DPS_ID_LEN])
{
    char holder[DPS_ID_LEN];
    sqlite3_stmt *statement = store->statements[DPS_SQL_ENROLLMENT_HOLDER];
    sqlite3_bind_int(statement, 1, e->is_group);
    dps_store_bind_text(statement, 2, e->id);
    dps_store_bind_text(statement, 3, is_exclusive(e) ? dps_attestation_name(e->attestation) : NULL);
    dps_store_bind_blob(statement, 4, &e->primary);
    dps_store_bind_blob(statement, 5, &e->secondary);
    sqlite3_bind_int(statement, 6, skip);
    dps_store_result result = dps_store_step(store, statement);
    if (result == DPS_STORE_OK)
        dps_store_column_text(statement, 0, ret_holder != NULL ? ret_holder : holder, DPS_ID_LEN);
    dps_store_done(statement);
    return result;
}

/* After @e was written: CONFLICT when another group has its certificate. */
static dps_store_result check_exclusive(dps_store *store, const dps_enrollment *e,
                                        char ret_holder[DPS_ID_LEN])
{
    if (!is_exclusive(e))
        return DPS_STORE_OK;
    dps_store_result result = find_holder(store, e, 1, ret_holder); /* the first one found is @e */
    if (result == DPS_STORE_NOT_FOUND)
        return DPS_STORE_OK;
    return result == DPS_STORE_OK ? DPS_STORE_CONFLICT : result;
}

dps_store_result dps_store_enrollment_add(dps_store *store, const dps_enrollment *enrollment,
                                          char ret_holder[DPS_ID_LEN])
{
    dps_store_result result = dps_store_begin(store);
    if (result != DPS_STORE_OK)
        return result;
    sqlite3_stmt *statement = store->statements[DPS_SQL_ENROLLMENT_INSERT];
    bind_enrollment(statement, enrollment);
    result = dps_store_run(store, statement);
    if (result == DPS_STORE_OK)
        result = check_exclusive(store, enrollment, ret_holder);
    else if (result == DPS_STORE_CONFLICT && find_holder(store, enrollment, 0, ret_holder) != DPS_STORE_OK)
        result = DPS_STORE_FAILED;
    return dps_store_end(store, result);
}

/* After a change that met no row: which of the two it was. */
static dps_store_result missing_or_stale(dps_store *store, bool is_group, const char *id)
{
    dps_enrollment found;
    dps_store_result result = dps_store_enrollment_get(store, is_group, id, &found);
    if (result != DPS_STORE_OK)
        return result;
    dps_enrollment_clear(&found);
    return DPS_STORE_STALE;
}

dps_store_result dps_store_enrollment_update(dps_store *store, const dps_enrollment *enrollment,
                                             const char *if_match, char ret_holder[DPS_ID_LEN])
{
    dps_store_result result = dps_store_begin(store);
    if (result != DPS_STORE_OK)
        return result;
    sqlite3_stmt *statement = store->statements[DPS_SQL_ENROLLMENT_UPDATE];
    bind_enrollment(statement, enrollment);
    dps_store_bind_text(statement, 21, if_match);
    result = dps_store_run_one(store, statement);
    if (result == DPS_STORE_NOT_FOUND)
        result = missing_or_stale(store, enrollment->is_group, enrollment->id);
    else if (result == DPS_STORE_OK)
        result = check_exclusive(store, enrollment, ret_holder);
    return dps_store_end(store, result);
}

dps_store_result dps_store_enrollment_get(dps_store *store, bool is_group, const char *id,
                                          dps_enrollment *ret_enrollment)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_ENROLLMENT_GET];
    sqlite3_bind_int(statement, 1, is_group);
    dps_store_bind_text(statement, 2, id);
    dps_store_result result = dps_store_step(store, statement);
    if (result == DPS_STORE_OK && !read_enrollment(statement, ret_enrollment))
        result = DPS_STORE_FAILED;
    dps_store_done(statement);
    return result;
}

dps_store_result dps_store_enrollment_delete(dps_store *store, bool is_group, const char *id,
                                             const char *if_match)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_ENROLLMENT_DELETE];
    sqlite3_bind_int(statement, 1, is_group);
    dps_store_bind_text(statement, 2, id);
    dps_store_bind_text(statement, 3, if_match);
    dps_store_result result = dps_store_run_one(store, statement);
    return result == DPS_STORE_NOT_FOUND ? missing_or_stale(store, is_group, id) : result;
}

dps_store_result dps_store_enrollment_enable(dps_store *store, bool is_group, const char *id, bool enabled)
{
    char etag[DPS_ETAG_LEN];
    if (!dps_random_etag(etag))
        return DPS_STORE_FAILED;
    sqlite3_stmt *statement = store->statements[DPS_SQL_ENROLLMENT_ENABLE];
    sqlite3_bind_int(statement, 1, is_group);
    dps_store_bind_text(statement, 2, id);
    sqlite3_bind_int(statement, 3, enabled);
    dps_store_bind_text(statement, 4, etag);
    sqlite3_bind_int64(statement, 5, dps_time_now_ms());
    return dps_store_run_one(store, statement);
}

dps_store_result dps_store_enrollment_each(dps_store *store, bool is_group, const char *after,
                                           bool (*each)(const dps_enrollment *, void *), void *user)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_ENROLLMENT_LIST];
    sqlite3_bind_int(statement, 1, is_group);
    dps_store_bind_text(statement, 2, after != NULL ? after : "");
    dps_store_result result;
    bool more = true;
    while (more && (result = dps_store_step(store, statement)) == DPS_STORE_OK) {
        dps_enrollment enrollment;
        if (!read_enrollment(statement, &enrollment)) {
            result = DPS_STORE_FAILED;
            break;
        }
        more = each(&enrollment, user);
        dps_enrollment_clear(&enrollment);
    }
    dps_store_done(statement);
    return result == DPS_STORE_NOT_FOUND ? DPS_STORE_OK : result;
}
