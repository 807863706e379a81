/* An enrollment, as the options and a file describe it. */
#include "kn_cmd_enroll.h"

#include "kn_cmd_chain.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECRET_FILE_MAX 1024

static kn_exit no_memory(const kn_cmd_args *args)
{
    return kn_cmd_fail(KN_EXIT_FAILURE, args->path, NULL, "out of memory");
}

/* Replaces a member; takes @item over, which may be NULL for lack of memory. */
static bool put(cJSON *object, const char *name, cJSON *item)
{
    if (!item)
        return false;
    cJSON_DeleteItemFromObjectCaseSensitive(object, name);
    if (cJSON_AddItemToObject(object, name, item))
        return true;
    cJSON_Delete(item);
    return false;
}

/* An object member that is there, or made. */
static cJSON *member(cJSON *object, const char *name)
{
    cJSON *found = cJSON_GetObjectItemCaseSensitive(object, name);

    return cJSON_IsObject(found) ? found : put(object, name, cJSON_CreateObject())
                                               ? cJSON_GetObjectItemCaseSensitive(object, name)
                                               : NULL;
}

/* ---- attestation ---- */

/* The first certificate of a PEM file, written anew: nothing else of the file leaves this machine. */
static kn_exit read_certificate(const char *path, char **ret_pem)
{
    char *text = NULL, *data;
    X509 *cert = NULL;
    BIO *in = NULL, *out = BIO_new(BIO_s_mem());
    long size;
    kn_exit status = kn_cmd_read_text(path, KN_ENROLL_FILE_MAX, &text);

    if (status == KN_EXIT_OK) {
        in = BIO_new_mem_buf(text, -1);
        cert = in ? PEM_read_bio_X509(in, NULL, NULL, (char *)"") : NULL;
        if (!cert)
            status = kn_cmd_fail(KN_EXIT_USAGE, path, "name a PEM file", "holds no certificate");
        else if (!out || !PEM_write_bio_X509(out, cert) || (size = BIO_get_mem_data(out, &data)) <= 0 ||
                 !(*ret_pem = strndup(data, (size_t)size)))
            status = kn_cmd_fail(KN_EXIT_FAILURE, path, NULL, "out of memory");
    }
    ERR_clear_error();
    X509_free(cert);
    BIO_free(in);
    BIO_free(out);
    kn_cmd_wipe(&text);
    return status;
}

static kn_exit add_certificate(const kn_cmd_args *args, kn_opt option, const char *name, cJSON *certificates)
{
    char *pem = NULL;
    cJSON *slot;
    kn_exit status;

    if (!args->value[option])
        return KN_EXIT_OK;
    status = read_certificate(args->value[option], &pem);
    if (status)
        return status;
    slot = cJSON_CreateObject();
    if (!slot || !kn_cmd_json_text(slot, "certificate", pem) || !put(certificates, name, slot)) {
        status = no_memory(args);
    }
    free(pem);
    return status;
}

static kn_exit put_certificates(const kn_cmd_args *args, cJSON *attestation)
{
    const char *kind = args->value[KN_OPT_GROUP] ? "signingCertificates" : "clientCertificates";
    cJSON *x509 = cJSON_CreateObject(), *certificates;
    kn_exit status;

    if (!put(attestation, "x509", x509) || !(certificates = member(x509, kind)))
        return no_memory(args);
    status = add_certificate(args, KN_OPT_CERT, "primary", certificates);
    return status ? status : add_certificate(args, KN_OPT_SECONDARY_CERT, "secondary", certificates);
}

static kn_exit put_ca_reference(const kn_cmd_args *args, cJSON *attestation)
{
    cJSON *x509 = cJSON_CreateObject(), *references;

    if (!put(attestation, "x509", x509) || !(references = member(x509, "caReferences")) ||
        !kn_cmd_json_text(references, "primary", args->value[KN_OPT_CA_REFERENCE]))
        return no_memory(args);
    return KN_EXIT_OK;
}

static kn_exit put_endorsement_key(const kn_cmd_args *args, cJSON *attestation)
{
    const char *path = args->value[KN_OPT_ENDORSEMENT_KEY];
    char *text = NULL;
    cJSON *tpm = cJSON_CreateObject();
    kn_exit status = put(attestation, "tpm", tpm) ? kn_cmd_read_text(path, 4096, &text) : no_memory(args);

    if (status)
        return status;
    text[strcspn(text, "\r\n")] = '\0';
    if (!*text || text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")])
        status = kn_cmd_fail(KN_EXIT_USAGE, path, "put the endorsement key into it, in base64 on one line", "is no base64");
    else if (!kn_cmd_json_text(tpm, "endorsementKey", text))
        status = no_memory(args);
    free(text);
    return status;
}

/* Two lines at most; without any, the service makes the keys. */
static kn_exit put_symmetric_keys(const kn_cmd_args *args, cJSON *attestation)
{
    const char *path = args->value[KN_OPT_SYMMETRIC_KEYS];
    char *text = NULL, *second;
    cJSON *keys = cJSON_CreateObject();
    kn_exit status = put(attestation, "symmetricKey", keys) ? KN_EXIT_OK : no_memory(args);

    if (status || !path)
        return status;
    if ((status = kn_cmd_read_secret(path, SECRET_FILE_MAX, &text)))
        return status;
    second = text + strcspn(text, "\r\n");
    if (*second)
        *second++ = '\0';
    second += strspn(second, "\r\n");
    second[strcspn(second, "\r\n")] = '\0';
    if (!*text)
        status = kn_cmd_fail(KN_EXIT_USAGE, path, "put the keys into it, in base64, a line each", "holds no key");
    else if (!kn_cmd_json_text(keys, "primaryKey", text) ||
             (*second && !kn_cmd_json_text(keys, "secondaryKey", second)))
        status = no_memory(args);
    kn_cmd_wipe(&text);
    return status;
}

typedef struct attestation_row {
    kn_opt option;
    const char *type;
    kn_exit (*put)(const kn_cmd_args *args, cJSON *attestation);
    bool of_device_only;
} attestation_row;

static const attestation_row rows[] = {
    {KN_OPT_CERT, "x509", put_certificates, false},
    {KN_OPT_CA_REFERENCE, "x509", put_ca_reference, false},
    {KN_OPT_ENDORSEMENT_KEY, "tpm", put_endorsement_key, true},
    {KN_OPT_SYMMETRIC_KEY, "symmetricKey", put_symmetric_keys, false},
    {KN_OPT_SYMMETRIC_KEYS, "symmetricKey", put_symmetric_keys, false},
};

static kn_exit apply_attestation(const kn_cmd_args *args, cJSON *body)
{
    const attestation_row *chosen = NULL;
    cJSON *attestation;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!args->value[rows[i].option])
            continue;
        if (chosen)
            return kn_cmd_fail_usage(args->path, "--%s and --%s exclude each other", kn_opts[chosen->option].name,
                                     kn_opts[rows[i].option].name);
        chosen = &rows[i];
    }
    if (args->value[KN_OPT_SECONDARY_CERT] && (!chosen || chosen->option != KN_OPT_CERT))
        return kn_cmd_fail_usage(args->path, "--secondary-cert needs --cert");
    if (!chosen)
        return KN_EXIT_OK;
    if (chosen->of_device_only && args->value[KN_OPT_GROUP])
        return kn_cmd_fail_usage(args->path, "--%s is of one device, not of a group", kn_opts[chosen->option].name);
    attestation = cJSON_CreateObject();
    if (!put(body, "attestation", attestation) || !kn_cmd_json_text(attestation, "type", chosen->type))
        return no_memory(args);
    return chosen->put(args, attestation);
}

/* ---- the rest ---- */

static kn_exit apply_policies(const kn_cmd_args *args, cJSON *body)
{
    static const char *const allocations[] = {"hashed", "static", "geoLatency", "custom"};
    static const struct {
        const char *name;
        bool update, migrate;
    } policies[] = {{"migrate", true, true}, {"reset", true, false}, {"never", false, false}};
    const char *allocation = args->value[KN_OPT_ALLOCATION], *reprovision = args->value[KN_OPT_REPROVISION];
    size_t i = 0;
    cJSON *policy;

    if (allocation) {
        while (i < 4 && strcmp(allocations[i], allocation) != 0)
            i++;
        if (i == 4)
            return kn_cmd_fail_usage(args->path, "--allocation is hashed, static, geoLatency or custom");
        if (!put(body, "allocationPolicy", cJSON_CreateString(allocation)))
            return no_memory(args);
    }
    if (!reprovision)
        return KN_EXIT_OK;
    for (i = 0; i < 3 && strcmp(policies[i].name, reprovision) != 0; i++)
        ;
    if (i == 3)
        return kn_cmd_fail_usage(args->path, "--reprovision is migrate, reset or never");
    policy = cJSON_CreateObject();
    if (!put(body, "reprovisionPolicy", policy) || !cJSON_AddBoolToObject(policy, "updateHubAssignment", policies[i].update) ||
        !cJSON_AddBoolToObject(policy, "migrateDeviceData", policies[i].migrate))
        return no_memory(args);
    return KN_EXIT_OK;
}

static kn_exit apply_device(const kn_cmd_args *args, cJSON *body)
{
    const char *hub = args->value[KN_OPT_HUB], *device = args->value[KN_OPT_DEVICE_ID];
    cJSON *capabilities;

    if (args->value[KN_OPT_GROUP] && device)
        return kn_cmd_fail_usage(args->path, "--device-id is of one device, not of a group");
    if (args->value[KN_OPT_ENABLED] && args->value[KN_OPT_DISABLED])
        return kn_cmd_fail_usage(args->path, "--enabled and --disabled exclude each other");
    if (device && !put(body, "deviceId", cJSON_CreateString(device)))
        return no_memory(args);
    if (hub) {
        cJSON_DeleteItemFromObjectCaseSensitive(body, "iotHubs");
        if (!put(body, "iotHubHostName", cJSON_CreateString(hub)))
            return no_memory(args);
    }
    if (args->value[KN_OPT_EDGE] && (!(capabilities = member(body, "capabilities")) ||
                                     !put(capabilities, "iotEdge", cJSON_CreateBool(true))))
        return no_memory(args);
    if ((args->value[KN_OPT_ENABLED] || args->value[KN_OPT_DISABLED]) &&
        !put(body, "provisioningStatus", cJSON_CreateString(args->value[KN_OPT_ENABLED] ? "enabled" : "disabled")))
        return no_memory(args);
    return KN_EXIT_OK;
}

kn_exit kn_enroll_apply(const kn_cmd_args *args, cJSON *body)
{
    cJSON *twin = NULL;
    kn_exit status = apply_attestation(args, body);

    if (status == KN_EXIT_OK)
        status = apply_policies(args, body);
    if (status == KN_EXIT_OK)
        status = apply_device(args, body);
    if (status == KN_EXIT_OK && args->value[KN_OPT_TWIN]) {
        status = kn_enroll_read_json(args->value[KN_OPT_TWIN], &twin);
        if (status == KN_EXIT_OK && !put(body, "initialTwin", twin))
            status = no_memory(args);
    }
    return status;
}
