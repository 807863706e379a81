#include "dps_cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "dps_allocate.h"
#include "dps_file.h"
#include "dps_json.h"
#include "dps_state.h"
#include "dps_tpm.h"
#include "dps_x509.h"

typedef struct create_options {
    bool is_group;
    const char *dir, *id, *device_id, *allocation, *webhook, *webhook_api_version, *reprovision,
        *initial_twin;
    const char *certificate[2], *reference[2], *key_file[2], *tpm_key[2];
    const char *hubs[DPS_HUBS_MAX];
    size_t hub_count;
    bool symmetric, disabled, edge;
} create_options;

#define HELP_COMMON                                                                                          \
    "  --allocation POLICY            hashed, geoLatency (treated as hashed), static or custom (default: "   \
    "static with\n"                                                                                          \
    "                                 one --hub, else hashed)\n"                                             \
    "  --hub NAME                     hub for the devices; may be repeated (default: the server's --hub)\n"  \
    "  --webhook URL                  with --allocation custom: https URL on this machine that chooses the " \
    "hub\n"                                                                                                  \
    "  --webhook-api-version V        api-version that the webhook is called with (default 2021-10-01)\n"    \
    "  --reprovision POLICY           when a device registers again: migrate, reset or never (default "      \
    "migrate)\n"                                                                                             \
    "  --initial-twin FILE            JSON with \"tags\" and \"properties\" for the device's twin\n"         \
    "  --edge                         the devices are IoT Edge devices\n"

static const char help_group[] =
    "group create --dir STATE --id NAME ATTESTATION [OPTION]...\n"
    "\n"
    "Creates an enrollment group. A running server knows it at its next request. ATTESTATION is one of:\n"
    "\n"
    "  --certificate FILE             devices whose chain leads to this root or intermediate CA certificate, "
    "PEM\n"
    "  --ca-reference NAME            the same, by the name of a verified certificate (\"certificate "
    "verify\")\n"
    "  --symmetric-key                devices with a key that is derived from the group's\n"
    "\n"
    "  --dir STATE                    state folder; made when missing\n"
    "  --id NAME                      name of the group: up to 128 letters, digits, '-', '.', '_', ':'\n"
    "  --secondary-certificate FILE   a second CA certificate, to change over\n"
    "  --secondary-ca-reference NAME  a second reference\n"
    "  --primary-key-file FILE        with --symmetric-key: base64 of 16 to 64 bytes (default: one is made)\n"
    "  --secondary-key-file FILE      the same for the secondary key\n" HELP_COMMON
    "  --disabled                     create it, but refuse its devices until \"group enable\"\n"
    "  --help                         this text\n";

static const char help_enrollment[] =
    "enrollment create --dir STATE --id ID ATTESTATION [OPTION]...\n"
    "\n"
    "Creates the enrollment of one device. It decides alone whether this device may register, whatever "
    "groups there\n"
    "are. ATTESTATION is one of:\n"
    "\n"
    "  --certificate FILE             the device's own certificate, PEM, signed by whomever\n"
    "  --symmetric-key                the device's own key\n"
    "  --endorsement-key-file FILE    endorsement key of its TPM: base64 of a TPM2B_PUBLIC\n"
    "\n"
    "  --dir STATE                    state folder; made when missing\n"
    "  --id ID                        registration id: up to 128 letters, digits, '-', '.', '_', ':'\n"
    "  --device-id ID                 name of the device at the hub (default: the registration id)\n"
    "  --secondary-certificate FILE   a second certificate, to change over\n"
    "  --primary-key-file FILE        with --symmetric-key: base64 of 16 to 64 bytes (default: one is made)\n"
    "  --secondary-key-file FILE      the same for the secondary key\n"
    "  --storage-root-key-file FILE   storage root key that the TPM must have (default: any)\n" HELP_COMMON
    "  --disabled                     create it, but refuse the device until \"enrollment enable\"\n"
    "  --help                         this text\n";

static bool take_certificates(const create_options *o, dps_enrollment *e, dps_fail *fail)
{
    dps_blob *materials[] = {&e->primary, &e->secondary};
    for (size_t i = 0; i < 2; i++) {
        unsigned char *der = NULL;
        if (o->certificate[i] == NULL)
            continue;
        X509 *cert = dps_x509_read_pem(o->certificate[i], fail);
        if (cert == NULL)
            return false;
        bool fits = !o->is_group || dps_x509_is_ca(cert);
        int n = fits ? i2d_X509(cert, &der) : 0;
        bool kept = n > 0 && dps_blob_copy(der, (size_t)n, materials[i]);
        OPENSSL_free(der);
        X509_free(cert);
        if (!fits)
            return dps_fail_set(
                fail, DPS_EXIT_FAILED,
                "\"%s\" is not a CA certificate (basicConstraints CA:TRUE); give the certificate that "
                "signs the devices' certificates",
                o->certificate[i]);
        if (!kept)
            return dps_fail_set(fail, DPS_EXIT_FAILED, "the certificate cannot be encoded; check the file");
    }
    return true;
}

static bool take_references(const create_options *o, dps_enrollment *e, dps_fail *fail)
{
    dps_blob *materials[] = {&e->primary, &e->secondary};
    for (size_t i = 0; i < 2; i++) {
        if (o->reference[i] != NULL && !dps_blob_copy(o->reference[i], strlen(o->reference[i]), materials[i]))
            return dps_fail_set(fail, DPS_EXIT_FAILED, "out of memory");
    }
    return true;
}

static bool take_keys(const create_options *o, dps_enrollment *e, dps_fail *fail)
{
    dps_blob *materials[] = {&e->primary, &e->secondary};
    for (size_t i = 0; i < 2; i++) {
        uint8_t key[DPS_KEY_SIZE];
        if (o->key_file[i] != NULL) {
            if (!dps_file_read_base64(o->key_file[i], DPS_KEY_MIN, DPS_KEY_MAX, materials[i], fail))
                return false;
            continue;
        }
        bool ok = RAND_bytes(key, sizeof(key)) == 1 && dps_blob_copy(key, sizeof(key), materials[i]);
        OPENSSL_cleanse(key, sizeof(key));
        if (!ok)
            return dps_fail_set(fail, DPS_EXIT_FAILED,
                                "OpenSSL gives no random numbers; check its configuration");
    }
    return true;
}

static bool take_tpm_keys(const create_options *o, dps_enrollment *e, dps_fail *fail)
{
    dps_blob *materials[] = {&e->primary, &e->secondary};
    for (size_t i = 0; i < 2; i++) {
        dps_tpm_public parsed;
        if (o->tpm_key[i] == NULL)
            continue;
        if (!dps_file_read_base64(o->tpm_key[i], 1, DPS_TPM_PUBLIC_MAX, materials[i], fail))
            return false;
        const char *problem = dps_tpm_parse_public(materials[i], &parsed);
        if (problem != NULL)
            return dps_fail_set(fail, DPS_EXIT_FAILED,
                                "\"%s\": %s; give what tpm2_readpublic -f tss writes, in base64",
                                o->tpm_key[i], problem);
    }
    return true;
}

static const struct {
    dps_attestation group, individual;
    bool (*take)(const create_options *o, dps_enrollment *e, dps_fail *fail);
} kinds[] = {
    {DPS_ATTEST_X509_SIGNING, DPS_ATTEST_X509_CLIENT, take_certificates},
    {DPS_ATTEST_X509_REFERENCE, DPS_ATTEST_COUNT, take_references},
    {DPS_ATTEST_SYMMETRIC, DPS_ATTEST_SYMMETRIC, take_keys},
    {DPS_ATTEST_COUNT, DPS_ATTEST_TPM, take_tpm_keys},
};

/* Index into kinds, or -1 when not exactly one kind was given with what belongs to it. */
static int kind_of(const create_options *o)
{
    const bool given[] = {o->certificate[0] != NULL, o->reference[0] != NULL, o->symmetric,
                          o->tpm_key[0] != NULL};
    const bool second[] = {o->certificate[1] != NULL, o->reference[1] != NULL,
                           o->key_file[0] != NULL || o->key_file[1] != NULL, o->tpm_key[1] != NULL};
    int found = -1;
    for (int i = 0; i < 4; i++) {
        if (given[i] && found >= 0)
            return -1;
        if (second[i] && !given[i])
            return -1;
        if (given[i])
            found = i;
    }
    return found;
}

static int check_policies(const dps_cmd *cmd, const create_options *o, dps_enrollment *e)
{
    if (o->allocation != NULL &&
        (!dps_allocation_parse(o->allocation, &e->allocation) || o->allocation[0] == '\0'))
        return dps_cmd_usage(cmd, "--allocation \"%s\" is not hashed, geoLatency, static or custom",
                             o->allocation);
    if ((e->allocation == DPS_ALLOCATE_CUSTOM) != (o->webhook != NULL))
        return dps_cmd_usage(cmd, "--allocation custom and --webhook belong together");
    if (o->webhook != NULL && (strncmp(o->webhook, "https://", 8) != 0 || strlen(o->webhook) >= DPS_URL_LEN))
        return dps_cmd_usage(cmd, "--webhook \"%s\" is not an https URL of less than %d bytes", o->webhook,
                             DPS_URL_LEN);
    const char *version = o->webhook_api_version != NULL ? o->webhook_api_version : "2021-10-01";
    if (strlen(version) >= sizeof(e->webhook_api_version))
        return dps_cmd_usage(cmd, "--webhook-api-version \"%s\" is too long", version);
    if (o->webhook != NULL) {
        snprintf(e->webhook_url, sizeof(e->webhook_url), "%s", o->webhook);
        snprintf(e->webhook_api_version, sizeof(e->webhook_api_version), "%s", version);
    }
    const char *again = o->reprovision != NULL ? o->reprovision : "migrate";
    if (strcmp(again, "migrate") != 0 && strcmp(again, "reset") != 0 && strcmp(again, "never") != 0)
        return dps_cmd_usage(cmd, "--reprovision \"%s\" is not migrate, reset or never", again);
    e->update_hub = strcmp(again, "never") != 0;
    e->migrate_data = strcmp(again, "migrate") == 0;
    return DPS_EXIT_OK;
}

static int check_names(const dps_cmd *cmd, const create_options *o)
{
    dps_id_verdict verdict = dps_id_check(dps_span_of(o->id));
    if (verdict != DPS_ID_OK)
        return dps_cmd_usage(cmd, "--id \"%s\" cannot be used: %s", o->id, dps_id_verdict_text(verdict));
    verdict = o->device_id != NULL ? dps_id_check(dps_span_of(o->device_id)) : DPS_ID_OK;
    if (verdict != DPS_ID_OK)
        return dps_cmd_usage(cmd, "--device-id \"%s\" cannot be used: %s", o->device_id,
                             dps_id_verdict_text(verdict));
    for (size_t i = 0; i < 2; i++) {
        if (o->reference[i] != NULL && dps_id_check(dps_span_of(o->reference[i])) != DPS_ID_OK)
            return dps_cmd_usage(cmd, "\"%s\" cannot be the name of a certificate", o->reference[i]);
    }
    for (size_t i = 0; i < o->hub_count; i++) {
        if (!dps_host_valid(o->hubs[i], true) || strlen(o->hubs[i]) > DPS_HUB_MAX)
            return dps_cmd_usage(cmd, "--hub \"%s\" is not a host name", o->hubs[i]);
    }
    return DPS_EXIT_OK;
}

static bool take_twin(const create_options *o, dps_enrollment *e, dps_fail *fail)
{
    dps_blob file = {0};
    const char *problem = NULL;
    if (o->initial_twin == NULL)
        return true;
    if (!dps_file_read(o->initial_twin, DPS_DOCUMENT_MAX, &file, fail))
        return false;
    cJSON *root = dps_json_parse((dps_span){(const char *)file.bytes, file.len}, &problem);
    dps_blob_clear(&file);
    bool ok = cJSON_IsObject(root);
    cJSON_Delete(ok ? NULL : root);
    if (!ok)
        return dps_fail_set(fail, DPS_EXIT_FAILED, "\"%s\" is not a JSON object; check the file",
                            o->initial_twin);
    e->initial_twin = dps_json_print(root);
    return e->initial_twin != NULL || dps_fail_set(fail, DPS_EXIT_FAILED, "out of memory");
}

/* One hub is iotHubHostName, several are iotHubs. */
static bool take_hubs(const create_options *o, dps_enrollment *e)
{
    size_t room = 1;
    if (o->hub_count == 1)
        snprintf(e->hub, sizeof(e->hub), "%s", o->hubs[0]);
    if (o->hub_count < 2)
        return true;
    for (size_t i = 0; i < o->hub_count; i++)
        room += strlen(o->hubs[i]) + 1;
    e->hubs = calloc(1, room);
    for (size_t i = 0; e->hubs != NULL && i < o->hub_count; i++) {
        size_t used = strlen(e->hubs);
        snprintf(e->hubs + used, room - used, "%s%s", i > 0 ? " " : "", o->hubs[i]);
    }
    return e->hubs != NULL;
}

static bool fill(const create_options *o, int kind, dps_enrollment *e, dps_fail *fail)
{
    e->is_group = o->is_group;
    e->attestation = o->is_group ? kinds[kind].group : kinds[kind].individual;
    e->enabled = !o->disabled;
    e->iot_edge = o->edge;
    e->created_ms = e->updated_ms = dps_time_now_ms();
    snprintf(e->id, sizeof(e->id), "%s", o->id);
    snprintf(e->device_id, sizeof(e->device_id), "%s", o->device_id != NULL ? o->device_id : "");
    if (!take_hubs(o, e))
        return dps_fail_set(fail, DPS_EXIT_FAILED, "out of memory");
    if (!dps_random_etag(e->etag))
        return dps_fail_set(fail, DPS_EXIT_FAILED,
                            "OpenSSL gives no random numbers; check its configuration");
    return kinds[kind].take(o, e, fail) && take_twin(o, e, fail);
}

static bool store(const create_options *o, const dps_enrollment *e, dps_fail *fail)
{
    dps_store *db = NULL;
    char holder[DPS_ID_LEN];
    const char *noun = o->is_group ? "group" : "enrollment";
    if (!dps_state_open_store(o->dir, true, &db, fail))
        return false;
    bool ok = false;
    switch (dps_store_enrollment_add(db, e, holder)) {
    case DPS_STORE_OK:
        ok = true;
        break;
    case DPS_STORE_CONFLICT:
        if (dps_text_equal_nocase(holder, strlen(holder), o->id, strlen(o->id)))
            dps_fail_set(fail, DPS_EXIT_CONFLICT,
                         "the %s \"%s\" exists; delete it first, or take another --id", noun, holder);
        else
            dps_fail_set(fail, DPS_EXIT_CONFLICT,
                         "the group \"%s\" has this certificate already; delete that group first", holder);
        break;
    case DPS_STORE_NOT_FOUND:
    case DPS_STORE_STALE:
    case DPS_STORE_FAILED:
        dps_fail_set(fail, DPS_EXIT_FAILED, "the database refuses the %s: %s", noun, dps_store_message(db));
        break;
    }
    dps_store_close(&db);
    return ok;
}

static void announce(const dps_enrollment *e)
{
    dps_cert_info info;
    X509 *cert = e->attestation == DPS_ATTEST_X509_SIGNING || e->attestation == DPS_ATTEST_X509_CLIENT
                     ? dps_x509_parse(e->primary.bytes, e->primary.len)
                     : NULL;
    printf("%s \"%s\" created", e->is_group ? "group" : "enrollment", e->id);
    if (cert != NULL && dps_cert_info_of(cert, &info))
        printf(": %s, until %s\n", info.subject, info.not_after);
    else
        printf(": %s\n", dps_attestation_type(e->attestation));
    X509_free(cert);
}

static int create(const dps_cmd *cmd, create_options *o)
{
    dps_fail fail;
    dps_enrollment e = {0};
    int kind = kind_of(o);
    int exit_code = check_names(cmd, o);
    if (exit_code == DPS_EXIT_OK)
        exit_code = check_policies(cmd, o, &e);
    if (exit_code != DPS_EXIT_OK)
        return exit_code;
    if (kind < 0)
        return dps_cmd_usage(cmd, "give exactly one kind of attestation, and only options that belong to it");
    bool ok = fill(o, kind, &e, &fail) && store(o, &e, &fail);
    if (ok)
        announce(&e);
    dps_enrollment_clear(&e);
    return ok ? DPS_EXIT_OK : dps_cmd_failed(cmd, &fail);
}

static int run(const dps_cmd *cmd, int argc, char **argv)
{
    create_options o = {.is_group = cmd == &dps_cmd_group_create};
    dps_opt opts[32] = {
        {.name = "dir", .value = &o.dir, .required = true},
        {.name = "id", .value = &o.id, .required = true},
        {.name = "certificate", .value = &o.certificate[0]},
        {.name = "secondary-certificate", .value = &o.certificate[1]},
        {.name = "symmetric-key", .flag = &o.symmetric},
        {.name = "primary-key-file", .value = &o.key_file[0]},
        {.name = "secondary-key-file", .value = &o.key_file[1]},
        {.name = "allocation", .value = &o.allocation},
        {.name = "hub", .values = o.hubs, .values_max = DPS_HUBS_MAX, .values_count = &o.hub_count},
        {.name = "webhook", .value = &o.webhook},
        {.name = "webhook-api-version", .value = &o.webhook_api_version},
        {.name = "reprovision", .value = &o.reprovision},
        {.name = "initial-twin", .value = &o.initial_twin},
        {.name = "edge", .flag = &o.edge},
        {.name = "disabled", .flag = &o.disabled},
    };
    const dps_opt for_groups[] = {{.name = "ca-reference", .value = &o.reference[0]},
                                  {.name = "secondary-ca-reference", .value = &o.reference[1]}};
    const dps_opt for_devices[] = {{.name = "device-id", .value = &o.device_id},
                                   {.name = "endorsement-key-file", .value = &o.tpm_key[0]},
                                   {.name = "storage-root-key-file", .value = &o.tpm_key[1]}};
    int exit_code;
    size_t count = 0;
    while (opts[count].name != NULL)
        count++;
    if (o.is_group)
        memcpy(opts + count, for_groups, sizeof(for_groups));
    else
        memcpy(opts + count, for_devices, sizeof(for_devices));
    if (!dps_cmd_options(cmd, argc, argv, opts, &exit_code))
        return exit_code;
    return create(cmd, &o);
}

const dps_cmd dps_cmd_group_create = {
    .name = "group create",
    .summary = "create an enrollment group",
    .help = help_group,
    .run = run,
};

const dps_cmd dps_cmd_enrollment_create = {
    .name = "enrollment create",
    .summary = "create the enrollment of one device",
    .help = help_enrollment,
    .run = run,
};
