/* Units:     lengths in bytes.
 * Ownership: a hub borrows both stores; a device is a plain value; returned texts are the caller's to free.
 * Errors:    a refusal is a sentence for the log; JSON that is none is false with a sentence.
 * Threads:   one hub is for one thread.
 * Spec:      the IoT Hubs behind the assignments, independent of the transport. One process plays all of
 * them: a device is on the hub that its registration was assigned to, by the name that it calls. Its identity
 * is the one with which it registered: the same certificate, or the keys of its enrollment. */
#ifndef DPS_HUB_H
#define DPS_HUB_H

#include "dps_hub_store.h"
#include "dps_peer.h"

typedef struct dps_hub {
    dps_store *registrations;
    dps_hub_store *store;
} dps_hub;

/* A device that was admitted. */
typedef struct dps_hub_device {
    char id[DPS_ID_LEN]; /* as the hub spells it */
    char hub[DPS_HUB_LEN];
} dps_hub_device;

/* @hub_name as the device called it, with or without a port; @sas is empty when it sent no token. False: the
 * sentence in @ret_reason, which names no key. */
DPS_MUST_CHECK bool dps_hub_admit(dps_hub *hub, const dps_peer *peer, dps_span hub_name, dps_span device_id,
                                  dps_span sas, dps_hub_device *ret_device, char ret_reason[DPS_MESSAGE_LEN]);

/* Keeps a message from the device. @properties: JSON object of strings; NULL for none. */
DPS_MUST_CHECK bool dps_hub_receive(dps_hub *hub, const dps_hub_device *device, const char *transport,
                                    const char *properties, dps_span body);

/* The twin as the device sees it: {"desired":{...,"$version":n},"reported":{...,"$version":n}}. NULL when the
 * store fails. Made from the initial twin of the enrollment when there is none, or when the device came to
 * another hub and its data was not to migrate. @ret_desired_version may be NULL. */
DPS_MUST_CHECK char *dps_hub_twin(dps_hub *hub, const dps_hub_device *device, int64_t *ret_desired_version);
/* With tags and device id, for people. */
DPS_MUST_CHECK char *dps_hub_twin_full(dps_hub *hub, const dps_hub_device *device);

typedef enum dps_twin_part {
    DPS_TWIN_DESIRED,
    DPS_TWIN_REPORTED,
    DPS_TWIN_TAGS,
} dps_twin_part;

/* Merges @patch (a JSON object; null removes) into a part. The HTTP-like status: 200, 400 with a constant
 * sentence in @ret_problem, 500. @ret_version (of desired or reported) may be NULL. */
DPS_MUST_CHECK int dps_hub_twin_patch(dps_hub *hub, const dps_hub_device *device, dps_twin_part part,
                                      dps_span patch, int64_t *ret_version, const char **ret_problem);

/* The device with this id wherever it is assigned, without a judgement: for the administrator's commands. */
DPS_MUST_CHECK bool dps_hub_find(dps_hub *hub, const char *device_id, dps_hub_device *ret_device);

/* Whether two names are of the same hub: without case and ports. */
bool dps_hub_same(const char *a, size_t a_len, const char *b, size_t b_len);

#endif
