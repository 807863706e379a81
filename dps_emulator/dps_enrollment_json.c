#include "dps_enrollment_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "dps_allocate.h"
#include "dps_json.h"
#include "dps_tpm.h"
#include "dps_x509.h"

enum { CERTIFICATE_MAX = 16 * 1024 }; /* bytes of a certificate, decoded */

const char *dps_enrollment_id_member(bool is_group)
{
    return is_group ? "enrollmentGroupId" : "registrationId";
}

/* Parsing. @problem is set before anything that can fail. */
typedef struct parsing {
    const cJSON *root;
    const dps_enrollment *before;
    dps_enrollment e;
    const char *problem;
} parsing;

static const cJSON *member(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNull(item) ? NULL : item;
}

/* A text of at most @cap - 1 bytes; one that is missing is empty. */
static bool take_text(const cJSON *object, const char *name, char *out, size_t cap)
{
    const cJSON *item = member(object, name);
    out[0] = '\0';
    if (item == NULL)
        return true;
    if (!cJSON_IsString(item) || strlen(item->valuestring) >= cap)
        return false;
    memcpy(out, item->valuestring, strlen(item->valuestring) + 1);
    return true;
}

static bool take_flag(const cJSON *object, const char *name, bool missing, bool *ret)
{
    const cJSON *item = member(object, name);
    *ret = item == NULL ? missing : cJSON_IsTrue(item);
    return item == NULL || cJSON_IsBool(item);
}

static bool take_document(const cJSON *object, const char *name, char **ret)
{
    const cJSON *item = member(object, name);
    if (item == NULL)
        return true;
    *ret = cJSON_IsObject(item) ? cJSON_PrintUnformatted(item) : NULL;
    return *ret != NULL && strlen(*ret) <= DPS_DOCUMENT_MAX;
}

static bool der_of(const void *bytes, size_t len, dps_blob *ret_der)
{
    unsigned char *der = NULL;
    X509 *cert = dps_x509_parse(bytes, len);
    int n = cert != NULL ? i2d_X509(cert, &der) : 0;
    bool ok = n > 0 && dps_blob_copy(der, (size_t)n, ret_der);
    OPENSSL_free(der);
    X509_free(cert);
    return ok;
}

bool dps_certificate_from_text(const char *text, dps_blob *ret_der)
{
    dps_blob decoded = {0};
    if (strncmp(text, "-----BEGIN", 10) == 0)
        return der_of(text, strlen(text), ret_der);
    if (!dps_base64_decode(dps_span_of(text), CERTIFICATE_MAX, &decoded))
        return false;
    bool ok = der_of(decoded.bytes, decoded.len, ret_der);
    dps_blob_clear(&decoded);
    return ok;
}

/* Whether @info is about one of the certificates that were there before; keeps that one. */
static bool keep_certificate(const dps_enrollment *before, const cJSON *info, dps_blob *ret)
{
    const cJSON *print = member(info, "sha256Thumbprint");
    if (before == NULL || !cJSON_IsString(print))
        return false;
    const dps_blob *kept[] = {&before->primary, &before->secondary};
    for (size_t i = 0; i < 2; i++) {
        dps_cert_info old;
        X509 *cert = dps_x509_parse(kept[i]->bytes, kept[i]->len);
        bool same = cert != NULL && dps_cert_info_of(cert, &old) &&
                    dps_text_equal_nocase(old.sha256, strlen(old.sha256), print->valuestring,
                                          strlen(print->valuestring));
        X509_free(cert);
        if (same)
            return dps_blob_copy(kept[i]->bytes, kept[i]->len, ret);
    }
    return false;
}

static bool take_certificate(parsing *p, const cJSON *pair, const char *name, bool ca, dps_blob *ret)
{
    const cJSON *object = member(pair, name);
    if (object == NULL)
        return true;
    p->problem = "a certificate of the attestation is not the base64 of a PEM or DER certificate";
    const cJSON *text = member(object, "certificate");
    if (text == NULL || (cJSON_IsString(text) && text->valuestring[0] == '\0')) {
        if (!keep_certificate(p->before, member(object, "info"), ret))
            return false;
    } else if (!cJSON_IsString(text) || !dps_certificate_from_text(text->valuestring, ret)) {
        return false;
    }
    p->problem = "a signing certificate is no CA certificate (basicConstraints CA:TRUE)";
    X509 *cert = ca ? dps_x509_parse(ret->bytes, ret->len) : NULL;
    bool ok = !ca || (cert != NULL && dps_x509_is_ca(cert));
    X509_free(cert);
    return ok;
}

static bool take_reference(parsing *p, const cJSON *pair, const char *name, dps_blob *ret)
{
    const cJSON *item = member(pair, name);
    if (item == NULL)
        return true;
    p->problem = "a CA reference is not the name of a certificate";
    return cJSON_IsString(item) && dps_id_check(dps_span_of(item->valuestring)) == DPS_ID_OK &&
           dps_blob_copy(item->valuestring, strlen(item->valuestring), ret);
}

static bool take_x509(parsing *p, const cJSON *x509)
{
    const cJSON *client = member(x509, "clientCertificates");
    const cJSON *signing = member(x509, "signingCertificates");
    const cJSON *references = member(x509, "caReferences");
    p->problem =
        "attestation.x509 must have exactly one of clientCertificates, signingCertificates, caReferences";
    if ((client != NULL) + (signing != NULL) + (references != NULL) != 1)
        return false;
    p->problem = p->e.is_group ? "a group takes signingCertificates or caReferences, not clientCertificates"
                               : "an individual enrollment takes clientCertificates alone";
    if (p->e.is_group == (client != NULL))
        return false;
    if (references != NULL) {
        p->e.attestation = DPS_ATTEST_X509_REFERENCE;
        if (!take_reference(p, references, "primary", &p->e.primary) ||
            !take_reference(p, references, "secondary", &p->e.secondary))
            return false;
    } else {
        const cJSON *pair = client != NULL ? client : signing;
        p->e.attestation = client != NULL ? DPS_ATTEST_X509_CLIENT : DPS_ATTEST_X509_SIGNING;
        if (!take_certificate(p, pair, "primary", signing != NULL, &p->e.primary) ||
            !take_certificate(p, pair, "secondary", signing != NULL, &p->e.secondary))
            return false;
    }
    p->problem = "the attestation has no primary certificate";
    return p->e.primary.len > 0;
}

static bool take_key(parsing *p, const cJSON *object, const char *name, const dps_blob *before, dps_blob *ret)
{
    const cJSON *item = member(object, name);
    if (item != NULL && !(cJSON_IsString(item) && item->valuestring[0] == '\0')) {
        p->problem = "a symmetric key is not the base64 of 16 to 64 bytes";
        return cJSON_IsString(item) && dps_base64_decode(dps_span_of(item->valuestring), DPS_KEY_MAX, ret) &&
               ret->len >= DPS_KEY_MIN;
    }
    p->problem = "a symmetric key cannot be made";
    if (before != NULL && before->len > 0)
        return dps_blob_copy(before->bytes, before->len, ret);
    uint8_t key[DPS_KEY_SIZE];
    bool ok = RAND_bytes(key, sizeof(key)) == 1 && dps_blob_copy(key, sizeof(key), ret);
    OPENSSL_cleanse(key, sizeof(key));
    return ok;
}

static bool take_symmetric(parsing *p, const cJSON *object)
{
    const dps_enrollment *b = p->before;
    bool kept = b != NULL && b->attestation == DPS_ATTEST_SYMMETRIC;
    p->e.attestation = DPS_ATTEST_SYMMETRIC;
    return take_key(p, object, "primaryKey", kept ? &b->primary : NULL, &p->e.primary) &&
           take_key(p, object, "secondaryKey", kept ? &b->secondary : NULL, &p->e.secondary);
}

static bool take_public(parsing *p, const cJSON *object, const char *name, dps_blob *ret)
{
    dps_tpm_public parsed;
    const cJSON *item = member(object, name);
    if (item == NULL || (cJSON_IsString(item) && item->valuestring[0] == '\0'))
        return true;
    p->problem = "a TPM key is not the base64 of a TPM2B_PUBLIC";
    if (!cJSON_IsString(item) || !dps_base64_decode(dps_span_of(item->valuestring), DPS_TPM_PUBLIC_MAX, ret))
        return false;
    const char *problem = dps_tpm_parse_public(ret, &parsed);
    if (problem != NULL)
        p->problem = problem;
    return problem == NULL;
}

static bool take_tpm(parsing *p, const cJSON *object)
{
    p->problem = "a group cannot have TPM attestation";
    p->e.attestation = DPS_ATTEST_TPM;
    if (p->e.is_group || !take_public(p, object, "endorsementKey", &p->e.primary) ||
        !take_public(p, object, "storageRootKey", &p->e.secondary))
        return false;
    p->problem = "attestation.tpm has no endorsementKey";
    return p->e.primary.len > 0;
}

static const struct {
    const char *type;
    bool (*take)(parsing *p, const cJSON *object);
} attestations[] = {
    {"x509", take_x509},
    {"symmetricKey", take_symmetric},
    {"tpm", take_tpm},
};

static bool take_attestation(parsing *p)
{
    char type[32];
    const cJSON *attestation = member(p->root, "attestation");
    p->problem = "the attestation is missing";
    if (!cJSON_IsObject(attestation))
        return false;
    p->problem = "attestation.type is not x509, symmetricKey or tpm";
    if (!take_text(attestation, "type", type, sizeof(type)))
        return false;
    for (size_t i = 0; i < sizeof(attestations) / sizeof(attestations[0]); i++) {
        const cJSON *object = member(attestation, attestations[i].type);
        if (strcmp(type, attestations[i].type) != 0)
            continue;
        p->problem = "the attestation has no object for its type";
        bool may_lack = strcmp(type, "symmetricKey") == 0; /* its keys are then made, or kept */
        return (object == NULL ? may_lack : cJSON_IsObject(object)) && attestations[i].take(p, object);
    }
    return false;
}

static bool take_hubs(parsing *p)
{
    const cJSON *list = member(p->root, "iotHubs");
    const cJSON *item;
    char text[DPS_HUBS_MAX * DPS_HUB_LEN] = "";
    size_t count = 0, used = 0;
    p->problem = "iotHubHostName is not a host name";
    if (!take_text(p->root, "iotHubHostName", p->e.hub, sizeof(p->e.hub)) ||
        (p->e.hub[0] != '\0' && !dps_host_valid(p->e.hub, true)))
        return false;
    p->problem = "iotHubs is not an array of at most 32 host names";
    if (list == NULL)
        return true;
    if (!cJSON_IsArray(list))
        return false;
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsString(item) || !dps_host_valid(item->valuestring, true) ||
            strlen(item->valuestring) > DPS_HUB_MAX || count == DPS_HUBS_MAX)
            return false;
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", count++ > 0 ? " " : "",
                                 item->valuestring);
    }
    return count == 0 || (p->e.hubs = strdup(text)) != NULL;
}

static bool take_allocation(parsing *p)
{
    char name[32];
    const cJSON *custom = member(p->root, "customAllocationDefinition");
    p->problem = "allocationPolicy is not hashed, geoLatency, static or custom";
    if (!take_text(p->root, "allocationPolicy", name, sizeof(name)) ||
        !dps_allocation_parse(name, &p->e.allocation))
        return false;
    p->problem = "customAllocationDefinition is not an object with webhookUrl and apiVersion";
    if (custom != NULL &&
        (!take_text(custom, "webhookUrl", p->e.webhook_url, sizeof(p->e.webhook_url)) ||
         !take_text(custom, "apiVersion", p->e.webhook_api_version, sizeof(p->e.webhook_api_version))))
        return false;
    p->problem = "allocationPolicy custom needs customAllocationDefinition.webhookUrl, an https URL";
    return p->e.allocation != DPS_ALLOCATE_CUSTOM ||
           (custom != NULL && strncmp(p->e.webhook_url, "https://", 8) == 0 && p->e.webhook_url[8] != '\0');
}

static bool take_policies(parsing *p)
{
    char status[16];
    const cJSON *reprovision = member(p->root, "reprovisionPolicy");
    const cJSON *capabilities = member(p->root, "capabilities");
    p->problem = "provisioningStatus is not enabled or disabled";
    if (!take_text(p->root, "provisioningStatus", status, sizeof(status)) ||
        (status[0] != '\0' && strcmp(status, "enabled") != 0 && strcmp(status, "disabled") != 0))
        return false;
    p->e.enabled = strcmp(status, "disabled") != 0;
    p->problem = "reprovisionPolicy is not an object of updateHubAssignment and migrateDeviceData";
    if ((reprovision != NULL && !cJSON_IsObject(reprovision)) ||
        !take_flag(reprovision, "updateHubAssignment", true, &p->e.update_hub) ||
        !take_flag(reprovision, "migrateDeviceData", true, &p->e.migrate_data))
        return false;
    p->problem = "capabilities.iotEdge is not true or false";
    if ((capabilities != NULL && !cJSON_IsObject(capabilities)) ||
        !take_flag(capabilities, "iotEdge", false, &p->e.iot_edge))
        return false;
    p->problem = "initialTwin or optionalDeviceInformation is not an object of at most 16384 bytes";
    return take_document(p->root, "initialTwin", &p->e.initial_twin) &&
           take_document(p->root, "optionalDeviceInformation", &p->e.device_information);
}

static bool take_ids(parsing *p)
{
    p->problem = p->e.is_group ? "enrollmentGroupId is missing or not valid"
                               : "registrationId is missing or not valid";
    if (!take_text(p->root, dps_enrollment_id_member(p->e.is_group), p->e.id, sizeof(p->e.id)) ||
        dps_id_check(dps_span_of(p->e.id)) != DPS_ID_OK)
        return false;
    p->problem = "deviceId is not valid";
    return p->e.is_group ||
           (take_text(p->root, "deviceId", p->e.device_id, sizeof(p->e.device_id)) &&
            (p->e.device_id[0] == '\0' || dps_id_check(dps_span_of(p->e.device_id)) == DPS_ID_OK));
}

bool dps_enrollment_from_json(const cJSON *object, bool is_group, const dps_enrollment *before,
                              dps_enrollment *ret_enrollment, const char **ret_problem)
{
    parsing p = {.root = object, .before = before, .e = {.is_group = is_group}};
    p.problem = "the enrollment is not a JSON object";
    if (cJSON_IsObject(object) && take_ids(&p) && take_attestation(&p) && take_hubs(&p) &&
        take_allocation(&p) && take_policies(&p)) {
        *ret_enrollment = p.e;
        return true;
    }
    dps_enrollment_clear(&p.e);
    *ret_problem = p.problem;
    return false;
}

/* Building. */

static bool text(cJSON *object, const char *name, const char *value)
{
    return cJSON_AddStringToObject(object, name, value) != NULL;
}

/* Takes @item. */
static bool add(cJSON *object, const char *name, cJSON *item)
{
    if (item != NULL && cJSON_AddItemToObject(object, name, item))
        return true;
    cJSON_Delete(item);
    return false;
}

static bool add_certificate(cJSON *pair, const char *name, const dps_blob *der)
{
    dps_cert_info info;
    if (der->len == 0)
        return true;
    cJSON *object = cJSON_AddObjectToObject(pair, name);
    X509 *cert = dps_x509_parse(der->bytes, der->len);
    bool known = cert != NULL && dps_cert_info_of(cert, &info);
    X509_free(cert);
    return object != NULL && known && add(object, "info", dps_json_cert_info(&info));
}

static bool add_base64(cJSON *object, const char *name, const dps_blob *blob)
{
    if (blob->len == 0)
        return true;
    char *encoded = dps_base64_encode(blob->bytes, blob->len);
    bool ok = encoded != NULL && text(object, name, encoded);
    if (encoded != NULL)
        OPENSSL_cleanse(encoded, strlen(encoded));
    free(encoded);
    return ok;
}

static bool add_reference(cJSON *pair, const char *name, const dps_blob *reference)
{
    char copy[DPS_ID_LEN];
    if (reference->len == 0)
        return true;
    snprintf(copy, sizeof(copy), "%.*s", (int)reference->len, (const char *)reference->bytes);
    return text(pair, name, copy);
}

static cJSON *mechanism(const dps_enrollment *e, bool with_keys)
{
    static const char *const members[DPS_ATTEST_COUNT] = {
        [DPS_ATTEST_X509_SIGNING] = "signingCertificates",
        [DPS_ATTEST_X509_REFERENCE] = "caReferences",
        [DPS_ATTEST_X509_CLIENT] = "clientCertificates",
    };
    cJSON *root = cJSON_CreateObject();
    const char *type = dps_attestation_type(e->attestation);
    bool ok = text(root, "type", type);
    cJSON *object = ok ? cJSON_AddObjectToObject(root, type) : NULL;
    cJSON *pair = object != NULL && members[e->attestation] != NULL
                      ? cJSON_AddObjectToObject(object, members[e->attestation])
                      : NULL;
    ok = object != NULL;
    switch (e->attestation) {
    case DPS_ATTEST_X509_SIGNING:
    case DPS_ATTEST_X509_CLIENT:
        ok = pair != NULL && add_certificate(pair, "primary", &e->primary) &&
             add_certificate(pair, "secondary", &e->secondary);
        break;
    case DPS_ATTEST_X509_REFERENCE:
        ok = pair != NULL && add_reference(pair, "primary", &e->primary) &&
             add_reference(pair, "secondary", &e->secondary);
        break;
    case DPS_ATTEST_SYMMETRIC:
        ok = ok && (!with_keys || (add_base64(object, "primaryKey", &e->primary) &&
                                   add_base64(object, "secondaryKey", &e->secondary)));
        break;
    case DPS_ATTEST_TPM:
        ok = ok && add_base64(object, "endorsementKey", &e->primary) &&
             add_base64(object, "storageRootKey", &e->secondary);
        break;
    case DPS_ATTEST_COUNT:
        ok = false;
        break;
    }
    if (ok)
        return root;
    cJSON_Delete(root);
    return NULL;
}

cJSON *dps_enrollment_mechanism(const dps_enrollment *enrollment)
{
    return mechanism(enrollment, true);
}

static bool add_hubs(cJSON *root, const dps_enrollment *e)
{
    dps_hubs hubs;
    if (e->hub[0] != '\0' && !text(root, "iotHubHostName", e->hub))
        return false;
    if (e->hubs == NULL)
        return true;
    cJSON *list = dps_hubs_split(e->hubs, &hubs) ? cJSON_AddArrayToObject(root, "iotHubs") : NULL;
    for (size_t i = 0; list != NULL && i < hubs.count; i++) {
        cJSON *name = cJSON_CreateString(hubs.names[i]);
        if (name == NULL || !cJSON_AddItemToArray(list, name)) {
            cJSON_Delete(name);
            return false;
        }
    }
    return list != NULL;
}

static bool add_policies(cJSON *root, const dps_enrollment *e)
{
    cJSON *custom = NULL;
    cJSON *reprovision = cJSON_AddObjectToObject(root, "reprovisionPolicy");
    if (cJSON_AddBoolToObject(reprovision, "updateHubAssignment", e->update_hub) == NULL ||
        cJSON_AddBoolToObject(reprovision, "migrateDeviceData", e->migrate_data) == NULL ||
        (e->allocation != DPS_ALLOCATE_DEFAULT &&
         !text(root, "allocationPolicy", dps_allocation_name(e->allocation))) ||
        !add_hubs(root, e))
        return false;
    if (e->webhook_url[0] == '\0')
        return true;
    custom = cJSON_AddObjectToObject(root, "customAllocationDefinition");
    return custom != NULL && text(custom, "webhookUrl", e->webhook_url) &&
           text(custom, "apiVersion", e->webhook_api_version);
}

const char *dps_registration_status(const dps_registration *registration, int64_t now_ms)
{
    if (now_ms < registration->ready_ms)
        return "assigning";
    switch (registration->outcome) {
    case DPS_OUTCOME_ASSIGNED:
        return "assigned";
    case DPS_OUTCOME_FAILED:
        return "failed";
    case DPS_OUTCOME_PENDING:
    case DPS_OUTCOME_COUNT:
        break;
    }
    return "assigning";
}

cJSON *dps_enrollment_to_json(const dps_enrollment *e, const dps_registration *registration)
{
    char created[DPS_TIME_LEN], updated[DPS_TIME_LEN], etag[DPS_ETAG_LEN + 2];
    cJSON *root = cJSON_CreateObject();
    cJSON *capabilities = NULL;
    dps_time_format(e->created_ms, created);
    dps_time_format(e->updated_ms, updated);
    snprintf(etag, sizeof(etag), "\"%s\"", e->etag); /* with its quotes, as the service has it */
    bool ok =
        text(root, dps_enrollment_id_member(e->is_group), e->id) &&
        (e->device_id[0] == '\0' || text(root, "deviceId", e->device_id)) &&
        (registration == NULL ||
         add(root, "registrationState",
             dps_json_registration(registration,
                                   dps_registration_status(registration, dps_time_now_ms())))) &&
        add(root, "attestation", mechanism(e, false)) &&
        (capabilities = cJSON_AddObjectToObject(root, "capabilities")) != NULL &&
        cJSON_AddBoolToObject(capabilities, "iotEdge", e->iot_edge) != NULL &&
        (e->initial_twin == NULL || cJSON_AddRawToObject(root, "initialTwin", e->initial_twin) != NULL) &&
        text(root, "etag", etag) && text(root, "provisioningStatus", e->enabled ? "enabled" : "disabled") &&
        add_policies(root, e) && text(root, "createdDateTimeUtc", created) &&
        text(root, "lastUpdatedDateTimeUtc", updated) &&
        (e->device_information == NULL ||
         cJSON_AddRawToObject(root, "optionalDeviceInformation", e->device_information) != NULL);
    if (ok)
        return root;
    cJSON_Delete(root);
    return NULL;
}
