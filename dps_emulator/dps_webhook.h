/* Units:     time-out in seconds; response limits in bytes.
 * Ownership: keeps its settings; borrows arguments until return.
 * Errors:    what goes wrong with a call becomes the outcome of the registration, with error code 400207 or
 * 400208. Threads:   one thread of its own makes the calls, one after the other, with its own connection to
 * the database; dps_webhook_ask() is for any thread. Spec:      custom allocation: an HTTPS POST of the
 * enrollment, the device and the linked hubs, answered with
 * {"iotHubHostName","initialTwin","payload"}. Only addresses of this machine are called; name and chain of
 * the webhook's certificate are always verified; redirects and proxies are not used. */
#ifndef DPS_WEBHOOK_H
#define DPS_WEBHOOK_H

#include "dps_allocate.h"
#include "dps_store.h"

enum {
    DPS_WEBHOOK_QUEUE_MAX = 1024,         /* registrations that wait */
    DPS_WEBHOOK_RESPONSE_MAX = 64 * 1024, /* bytes */
    DPS_WEBHOOK_TIMEOUT_S = 5,            /* as the service waits */
};

typedef struct dps_webhook dps_webhook;

typedef struct dps_webhook_config {
    const char *database; /* path */
    const dps_hubs *hubs; /* linked to the service */
    const char *ca;       /* PEM file of the CAs to trust; NULL: the system's */
    unsigned timeout_s;
} dps_webhook_config;

DPS_MUST_CHECK bool dps_webhook_new(const dps_webhook_config *config, dps_webhook **ret_webhook,
                                    dps_fail *fail);
/* Ends a call that is under way. */
void dps_webhook_free(dps_webhook **webhook);

/* Asks for the registration with this id, which is DPS_OUTCOME_PENDING, unless it waits already. Nothing
 * happens to one that is not pending any more when its turn comes. False when too many wait. */
DPS_MUST_CHECK bool dps_webhook_ask(dps_webhook *webhook, const char *registration_id);

/* What a webhook says. Pure, for tests. */
typedef struct dps_webhook_answer {
    char hub[DPS_HUB_LEN];
    char *initial_twin; /* JSON text, or NULL */
    char *payload;      /* JSON text, or NULL */
} dps_webhook_answer;

/* NULL, or what is wrong: then @ret_code is the registration's error code. */
DPS_MUST_CHECK const char *dps_webhook_parse(dps_span body, const dps_hubs *hubs,
                                             dps_webhook_answer *ret_answer, int *ret_code);
void dps_webhook_answer_clear(dps_webhook_answer *answer);

#endif
