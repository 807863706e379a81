/* Units:     lengths in bytes.
 * Ownership: a query is the caller's to free; it copies what it needs of its text.
 * Errors:    the parser gives a constant sentence.
 * Threads:   pure functions.
 * Spec:      the query language of the service API, as far as enrollments and registrations need it:
 *   SELECT * FROM enrollments|enrollmentGroups|registrations|deviceRegistrations [WHERE condition]
 *   condition: member (= != <> < <= > >=) 'text'|number|true|false, AND, OR, NOT, parentheses.
 * A member may be a path: attestation.type. Words of the language and names have no case, values have. */
#ifndef DPS_QUERY_H
#define DPS_QUERY_H

#include "dps_text.h"

struct cJSON;

enum {
    DPS_QUERY_MAX = 2048,     /* bytes of text */
    DPS_QUERY_NODES_MAX = 64, /* comparisons and operators */
    DPS_QUERY_DEPTH_MAX = 16, /* parentheses and NOTs */
};

typedef enum dps_query_source {
    DPS_QUERY_ENROLLMENTS,
    DPS_QUERY_GROUPS,
    DPS_QUERY_REGISTRATIONS,
} dps_query_source;

typedef struct dps_query dps_query;

/* NULL with @ret_problem. */
DPS_MUST_CHECK dps_query *dps_query_parse(dps_span text, const char **ret_problem);
void dps_query_free(dps_query **query);
dps_query_source dps_query_from(const dps_query *query);
/* Whether @document fulfils the condition. A member that is missing fulfils no comparison. */
bool dps_query_matches(const dps_query *query, const struct cJSON *document);

#endif
