#include "dps_api.h"

#include <string.h>

#include <cJSON.h>

#include "dps_ca.h"
#include "dps_enrollment_json.h"
#include "dps_json.h"
#include "dps_x509.h"

/* @with_code: only for who may write. */
static cJSON *to_json(const dps_ca *ca, bool with_code)
{
    dps_cert_info info;
    char created[DPS_TIME_LEN], updated[DPS_TIME_LEN];
    X509 *cert = dps_x509_parse(ca->certificate.bytes, ca->certificate.len);
    bool ok = cert != NULL && dps_cert_info_of(cert, &info);
    X509_free(cert);
    dps_time_format(ca->created_ms, created);
    dps_time_format(ca->updated_ms, updated);
    cJSON *root = cJSON_CreateObject();
    cJSON *properties = NULL;
    ok = ok && cJSON_AddStringToObject(root, "name", ca->name) != NULL &&
         cJSON_AddStringToObject(root, "etag", ca->etag) != NULL &&
         (properties = cJSON_AddObjectToObject(root, "properties")) != NULL &&
         cJSON_AddStringToObject(properties, "subject", info.subject) != NULL &&
         cJSON_AddStringToObject(properties, "expiry", info.not_after) != NULL &&
         cJSON_AddStringToObject(properties, "thumbprint", info.sha1) != NULL &&
         cJSON_AddBoolToObject(properties, "isVerified", ca->verified) != NULL &&
         cJSON_AddStringToObject(properties, "created", created) != NULL &&
         cJSON_AddStringToObject(properties, "updated", updated) != NULL &&
         (!with_code || cJSON_AddStringToObject(properties, "verificationCode", ca->code) != NULL);
    if (ok)
        return root;
    cJSON_Delete(root);
    return NULL;
}

static bool each(const dps_ca *ca, void *user)
{
    cJSON *item = to_json(ca, false);
    if (item != NULL && cJSON_AddItemToArray(user, item))
        return true;
    cJSON_Delete(item);
    return false;
}

static void get_all(const dps_http_request *request, dps_http_response *ret_response)
{
    if (!dps_api_allowed(request, DPS_API_SERVICE_CONFIG, ret_response))
        return;
    cJSON *root = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(root, "value");
    dps_store_result result =
        list != NULL ? dps_store_ca_each(dps_api_store(request), each, list) : DPS_STORE_FAILED;
    if (result == DPS_STORE_OK) {
        dps_api_answer(ret_response, 200, root, NULL);
        return;
    }
    cJSON_Delete(root);
    dps_api_answer_result(request, result, "certificate", ret_response);
}

static bool find(const dps_http_request *request, dps_ca *ret_ca, dps_http_response *ret_response)
{
    if (!dps_api_allowed(request, DPS_API_SERVICE_CONFIG, ret_response))
        return false;
    dps_store_result result = dps_store_ca_get(dps_api_store(request), request->param[0], ret_ca);
    if (result == DPS_STORE_OK)
        return true;
    dps_api_answer_result(request, result, "certificate", ret_response);
    return false;
}

static void get_one(const dps_http_request *request, dps_http_response *ret_response)
{
    dps_ca ca;
    if (!find(request, &ca, ret_response))
        return;
    dps_api_answer(ret_response, 200, to_json(&ca, false), ca.etag);
    dps_ca_clear(&ca);
}

/* The certificate in the body, as the management API spells it: {"properties":{"certificate"}}, or without
 * the outer object. */
static bool read_certificate(const dps_http_request *request, dps_blob *ret_der,
                             dps_http_response *ret_response)
{
    cJSON *root = dps_api_body(request, ret_response);
    if (root == NULL)
        return false;
    const cJSON *inner = cJSON_GetObjectItemCaseSensitive(root, "properties");
    const char *text =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(inner != NULL ? inner : root, "certificate"));
    bool ok = text != NULL && dps_certificate_from_text(text, ret_der);
    cJSON_Delete(root);
    if (!ok)
        dps_http_answer_error(ret_response, DPS_ERR_INVALID_ARGUMENT,
                              "properties.certificate is not the base64 of a PEM or DER certificate");
    return ok;
}

static void save(const dps_http_request *request, const dps_ca *ca, const char *if_match, bool with_code,
                 dps_http_response *ret_response)
{
    dps_store_result result = dps_store_ca_save(dps_api_store(request), ca, if_match);
    if (result == DPS_STORE_OK)
        dps_api_answer(ret_response, 200, to_json(ca, with_code), ca->etag);
    else
        dps_api_answer_result(request, result, "certificate", ret_response);
}

static void put_one(const dps_http_request *request, dps_http_response *ret_response)
{
    char etag[DPS_ETAG_LEN];
    dps_blob der = {0};
    dps_ca ca;
    if (!dps_api_allowed(request, DPS_API_SERVICE_CONFIG, ret_response) ||
        !dps_api_if_match(request, etag, ret_response) || !read_certificate(request, &der, ret_response))
        return;
    const char *problem = dps_ca_new(request->param[0], der.bytes, der.len, &ca);
    dps_blob_clear(&der);
    if (problem != NULL) {
        dps_http_answer_error(ret_response, DPS_ERR_INVALID_ARGUMENT, problem);
        return;
    }
    save(request, &ca, etag[0] == '\0' ? NULL : strcmp(etag, "*") == 0 ? "" : etag, false, ret_response);
    dps_ca_clear(&ca);
}

static void delete_one(const dps_http_request *request, dps_http_response *ret_response)
{
    char etag[DPS_ETAG_LEN];
    if (!dps_api_allowed(request, DPS_API_SERVICE_CONFIG, ret_response) ||
        !dps_api_if_match(request, etag, ret_response))
        return;
    dps_store_result result =
        dps_store_ca_delete(dps_api_store(request), request->param[0], dps_api_wanted(etag));
    if (result == DPS_STORE_OK)
        ret_response->status = 204;
    else
        dps_api_answer_result(request, result, "certificate", ret_response);
}

static void post_code(const dps_http_request *request, dps_http_response *ret_response)
{
    dps_ca ca;
    char etag[DPS_ETAG_LEN];
    if (!dps_api_if_match(request, etag, ret_response) || !find(request, &ca, ret_response))
        return;
    if (dps_ca_new_code(&ca))
        save(request, &ca, dps_api_wanted(etag) != NULL ? etag : "", true, ret_response);
    else
        dps_http_answer_error(ret_response, DPS_ERR_INTERNAL, "Internal error");
    dps_ca_clear(&ca);
}

static void post_verify(const dps_http_request *request, dps_http_response *ret_response)
{
    dps_ca ca;
    dps_blob der = {0};
    char etag[DPS_ETAG_LEN];
    if (!dps_api_if_match(request, etag, ret_response) || !find(request, &ca, ret_response))
        return;
    if (read_certificate(request, &der, ret_response)) {
        const char *problem = dps_ca_verify(&ca, der.bytes, der.len);
        if (problem == NULL)
            save(request, &ca, dps_api_wanted(etag) != NULL ? etag : "", false, ret_response);
        else
            dps_http_answer_error(ret_response, DPS_ERR_INVALID_ARGUMENT, problem);
    }
    dps_blob_clear(&der);
    dps_ca_clear(&ca);
}

const dps_http_route dps_api_certificate_routes[] = {
    {"GET", "/certificates", get_all},
    {"GET", "/certificates/*", get_one},
    {"PUT", "/certificates/*", put_one},
    {"DELETE", "/certificates/*", delete_one},
    {"POST", "/certificates/*/generateVerificationCode", post_code},
    {"POST", "/certificates/*/verify", post_verify},
    {NULL, NULL, NULL},
};
