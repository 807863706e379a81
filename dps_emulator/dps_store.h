/* Units:     times in milliseconds since 1970-01-01 UTC; certificates in DER.
 * Ownership: returned structs own their heap members: free them with the matching ..._clear(). The rest is
 * inside. Errors:    a dps_store_result; for DPS_STORE_FAILED dps_store_message() says why. Threads:   one
 * store is for one thread. Several processes may use one file at a time (SQLite WAL). Spec:      schema
 * version in PRAGMA user_version; see dps_store_schema.c. A write that returned DPS_STORE_OK survives the end
 * of the process at any point. */
#ifndef DPS_STORE_H
#define DPS_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dps_blob.h"
#include "dps_enrollment.h"
#include "dps_fail.h"
#include "dps_id.h"
#include "dps_peer.h"
#include "dps_text.h"

enum {
    DPS_STORE_OPERATIONS_MAX = 8,   /* newest operations that are kept per registration */
    DPS_STORE_TPM_ROOTS_MAX = 4096, /* registration ids whose storage root key is remembered */
    DPS_STORE_REFUSALS_MAX = 1000,  /* registration ids for which the last refusal is kept */
    DPS_MESSAGE_LEN = 256,
    DPS_CODE_LEN = 65, /* verification code of a CA certificate and NUL */
    DPS_KEY_NAME_LEN = 65,
    DPS_VERSION_LEN = 128, /* api-version and ClientVersion as shown; longer ones are cut */
};

typedef enum dps_store_result {
    DPS_STORE_OK,
    DPS_STORE_NOT_FOUND,
    DPS_STORE_CONFLICT,
    DPS_STORE_STALE, /* it exists, but with another ETag */
    DPS_STORE_FAILED,
} dps_store_result;

typedef struct dps_store dps_store;

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

typedef enum dps_outcome {
    DPS_OUTCOME_ASSIGNED,
    DPS_OUTCOME_FAILED,  /* error_code and error_message say why */
    DPS_OUTCOME_PENDING, /* the webhook of its enrollment has not answered */
    DPS_OUTCOME_COUNT,
} dps_outcome;

/* Zero-initialised it is a device that proved itself by X.509. The hub's side: @hub and @device_id name the
 * device there, @attestation says how it proves itself, with the certificate in @evidence or the @keys. */
typedef struct dps_registration {
    char id[DPS_ID_LEN];       /* in the spelling of the first registration */
    char group_id[DPS_ID_LEN]; /* empty: an individual enrollment */
    char device_id[DPS_ID_LEN];
    char hub[DPS_HUB_LEN];
    dps_attestation attestation;
    dps_blob keys[DPS_DEVICE_KEYS]; /* symmetric key or TPM: what signs the device's SAS tokens for the hub */
    char *tpm_key;                  /* TPM: keys[0], encrypted for its TPM, base64; else NULL */
    dps_outcome outcome;
    int error_code;
    char error_message[DPS_MESSAGE_LEN];
    char substatus[32];
    char etag[DPS_ETAG_LEN];
    int64_t created_ms;
    int64_t updated_ms;
    int64_t ready_ms;   /* until then the status is "assigning" */
    char *payload;      /* JSON text that the device sent, or NULL */
    char *payload_out;  /* JSON text for the device, from a webhook, or NULL */
    char *initial_twin; /* JSON text {"tags","properties":{"desired"}}, or NULL */
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

/* A CA certificate by name, for groups that refer to it. */
typedef struct dps_ca {
    char name[DPS_ID_LEN];
    dps_blob certificate;    /* DER */
    bool verified;           /* possession of its key was proved */
    char code[DPS_CODE_LEN]; /* verification code; empty: none was asked for */
    char etag[DPS_ETAG_LEN];
    int64_t created_ms;
    int64_t updated_ms;
} dps_ca;

/* A key of the service API. */
typedef struct dps_service_key {
    char name[DPS_KEY_NAME_LEN];
    dps_blob primary;
    dps_blob secondary;
} dps_service_key;

void dps_ca_clear(dps_ca *ca);
void dps_service_key_clear(dps_service_key *key);
void dps_registration_clear(dps_registration *registration);
void dps_refusal_clear(dps_refusal *refusal);

/* Opens or, with @create, makes the database. Fills @fail. */
DPS_MUST_CHECK bool dps_store_open(const char *path, bool create, dps_store **ret_store, dps_fail *fail);
void dps_store_close(dps_store **store);
const char *dps_store_message(const dps_store *store);

DPS_MUST_CHECK dps_store_result dps_store_id_scope(dps_store *store, char ret_scope[DPS_SCOPE_LEN]);

/* Grows whenever a group or a CA certificate is added, changed or removed, by whichever process. */
DPS_MUST_CHECK dps_store_result dps_store_groups_version(dps_store *store, int64_t *ret_version);
/* The secret from which nonces for TPMs are derived. */
DPS_MUST_CHECK dps_store_result dps_store_tpm_secret(dps_store *store, dps_blob *ret_secret);

/* CONFLICT: the id is taken, or another group has one of the signing certificates; @ret_holder (may be NULL)
 * gets its id. */
DPS_MUST_CHECK dps_store_result dps_store_enrollment_add(dps_store *store, const dps_enrollment *enrollment,
                                                         char ret_holder[DPS_ID_LEN]);
/* Replaces all but the creation time. @if_match: the ETag that it must have, or NULL for any. CONFLICT as
 * above. */
DPS_MUST_CHECK dps_store_result dps_store_enrollment_update(dps_store *store,
                                                            const dps_enrollment *enrollment,
                                                            const char *if_match,
                                                            char ret_holder[DPS_ID_LEN]);
DPS_MUST_CHECK dps_store_result dps_store_enrollment_get(dps_store *store, bool is_group, const char *id,
                                                         dps_enrollment *ret_enrollment);
DPS_MUST_CHECK dps_store_result dps_store_enrollment_delete(dps_store *store, bool is_group, const char *id,
                                                            const char *if_match);
DPS_MUST_CHECK dps_store_result dps_store_enrollment_enable(dps_store *store, bool is_group, const char *id,
                                                            bool enabled);
/* Calls @each in the order of ids, from the first one after @after (NULL: from the start), with an enrollment
 * that it borrows, until it returns false. */
DPS_MUST_CHECK dps_store_result dps_store_enrollment_each(dps_store *store, bool is_group, const char *after,
                                                          bool (*each)(const dps_enrollment *, void *),
                                                          void *user);

DPS_MUST_CHECK dps_store_result dps_store_ca_get(dps_store *store, const char *name, dps_ca *ret_ca);
/* @if_match: NULL adds (CONFLICT when the name is taken); "" replaces; else the ETag that it must have. */
DPS_MUST_CHECK dps_store_result dps_store_ca_save(dps_store *store, const dps_ca *ca, const char *if_match);
DPS_MUST_CHECK dps_store_result dps_store_ca_delete(dps_store *store, const char *name, const char *if_match);
DPS_MUST_CHECK dps_store_result dps_store_ca_each(dps_store *store, bool (*each)(const dps_ca *, void *),
                                                  void *user);

DPS_MUST_CHECK dps_store_result dps_store_service_key_get(dps_store *store, const char *name,
                                                          dps_service_key *ret_key);

/* The storage root key with which a device asked for its last nonce. */
DPS_MUST_CHECK dps_store_result dps_store_tpm_root_save(dps_store *store, const char *id,
                                                        const dps_blob *root);
DPS_MUST_CHECK dps_store_result dps_store_tpm_root_get(dps_store *store, const char *id, dps_blob *ret_root);

/* Writes the registration and its new operation in one transaction, and forgets its oldest operations. */
DPS_MUST_CHECK dps_store_result dps_store_registration_save(dps_store *store,
                                                            const dps_registration *registration,
                                                            const dps_operation *operation);
/* Writes a registration that exists, as a webhook changed it: NOT_FOUND or STALE when it is not the one with
 * this @etag any more. */
DPS_MUST_CHECK dps_store_result dps_store_registration_update(dps_store *store,
                                                              const dps_registration *registration,
                                                              const char *etag);
DPS_MUST_CHECK dps_store_result dps_store_registration_delete(dps_store *store, const char *id,
                                                              const char *if_match);
DPS_MUST_CHECK dps_store_result dps_store_registration_get(dps_store *store, const char *id,
                                                           dps_registration *ret_registration);
/* The newest registration of a device id. */
DPS_MUST_CHECK dps_store_result dps_store_registration_by_device(dps_store *store, const char *device_id,
                                                                 dps_registration *ret_registration);
/* @after and the order as for enrollments. */
DPS_MUST_CHECK dps_store_result dps_store_registration_each(dps_store *store, const char *after,
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
