#include "dps_hub_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "dps_store_sql.h"

enum { BUSY_TIMEOUT_MS = 10000, SCHEMA_VERSION = 1 };

typedef enum hub_sql {
    SQL_EVENT_ADD,
    SQL_EVENT_PRUNE,
    SQL_EVENT_LIST,
    SQL_MESSAGE_ADD,
    SQL_MESSAGE_NEXT,
    SQL_MESSAGE_DELETE,
    SQL_TWIN_GET,
    SQL_TWIN_SAVE,
    SQL_PATCH_ADD,
    SQL_PATCH_PRUNE,
    SQL_PATCH_NEXT,
    SQL_DATA_VERSION,
    SQL_COUNT,
} hub_sql;

struct dps_hub_store {
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_COUNT];
    int64_t data_version;
};

/* Version 1. A later version adds a step; a step is never edited after a release. */
static const char schema[] =
    "CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, device_id TEXT NOT NULL COLLATE NOCASE,"
    "  hub TEXT NOT NULL, transport TEXT NOT NULL, at_ms INTEGER NOT NULL, properties TEXT NOT NULL, body "
    "BLOB);"
    "CREATE INDEX events_by_device ON events (device_id, id);"
    "CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, device_id TEXT NOT NULL COLLATE NOCASE,"
    "  message_id TEXT NOT NULL, at_ms INTEGER NOT NULL, properties TEXT NOT NULL, body BLOB);"
    "CREATE INDEX messages_by_device ON messages (device_id, id);"
    "CREATE TABLE twins (device_id TEXT PRIMARY KEY COLLATE NOCASE, hub TEXT NOT NULL, tags TEXT NOT NULL,"
    "  desired TEXT NOT NULL, reported TEXT NOT NULL, desired_version INTEGER NOT NULL,"
    "  reported_version INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE patches (device_id TEXT NOT NULL COLLATE NOCASE, version INTEGER NOT NULL, patch TEXT NOT "
    "NULL,"
    "  PRIMARY KEY (device_id, version)) WITHOUT ROWID;"
    "PRAGMA user_version = 1;";

static const char *const texts[SQL_COUNT] = {
    [SQL_EVENT_ADD] = "INSERT INTO events (device_id, hub, transport, at_ms, properties, body)"
                      " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [SQL_EVENT_PRUNE] = "DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?1",
    [SQL_EVENT_LIST] = "SELECT id, device_id, hub, transport, at_ms, properties, body FROM events"
                       " WHERE id > ?2 AND (?1 IS NULL OR device_id = ?1) ORDER BY id",
    [SQL_MESSAGE_ADD] = "INSERT INTO messages (device_id, message_id, at_ms, properties, body)"
                        " SELECT ?1, ?2, ?3, ?4, ?5"
                        " WHERE (SELECT count(*) FROM messages WHERE device_id = ?1) < ?6",
    [SQL_MESSAGE_NEXT] = "SELECT id, device_id, message_id, at_ms, properties, body FROM messages"
                         " WHERE device_id = ?1 AND id > ?2 ORDER BY id LIMIT 1",
    [SQL_MESSAGE_DELETE] = "DELETE FROM messages WHERE device_id = ?1 AND message_id = ?2",
    [SQL_TWIN_GET] =
        "SELECT device_id, hub, tags, desired, reported, desired_version, reported_version FROM twins"
        " WHERE device_id = ?1",
    [SQL_TWIN_SAVE] = "INSERT OR REPLACE INTO twins VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [SQL_PATCH_ADD] = "INSERT OR REPLACE INTO patches VALUES (?1, ?2, ?3)",
    [SQL_PATCH_PRUNE] = "DELETE FROM patches WHERE device_id = ?1 AND version <= ?2",
    [SQL_PATCH_NEXT] =
        "SELECT version, patch FROM patches WHERE device_id = ?1 AND version > ?2 ORDER BY version LIMIT 1",
    [SQL_DATA_VERSION] = "PRAGMA data_version",
};

void dps_hub_event_clear(dps_hub_event *event)
{
    free(event->properties);
    dps_blob_clear(&event->body);
    *event = (dps_hub_event){0};
}

void dps_hub_message_clear(dps_hub_message *message)
{
    free(message->properties);
    dps_blob_clear(&message->body);
    *message = (dps_hub_message){0};
}

void dps_twin_clear(dps_twin *twin)
{
    free(twin->tags);
    free(twin->desired);
    free(twin->reported);
    *twin = (dps_twin){0};
}

const char *dps_hub_store_message(const dps_hub_store *store)
{
    return sqlite3_errmsg(store->db);
}

static bool exec(dps_hub_store *store, const char *sql)
{
    return sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

static int user_version(dps_hub_store *store)
{
    sqlite3_stmt *statement = NULL;
    int version = -1;
    if (sqlite3_prepare_v2(store->db, "PRAGMA user_version", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        version = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    return version;
}

/* Under one lock, so that two first starts make one schema. */
static bool migrate(dps_hub_store *store, dps_fail *fail)
{
    if (!exec(store, "BEGIN IMMEDIATE"))
        return dps_fail_set(fail, DPS_EXIT_FAILED, "hub.db cannot be locked: %s",
                            dps_hub_store_message(store));
    int version = user_version(store);
    bool ok = version == SCHEMA_VERSION || (version == 0 && exec(store, schema));
    if (!ok) {
        dps_fail_set(
            fail, DPS_EXIT_FAILED,
            "hub.db cannot be used (schema version %d, this program knows %d): %s; use the newer keynym-dps",
            version, SCHEMA_VERSION, dps_hub_store_message(store));
        exec(store, "ROLLBACK");
        return false;
    }
    return exec(store, "COMMIT") ||
           dps_fail_set(fail, DPS_EXIT_FAILED, "hub.db cannot be written: %s", dps_hub_store_message(store));
}

bool dps_hub_store_open(const char *dir, bool create, dps_hub_store **ret_store, dps_fail *fail)
{
    dps_state state = {.lock_fd = 0};
    char path[DPS_PATH_LEN];
    if (!dps_state_open(dir, create, &state, fail))
        return false;
    bool ok = dps_state_path(&state, "hub.db", path, fail);
    dps_state_close(&state);
    dps_hub_store *store = ok ? calloc(1, sizeof(*store)) : NULL;
    if (store == NULL)
        return ok ? dps_fail_set(fail, DPS_EXIT_FAILED, "out of memory") : false;
    int flags = SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0);
    if (sqlite3_open_v2(path, &store->db, flags, NULL) != SQLITE_OK) {
        dps_fail_set(fail, create ? DPS_EXIT_FAILED : DPS_EXIT_NOT_FOUND,
                     "\"%s\" cannot be opened: %s; \"keynym-dps serve\" makes it", path,
                     sqlite3_errmsg(store->db));
        dps_hub_store_close(&store);
        return false;
    }
    sqlite3_busy_timeout(store->db, BUSY_TIMEOUT_MS);
    ok = (exec(store,
               "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA trusted_schema = OFF;") ||
          dps_fail_set(fail, DPS_EXIT_FAILED, "\"%s\" is no database of keynym-dps: %s", path,
                       dps_hub_store_message(store))) &&
         migrate(store, fail);
    for (size_t i = 0; ok && i < SQL_COUNT; i++)
        ok = sqlite3_prepare_v3(store->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &store->statements[i],
                                NULL) == SQLITE_OK ||
             dps_fail_set(fail, DPS_EXIT_FAILED, "\"%s\" is damaged: %s", path, dps_hub_store_message(store));
    if (!ok) {
        dps_hub_store_close(&store);
        return false;
    }
    *ret_store = store;
    return true;
}

void dps_hub_store_close(dps_hub_store **store)
{
    if (*store == NULL)
        return;
    for (size_t i = 0; i < SQL_COUNT; i++)
        sqlite3_finalize((*store)->statements[i]);
    sqlite3_close((*store)->db);
    free(*store);
    *store = NULL;
}

static dps_store_result step(sqlite3_stmt *statement)
{
    switch (sqlite3_step(statement)) { /* SQLite's long list */
    case SQLITE_ROW:
        return DPS_STORE_OK;
    case SQLITE_DONE:
        return DPS_STORE_NOT_FOUND;
    default:
        return DPS_STORE_FAILED;
    }
}

/* Runs a statement that returns no row. */
static dps_store_result run(sqlite3_stmt *statement)
{
    dps_store_result result = step(statement);
    dps_store_done(statement);
    return result == DPS_STORE_NOT_FOUND ? DPS_STORE_OK : DPS_STORE_FAILED;
}

bool dps_hub_store_changed(dps_hub_store *store)
{
    sqlite3_stmt *statement = store->statements[SQL_DATA_VERSION];
    int64_t version =
        step(statement) == DPS_STORE_OK ? sqlite3_column_int64(statement, 0) : store->data_version;
    dps_store_done(statement);
    bool changed = version != store->data_version;
    store->data_version = version;
    return changed;
}

dps_store_result dps_hub_event_add(dps_hub_store *store, const dps_hub_event *event)
{
    sqlite3_stmt *statement = store->statements[SQL_EVENT_ADD];
    dps_store_bind_text(statement, 1, event->device_id);
    dps_store_bind_text(statement, 2, event->hub);
    dps_store_bind_text(statement, 3, event->transport);
    sqlite3_bind_int64(statement, 4, event->at_ms);
    dps_store_bind_text(statement, 5, event->properties);
    dps_store_bind_blob(statement, 6, &event->body);
    dps_store_result result = run(statement);
    if (result == DPS_STORE_OK && sqlite3_last_insert_rowid(store->db) % 100 == 0) {
        statement = store->statements[SQL_EVENT_PRUNE];
        sqlite3_bind_int64(statement, 1, DPS_HUB_EVENTS_MAX);
        result = run(statement);
    }
    return result;
}

dps_store_result dps_hub_event_each(dps_hub_store *store, const char *device_id, int64_t after,
                                    bool (*each)(const dps_hub_event *, void *), void *user)
{
    sqlite3_stmt *statement = store->statements[SQL_EVENT_LIST];
    dps_store_result result = DPS_STORE_OK;
    bool more = true;
    dps_store_bind_text(statement, 1, device_id);
    sqlite3_bind_int64(statement, 2, after);
    while (more && (result = step(statement)) == DPS_STORE_OK) {
        dps_hub_event event = {.id = sqlite3_column_int64(statement, 0),
                               .at_ms = sqlite3_column_int64(statement, 4)};
        dps_store_column_text(statement, 1, event.device_id, sizeof(event.device_id));
        dps_store_column_text(statement, 2, event.hub, sizeof(event.hub));
        dps_store_column_text(statement, 3, event.transport, sizeof(event.transport));
        if (!dps_store_column_string(statement, 5, &event.properties) ||
            !dps_store_column_blob(statement, 6, &event.body)) {
            dps_hub_event_clear(&event);
            result = DPS_STORE_FAILED;
            break;
        }
        more = each(&event, user);
        dps_hub_event_clear(&event);
    }
    dps_store_done(statement);
    return result == DPS_STORE_NOT_FOUND ? DPS_STORE_OK : result;
}

dps_store_result dps_hub_message_add(dps_hub_store *store, const dps_hub_message *message)
{
    sqlite3_stmt *statement = store->statements[SQL_MESSAGE_ADD];
    dps_store_bind_text(statement, 1, message->device_id);
    dps_store_bind_text(statement, 2, message->message_id);
    sqlite3_bind_int64(statement, 3, message->at_ms);
    dps_store_bind_text(statement, 4, message->properties);
    dps_store_bind_blob(statement, 5, &message->body);
    sqlite3_bind_int64(statement, 6, DPS_HUB_QUEUE_MAX);
    dps_store_result result = run(statement);
    if (result == DPS_STORE_OK && sqlite3_changes(store->db) == 0)
        result = DPS_STORE_CONFLICT;
    return result;
}

dps_store_result dps_hub_message_next(dps_hub_store *store, const char *device_id, int64_t after,
                                      dps_hub_message *ret_message)
{
    sqlite3_stmt *statement = store->statements[SQL_MESSAGE_NEXT];
    dps_store_bind_text(statement, 1, device_id);
    sqlite3_bind_int64(statement, 2, after);
    dps_store_result result = step(statement);
    if (result == DPS_STORE_OK) {
        dps_hub_message m = {.id = sqlite3_column_int64(statement, 0),
                             .at_ms = sqlite3_column_int64(statement, 3)};
        dps_store_column_text(statement, 1, m.device_id, sizeof(m.device_id));
        dps_store_column_text(statement, 2, m.message_id, sizeof(m.message_id));
        if (dps_store_column_string(statement, 4, &m.properties) &&
            dps_store_column_blob(statement, 5, &m.body)) {
            *ret_message = m;
        } else {
            dps_hub_message_clear(&m);
            result = DPS_STORE_FAILED;
        }
    }
    dps_store_done(statement);
    return result;
}

dps_store_result dps_hub_message_delete(dps_hub_store *store, const char *device_id, const char *message_id)
{
    sqlite3_stmt *statement = store->statements[SQL_MESSAGE_DELETE];
    dps_store_bind_text(statement, 1, device_id);
    dps_store_bind_text(statement, 2, message_id);
    dps_store_result result = run(statement);
    return result == DPS_STORE_OK && sqlite3_changes(store->db) == 0 ? DPS_STORE_NOT_FOUND : result;
}

dps_store_result dps_hub_twin_get(dps_hub_store *store, const char *device_id, dps_twin *ret_twin)
{
    sqlite3_stmt *statement = store->statements[SQL_TWIN_GET];
    dps_store_bind_text(statement, 1, device_id);
    dps_store_result result = step(statement);
    if (result == DPS_STORE_OK) {
        dps_twin t = {.desired_version = sqlite3_column_int64(statement, 5),
                      .reported_version = sqlite3_column_int64(statement, 6)};
        dps_store_column_text(statement, 0, t.device_id, sizeof(t.device_id));
        dps_store_column_text(statement, 1, t.hub, sizeof(t.hub));
        if (dps_store_column_string(statement, 2, &t.tags) &&
            dps_store_column_string(statement, 3, &t.desired) &&
            dps_store_column_string(statement, 4, &t.reported)) {
            *ret_twin = t;
        } else {
            dps_twin_clear(&t);
            result = DPS_STORE_FAILED;
        }
    }
    dps_store_done(statement);
    return result;
}

static dps_store_result save_patch(dps_hub_store *store, const dps_twin *twin, const char *patch)
{
    sqlite3_stmt *statement = store->statements[SQL_PATCH_ADD];
    dps_store_bind_text(statement, 1, twin->device_id);
    sqlite3_bind_int64(statement, 2, twin->desired_version);
    dps_store_bind_text(statement, 3, patch);
    dps_store_result result = run(statement);
    if (result != DPS_STORE_OK)
        return result;
    statement = store->statements[SQL_PATCH_PRUNE];
    dps_store_bind_text(statement, 1, twin->device_id);
    sqlite3_bind_int64(statement, 2, twin->desired_version - DPS_HUB_PATCHES_MAX);
    return run(statement);
}

dps_store_result dps_hub_twin_save(dps_hub_store *store, const dps_twin *twin, const char *patch)
{
    sqlite3_stmt *statement = store->statements[SQL_TWIN_SAVE];
    if (!exec(store, "BEGIN IMMEDIATE"))
        return DPS_STORE_FAILED;
    dps_store_bind_text(statement, 1, twin->device_id);
    dps_store_bind_text(statement, 2, twin->hub);
    dps_store_bind_text(statement, 3, twin->tags);
    dps_store_bind_text(statement, 4, twin->desired);
    dps_store_bind_text(statement, 5, twin->reported);
    sqlite3_bind_int64(statement, 6, twin->desired_version);
    sqlite3_bind_int64(statement, 7, twin->reported_version);
    dps_store_result result = run(statement);
    if (result == DPS_STORE_OK && patch != NULL)
        result = save_patch(store, twin, patch);
    if (result == DPS_STORE_OK && exec(store, "COMMIT"))
        return DPS_STORE_OK;
    exec(store, "ROLLBACK");
    return DPS_STORE_FAILED;
}

dps_store_result dps_hub_patch_next(dps_hub_store *store, const char *device_id, int64_t after,
                                    int64_t *ret_version, char **ret_patch)
{
    sqlite3_stmt *statement = store->statements[SQL_PATCH_NEXT];
    dps_store_bind_text(statement, 1, device_id);
    sqlite3_bind_int64(statement, 2, after);
    dps_store_result result = step(statement);
    if (result == DPS_STORE_OK) {
        *ret_version = sqlite3_column_int64(statement, 0);
        if (!dps_store_column_string(statement, 1, ret_patch))
            result = DPS_STORE_FAILED;
    }
    dps_store_done(statement);
    return result;
}
