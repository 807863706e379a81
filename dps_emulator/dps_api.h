/* Units:     lengths in bytes.
 * Ownership: as in dps_http.h.
 * Errors:    a failed check leaves the answer in @ret_response.
 * Threads:   handlers run in the server's loop.
 * Spec:      what the tables of the service API share: who may do what, ETags, pages, bodies. api-version
 * 2018-04-01, 2019-03-31, 2021-06-01, 2021-10-01. */
#ifndef DPS_API_H
#define DPS_API_H

#include "dps_http.h"
#include "dps_store.h"

struct cJSON;

enum {
    DPS_API_PAGE_DEFAULT = 100,
    DPS_API_PAGE_MAX = 1000,
    DPS_API_BULK_MAX = 10, /* enrollments, as the service documents it */
};

/* What the keys of the service allow. */
enum dps_api_right {
    DPS_API_ENROLLMENT_READ = 1,
    DPS_API_ENROLLMENT_WRITE = 2,
    DPS_API_REGISTRATION_READ = 4,
    DPS_API_REGISTRATION_WRITE = 8,
    DPS_API_SERVICE_CONFIG = 16,
};

/* False: answered with 400 or 401. */
DPS_MUST_CHECK bool dps_api_allowed(const dps_http_request *request, unsigned right,
                                    dps_http_response *ret_response);

dps_store *dps_api_store(const dps_http_request *request);
/* Answers for a result that is not OK. @what: "enrollment", ... */
void dps_api_answer_result(const dps_http_request *request, dps_store_result result, const char *what,
                           dps_http_response *ret_response);

/* The If-Match field or another ETag, without its quotes: empty when there is none, "*" for any. */
DPS_MUST_CHECK bool dps_api_if_match(const dps_http_request *request, char ret_etag[DPS_ETAG_LEN],
                                     dps_http_response *ret_response);
void dps_api_bare_etag(dps_span text, char ret_etag[DPS_ETAG_LEN]);
/* NULL for "" and "*": any ETag will do. */
const char *dps_api_wanted(const char *etag);

/* The body as JSON, or NULL with an answer. */
DPS_MUST_CHECK struct cJSON *dps_api_body(const dps_http_request *request, dps_http_response *ret_response);
/* Takes @json; NULL is 500. Adds the ETag field when @etag is not NULL. */
void dps_api_answer(dps_http_response *response, int status, struct cJSON *json, const char *etag);

/* Pages: x-ms-max-item-count, and x-ms-continuation, which names the last id of the page before. */
typedef struct dps_api_page {
    size_t max;
    size_t count;
    char after[DPS_ID_LEN];
    char last[DPS_ID_LEN]; /* id of the last item that is on this page */
    bool more;
    struct cJSON *items;
} dps_api_page;

DPS_MUST_CHECK bool dps_api_page_begin(const dps_http_request *request, dps_api_page *ret_page,
                                       dps_http_response *ret_response);
/* Takes @item. False: stop, the page is full or memory is out (@page->items is then NULL). */
DPS_MUST_CHECK bool dps_api_page_add(dps_api_page *page, const char *id, struct cJSON *item);
/* Answers with the page. @type: x-ms-item-type. */
void dps_api_page_end(dps_api_page *page, const char *type, dps_http_response *ret_response);

extern const dps_http_route dps_api_enrollment_routes[];
extern const dps_http_route dps_api_registration_routes[];
extern const dps_http_route dps_api_certificate_routes[];

#endif
