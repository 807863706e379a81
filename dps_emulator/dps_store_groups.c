#include "dps_store.h"

#include "dps_store_sql.h"

void dps_group_clear(dps_group *group)
{
    dps_blob_clear(&group->certificate);
    *group = (dps_group){0};
}

/* Columns of DPS_SQL_GROUP_GET and DPS_SQL_GROUP_LIST. */
static bool read_group(sqlite3_stmt *statement, dps_group *ret_group)
{
    dps_group group = {0};
    if (!dps_store_column_blob(statement, 1, &group.certificate))
        return false;
    dps_store_column_text(statement, 0, group.id, sizeof(group.id));
    dps_store_column_text(statement, 2, group.hub, sizeof(group.hub));
    group.enabled = sqlite3_column_int(statement, 3) != 0;
    dps_store_column_text(statement, 4, group.etag, sizeof(group.etag));
    group.created_ms = sqlite3_column_int64(statement, 5);
    group.updated_ms = sqlite3_column_int64(statement, 6);
    *ret_group = group;
    return true;
}

static void find_holder(dps_store *store, const dps_group *group, char ret_holder[DPS_ID_LEN])
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_GROUP_HOLDER];
    dps_store_bind_text(statement, 1, group->id);
    dps_store_bind_blob(statement, 2, &group->certificate);
    ret_holder[0] = '\0';
    if (dps_store_step(store, statement) == DPS_STORE_OK)
        dps_store_column_text(statement, 0, ret_holder, DPS_ID_LEN);
    dps_store_done(statement);
}

dps_store_result dps_store_group_add(dps_store *store, const dps_group *group, char ret_holder[DPS_ID_LEN])
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_GROUP_INSERT];
    dps_store_bind_text(statement, 1, group->id);
    dps_store_bind_blob(statement, 2, &group->certificate);
    dps_store_bind_text(statement, 3, group->hub);
    sqlite3_bind_int(statement, 4, group->enabled);
    dps_store_bind_text(statement, 5, group->etag);
    sqlite3_bind_int64(statement, 6, group->created_ms);
    sqlite3_bind_int64(statement, 7, group->updated_ms);
    dps_store_result result = dps_store_run(store, statement);
    if (result == DPS_STORE_CONFLICT && ret_holder != NULL)
        find_holder(store, group, ret_holder);
    return result;
}

dps_store_result dps_store_group_get(dps_store *store, const char *id, dps_group *ret_group)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_GROUP_GET];
    dps_store_bind_text(statement, 1, id);
    dps_store_result result = dps_store_step(store, statement);
    if (result == DPS_STORE_OK && !read_group(statement, ret_group))
        result = DPS_STORE_FAILED;
    dps_store_done(statement);
    return result;
}

/* A change of one row that may not exist. */
static dps_store_result run_one(dps_store *store, sqlite3_stmt *statement)
{
    dps_store_result result = dps_store_run(store, statement);
    if (result == DPS_STORE_OK && sqlite3_changes(store->db) == 0)
        return DPS_STORE_NOT_FOUND;
    return result;
}

dps_store_result dps_store_group_delete(dps_store *store, const char *id)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_GROUP_DELETE];
    dps_store_bind_text(statement, 1, id);
    return run_one(store, statement);
}

dps_store_result dps_store_group_enable(dps_store *store, const char *id, bool enabled)
{
    char etag[DPS_ETAG_LEN];
    if (!dps_random_etag(etag))
        return DPS_STORE_FAILED;
    sqlite3_stmt *statement = store->statements[DPS_SQL_GROUP_ENABLE];
    dps_store_bind_text(statement, 1, id);
    sqlite3_bind_int(statement, 2, enabled);
    dps_store_bind_text(statement, 3, etag);
    sqlite3_bind_int64(statement, 4, dps_time_now_ms());
    return run_one(store, statement);
}

dps_store_result dps_store_group_each(dps_store *store, bool (*each)(const dps_group *, void *), void *user)
{
    sqlite3_stmt *statement = store->statements[DPS_SQL_GROUP_LIST];
    dps_store_result result;
    bool more = true;
    while (more && (result = dps_store_step(store, statement)) == DPS_STORE_OK) {
        dps_group group;
        if (!read_group(statement, &group)) {
            result = DPS_STORE_FAILED;
            break;
        }
        more = each(&group, user);
        dps_group_clear(&group);
    }
    dps_store_done(statement);
    return result == DPS_STORE_NOT_FOUND ? DPS_STORE_OK : result;
}
