/* Units:     times in milliseconds since 1970-01-01 UTC; certificates in DER.
 * Ownership: returned structs own their heap members: free them with the matching ..._clear(). The rest is
 * inside. Errors:    a dps_store_result; for DPS_STORE_FAILED dps_store_message() says why. Threads:   one
 * store is for one thread. Several processes may use one file at a time (SQLite WAL). Spec:      schema
 * version in PRAGMA user_version; see dps_store.c. A write that returned DPS_STORE_OK survives the end of the
 * process at any point. */
#ifndef DPS_STORE_H
#define DPS_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dps_fail.h"
#include "dps_id.h"
#include "dps_peer.h"
#include "dps_text.h"

enum {
    DPS_STORE_OPERATIONS_MAX = 8,  /* newest operations that are kept per registration */
    DPS_STORE_REFUSALS_MAX = 1000, /* registration ids for which the last refusal is kept */
    DPS_MESSAGE_LEN = 256,
    DPS_VERSION_LEN = 128, /* api-version and ClientVersion as shown; longer ones are cut */
};

typedef enum dps_store_result {
    DPS_STORE_OK,
    DPS_STORE_NOT_FOUND,
    DPS_STORE_CONFLICT,
    DPS_STORE_FAILED,
} dps_store_result;

typedef struct dps_store dps_store;

typedef struct dps_blob {
    uint8_t *bytes;
    size_t len;
} dps_blob;

typedef struct dps_group {
    char id[DPS_ID_LEN];
    char hub[DPS_HUB_LEN]; /* empty: the server's default hub */
    char etag[DPS_ETAG_LEN];
    bool enabled;
    int64_t created_ms;
    int64_t updated_ms;
    dps_blob certificate;
} dps_group;

/* How a device proved itself, kept with what it asked for. */
typedef struct dps_evidence {
    dps_blob leaf; /* empty: it sent no certificate */
    char tls_version[DPS_TLS_TEXT_LEN];
    char tls_cipher[DPS_TLS_TEXT_LEN];
    char tls_signature[DPS_TLS_TEXT_LEN];
    char api_version[DPS_VERSION_LEN];
    char client_version[DPS_VERSION_LEN];
    char transport[16];
} dps_evidence;

typedef struct dps_registration {
    char id[DPS_ID_LEN]; /* in the spelling of the first registration */
    char group_id[DPS_ID_LEN];
    char hub[DPS_HUB_LEN];
    char substatus[32];
    char etag[DPS_ETAG_LEN];
    int64_t created_ms;
    int64_t updated_ms;
    int64_t ready_ms; /* until then the status is "assigning" */
    char *payload;    /* JSON text, or NULL */
    dps_evidence evidence;
} dps_registration;

typedef struct dps_operation {
    char id[DPS_OPERATION_LEN];
    char registration_id[DPS_ID_LEN];
    int64_t created_ms;
    int64_t ready_ms;
} dps_operation;

typedef struct dps_refusal {
    char registration_id[DPS_ID_LEN];
    char message[DPS_MESSAGE_LEN];
    int error_code;
    int64_t at_ms;
    dps_evidence evidence;
} dps_refusal;

void dps_blob_clear(dps_blob *blob);
void dps_group_clear(dps_group *group);
void dps_registration_clear(dps_registration *registration);
void dps_refusal_clear(dps_refusal *refusal);

/* Opens or, with @create, makes the database. Fills @fail. */
DPS_MUST_CHECK bool dps_store_open(const char *path, bool create, dps_store **ret_store, dps_fail *fail);
void dps_store_close(dps_store **store);
const char *dps_store_message(const dps_store *store);

DPS_MUST_CHECK dps_store_result dps_store_id_scope(dps_store *store, char ret_scope[DPS_SCOPE_LEN]);

/* Grows whenever a group is added, changed or removed, by whichever process. */
DPS_MUST_CHECK dps_store_result dps_store_groups_version(dps_store *store, int64_t *ret_version);

/* CONFLICT: the id is taken, or another group has the same certificate; @ret_holder (may be NULL) gets its
 * id. */
DPS_MUST_CHECK dps_store_result dps_store_group_add(dps_store *store, const dps_group *group,
                                                    char ret_holder[DPS_ID_LEN]);
DPS_MUST_CHECK dps_store_result dps_store_group_get(dps_store *store, const char *id, dps_group *ret_group);
DPS_MUST_CHECK dps_store_result dps_store_group_delete(dps_store *store, const char *id);
DPS_MUST_CHECK dps_store_result dps_store_group_enable(dps_store *store, const char *id, bool enabled);
/* Calls @each in the order of ids with a group that it borrows, until it returns false. */
DPS_MUST_CHECK dps_store_result dps_store_group_each(dps_store *store,
                                                     bool (*each)(const dps_group *, void *), void *user);

/* Writes the registration and its new operation in one transaction, and forgets its oldest operations. */
DPS_MUST_CHECK dps_store_result dps_store_registration_save(dps_store *store,
                                                            const dps_registration *registration,
                                                            const dps_operation *operation);
DPS_MUST_CHECK dps_store_result dps_store_registration_get(dps_store *store, const char *id,
                                                           dps_registration *ret_registration);
DPS_MUST_CHECK dps_store_result dps_store_registration_each(dps_store *store,
                                                            bool (*each)(const dps_registration *, void *),
                                                            void *user);
DPS_MUST_CHECK dps_store_result dps_store_operation_get(dps_store *store, const char *id,
                                                        dps_operation *ret_operation);

/* Keeps the last refusal per registration id, for "keynym-dps registrations". */
DPS_MUST_CHECK dps_store_result dps_store_refusal_save(dps_store *store, const dps_refusal *refusal);
DPS_MUST_CHECK dps_store_result dps_store_refusal_get(dps_store *store, const char *id,
                                                      dps_refusal *ret_refusal);
DPS_MUST_CHECK dps_store_result dps_store_refusal_each(dps_store *store,
                                                       bool (*each)(const dps_refusal *, void *), void *user);

#endif
