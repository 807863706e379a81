#include "dps_cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "dps_json.h"
#include "dps_state.h"
#include "dps_x509.h"

static const char help[] =
    "registrations --dir STATE [--id ID] [--json]\n"
    "\n"
    "Shows what the server saw: every device that registered or was refused, its certificate, the TLS "
    "version,\n"
    "cipher suite and client signature of its connection, and the enrollment group to which its chain was "
    "verified.\n"
    "\n"
    "  --dir STATE   state folder\n"
    "  --id ID       only this registration id; exit code 3 when nothing is known about it\n"
    "  --json        one JSON array with everything instead of a list\n"
    "  --help        this text\n";

typedef struct listing {
    dps_store *store;
    cJSON *array; /* NULL: print text */
    bool failed;
    size_t count;
} listing;

static bool read_leaf(const dps_evidence *evidence, dps_cert_info *ret_info)
{
    const unsigned char *der = evidence->leaf.bytes;
    X509 *cert = evidence->leaf.len > 0 ? d2i_X509(NULL, &der, (long)evidence->leaf.len) : NULL;
    bool ok = cert != NULL && dps_cert_info_of(cert, ret_info);
    X509_free(cert);
    return ok;
}

/* Adds the connection's evidence; @group_id is NULL when the chain was not accepted. */
static bool add_evidence(cJSON *object, const dps_evidence *e, const char *group_id)
{
    dps_cert_info info;
    cJSON *x509 = cJSON_AddObjectToObject(object, "x509");
    cJSON *cert = dps_json_cert_info(read_leaf(e, &info) ? &info : NULL);
    if (cert == NULL || !cJSON_AddItemToObject(x509, "certificateInfo", cert)) {
        cJSON_Delete(cert);
        return false;
    }
    cJSON *tls = cJSON_AddObjectToObject(object, "tls");
    return cJSON_AddBoolToObject(x509, "chainVerified", group_id != NULL) != NULL &&
           (group_id == NULL || cJSON_AddStringToObject(x509, "enrollmentGroupId", group_id) != NULL) &&
           cJSON_AddStringToObject(tls, "version", e->tls_version) != NULL &&
           cJSON_AddStringToObject(tls, "cipher", e->tls_cipher) != NULL &&
           cJSON_AddStringToObject(tls, "signatureAlgorithm", e->tls_signature) != NULL &&
           cJSON_AddStringToObject(object, "transport", e->transport) != NULL &&
           cJSON_AddStringToObject(object, "apiVersion", e->api_version) != NULL &&
           cJSON_AddStringToObject(object, "clientVersion", e->client_version) != NULL;
}

static bool add_refusal(cJSON *object, const dps_refusal *refusal)
{
    char when[DPS_TIME_LEN];
    dps_time_format(refusal->at_ms, when);
    cJSON *last = cJSON_AddObjectToObject(object, "lastRefusal");
    return cJSON_AddNumberToObject(last, "errorCode", refusal->error_code) != NULL &&
           cJSON_AddStringToObject(last, "message", refusal->message) != NULL &&
           cJSON_AddStringToObject(last, "timestampUtc", when) != NULL &&
           add_evidence(last, &refusal->evidence, NULL);
}

static const char *status_of(const dps_registration *r)
{
    if (dps_time_now_ms() < r->ready_ms)
        return "assigning";
    switch (r->outcome) {
    case DPS_OUTCOME_ASSIGNED:
    case DPS_OUTCOME_COUNT:
        break;
    case DPS_OUTCOME_FAILED:
        return "failed";
    case DPS_OUTCOME_PENDING:
        return "assigning";
    }
    return "assigned";
}

/* The outcome, where it is not an assignment. */
static bool add_failure(cJSON *root, const dps_registration *r)
{
    return r->outcome != DPS_OUTCOME_FAILED ||
           (cJSON_AddNumberToObject(root, "errorCode", r->error_code) != NULL &&
            cJSON_AddStringToObject(root, "errorMessage", r->error_message) != NULL);
}

/* The group to whose CA certificate the device's chain was verified, or NULL. */
static const char *chain_group(const dps_registration *r)
{
    bool chain = r->attestation == DPS_ATTEST_X509_SIGNING || r->attestation == DPS_ATTEST_X509_REFERENCE;
    return chain && r->group_id[0] != '\0' ? r->group_id : NULL;
}

static cJSON *registration_json(const dps_registration *r, const dps_refusal *refusal)
{
    char created[DPS_TIME_LEN];
    char updated[DPS_TIME_LEN];
    dps_time_format(r->created_ms, created);
    dps_time_format(r->updated_ms, updated);
    cJSON *root = cJSON_CreateObject();
    bool ok = cJSON_AddStringToObject(root, "registrationId", r->id) != NULL &&
              cJSON_AddStringToObject(root, "status", status_of(r)) != NULL &&
              cJSON_AddStringToObject(root, "substatus", r->substatus) != NULL &&
              cJSON_AddStringToObject(root, "assignedHub", r->hub) != NULL &&
              cJSON_AddStringToObject(root, "deviceId", r->device_id) != NULL &&
              cJSON_AddStringToObject(root, "attestation", dps_attestation_type(r->attestation)) != NULL &&
              add_failure(root, r) &&
              cJSON_AddStringToObject(root, "createdDateTimeUtc", created) != NULL &&
              cJSON_AddStringToObject(root, "lastUpdatedDateTimeUtc", updated) != NULL &&
              cJSON_AddStringToObject(root, "etag", r->etag) != NULL &&
              cJSON_AddRawToObject(root, "payload", r->payload != NULL ? r->payload : "{}") != NULL &&
              add_evidence(root, &r->evidence, chain_group(r)) &&
              (refusal == NULL || add_refusal(root, refusal));
    if (!ok) {
        cJSON_Delete(root);
        return NULL;
    }
    return root;
}

static cJSON *refusal_json(const dps_refusal *refusal)
{
    cJSON *root = cJSON_CreateObject();
    if (cJSON_AddStringToObject(root, "registrationId", refusal->registration_id) != NULL &&
        cJSON_AddStringToObject(root, "status", "unassigned") != NULL && add_refusal(root, refusal))
        return root;
    cJSON_Delete(root);
    return NULL;
}

static void print_evidence(const dps_evidence *e, const char *indent)
{
    dps_cert_info info;
    if (read_leaf(e, &info)) {
        printf("%scertificate  %s, issued by %s\n", indent, info.subject, info.issuer);
        printf("%s             serial %s, version %ld, %s to %s\n", indent, info.serial, info.version,
               info.not_before, info.not_after);
        printf("%s             SHA-1 %s\n", indent, info.sha1);
        printf("%s             SHA-256 %s\n", indent, info.sha256);
    } else {
        printf("%scertificate  none\n", indent);
    }
    printf("%sconnection   %s, %s, client signature %s, %s\n", indent, e->tls_version, e->tls_cipher,
           e->tls_signature[0] != '\0' ? e->tls_signature : "none", e->transport);
}

static void print_refusal(const dps_refusal *refusal)
{
    char when[DPS_TIME_LEN];
    dps_time_format(refusal->at_ms, when);
    printf("  refused      %s: %d %s\n", when, refusal->error_code, refusal->message);
    print_evidence(&refusal->evidence, "    ");
}

static void print_registration(const dps_registration *r, const dps_refusal *refusal)
{
    char created[DPS_TIME_LEN];
    char updated[DPS_TIME_LEN];
    dps_time_format(r->created_ms, created);
    dps_time_format(r->updated_ms, updated);
    printf("%s\n", r->id);
    if (r->outcome == DPS_OUTCOME_FAILED)
        printf("  status       failed: %d %s\n", r->error_code, r->error_message);
    else
        printf("  status       %s, %s, hub %s\n", status_of(r), r->substatus, r->hub);
    printf("  registered   first %s, last %s\n", created, updated);
    if (chain_group(r) != NULL)
        printf("  chain        verified to group \"%s\"\n", r->group_id);
    else
        printf("  attestation  %s, %s \"%s\"\n", dps_attestation_type(r->attestation),
               r->group_id[0] != '\0' ? "group" : "enrollment", r->group_id[0] != '\0' ? r->group_id : r->id);
    print_evidence(&r->evidence, "  ");
    if (refusal != NULL)
        print_refusal(refusal);
}

static bool each_registration(const dps_registration *r, void *user)
{
    listing *l = user;
    dps_refusal refusal;
    dps_store_result result = dps_store_refusal_get(l->store, r->id, &refusal);
    const dps_refusal *shown = result == DPS_STORE_OK ? &refusal : NULL;
    if (result == DPS_STORE_FAILED) {
        l->failed = true;
        return false;
    }
    if (l->array == NULL) {
        print_registration(r, shown);
    } else {
        cJSON *item = registration_json(r, shown);
        l->failed = item == NULL || !cJSON_AddItemToArray(l->array, item);
    }
    if (shown != NULL)
        dps_refusal_clear(&refusal);
    l->count++;
    return !l->failed;
}

/* Refused devices that never registered. */
static bool each_refusal(const dps_refusal *refusal, void *user)
{
    listing *l = user;
    dps_registration registration;
    dps_store_result result = dps_store_registration_get(l->store, refusal->registration_id, &registration);
    if (result == DPS_STORE_OK) {
        dps_registration_clear(&registration); /* shown already */
        return true;
    }
    if (result == DPS_STORE_FAILED) {
        l->failed = true;
        return false;
    }
    if (l->array == NULL) {
        printf("%s\n  status       unassigned\n", refusal->registration_id);
        print_refusal(refusal);
    } else {
        cJSON *item = refusal_json(refusal);
        l->failed = item == NULL || !cJSON_AddItemToArray(l->array, item);
    }
    l->count++;
    return !l->failed;
}

static void show_one(listing *l, const char *id)
{
    dps_registration registration;
    dps_refusal refusal;
    dps_store_result result = dps_store_registration_get(l->store, id, &registration);
    if (result == DPS_STORE_OK) {
        each_registration(&registration, l);
        dps_registration_clear(&registration);
        return;
    }
    if (result == DPS_STORE_NOT_FOUND) {
        result = dps_store_refusal_get(l->store, id, &refusal);
        if (result == DPS_STORE_OK) {
            each_refusal(&refusal, l);
            dps_refusal_clear(&refusal);
            return;
        }
    }
    l->failed = result != DPS_STORE_NOT_FOUND;
}

static void show_all(listing *l)
{
    if (dps_store_registration_each(l->store, NULL, each_registration, l) != DPS_STORE_OK)
        l->failed = true;
    if (!l->failed && dps_store_refusal_each(l->store, each_refusal, l) != DPS_STORE_OK)
        l->failed = true;
}

static int run(const dps_cmd *cmd, int argc, char **argv)
{
    const char *dir = NULL;
    const char *id = NULL;
    bool json = false;
    const dps_opt opts[] = {
        {.name = "dir", .value = &dir, .required = true},
        {.name = "id", .value = &id},
        {.name = "json", .flag = &json},
        {.name = NULL},
    };
    int exit_code;
    dps_fail fail;
    listing l = {0};
    if (!dps_cmd_options(cmd, argc, argv, opts, &exit_code))
        return exit_code;
    if (!dps_state_open_store(dir, false, &l.store, &fail))
        return dps_cmd_failed(cmd, &fail);
    bool ok = !json || (l.array = cJSON_CreateArray()) != NULL ||
              dps_fail_set(&fail, DPS_EXIT_FAILED, "out of memory");
    if (ok) {
        if (id != NULL)
            show_one(&l, id);
        else
            show_all(&l);
        ok = !l.failed ||
             dps_fail_set(&fail, DPS_EXIT_FAILED, "the database cannot be read: %s; run the command again",
                          dps_store_message(l.store));
    }
    if (ok && id != NULL && l.count == 0)
        ok = dps_fail_set(&fail, DPS_EXIT_NOT_FOUND,
                          "nothing is known about \"%s\"; without --id all registrations are shown", id);
    if (ok && json) {
        char *text = dps_json_print(l.array);
        l.array = NULL;
        ok = (text != NULL && puts(text) >= 0) || dps_fail_set(&fail, DPS_EXIT_FAILED, "out of memory");
        free(text);
    }
    cJSON_Delete(l.array);
    dps_store_close(&l.store);
    return ok ? DPS_EXIT_OK : dps_cmd_failed(cmd, &fail);
}

const dps_cmd dps_cmd_registrations = {
    .name = "registrations",
    .summary = "show which devices registered or were refused, and with what",
    .help = help,
    .run = run,
};
