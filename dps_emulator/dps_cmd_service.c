#include "dps_cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <openssl/crypto.h>

#include "dps_ca.h"
#include "dps_file.h"
#include "dps_state.h"
#include "dps_x509.h"

static const char help_connection[] =
    "connection-string --dir STATE [OPTION]...\n"
    "\n"
    "Writes the connection string with which service clients use the service API. It holds a key.\n"
    "\n"
    "  --dir STATE     state folder; made when missing\n"
    "  --host NAME     host name that the client connects to (default localhost)\n"
    "  --policy NAME   provisioningserviceowner, enrollmentread, enrollmentwrite, registrationstatusread or\n"
    "                  registrationstatuswrite (default provisioningserviceowner)\n"
    "  --secondary     with the secondary key\n"
    "  --out FILE      write it into this new file, mode 0600 (default: stdout)\n"
    "  --help          this text\n";

static bool write_connection(const char *host, const dps_service_key *key, bool secondary, const char *out,
                             dps_fail *fail)
{
    const dps_blob *from = secondary ? &key->secondary : &key->primary;
    char text[DPS_HUB_LEN + DPS_KEY_NAME_LEN + 160];
    char *encoded = dps_base64_encode(from->bytes, from->len);
    if (encoded == NULL)
        return dps_fail_set(fail, DPS_EXIT_FAILED, "out of memory");
    snprintf(text, sizeof(text), "HostName=%s;SharedAccessKeyName=%s;SharedAccessKey=%s", host, key->name,
             encoded);
    OPENSSL_cleanse(encoded, strlen(encoded));
    free(encoded);
    bool ok = dps_file_write_secret(out, text, fail);
    OPENSSL_cleanse(text, sizeof(text));
    return ok;
}

static int run_connection(const dps_cmd *cmd, int argc, char **argv)
{
    const char *dir = NULL, *host = "localhost", *policy = "provisioningserviceowner", *out = NULL;
    bool secondary = false;
    const dps_opt opts[] = {
        {.name = "dir", .value = &dir, .required = true},
        {.name = "host", .value = &host},
        {.name = "policy", .value = &policy},
        {.name = "secondary", .flag = &secondary},
        {.name = "out", .value = &out},
        {.name = NULL},
    };
    int exit_code;
    dps_fail fail;
    dps_store *store = NULL;
    dps_service_key key;
    if (!dps_cmd_options(cmd, argc, argv, opts, &exit_code))
        return exit_code;
    if (!dps_host_valid(host, true) || strlen(host) > DPS_HUB_MAX)
        return dps_cmd_usage(cmd, "--host \"%s\" is not a host name", host);
    if (!dps_state_open_store(dir, true, &store, &fail))
        return dps_cmd_failed(cmd, &fail);
    bool ok = false;
    switch (dps_store_service_key_get(store, policy, &key)) {
    case DPS_STORE_OK:
        ok = write_connection(host, &key, secondary, out, &fail);
        dps_service_key_clear(&key);
        break;
    case DPS_STORE_NOT_FOUND:
        dps_fail_set(&fail, DPS_EXIT_NOT_FOUND, "there is no policy \"%s\"; --help lists them", policy);
        break;
    case DPS_STORE_CONFLICT:
    case DPS_STORE_STALE:
    case DPS_STORE_FAILED:
        dps_fail_set(&fail, DPS_EXIT_FAILED, "the database cannot be read: %s; run the command again",
                     dps_store_message(store));
        break;
    }
    dps_store_close(&store);
    return ok ? DPS_EXIT_OK : dps_cmd_failed(cmd, &fail);
}

const dps_cmd dps_cmd_connection_string = {
    .name = "connection-string",
    .summary = "write the connection string of the service API",
    .help = help_connection,
    .run = run_connection,
};

/* Certificates. */

static bool store_failed(const dps_store *store, const char *name, dps_store_result result, dps_fail *fail)
{
    switch (result) {
    case DPS_STORE_OK:
        return true;
    case DPS_STORE_NOT_FOUND:
        return dps_fail_set(
            fail, DPS_EXIT_NOT_FOUND,
            "there is no certificate \"%s\"; \"keynym-dps certificate list\" shows what there is", name);
    case DPS_STORE_CONFLICT:
        return dps_fail_set(fail, DPS_EXIT_CONFLICT,
                            "the certificate \"%s\" exists; delete it first, or take another --id", name);
    case DPS_STORE_STALE:
    case DPS_STORE_FAILED:
        break;
    }
    return dps_fail_set(fail, DPS_EXIT_FAILED, "the database refuses the command: %s; run it again",
                        dps_store_message(store));
}

typedef struct certificate_options {
    const char *dir, *id, *file;
    bool verified;
} certificate_options;

static bool act_add(dps_store *store, const certificate_options *o, dps_fail *fail)
{
    dps_blob file = {0};
    dps_ca ca;
    if (!dps_file_read(o->file, DPS_PEM_MAX, &file, fail))
        return false;
    const char *problem = dps_ca_new(o->id, file.bytes, file.len, &ca);
    dps_blob_clear(&file);
    if (problem != NULL)
        return dps_fail_set(fail, DPS_EXIT_FAILED, "\"%s\": %s; check --id and the file", o->file, problem);
    ca.verified = o->verified;
    bool ok = store_failed(store, o->id, dps_store_ca_save(store, &ca, NULL), fail);
    dps_ca_clear(&ca);
    if (ok)
        printf("certificate \"%s\" added%s\n", o->id, o->verified ? ", verified" : "");
    return ok;
}

static bool act_delete(dps_store *store, const certificate_options *o, dps_fail *fail)
{
    if (!store_failed(store, o->id, dps_store_ca_delete(store, o->id, NULL), fail))
        return false;
    printf("certificate \"%s\" deleted\n", o->id);
    return true;
}

static bool act_code(dps_store *store, const certificate_options *o, dps_fail *fail)
{
    dps_ca ca;
    if (!store_failed(store, o->id, dps_store_ca_get(store, o->id, &ca), fail))
        return false;
    bool ok = dps_ca_new_code(&ca) ||
              dps_fail_set(fail, DPS_EXIT_FAILED, "OpenSSL gives no random numbers; check its configuration");
    ok = ok && store_failed(store, o->id, dps_store_ca_save(store, &ca, ""), fail);
    if (ok)
        puts(ca.code);
    dps_ca_clear(&ca);
    return ok;
}

static bool act_verify(dps_store *store, const certificate_options *o, dps_fail *fail)
{
    dps_ca ca;
    dps_blob file = {0};
    if (!dps_file_read(o->file, DPS_PEM_MAX, &file, fail))
        return false;
    bool ok = store_failed(store, o->id, dps_store_ca_get(store, o->id, &ca), fail);
    if (ok) {
        const char *problem = dps_ca_verify(&ca, file.bytes, file.len);
        ok = problem == NULL ||
             dps_fail_set(fail, DPS_EXIT_FAILED, "\"%s\": %s; \"certificate code\" gives a new code", o->file,
                          problem);
        ok = ok && store_failed(store, o->id, dps_store_ca_save(store, &ca, ""), fail);
        dps_ca_clear(&ca);
    }
    dps_blob_clear(&file);
    if (ok)
        printf("certificate \"%s\" verified\n", o->id);
    return ok;
}

static bool print_ca(const dps_ca *ca, void *user)
{
    dps_cert_info info = {.subject = "(unreadable certificate)"};
    X509 *cert = dps_x509_parse(ca->certificate.bytes, ca->certificate.len);
    (void)user;
    if (cert == NULL || !dps_cert_info_of(cert, &info))
        info.not_after[0] = '\0';
    X509_free(cert);
    printf("%-24s %-12s %s, until %s\n", ca->name, ca->verified ? "verified" : "not verified", info.subject,
           info.not_after);
    return true;
}

static bool act_list(dps_store *store, const certificate_options *o, dps_fail *fail)
{
    (void)o;
    return store_failed(store, "", dps_store_ca_each(store, print_ca, NULL), fail);
}

static const struct {
    const dps_cmd *cmd;
    bool (*act)(dps_store *store, const certificate_options *o, dps_fail *fail);
    bool needs_id, needs_file;
} actions[] = {
    {&dps_cmd_certificate_add, act_add, true, true},
    {&dps_cmd_certificate_list, act_list, false, false},
    {&dps_cmd_certificate_delete, act_delete, true, false},
    {&dps_cmd_certificate_code, act_code, true, false},
    {&dps_cmd_certificate_verify, act_verify, true, true},
};

static int run_certificate(const dps_cmd *cmd, int argc, char **argv)
{
    size_t a = 0;
    while (actions[a].cmd != cmd)
        a++;
    certificate_options o = {0};
    dps_opt opts[5] = {{.name = "dir", .value = &o.dir, .required = true}};
    size_t count = 1;
    if (actions[a].needs_id)
        opts[count++] = (dps_opt){.name = "id", .value = &o.id, .required = true};
    if (actions[a].needs_file)
        opts[count++] = (dps_opt){.name = "certificate", .value = &o.file, .required = true};
    if (cmd == &dps_cmd_certificate_add)
        opts[count++] = (dps_opt){.name = "verified", .flag = &o.verified};
    int exit_code;
    dps_fail fail;
    dps_store *store = NULL;
    if (!dps_cmd_options(cmd, argc, argv, opts, &exit_code))
        return exit_code;
    if (!dps_state_open_store(o.dir, cmd == &dps_cmd_certificate_add, &store, &fail))
        return dps_cmd_failed(cmd, &fail);
    bool ok = actions[a].act(store, &o, &fail);
    dps_store_close(&store);
    return ok ? DPS_EXIT_OK : dps_cmd_failed(cmd, &fail);
}

const dps_cmd dps_cmd_certificate_add = {
    .name = "certificate add",
    .summary = "add a CA certificate that groups may refer to",
    .help = "certificate add --dir STATE --id NAME --certificate FILE [--verified]\n"
            "\n"
            "Adds a CA certificate. Groups that refer to it trust it once possession of its key is proved.\n"
            "\n"
            "  --dir STATE          state folder; made when missing\n"
            "  --id NAME            its name\n"
            "  --certificate FILE   root or intermediate CA certificate, PEM or DER\n"
            "  --verified           take possession of its key as proved\n"
            "  --help               this text\n",
    .run = run_certificate,
};

const dps_cmd dps_cmd_certificate_list = {
    .name = "certificate list",
    .summary = "list the CA certificates",
    .help = "certificate list --dir STATE\n"
            "\n"
            "Lists the CA certificates, one per line.\n"
            "\n"
            "  --dir STATE   state folder\n"
            "  --help        this text\n",
    .run = run_certificate,
};

const dps_cmd dps_cmd_certificate_delete = {
    .name = "certificate delete",
    .summary = "delete a CA certificate",
    .help = "certificate delete --dir STATE --id NAME\n"
            "\n"
            "Deletes a CA certificate. Groups that refer to it trust it no longer.\n"
            "\n"
            "  --dir STATE   state folder\n"
            "  --id NAME     its name\n"
            "  --help        this text\n",
    .run = run_certificate,
};

const dps_cmd dps_cmd_certificate_code = {
    .name = "certificate code",
    .summary = "ask for the code that proves possession of a CA key",
    .help = "certificate code --dir STATE --id NAME\n"
            "\n"
            "Prints a new verification code. Sign a certificate that has it as common name with the CA's "
            "key, and\n"
            "give it to \"certificate verify\". Until then the CA certificate is not verified.\n"
            "\n"
            "  --dir STATE   state folder\n"
            "  --id NAME     its name\n"
            "  --help        this text\n",
    .run = run_certificate,
};

const dps_cmd dps_cmd_certificate_verify = {
    .name = "certificate verify",
    .summary = "prove possession of a CA key",
    .help = "certificate verify --dir STATE --id NAME --certificate FILE\n"
            "\n"
            "Proves possession of a CA's key by a certificate that it signed, with the code as common name.\n"
            "\n"
            "  --dir STATE          state folder\n"
            "  --id NAME            name of the CA certificate\n"
            "  --certificate FILE   the certificate that was signed, PEM or DER\n"
            "  --help               this text\n",
    .run = run_certificate,
};
