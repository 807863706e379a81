#include "dps_allocate.h"

#include <string.h>

#include <openssl/evp.h>

bool dps_hubs_add(dps_hubs *hubs, dps_span name)
{
    if (hubs->count == DPS_HUBS_MAX || name.len == 0 || name.len > DPS_HUB_MAX)
        return false;
    memcpy(hubs->names[hubs->count], name.at, name.len);
    hubs->names[hubs->count++][name.len] = '\0';
    return true;
}

bool dps_hubs_split(const char *list, dps_hubs *ret_hubs)
{
    ret_hubs->count = 0;
    while (*list != '\0') {
        size_t n = strcspn(list, " ");
        if (!dps_hubs_add(ret_hubs, (dps_span){list, n}))
            return false;
        list += n + (list[n] == ' ');
    }
    return true;
}

bool dps_hubs_has(const dps_hubs *hubs, const char *name)
{
    for (size_t i = 0; i < hubs->count; i++) {
        if (dps_text_equal_nocase(hubs->names[i], strlen(hubs->names[i]), name, strlen(name)))
            return true;
    }
    return false;
}

void dps_hubs_of(const dps_enrollment *enrollment, const dps_hubs *linked, dps_hubs *ret_hubs)
{
    if (enrollment->hubs != NULL && dps_hubs_split(enrollment->hubs, ret_hubs) && ret_hubs->count > 0)
        return;
    if (enrollment->hub[0] != '\0' && dps_hubs_split(enrollment->hub, ret_hubs) && ret_hubs->count > 0)
        return;
    *ret_hubs = *linked;
}

/* Below @count, evenly. */
static size_t hash(const char *registration_id, size_t count)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    char folded[DPS_ID_LEN];
    size_t n = strlen(registration_id);
    uint64_t value = 0;
    for (size_t i = 0; i < n && i < DPS_ID_MAX; i++)
        folded[i] = registration_id[i] >= 'A' && registration_id[i] <= 'Z'
                        ? (char)(registration_id[i] - 'A' + 'a')
                        : registration_id[i];
    if (EVP_Digest(folded, n < DPS_ID_MAX ? n : DPS_ID_MAX, digest, NULL, EVP_sha256(), NULL) != 1)
        return 0;
    for (size_t i = 0; i < sizeof(value); i++)
        value = value << 8 | digest[i];
    return (size_t)(value % count);
}

dps_allocation_verdict dps_allocate(const dps_enrollment *enrollment, const dps_hubs *linked,
                                    const char *registration_id, char ret_hub[DPS_HUB_LEN])
{
    dps_hubs hubs;
    size_t chosen = 0;
    dps_hubs_of(enrollment, linked, &hubs);
    switch (enrollment->allocation) {
    case DPS_ALLOCATE_CUSTOM:
        return DPS_ALLOCATED_BY_WEBHOOK;
    case DPS_ALLOCATE_DEFAULT:
    case DPS_ALLOCATE_STATIC:
        if (enrollment->hub[0] != '\0') {
            memcpy(ret_hub, enrollment->hub, DPS_HUB_LEN);
            return DPS_ALLOCATED;
        }
        break;
    case DPS_ALLOCATE_HASHED:
    case DPS_ALLOCATE_GEO_LATENCY:
    case DPS_ALLOCATE_COUNT:
        break;
    }
    if (hubs.count == 0)
        return DPS_ALLOCATED_NOWHERE;
    if (enrollment->allocation != DPS_ALLOCATE_STATIC)
        chosen = hash(registration_id, hubs.count);
    memcpy(ret_hub, hubs.names[chosen], DPS_HUB_LEN);
    return DPS_ALLOCATED;
}
