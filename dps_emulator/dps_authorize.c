#include "dps_authorize.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/x509_vfy.h>

#include "dps_log.h"
#include "dps_sas.h"
#include "dps_tpm.h"

enum { GROUPS_MAX = 4096 }; /* enrollment groups that are loaded */

typedef struct anchor {
    size_t group; /* index */
    dps_cert_info info;
} anchor;

struct dps_authorizer {
    dps_store *store;
    int64_t version; /* of the groups below; -1 before the first load */
    dps_anchors *anchors;
    anchor *anchor_rows; /* in the order of the anchors */
    size_t anchor_count;
    dps_enrollment *groups;
    size_t group_count;
};

dps_authorizer *dps_authorizer_new(dps_store *store)
{
    dps_authorizer *authorizer = calloc(1, sizeof(*authorizer));
    if (authorizer == NULL)
        return NULL;
    authorizer->store = store;
    authorizer->version = -1;
    return authorizer;
}

static void unload(dps_authorizer *a)
{
    dps_anchors_free(&a->anchors);
    free(a->anchor_rows);
    for (size_t i = 0; i < a->group_count; i++)
        dps_enrollment_clear(&a->groups[i]);
    free(a->groups);
    *a = (dps_authorizer){.store = a->store, .version = -1};
}

void dps_authorizer_free(dps_authorizer **authorizer)
{
    if (*authorizer == NULL)
        return;
    unload(*authorizer);
    free(*authorizer);
    *authorizer = NULL;
}

void dps_decision_clear(dps_decision *decision)
{
    for (size_t i = 0; i < DPS_DEVICE_KEYS; i++)
        dps_blob_clear(&decision->keys[i]);
    dps_enrollment_clear(&decision->own);
    *decision = (dps_decision){0};
}

static bool add_anchor(dps_authorizer *a, const dps_blob *certificate)
{
    X509 *cert = dps_x509_parse(certificate->bytes, certificate->len);
    anchor *grown = cert != NULL ? realloc(a->anchor_rows, (a->anchor_count + 1) * sizeof(*grown)) : NULL;
    bool ok = false;
    if (grown != NULL) {
        a->anchor_rows = grown;
        grown[a->anchor_count].group = a->group_count - 1;
        ok = dps_cert_info_of(cert, &grown[a->anchor_count].info) && dps_anchors_add(a->anchors, cert);
        a->anchor_count += ok;
    }
    X509_free(cert);
    return ok;
}

/* A CA certificate that is gone, or whose possession is not proved (any more), makes the group trust nothing.
 */
static bool add_reference(dps_authorizer *a, const dps_enrollment *group, const dps_blob *name)
{
    char text[DPS_ID_LEN];
    dps_ca ca;
    if (name->len >= sizeof(text))
        return false;
    memcpy(text, name->bytes, name->len);
    text[name->len] = '\0';
    dps_store_result result = dps_store_ca_get(a->store, text, &ca);
    if (result == DPS_STORE_NOT_FOUND || (result == DPS_STORE_OK && !ca.verified)) {
        dps_log(DPS_LOG_WARN,
                "enrollment group \"%s\": the CA certificate \"%s\" is %s; its devices are refused",
                group->id, text, result == DPS_STORE_OK ? "not verified" : "missing");
        if (result == DPS_STORE_OK)
            dps_ca_clear(&ca);
        return true;
    }
    if (result != DPS_STORE_OK)
        return false;
    bool ok = add_anchor(a, &ca.certificate);
    dps_ca_clear(&ca);
    return ok;
}

static bool add_anchors(dps_authorizer *a, const dps_enrollment *group)
{
    const dps_blob *materials[] = {&group->primary, &group->secondary};
    for (size_t i = 0; i < 2; i++) {
        if (materials[i]->len == 0)
            continue;
        bool ok = true;
        if (group->attestation == DPS_ATTEST_X509_SIGNING)
            ok = add_anchor(a, materials[i]);
        else if (group->attestation == DPS_ATTEST_X509_REFERENCE)
            ok = add_reference(a, group, materials[i]);
        if (!ok)
            return false;
    }
    return true;
}

static bool text_copy(char **text)
{
    return *text == NULL || (*text = strdup(*text)) != NULL;
}

/* A deep copy. */
static bool copy_enrollment(const dps_enrollment *from, dps_enrollment *ret)
{
    dps_enrollment e = *from;
    e.primary = e.secondary = (dps_blob){0};
    e.hubs = e.initial_twin = e.device_information = NULL;
    bool ok = dps_blob_copy(from->primary.bytes, from->primary.len, &e.primary) &&
              dps_blob_copy(from->secondary.bytes, from->secondary.len, &e.secondary);
    e.hubs = ok ? from->hubs : NULL;
    ok = ok && text_copy(&e.hubs);
    e.initial_twin = ok ? from->initial_twin : NULL;
    ok = ok && text_copy(&e.initial_twin);
    e.device_information = ok ? from->device_information : NULL;
    ok = ok && text_copy(&e.device_information);
    if (ok)
        *ret = e;
    else
        dps_enrollment_clear(&e);
    return ok;
}

typedef struct loading {
    dps_authorizer loaded;
    bool failed;
} loading;

static bool load_group(const dps_enrollment *group, void *user)
{
    loading *l = user;
    dps_authorizer *a = &l->loaded;
    if (a->group_count == GROUPS_MAX) {
        dps_log(DPS_LOG_ERROR,
                "there are more than %d enrollment groups: \"%s\" and those after it are not looked at",
                GROUPS_MAX, group->id);
        return false;
    }
    dps_enrollment *grown = realloc(a->groups, (a->group_count + 1) * sizeof(*grown));
    l->failed = true;
    if (grown != NULL) {
        a->groups = grown;
        if (copy_enrollment(group, &grown[a->group_count])) {
            a->group_count++;
            l->failed = !add_anchors(a, &grown[a->group_count - 1]);
        }
    }
    if (l->failed)
        dps_log(DPS_LOG_ERROR, "enrollment group \"%s\" cannot be loaded; delete it and create it again",
                group->id);
    return !l->failed;
}

/* Loads the groups again when any process changed them. */
static bool refresh(dps_authorizer *a)
{
    int64_t version = 0;
    if (dps_store_groups_version(a->store, &version) != DPS_STORE_OK)
        return false;
    if (version == a->version)
        return true;
    loading l = {.loaded = {.store = a->store, .version = version, .anchors = dps_anchors_new()}};
    if (l.loaded.anchors == NULL ||
        dps_store_enrollment_each(a->store, true, NULL, load_group, &l) != DPS_STORE_OK || l.failed) {
        unload(&l.loaded);
        return false;
    }
    unload(a);
    *a = l.loaded;
    dps_log(DPS_LOG_INFO, "%zu enrollment group%s loaded", a->group_count, a->group_count == 1 ? "" : "s");
    return true;
}

static void refuse(dps_decision *decision, dps_error error, const char *fmt, ...) DPS_PRINTF(3, 4);

static void refuse(dps_decision *decision, dps_error error, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(decision->message, sizeof(decision->message), fmt, ap);
    va_end(ap);
    decision->error = error;
    decision->granted = false;
}

static void refuse_chain(dps_decision *decision, const dps_chain_result *result)
{
    const char *which =
        result->depth == 0 ? "The device certificate" : "A CA certificate of the device's chain";
    switch (result->verdict) {
    case DPS_CHAIN_UNKNOWN_CA:
        refuse(decision, DPS_ERR_UNAUTHORIZED, "CA certificate not found");
        return;
    case DPS_CHAIN_EXPIRED:
        refuse(decision, DPS_ERR_UNAUTHORIZED, "%s has expired", which);
        return;
    case DPS_CHAIN_NOT_YET_VALID:
        refuse(decision, DPS_ERR_UNAUTHORIZED, "%s is not yet valid", which);
        return;
    case DPS_CHAIN_WRONG_PURPOSE:
        refuse(decision, DPS_ERR_UNAUTHORIZED, "%s is not allowed %s", which,
               result->depth == 0 ? "for client authentication" : "to sign certificates");
        return;
    case DPS_CHAIN_REJECTED:
        refuse(decision, DPS_ERR_UNAUTHORIZED, "%s is not accepted: %s", which,
               X509_verify_cert_error_string(result->x509_error));
        return;
    case DPS_CHAIN_FAILED:
    case DPS_CHAIN_OK:
        refuse(decision, DPS_ERR_INTERNAL, "Internal error");
        return;
    }
}

/* The common name must be the registration id. */
static bool check_name(X509 *leaf, dps_span registration_id, dps_decision *decision)
{
    char cn[DPS_ID_LEN];
    switch (dps_x509_common_name(leaf, cn)) {
    case DPS_CN_OK:
        if (dps_text_equal_nocase(cn, strlen(cn), registration_id.at, registration_id.len))
            return true;
        refuse(decision, DPS_ERR_UNAUTHORIZED,
               "The common name of the device certificate is not the registration id");
        return false;
    case DPS_CN_MISSING:
        refuse(decision, DPS_ERR_UNAUTHORIZED, "The device certificate has no common name");
        return false;
    case DPS_CN_SEVERAL:
        refuse(decision, DPS_ERR_UNAUTHORIZED, "The device certificate has more than one common name");
        return false;
    case DPS_CN_INVALID:
        refuse(decision, DPS_ERR_UNAUTHORIZED,
               "The common name of the device certificate is no registration id");
        return false;
    }
    return false;
}

static void refuse_internal(dps_authorizer *a, dps_decision *decision)
{
    dps_log(DPS_LOG_ERROR, "enrollments cannot be read: %s", dps_store_message(a->store));
    refuse(decision, DPS_ERR_INTERNAL, "Internal error");
}

/* Reads the token and checks what it is for. */
static bool read_sas(const dps_claim *claim, dps_sas *ret_sas, dps_decision *decision)
{
    char resource[DPS_SAS_RESOURCE_MAX];
    int n = snprintf(resource, sizeof(resource), "%.*s/registrations/%.*s", (int)claim->id_scope.len,
                     claim->id_scope.at, (int)claim->registration_id.len, claim->registration_id.at);
    dps_sas_verdict verdict =
        n > 0 && (size_t)n < sizeof(resource) ? dps_sas_parse(claim->sas, ret_sas) : DPS_SAS_WRONG_RESOURCE;
    if (verdict == DPS_SAS_OK)
        verdict = dps_sas_check(ret_sas, resource, dps_time_served_ms());
    if (verdict == DPS_SAS_OK)
        return true;
    refuse(decision, DPS_ERR_UNAUTHORIZED, "%s", dps_sas_verdict_text(verdict));
    return false;
}

static void judge_leaf(const dps_claim *claim, dps_decision *decision)
{
    const dps_enrollment *e = decision->enrollment;
    unsigned char *der = NULL;
    int n = claim->peer->leaf != NULL ? i2d_X509(claim->peer->leaf, &der) : 0;
    if (claim->peer->leaf == NULL || n <= 0) {
        refuse(decision, DPS_ERR_UNAUTHORIZED, "Unauthorized: the device sent no certificate");
        return;
    }
    dps_blob leaf = {der, (size_t)n};
    bool known = dps_blob_equal(&leaf, &e->primary) || dps_blob_equal(&leaf, &e->secondary);
    OPENSSL_free(der);
    if (!known) {
        refuse(decision, DPS_ERR_UNAUTHORIZED, "The device certificate is not the one of the enrollment");
        return;
    }
    dps_chain_result result = dps_x509_check_leaf(claim->peer->leaf);
    if (result.verdict != DPS_CHAIN_OK)
        refuse_chain(decision, &result);
    else
        decision->granted = check_name(claim->peer->leaf, claim->registration_id, decision);
}

static void judge_key(dps_authorizer *a, const dps_claim *claim, dps_decision *decision)
{
    const dps_enrollment *e = decision->enrollment;
    dps_sas sas;
    if (!read_sas(claim, &sas, decision))
        return;
    bool primary = dps_sas_signed_by(&sas, e->primary.bytes, e->primary.len);
    bool secondary = dps_sas_signed_by(&sas, e->secondary.bytes, e->secondary.len);
    if (!primary && !secondary)
        refuse(decision, DPS_ERR_UNAUTHORIZED, "%s", dps_sas_verdict_text(DPS_SAS_WRONG_SIGNATURE));
    else if (!dps_blob_copy(e->primary.bytes, e->primary.len, &decision->keys[0]) ||
             !dps_blob_copy(e->secondary.bytes, e->secondary.len, &decision->keys[1]))
        refuse_internal(a, decision);
    else
        decision->granted = true;
}

static void judge_tpm(dps_authorizer *a, const dps_claim *claim, dps_decision *decision)
{
    dps_sas sas;
    dps_blob secret = {0};
    if (!read_sas(claim, &sas, decision))
        return;
    if (dps_store_tpm_secret(a->store, &secret) != DPS_STORE_OK) {
        refuse_internal(a, decision);
        return;
    }
    const int64_t window = dps_tpm_window(dps_time_served_ms());
    for (int64_t w = window; !decision->granted && w >= window - 1; w--) {
        uint8_t nonce[DPS_HMAC_SIZE];
        if (dps_tpm_nonce(&secret, decision->enrollment->id, &decision->enrollment->primary, w, nonce))
            decision->granted = dps_sas_signed_by(&sas, nonce, sizeof(nonce));
        OPENSSL_cleanse(nonce, sizeof(nonce));
    }
    dps_blob_clear(&secret);
    if (!decision->granted)
        refuse(decision, DPS_ERR_UNAUTHORIZED, "%s", dps_sas_verdict_text(DPS_SAS_WRONG_SIGNATURE));
}

static void judge_individual(dps_authorizer *a, const dps_claim *claim, dps_decision *decision)
{
    switch (decision->enrollment->attestation) {
    case DPS_ATTEST_X509_CLIENT:
        judge_leaf(claim, decision);
        break;
    case DPS_ATTEST_SYMMETRIC:
    case DPS_ATTEST_TPM:
        if (claim->sas.len == 0)
            refuse(decision, DPS_ERR_UNAUTHORIZED, "Unauthorized: the device sent no SAS token");
        else if (decision->enrollment->attestation == DPS_ATTEST_SYMMETRIC)
            judge_key(a, claim, decision);
        else
            judge_tpm(a, claim, decision);
        break;
    case DPS_ATTEST_X509_SIGNING:
    case DPS_ATTEST_X509_REFERENCE:
    case DPS_ATTEST_COUNT:
        refuse(decision, DPS_ERR_INTERNAL, "Internal error");
        break;
    }
}

/* Whether the key that a group's key makes for this device signed the token. */
static bool try_group_key(const dps_blob *group_key, const dps_sas *sas, dps_span id)
{
    uint8_t key[DPS_HMAC_SIZE];
    bool found =
        group_key->len > 0 && dps_sas_derive(group_key, id, key) && dps_sas_signed_by(sas, key, sizeof(key));
    OPENSSL_cleanse(key, sizeof(key));
    return found;
}

/* The hub gets the device's keys of both of the group's. */
static bool derive_keys(const dps_enrollment *group, dps_span spelling, dps_decision *decision)
{
    const dps_blob *materials[] = {&group->primary, &group->secondary};
    for (size_t i = 0; i < DPS_DEVICE_KEYS; i++) {
        uint8_t key[DPS_HMAC_SIZE];
        bool ok = materials[i]->len == 0 || (dps_sas_derive(materials[i], spelling, key) &&
                                             dps_blob_copy(key, sizeof(key), &decision->keys[i]));
        OPENSSL_cleanse(key, sizeof(key));
        if (!ok)
            return false;
    }
    return true;
}

/* The group whose key made the device's, or NULL. Devices derive from their id as they spell it, or in lower
 * case:
 * @ret_spelling is what this one used, in @folded or in the claim. */
static const dps_enrollment *find_group(const dps_authorizer *a, const dps_claim *claim, const dps_sas *sas,
                                        char folded[DPS_ID_LEN], dps_span *ret_spelling)
{
    dps_span id = claim->registration_id;
    for (size_t i = 0; i < id.len; i++)
        folded[i] = id.at[i] >= 'A' && id.at[i] <= 'Z' ? (char)(id.at[i] - 'A' + 'a') : id.at[i];
    const dps_span spellings[] = {id, {folded, id.len}};
    for (size_t i = 0; i < a->group_count; i++) {
        const dps_enrollment *group = &a->groups[i];
        for (size_t s = 0; group->attestation == DPS_ATTEST_SYMMETRIC && s < 2; s++) {
            *ret_spelling = spellings[s];
            if (try_group_key(&group->primary, sas, spellings[s]) ||
                try_group_key(&group->secondary, sas, spellings[s]))
                return group;
        }
    }
    return NULL;
}

static void judge_group_key(dps_authorizer *a, const dps_claim *claim, dps_decision *decision)
{
    dps_sas sas;
    char folded[DPS_ID_LEN];
    dps_span spelling;
    if (!read_sas(claim, &sas, decision))
        return;
    decision->enrollment = find_group(a, claim, &sas, folded, &spelling);
    if (decision->enrollment == NULL)
        refuse(decision, DPS_ERR_UNAUTHORIZED, "The SAS token is signed by the key of no enrollment");
    else if (!decision->enrollment->enabled)
        refuse(decision, DPS_ERR_UNAUTHORIZED, "The enrollment group is disabled");
    else if (!derive_keys(decision->enrollment, spelling, decision))
        refuse_internal(a, decision);
    else
        decision->granted = true;
}

static void judge_chain(dps_authorizer *a, const dps_claim *claim, dps_decision *decision)
{
    dps_chain_result chain = dps_x509_verify(a->anchors, claim->peer->leaf, claim->peer->untrusted);
    if (chain.verdict != DPS_CHAIN_OK) {
        refuse_chain(decision, &chain);
        return;
    }
    if (!check_name(claim->peer->leaf, claim->registration_id, decision))
        return;
    const anchor *row = &a->anchor_rows[chain.anchor];
    decision->enrollment = &a->groups[row->group];
    if (!decision->enrollment->enabled) {
        refuse(decision, DPS_ERR_UNAUTHORIZED, "The enrollment group is disabled");
        return;
    }
    decision->signing = &row->info;
    decision->granted = true;
}

void dps_authorize(dps_authorizer *authorizer, const dps_claim *claim, dps_decision *ret_decision)
{
    char id[DPS_ID_LEN];
    *ret_decision = (dps_decision){0};
    snprintf(id, sizeof(id), "%.*s", (int)claim->registration_id.len, claim->registration_id.at);
    switch (dps_store_enrollment_get(authorizer->store, false, id, &ret_decision->own)) {
    case DPS_STORE_OK:
        ret_decision->enrollment = &ret_decision->own;
        if (ret_decision->own.enabled)
            judge_individual(authorizer, claim, ret_decision);
        else
            refuse(ret_decision, DPS_ERR_UNAUTHORIZED, "The enrollment is disabled");
        return;
    case DPS_STORE_NOT_FOUND:
        break;
    case DPS_STORE_CONFLICT:
    case DPS_STORE_STALE:
    case DPS_STORE_FAILED:
        refuse_internal(authorizer, ret_decision);
        return;
    }
    if (claim->sas.len == 0 && claim->peer->leaf == NULL)
        refuse(ret_decision, DPS_ERR_UNAUTHORIZED, "Unauthorized: the device sent no certificate");
    else if (!refresh(authorizer))
        refuse_internal(authorizer, ret_decision);
    else if (claim->sas.len > 0)
        judge_group_key(authorizer, claim, ret_decision);
    else
        judge_chain(authorizer, claim, ret_decision);
}
