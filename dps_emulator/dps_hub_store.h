/* Units:     times in milliseconds since 1970-01-01 UTC; bodies in bytes, caps below.
 * Ownership: returned structs own their heap members: free them with the matching ..._clear().
 * Errors:    a dps_store_result; for DPS_STORE_FAILED dps_hub_store_message() says why.
 * Threads:   one hub store is for one thread. Several processes may use one file at a time (SQLite WAL).
 * Spec:      what the emulated IoT Hubs of one state folder keep, in hub.db beside dps.db: messages from
 * devices, messages for devices, device twins. */
#ifndef DPS_HUB_STORE_H
#define DPS_HUB_STORE_H

#include "dps_blob.h"
#include "dps_fail.h"
#include "dps_id.h"
#include "dps_state.h"
#include "dps_store.h"

enum {
    DPS_HUB_EVENTS_MAX = 10000,         /* newest messages from devices that are kept */
    DPS_HUB_EVENT_MAX = 256 * 1024,     /* bytes of one */
    DPS_HUB_QUEUE_MAX = 50,             /* messages that wait for one device, as in the cloud */
    DPS_HUB_MESSAGE_MAX = 64 * 1024,    /* bytes of one, as in the cloud */
    DPS_HUB_PATCHES_MAX = 100,          /* newest desired-property patches that are kept per device */
    DPS_HUB_TWIN_MAX = 32 * 1024,       /* bytes of the JSON of desired, reported or tags */
    DPS_HUB_PROPERTIES_MAX = 16 * 1024, /* bytes of the JSON of a message's properties */
};

typedef struct dps_hub_store dps_hub_store;

/* From a device. */
typedef struct dps_hub_event {
    int64_t id; /* grows */
    char device_id[DPS_ID_LEN];
    char hub[DPS_HUB_LEN];
    char transport[16];
    int64_t at_ms;
    char *properties; /* JSON object of strings */
    dps_blob body;
} dps_hub_event;

/* For a device. */
typedef struct dps_hub_message {
    int64_t id; /* grows */
    char device_id[DPS_ID_LEN];
    char message_id[DPS_UUID_LEN]; /* also the lock token over HTTPS */
    int64_t at_ms;
    char *properties; /* JSON object of strings */
    dps_blob body;
} dps_hub_message;

typedef struct dps_twin {
    char device_id[DPS_ID_LEN];
    char hub[DPS_HUB_LEN];
    char *tags; /* JSON objects, without $version */
    char *desired;
    char *reported;
    int64_t desired_version; /* from 1 */
    int64_t reported_version;
} dps_twin;

void dps_hub_event_clear(dps_hub_event *event);
void dps_hub_message_clear(dps_hub_message *message);
void dps_twin_clear(dps_twin *twin);

/* Opens or, with @create, makes the database. */
DPS_MUST_CHECK bool dps_hub_store_open(const char *dir, bool create, dps_hub_store **ret_store,
                                       dps_fail *fail);
void dps_hub_store_close(dps_hub_store **store);
const char *dps_hub_store_message(const dps_hub_store *store);
/* Whether another process wrote since the last call. */
bool dps_hub_store_changed(dps_hub_store *store);

/* Forgets the oldest above DPS_HUB_EVENTS_MAX. */
DPS_MUST_CHECK dps_store_result dps_hub_event_add(dps_hub_store *store, const dps_hub_event *event);
/* In order, of one device or (NULL) of all, from the first after @after, until @each returns false. */
DPS_MUST_CHECK dps_store_result dps_hub_event_each(dps_hub_store *store, const char *device_id, int64_t after,
                                                   bool (*each)(const dps_hub_event *, void *), void *user);

/* CONFLICT: DPS_HUB_QUEUE_MAX messages wait already. */
DPS_MUST_CHECK dps_store_result dps_hub_message_add(dps_hub_store *store, const dps_hub_message *message);
/* The first one after @after. */
DPS_MUST_CHECK dps_store_result dps_hub_message_next(dps_hub_store *store, const char *device_id,
                                                     int64_t after, dps_hub_message *ret_message);
DPS_MUST_CHECK dps_store_result dps_hub_message_delete(dps_hub_store *store, const char *device_id,
                                                       const char *message_id);

DPS_MUST_CHECK dps_store_result dps_hub_twin_get(dps_hub_store *store, const char *device_id,
                                                 dps_twin *ret_twin);
/* @patch is kept with the new desired version when it is not NULL. */
DPS_MUST_CHECK dps_store_result dps_hub_twin_save(dps_hub_store *store, const dps_twin *twin,
                                                  const char *patch);
/* The first patch of a version above @after; @ret_patch is the caller's to free. */
DPS_MUST_CHECK dps_store_result dps_hub_patch_next(dps_hub_store *store, const char *device_id, int64_t after,
                                                   int64_t *ret_version, char **ret_patch);

#endif
