/* Units:     as the names say.
 * Ownership: a dps_faults owns its rules; a plan is a plain value.
 * Errors:    the parser gives a sentence with the number of the rule; a file that cannot be read or parsed is
 * logged, and the rules from before stay.
 * Threads:   one dps_faults is for one thread.
 * Spec:      faults on demand: STATE/faults.json, {"faults":[rule,...]}, read again whenever it changes. A
 * rule is
 * {"kind","step","registrationId","percent","count","after","status","retryAfterS","delayMs","errorCode","message",
 * "skewS","certificate"}; docs/dps-service.md says what each does. */
#ifndef DPS_FAULTS_H
#define DPS_FAULTS_H

#include <stdint.h>

#include "dps_id.h"
#include "dps_store.h"

enum {
    DPS_FAULTS_MAX = 64,             /* rules */
    DPS_FAULTS_FILE_MAX = 64 * 1024, /* bytes */
    DPS_FAULT_DELAY_MAX_MS = 600000,
    DPS_FAULT_SKEW_MAX_S = 10 * 366 * 24 * 3600,
};

#define DPS_FAULTS_NAME "faults.json" /* in the state folder */

typedef enum dps_fault_kind {
    DPS_FAULT_THROTTLE,
    DPS_FAULT_ERROR,
    DPS_FAULT_DROP,
    DPS_FAULT_DELAY,
    DPS_FAULT_MALFORMED,
    DPS_FAULT_FAIL,
    DPS_FAULT_STUCK,
    DPS_FAULT_CERTIFICATE,
    DPS_FAULT_CLOCK,
    DPS_FAULT_KINDS,
} dps_fault_kind;

typedef enum dps_fault_step {
    DPS_STEP_REQUEST,   /* of a rule: register and status */
    DPS_STEP_CONNECT,   /* the TCP connection, before TLS */
    DPS_STEP_HANDSHAKE, /* TLS is done, nothing is read */
    DPS_STEP_ADMIT,     /* authentication at connect: MQTT CONNECT with a password, SASL */
    DPS_STEP_REGISTER,
    DPS_STEP_STATUS,
    DPS_STEP_SERVICE, /* the service API */
    DPS_STEPS,
} dps_fault_step;

typedef enum dps_wrong_certificate {
    DPS_WRONG_NAME,
    DPS_WRONG_EXPIRED,
    DPS_WRONG_UNTRUSTED,
    DPS_WRONG_COUNT,
} dps_wrong_certificate;

typedef struct dps_fault_rule {
    dps_fault_kind kind;
    dps_fault_step step;
    char registration_id[DPS_ID_LEN]; /* empty: any */
    unsigned percent;                 /* of the times that it fits */
    unsigned count;                   /* how many times more; UINT32_MAX: always */
    bool after;                       /* drop: what was asked for is done, its answer is lost */
    int status;
    unsigned retry_after_s;
    unsigned delay_ms;
    int error_code;
    char message[DPS_MESSAGE_LEN];
    int64_t skew_s;
    dps_wrong_certificate certificate;
} dps_fault_rule;

/* Everything that goes wrong with one request. Zero: nothing. */
typedef struct dps_fault_plan {
    bool drop_before, drop_after, malformed, stuck;
    int status; /* 0: none */
    unsigned retry_after_s;
    unsigned delay_ms;
    int fail_code; /* 0: it does not fail */
    char message[DPS_MESSAGE_LEN];
} dps_fault_plan;

typedef struct dps_faults dps_faults;

/* @text: the file. At most DPS_FAULTS_MAX rules. */
DPS_MUST_CHECK bool dps_faults_parse(dps_span text, dps_fault_rule rules[DPS_FAULTS_MAX], size_t *ret_count,
                                     dps_fail *fail);

/* @path is kept; no file, no faults. NULL when out of memory. */
DPS_MUST_CHECK dps_faults *dps_faults_new(const char *path);
void dps_faults_free(dps_faults **faults);

/* Looks at the file, and sets the served clock. Both functions below do it, too. @faults may be NULL. */
void dps_faults_refresh(dps_faults *faults);
/* What the rules do to this step; counts them. @registration_id is empty where it is not known. */
void dps_faults_pick(dps_faults *faults, dps_fault_step step, dps_span registration_id,
                     dps_fault_plan *ret_plan);
/* Whether this connection gets a wrong certificate, and which. */
DPS_MUST_CHECK bool dps_faults_certificate(dps_faults *faults, dps_wrong_certificate *ret_kind);

#endif
