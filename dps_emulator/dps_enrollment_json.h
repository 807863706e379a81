/* Units:     none.
 * Ownership: builders return a cJSON tree for the caller to delete; a parsed enrollment is the caller's to
 * clear. Errors:    the parser gives a constant sentence and which error it is; builders return NULL out of
 * memory. Threads:   pure functions. Spec:      IndividualEnrollment and EnrollmentGroup of the service API.
 * Members that are not known are ignored, as the service does. Keys and PINs leave only through
 * dps_enrollment_mechanism(). */
#ifndef DPS_ENROLLMENT_JSON_H
#define DPS_ENROLLMENT_JSON_H

#include "dps_error.h"
#include "dps_store.h"

struct cJSON;

/* "registrationId" or "enrollmentGroupId". */
const char *dps_enrollment_id_member(bool is_group);

/* @before: what it replaces, or NULL: a certificate of which only the info is given, and keys that are not
 * given, stay as they were. Symmetric keys that are given nowhere are made. The id is checked against
 * dps_id_check(); @ret_enrollment has no etag and no times. */
DPS_MUST_CHECK bool dps_enrollment_from_json(const struct cJSON *object, bool is_group,
                                             const dps_enrollment *before, dps_enrollment *ret_enrollment,
                                             const char **ret_problem);
/* Reads a base64 certificate in PEM or DER, or a PEM, into DER. */
DPS_MUST_CHECK bool dps_certificate_from_text(const char *text, dps_blob *ret_der);

/* What GET returns: no symmetric keys. @registration: the device's state, or NULL. */
DPS_MUST_CHECK struct cJSON *dps_enrollment_to_json(const dps_enrollment *enrollment,
                                                    const dps_registration *registration);
/* AttestationMechanism: with keys. */
DPS_MUST_CHECK struct cJSON *dps_enrollment_mechanism(const dps_enrollment *enrollment);

/* "assigned", "assigning", "failed". */
const char *dps_registration_status(const dps_registration *registration, int64_t now_ms);

#endif
