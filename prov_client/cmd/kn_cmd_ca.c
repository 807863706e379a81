/* keynym ca: a certification authority whose keys are in a token, for the devices of a factory. */
#include "kn_cmd_ca_x509.h"
#include "kn_cmd_chain.h"
#include "kn_cmd_hsm.h"

#include "../../hsm_api/hsm_client_data.h"
#include "../../hsm_api/keynym_hsm.h"
#include "../prov_names.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHAIN_FILE_MAX    (256U * 1024U)
#define DAYS_MAX          36500U
#define ROOT_DAYS         3650U
#define INTERMEDIATE_DAYS 1825U
#define DEVICE_DAYS       365U
#define PROOF_DAYS        2U /* it is uploaded once */
#define CODE_MAX          256U

/* The key of --key, through the provider that the HSM library brings along; close_key() when done. */
static kn_exit open_key(const kn_cmd_args *args, EVP_PKEY **ret_key)
{
    kn_exit status = kn_cmd_require(args, KN_OPT_KEY);

    if (status == KN_EXIT_OK)
        status = kn_cmd_require(args, KN_OPT_OUTPUT);
    if (status == KN_EXIT_OK)
        status = kn_cmd_check_new(args->value[KN_OPT_OUTPUT]);
    if (status == KN_EXIT_OK)
        status = kn_cmd_hsm_configure(args);
    if (status)
        return status;
    if (hsm_client_x509_init())
        return kn_cmd_fail(KN_EXIT_FAILURE, args->path, NULL, "%s", keynym_hsm_last_error());
    status = kn_ca_load_key(args->value[KN_OPT_KEY], ret_key);
    if (status)
        hsm_client_x509_deinit();
    return status;
}

static void close_key(EVP_PKEY *key)
{
    EVP_PKEY_free(key);
    hsm_client_x509_deinit();
}

static kn_exit write_pem(const char *path, X509 *certificate, const kn_cmd_chain *issuers, X509_REQ *asked)
{
    BIO *out = BIO_new(BIO_s_mem());
    char *data = NULL, *text = NULL;
    long size = 0;
    bool good = out && (!asked || PEM_write_bio_X509_REQ(out, asked)) &&
                (!certificate || PEM_write_bio_X509(out, certificate));
    kn_exit status;

    for (size_t i = 0; good && issuers && i < issuers->count; i++)
        good = PEM_write_bio_X509(out, issuers->cert[i]) == 1;
    good = good && (size = BIO_get_mem_data(out, &data)) > 0 && (text = strndup(data, (size_t)size)) != NULL;
    status = good ? kn_cmd_create_text(path, text) : kn_cmd_fail(KN_EXIT_FAILURE, path, NULL, "out of memory");
    free(text);
    BIO_free(out);
    return status;
}

/* What a portal asks for, of the certificate that was made. */
static kn_exit report(const kn_cmd_args *args, X509 *certificate)
{
    kn_cmd_chain chain = {.cert = {certificate}, .count = 1};
    kn_exit status = KN_EXIT_OK;
    cJSON *json;

    if (args->value[KN_OPT_JSON]) {
        json = kn_cmd_chain_json(&chain);
        status = kn_cmd_print_json(json);
        cJSON_Delete(json);
        return status;
    }
    kn_cmd_chain_print(&chain);
    return kn_cmd_flush();
}

/* The certificate of --cert and those behind it. */
static kn_exit read_issuers(const kn_cmd_args *args, kn_cmd_chain *ret_chain)
{
    const char *path = args->value[KN_OPT_CERT];
    char *text = NULL;
    kn_exit status = kn_cmd_require(args, KN_OPT_CERT);

    if (status == KN_EXIT_OK)
        status = kn_cmd_read_text(path, CHAIN_FILE_MAX, &text);
    if (status == KN_EXIT_OK && !kn_cmd_chain_parse(text, ret_chain))
        status = kn_cmd_fail(KN_EXIT_USAGE, path, "name the PEM file of the authority's certificate", "it is not whole certificates in PEM");
    free(text);
    return status;
}

/* ---- root, request ---- */

static kn_exit run_root(const kn_cmd_args *args)
{
    unsigned days = ROOT_DAYS;
    EVP_PKEY *key = NULL;
    X509 *certificate = NULL;
    X509_NAME *name = NULL;
    kn_exit status = kn_cmd_require(args, KN_OPT_SUBJECT);

    if (status == KN_EXIT_OK)
        status = kn_cmd_number(args, KN_OPT_DAYS, 1, DAYS_MAX, &days);
    if (status == KN_EXIT_OK && !(name = kn_ca_name(args->value[KN_OPT_SUBJECT])))
        status = kn_cmd_fail(KN_EXIT_USAGE, "--subject", "a common name has 1 to 64 characters", "is no common name");
    if (status == KN_EXIT_OK)
        status = open_key(args, &key);
    if (status == KN_EXIT_OK) {
        status = kn_ca_issue(KN_CA_ROOT, name, key, NULL, key, days, &certificate);
        if (status == KN_EXIT_OK)
            status = write_pem(args->value[KN_OPT_OUTPUT], certificate, NULL, NULL);
        if (status == KN_EXIT_OK)
            status = report(args, certificate);
        X509_free(certificate);
        close_key(key);
    }
    X509_NAME_free(name);
    return status;
}

static kn_exit run_request(const kn_cmd_args *args)
{
    EVP_PKEY *key = NULL;
    X509_REQ *made = NULL;
    kn_exit status = kn_cmd_require(args, KN_OPT_SUBJECT);

    if (status == KN_EXIT_OK)
        status = open_key(args, &key);
    if (status)
        return status;
    status = kn_ca_request(key, args->value[KN_OPT_SUBJECT], &made);
    if (status == KN_EXIT_OK)
        status = write_pem(args->value[KN_OPT_OUTPUT], NULL, NULL, made);
    if (status == KN_EXIT_OK && args->value[KN_OPT_JSON])
        status = kn_cmd_print_members("commonName", args->value[KN_OPT_SUBJECT], "file", args->value[KN_OPT_OUTPUT], NULL);
    X509_REQ_free(made);
    close_key(key);
    return status;
}

#define KEY_OPTIONS KN_OPT_KEY, KN_OPT_PIN_SOURCE, KN_OPT_MODULE, KN_OPT_OUTPUT

static const kn_opt root_options[] = {KEY_OPTIONS, KN_OPT_SUBJECT, KN_OPT_DAYS, KN_OPT_JSON, KN_OPT_COUNT};
static const kn_opt request_options[] = {KEY_OPTIONS, KN_OPT_SUBJECT, KN_OPT_JSON, KN_OPT_COUNT};

static const kn_cmd root = {
    .name = "root",
    .summary = "make the self-signed certificate of a root authority",
    .synopsis = "--key ALIAS --subject NAME --output FILE [OPTIONS]",
    .description = "Makes a root certificate for a key, which may be in a token, and shows what a portal asks for. It is valid for\n"
                   "3650 days unless --days says otherwise. Nothing is overwritten.\n",
    .options = root_options,
    .run = run_root,
};

static const kn_cmd request = {
    .name = "request",
    .summary = "make a certificate request for a key",
    .synopsis = "--key ALIAS --subject NAME --output FILE [OPTIONS]",
    .description = "Makes a certificate request (PKCS#10), signed by the key itself. For a device, the name is its registration id.\n",
    .options = request_options,
    .run = run_request,
};

/* ---- sign ---- */

/* A device's common name is its registration id. */
static kn_exit check_device_name(X509_REQ *asked, const char *path)
{
    X509_NAME *subject = X509_REQ_get_subject_name(asked);
    char name[PROV_REGISTRATION_ID_MAX + 2] = "";
    prov_error error = {.detail = ""};
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);

    if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
        return kn_cmd_fail(KN_EXIT_USAGE, path, "the common name is the registration id", "its subject has not exactly one common name");
    (void)X509_NAME_get_text_by_NID(subject, NID_commonName, name, sizeof name);
    if (prov_registration_id_check(name, &error))
        return kn_cmd_fail(KN_EXIT_USAGE, path, "the common name is the registration id", "%s", error.detail);
    return KN_EXIT_OK;
}

static kn_exit run_sign(const kn_cmd_args *args)
{
    const char *named = args->value[KN_OPT_PROFILE] ? args->value[KN_OPT_PROFILE] : "device";
    bool of_device = strcmp(named, "device") == 0;
    unsigned days = of_device ? DEVICE_DAYS : INTERMEDIATE_DAYS;
    kn_cmd_chain issuers = {.count = 0};
    X509_REQ *asked = NULL;
    X509 *certificate = NULL;
    EVP_PKEY *key = NULL;
    kn_exit status;

    if (args->operand_count != 1)
        return kn_cmd_fail_usage(args->path, "one file with a certificate request is needed");
    if (!of_device && strcmp(named, "intermediate") != 0)
        return kn_cmd_fail_usage(args->path, "--profile is device or intermediate");
    status = kn_cmd_number(args, KN_OPT_DAYS, 1, DAYS_MAX, &days);
    if (status == KN_EXIT_OK)
        status = kn_ca_read_request(args->operands[0], &asked);
    if (status == KN_EXIT_OK && of_device)
        status = check_device_name(asked, args->operands[0]);
    if (status == KN_EXIT_OK)
        status = read_issuers(args, &issuers);
    if (status == KN_EXIT_OK)
        status = open_key(args, &key);
    if (status == KN_EXIT_OK) {
        status = kn_ca_issue(of_device ? KN_CA_DEVICE : KN_CA_INTERMEDIATE, X509_REQ_get_subject_name(asked),
                             X509_REQ_get0_pubkey(asked), issuers.cert[0], key, days, &certificate);
        if (status == KN_EXIT_OK)
            status = write_pem(args->value[KN_OPT_OUTPUT], certificate, &issuers, NULL);
        if (status == KN_EXIT_OK)
            status = report(args, certificate);
        X509_free(certificate);
        close_key(key);
    }
    kn_cmd_chain_free(&issuers);
    X509_REQ_free(asked);
    return status;
}

static const kn_opt sign_options[] = {KEY_OPTIONS, KN_OPT_CERT, KN_OPT_PROFILE, KN_OPT_DAYS, KN_OPT_JSON, KN_OPT_COUNT};

static const kn_cmd sign = {
    .name = "sign",
    .summary = "make a certificate from a request",
    .synopsis = "--key ALIAS --cert FILE --output FILE [OPTIONS] REQUEST",
    .description = "Signs a certificate request with the authority's key and writes the new certificate, followed by those in the\n"
                   "file of --cert: the chain that a device sends. What the certificate may be used for is decided by --profile,\n"
                   "not by the request. A device's is valid for 365 days and an intermediate authority's for 1825, unless --days\n"
                   "says otherwise; none outlives its issuer.\n",
    .options = sign_options,
    .operands_max = 1,
    .run = run_sign,
};

/* ---- proof ---- */

static kn_exit run_proof(const kn_cmd_args *args)
{
    const char *code = args->value[KN_OPT_CODE];
    kn_cmd_chain issuers = {.count = 0};
    EVP_PKEY *key = NULL, *fresh = NULL;
    X509 *certificate = NULL;
    X509_NAME *name = NULL;
    kn_exit status = kn_cmd_require(args, KN_OPT_CODE);

    if (status == KN_EXIT_OK && (strlen(code) > CODE_MAX || !(name = kn_ca_name(code))))
        status = kn_cmd_fail(KN_EXIT_USAGE, "--code", "copy it from the portal, or from keynym-dps certificate code",
                             "is no verification code");
    if (status == KN_EXIT_OK)
        status = read_issuers(args, &issuers);
    if (status == KN_EXIT_OK)
        status = open_key(args, &key);
    if (status == KN_EXIT_OK) {
        fresh = EVP_EC_gen("P-256"); /* of no use to anybody: it goes away with this process */
        status = fresh ? kn_ca_issue(KN_CA_PROOF, name, fresh, issuers.cert[0], key, PROOF_DAYS, &certificate)
                       : kn_cmd_fail(KN_EXIT_FAILURE, args->path, NULL, "out of memory");
        if (status == KN_EXIT_OK)
            status = write_pem(args->value[KN_OPT_OUTPUT], certificate, NULL, NULL);
        if (status == KN_EXIT_OK && args->value[KN_OPT_JSON])
            status = report(args, certificate);
        X509_free(certificate);
        EVP_PKEY_free(fresh);
        close_key(key);
    }
    X509_NAME_free(name);
    kn_cmd_chain_free(&issuers);
    return status;
}

static const kn_opt proof_options[] = {KEY_OPTIONS, KN_OPT_CERT, KN_OPT_CODE, KN_OPT_JSON, KN_OPT_COUNT};

static const kn_cmd proof = {
    .name = "proof",
    .summary = "prove to the service that the authority's key is yours",
    .synopsis = "--key ALIAS --cert FILE --code CODE --output FILE [OPTIONS]",
    .description = "Makes the verification certificate: its common name is the code that the service has made, and the authority's\n"
                   "key has signed it. Upload it where the code was shown.\n",
    .options = proof_options,
    .run = run_proof,
};

/* ---- show ---- */

static kn_exit run_show(const kn_cmd_args *args)
{
    kn_cmd_chain chain = {.count = 0};
    char *text = NULL;
    cJSON *json;
    kn_exit status;

    if (args->operand_count != 1)
        return kn_cmd_fail_usage(args->path, "one PEM file is needed");
    status = kn_cmd_read_text(args->operands[0], CHAIN_FILE_MAX, &text);
    if (status == KN_EXIT_OK && !kn_cmd_chain_parse(text, &chain))
        status = kn_cmd_fail(KN_EXIT_USAGE, args->operands[0], "name a PEM file with certificates", "it is not 1 to %d whole certificates in PEM", KN_CMD_CHAIN_MAX);
    if (status == KN_EXIT_OK && args->value[KN_OPT_JSON]) {
        json = kn_cmd_chain_json(&chain);
        status = kn_cmd_print_json(json);
        cJSON_Delete(json);
    } else if (status == KN_EXIT_OK) {
        kn_cmd_chain_print(&chain);
        status = kn_cmd_flush();
    }
    free(text);
    kn_cmd_chain_free(&chain);
    return status;
}

static const kn_opt show_options[] = {KN_OPT_JSON, KN_OPT_COUNT};

static const kn_cmd show = {
    .name = "show",
    .summary = "show what a portal asks for of a certificate",
    .synopsis = "[OPTIONS] FILE",
    .description = "Shows subject, issuer, validity and thumbprints of each certificate in a PEM file.\n",
    .options = show_options,
    .operands_max = 1,
    .run = run_show,
};

static const kn_cmd *const children[] = {&root, &request, &sign, &proof, &show, NULL};

const kn_cmd kn_cmd_ca = {
    .name = "ca",
    .summary = "a certification authority whose keys are in a token",
    .synopsis = "COMMAND",
    .description = "For factories: certificates for devices, signed by keys that stay in a token.\n",
    .children = children,
};
