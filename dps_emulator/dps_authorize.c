#include "dps_authorize.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/x509_vfy.h>

#include "dps_log.h"

enum { GROUPS_MAX = 4096 }; /* enrollment groups that are loaded */

struct dps_authorizer {
    dps_store *store;
    int64_t version; /* of the groups below; -1 before the first load */
    dps_anchors *anchors;
    dps_authorized_group *groups; /* in the order of the anchors */
    size_t count;
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

void dps_authorizer_free(dps_authorizer **authorizer)
{
    if (*authorizer == NULL)
        return;
    dps_anchors_free(&(*authorizer)->anchors);
    free((*authorizer)->groups);
    free(*authorizer);
    *authorizer = NULL;
}

typedef struct loading {
    dps_anchors *anchors;
    dps_authorized_group *groups;
    size_t count;
    bool failed;
} loading;

static bool load_group(const dps_group *group, void *user)
{
    loading *l = user;
    const unsigned char *der = group->certificate.bytes;
    X509 *cert = d2i_X509(NULL, &der, (long)group->certificate.len);
    dps_authorized_group *grown = NULL;
    if (cert != NULL && l->count < GROUPS_MAX)
        grown = realloc(l->groups, (l->count + 1) * sizeof(*grown));
    if (grown != NULL) {
        l->groups = grown;
        dps_authorized_group *slot = &grown[l->count];
        *slot = (dps_authorized_group){.enabled = group->enabled};
        memcpy(slot->id, group->id, sizeof(slot->id));
        memcpy(slot->hub, group->hub, sizeof(slot->hub));
        l->failed = !dps_cert_info_of(cert, &slot->cert) || !dps_anchors_add(l->anchors, cert);
        l->count++;
    } else {
        l->failed = true;
    }
    if (l->failed)
        dps_log(DPS_LOG_ERROR, "enrollment group \"%s\" cannot be loaded; delete it and create it again",
                group->id);
    X509_free(cert);
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
    loading l = {.anchors = dps_anchors_new()};
    if (l.anchors == NULL || dps_store_group_each(a->store, load_group, &l) != DPS_STORE_OK || l.failed) {
        dps_anchors_free(&l.anchors);
        free(l.groups);
        return false;
    }
    dps_anchors_free(&a->anchors);
    free(a->groups);
    a->anchors = l.anchors;
    a->groups = l.groups;
    a->count = l.count;
    a->version = version;
    dps_log(DPS_LOG_INFO, "%zu enrollment group%s loaded", l.count, l.count == 1 ? "" : "s");
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
    decision->group = NULL;
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

void dps_authorize(dps_authorizer *authorizer, const dps_peer *peer, dps_span registration_id,
                   dps_decision *ret_decision)
{
    ret_decision->group = NULL;
    if (peer->leaf == NULL) {
        refuse(ret_decision, DPS_ERR_UNAUTHORIZED, "Unauthorized: the device sent no certificate");
        return;
    }
    if (!refresh(authorizer)) {
        dps_log(DPS_LOG_ERROR, "enrollment groups cannot be read: %s", dps_store_message(authorizer->store));
        refuse(ret_decision, DPS_ERR_INTERNAL, "Internal error");
        return;
    }
    dps_chain_result chain = dps_x509_verify(authorizer->anchors, peer->leaf, peer->untrusted);
    if (chain.verdict != DPS_CHAIN_OK) {
        refuse_chain(ret_decision, &chain);
        return;
    }
    if (!check_name(peer->leaf, registration_id, ret_decision))
        return;
    const dps_authorized_group *group = &authorizer->groups[chain.anchor];
    if (!group->enabled) {
        refuse(ret_decision, DPS_ERR_UNAUTHORIZED, "The enrollment group is disabled");
        return;
    }
    ret_decision->group = group;
}
