#include "dps_enrollment.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    const char *type;
} attestations[DPS_ATTEST_COUNT] = {
    [DPS_ATTEST_X509_SIGNING] = {"x509Signing", "x509"},
    [DPS_ATTEST_X509_REFERENCE] = {"x509Reference", "x509"},
    [DPS_ATTEST_X509_CLIENT] = {"x509Client", "x509"},
    [DPS_ATTEST_SYMMETRIC] = {"symmetricKey", "symmetricKey"},
    [DPS_ATTEST_TPM] = {"tpm", "tpm"},
};

static const char *const allocations[DPS_ALLOCATE_COUNT] = {
    [DPS_ALLOCATE_DEFAULT] = "",
    [DPS_ALLOCATE_HASHED] = "hashed",
    [DPS_ALLOCATE_GEO_LATENCY] = "geoLatency",
    [DPS_ALLOCATE_STATIC] = "static",
    [DPS_ALLOCATE_CUSTOM] = "custom",
};

void dps_enrollment_clear(dps_enrollment *enrollment)
{
    dps_blob_clear(&enrollment->primary);
    dps_blob_clear(&enrollment->secondary);
    free(enrollment->hubs);
    free(enrollment->initial_twin);
    free(enrollment->device_information);
    *enrollment = (dps_enrollment){0};
}

const char *dps_attestation_type(dps_attestation attestation)
{
    return attestations[attestation].type;
}

const char *dps_attestation_name(dps_attestation attestation)
{
    return attestations[attestation].name;
}

bool dps_attestation_parse(const char *name, dps_attestation *ret_attestation)
{
    for (size_t i = 0; i < DPS_ATTEST_COUNT; i++) {
        if (strcmp(attestations[i].name, name) == 0) {
            *ret_attestation = (dps_attestation)i;
            return true;
        }
    }
    return false;
}

const char *dps_allocation_name(dps_allocation allocation)
{
    return allocations[allocation];
}

bool dps_allocation_parse(const char *name, dps_allocation *ret_allocation)
{
    for (size_t i = 0; i < DPS_ALLOCATE_COUNT; i++) {
        if (strcmp(allocations[i], name) == 0) {
            *ret_allocation = (dps_allocation)i;
            return true;
        }
    }
    return false;
}
