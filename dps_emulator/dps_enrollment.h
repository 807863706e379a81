/* Units:     times in milliseconds since 1970-01-01 UTC; certificates in DER; keys as raw bytes, decoded.
 * Ownership: a dps_enrollment owns its heap members; dps_enrollment_clear() wipes and frees them.
 * Errors:    none of these functions fails, but for copies that run out of memory.
 * Threads:   plain values.
 * Spec:      IndividualEnrollment and EnrollmentGroup of the service API, as one struct: what differs is said
 * at the members. */
#ifndef DPS_ENROLLMENT_H
#define DPS_ENROLLMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dps_blob.h"
#include "dps_id.h"
#include "dps_text.h"

enum {
    DPS_HUBS_MAX = 32,            /* hubs of one enrollment, and of the service */
    DPS_KEY_MIN = 16,             /* bytes of a symmetric key, as the service asks */
    DPS_KEY_MAX = 64,             /* the same */
    DPS_KEY_SIZE = 32,            /* bytes of the keys that we make */
    DPS_DEVICE_KEYS = 2,          /* primary and secondary */
    DPS_TPM_PUBLIC_MAX = 1024,    /* bytes of a TPM2B_PUBLIC */
    DPS_URL_LEN = 512,            /* webhook URL and NUL */
    DPS_DOCUMENT_MAX = 16 * 1024, /* bytes of an initial twin, or of optional device information */
};

/* What primary and secondary of an enrollment are. */
typedef enum dps_attestation {
    DPS_ATTEST_X509_SIGNING,   /* groups: CA certificates that sign */
    DPS_ATTEST_X509_REFERENCE, /* groups: names of CA certificates whose possession was proved */
    DPS_ATTEST_X509_CLIENT,    /* individual: the device's own certificates */
    DPS_ATTEST_SYMMETRIC,      /* keys; for groups those from which the devices' keys are derived */
    DPS_ATTEST_TPM, /* individual: endorsement key, storage root key (may be empty); TPM2B_PUBLIC */
    DPS_ATTEST_COUNT,
} dps_attestation;

typedef enum dps_allocation {
    DPS_ALLOCATE_DEFAULT, /* the enrollment names no policy: static with a hub, else hashed */
    DPS_ALLOCATE_HASHED,
    DPS_ALLOCATE_GEO_LATENCY,
    DPS_ALLOCATE_STATIC,
    DPS_ALLOCATE_CUSTOM,
    DPS_ALLOCATE_COUNT,
} dps_allocation;

typedef struct dps_enrollment {
    bool is_group;
    char id[DPS_ID_LEN];        /* registration id, or name of the group */
    char device_id[DPS_ID_LEN]; /* individual; empty: the registration id */
    dps_attestation attestation;
    dps_blob primary;   /* see dps_attestation */
    dps_blob secondary; /* may be empty */
    bool enabled;
    bool iot_edge;
    bool update_hub;   /* reprovisionPolicy.updateHubAssignment */
    bool migrate_data; /* reprovisionPolicy.migrateDeviceData */
    dps_allocation allocation;
    char hub[DPS_HUB_LEN];         /* iotHubHostName; may be empty */
    char *hubs;                    /* iotHubs: names separated by one space; NULL: all of the service */
    char webhook_url[DPS_URL_LEN]; /* only with DPS_ALLOCATE_CUSTOM */
    char webhook_api_version[32];
    char *initial_twin;       /* JSON text, or NULL */
    char *device_information; /* JSON text, or NULL */
    char etag[DPS_ETAG_LEN];
    int64_t created_ms;
    int64_t updated_ms;
} dps_enrollment;

void dps_enrollment_clear(dps_enrollment *enrollment);

/* "x509", "symmetricKey", "tpm": attestation.type. */
const char *dps_attestation_type(dps_attestation attestation);
/* How the database spells it: one name per value. */
const char *dps_attestation_name(dps_attestation attestation);
DPS_MUST_CHECK bool dps_attestation_parse(const char *name, dps_attestation *ret_attestation);

/* "hashed", "geoLatency", "static", "custom"; "" for the default. */
const char *dps_allocation_name(dps_allocation allocation);
DPS_MUST_CHECK bool dps_allocation_parse(const char *name, dps_allocation *ret_allocation);

#endif
