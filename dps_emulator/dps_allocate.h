/* Units:     none.
 * Ownership: borrows its arguments.
 * Errors:    a dps_allocation_verdict.
 * Threads:   pure functions.
 * Spec:      allocation policies of the service: which hub a device is assigned to. */
#ifndef DPS_ALLOCATE_H
#define DPS_ALLOCATE_H

#include "dps_enrollment.h"

/* The hubs that are linked to the service. */
typedef struct dps_hubs {
    char names[DPS_HUBS_MAX][DPS_HUB_LEN];
    size_t count;
} dps_hubs;

typedef enum dps_allocation_verdict {
    DPS_ALLOCATED,
    DPS_ALLOCATED_BY_WEBHOOK, /* ask it; @ret_hub is untouched */
    DPS_ALLOCATED_NOWHERE,    /* there is no hub; @ret_hub is untouched */
} dps_allocation_verdict;

/* False when there are too many, or a name is too long. */
DPS_MUST_CHECK bool dps_hubs_add(dps_hubs *hubs, dps_span name);
/* The names of @list, which are separated by spaces. */
DPS_MUST_CHECK bool dps_hubs_split(const char *list, dps_hubs *ret_hubs);
bool dps_hubs_has(const dps_hubs *hubs, const char *name);
/* The hubs among which the policy of @enrollment chooses. */
void dps_hubs_of(const dps_enrollment *enrollment, const dps_hubs *linked, dps_hubs *ret_hubs);

/* Hashed: the same device always goes to the same one of the same hubs. Static: the enrollment's hub, else
 * the first of its hubs. Geo-latency is treated as hashed: there is no latency to measure. */
DPS_MUST_CHECK dps_allocation_verdict dps_allocate(const dps_enrollment *enrollment, const dps_hubs *linked,
                                                   const char *registration_id, char ret_hub[DPS_HUB_LEN]);

#endif
