/* Units:     lengths in bytes; caps below.
 * Ownership: spans in the results point into the text that was parsed.
 * Errors:    a value of dps_topic_err, in words by dps_topic_err_text().
 * Threads:   pure functions.
 * Spec:      device API of the Device Provisioning Service over MQTT: user name
 *            <scope>/registrations/<id>/api-version=<v>[&ClientVersion=...], topics $dps/registrations/... */
#ifndef DPS_TOPIC_H
#define DPS_TOPIC_H

#include <stdbool.h>

#include "dps_text.h"

enum {
    DPS_USERNAME_MAX = 1024, /* bytes */
    DPS_TOPIC_MAX = 1024,    /* bytes */
    DPS_RID_MAX = 128,       /* bytes of $rid */
    DPS_RES_TOPIC_LEN = 256, /* bytes of a response topic and its NUL */
};

#define DPS_TOPIC_RES_FILTER "$dps/registrations/res/#"

typedef enum dps_topic_err {
    DPS_TOPIC_OK,
    DPS_TOPIC_E_LENGTH,    /* above the cap */
    DPS_TOPIC_E_SHAPE,     /* parts are missing, or too many */
    DPS_TOPIC_E_UNKNOWN,   /* not a topic of this service */
    DPS_TOPIC_E_QUERY,     /* a parameter without a name, twice, or with a broken %xx */
    DPS_TOPIC_E_RID,       /* $rid is missing or too long */
    DPS_TOPIC_E_OPERATION, /* operationId is missing or too long */
} dps_topic_err;

const char *dps_topic_err_text(dps_topic_err err);

typedef struct dps_username {
    dps_span id_scope;
    dps_span registration_id;
    dps_span api_version;    /* empty when it was not given */
    dps_span client_version; /* as sent, percent-encoded; empty when it was not given */
} dps_username;

DPS_MUST_CHECK dps_topic_err dps_username_parse(dps_span text, dps_username *ret);

typedef enum dps_topic_kind {
    DPS_TOPIC_REGISTER,
    DPS_TOPIC_STATUS,
} dps_topic_kind;

typedef struct dps_topic {
    dps_topic_kind kind;
    dps_span rid;                             /* as sent: it is echoed */
    char operation_id[DPS_OPERATION_LEN * 2]; /* decoded; empty for a registration */
} dps_topic;

/* On DPS_TOPIC_E_QUERY, _RID and _OPERATION the kind, and the rid if one was found, are set: there is an
 * answer to send. On the others @ret is untouched. */
DPS_MUST_CHECK dps_topic_err dps_topic_parse(dps_span text, dps_topic *ret);

/* "$dps/registrations/res/<status>/?$rid=<rid>[&retry-after=<s>]"; 0 leaves retry-after out. */
void dps_topic_response(char ret_topic[DPS_RES_TOPIC_LEN], int status, dps_span rid, unsigned retry_after_s);

#endif
