/* Units:     lengths in bytes; status is HTTP's.
 * Ownership: a request borrows everything from its connection until the handler returns; a response owns its
 * body and fields, which dps_http_response_clear() returns.
 * Errors:    a handler always leaves a response; one without status means "out of memory" and becomes 500.
 * Threads:   handlers run in the server's loop, one at a time.
 * Spec:      the seam between HTTP and what is served over it: rows of (method, path pattern, handler). The
 * device API, the service API and the hub each have a table; dps_http_tables lists them. */
#ifndef DPS_HTTP_H
#define DPS_HTTP_H

#include "dps_error.h"
#include "dps_http_codec.h"
#include "dps_peer.h"
#include "dps_text.h"
#include "dps_transport.h"

enum {
    DPS_HTTP_PARAMS_MAX = 4,
    DPS_HTTP_PARAM_LEN = 256, /* bytes of a decoded path segment and its NUL */
    DPS_HTTP_EXTRA_MAX = 24,  /* header fields that a handler may set */
};

/* Whose API a route belongs to. */
typedef enum dps_http_kind {
    DPS_HTTP_DEVICE,
    DPS_HTTP_SERVICE,
    DPS_HTTP_HUB,
} dps_http_kind;

typedef struct dps_http_request {
    const dps_transport_host *host; /* the service, the store, the hub */
    const dps_peer *peer;
    const dps_http_head *head;                           /* method, query and fields */
    char param[DPS_HTTP_PARAMS_MAX][DPS_HTTP_PARAM_LEN]; /* what stood for the "*" of the pattern, decoded */
    dps_span body;
} dps_http_request;

typedef struct dps_http_extra {
    char *name;
    char *value;
} dps_http_extra;

/* Zero-initialise. */
typedef struct dps_http_response {
    int status;
    const char *content_type; /* constant; NULL: application/json; charset=utf-8 */
    char *body;               /* NULL: none */
    size_t body_len;
    dps_http_extra extra[DPS_HTTP_EXTRA_MAX];
    size_t extra_count;
} dps_http_response;

typedef struct dps_http_route {
    const char *method;
    const char *pattern; /* "/ * /registrations/ * /register" without the spaces; "*" is one segment, not
                            empty. Constant segments are compared without case, as the service does. */
    void (*handle)(const dps_http_request *request, dps_http_response *ret_response);
} dps_http_route;

/* Rows end with a NULL method. */
typedef struct dps_http_table {
    dps_http_kind kind;
    const dps_http_route *routes;
} dps_http_table;

extern const dps_http_route dps_http_device_routes[];
extern const dps_http_route dps_http_hub_routes[];

extern const dps_http_table dps_http_tables[];
extern const size_t dps_http_table_count;

/* Finds the route and calls it. 404 when no path fits, 405 with Allow when only the method does not, 400 for
 * a path that cannot be decoded. */
void dps_http_dispatch(dps_http_request *request, dps_http_response *ret_response);

/* The header field, or an empty span. */
dps_span dps_http_header(const dps_http_request *request, const char *name);

/* @json: heap text that the response takes over; NULL counts as out of memory. */
void dps_http_answer_json(dps_http_response *response, int status, char *json);
/* The service's error body and the field x-ms-error-code. */
void dps_http_answer_error(dps_http_response *response, dps_error error, const char *message);
void dps_http_answer_code(dps_http_response *response, int status, int error_code, const char *message);
/* Keeps @value. Silently nothing when out of memory: the answer without the field is still true. */
void dps_http_add_header(dps_http_response *response, const char *name, const char *value);
/* The same with a name in two parts; a name that is no token is left out. */
void dps_http_add_named_header(dps_http_response *response, const char *prefix, const char *name,
                               const char *value);
void dps_http_response_clear(dps_http_response *response);

#endif
