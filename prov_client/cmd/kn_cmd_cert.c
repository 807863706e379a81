/* keynym cert: the certificate chain beside a key. */
#include "kn_cmd_backend.h"
#include "kn_cmd_chain.h"

#include "kn_cert.h"

#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHAIN_FILE_MAX (256 * 1024) /* bytes of a PEM file with a chain */

/* All of them or none: a damaged one behind a good one is an error. */
static kn_exit chain_of(const char *text, const char *path, kn_certs *certs)
{
    kn_cmd_chain chain;
    kn_err err = kn_success();
    if (!kn_cmd_chain_parse(text, &chain))
        return kn_cmd_fail(KN_EXIT_USAGE, path, "name a PEM file with the device's certificate first, its issuers behind it",
                           "it is not 1 to %d whole certificates in PEM", KN_CMD_CHAIN_MAX);
    for (size_t i = 0; i < chain.count && !kn_failed(err); i++) {
        unsigned char *der = NULL;
        int length = i2d_X509(chain.cert[i], &der);
        err = length > 0 ? kn_certs_add(certs, der, (size_t)length) : kn_fail(KN_E_NO_MEMORY, "a certificate");
        OPENSSL_free(der);
    }
    kn_cmd_chain_free(&chain);
    return kn_failed(err) ? kn_cmd_fail_backend(path, err) : KN_EXIT_OK;
}

static char *pem_of(X509 *cert)
{
    char *data = NULL, *text = NULL;
    BIO *out = BIO_new(BIO_s_mem());
    if (out && PEM_write_bio_X509(out, cert)) {
        long size = BIO_get_mem_data(out, &data);
        text = size > 0 ? strndup(data, (size_t)size) : NULL;
    }
    BIO_free(out);
    return text;
}

/* Each as `keynym ca show --json` describes it, and its PEM. */
static cJSON *chain_json(const kn_cmd_chain *chain)
{
    cJSON *array = kn_cmd_chain_json(chain);
    for (size_t i = 0; array && i < chain->count; i++) {
        char *pem = pem_of(chain->cert[i]);
        if (!pem || !kn_cmd_json_text(cJSON_GetArrayItem(array, (int)i), "pem", pem)) {
            cJSON_Delete(array);
            array = NULL;
        }
        free(pem);
    }
    return array;
}

static kn_exit print_json(const kn_cmd_args *args, const kn_certs *certs)
{
    kn_cmd_chain chain = {.count = 0};
    kn_exit status = KN_EXIT_OK;
    for (size_t i = 0; i < certs->count && status == KN_EXIT_OK; i++) {
        const unsigned char *der = certs->cert[i].der;
        X509 *cert = chain.count < KN_CMD_CHAIN_MAX ? d2i_X509(NULL, &der, (long)certs->cert[i].length) : NULL;
        if (cert)
            chain.cert[chain.count++] = cert;
        else
            status = kn_cmd_fail(KN_EXIT_FAILURE, args->path, NULL, "certificate %zu cannot be shown", i + 1);
    }
    if (status == KN_EXIT_OK) {
        cJSON *array = chain_json(&chain);
        status = kn_cmd_print_json(array);
        cJSON_Delete(array);
    }
    kn_cmd_chain_free(&chain);
    return status;
}

static kn_exit run_import(const kn_cmd_args *args)
{
    kn_ctx *ctx = NULL;
    char *text = NULL;
    kn_certs certs = {.count = 0};
    if (args->operand_count != 1)
        return kn_cmd_fail_usage(args->path, "one PEM file is needed, the device's certificate first");
    kn_exit status = kn_cmd_require(args, KN_OPT_KEY);
    if (status == KN_EXIT_OK)
        status = kn_cmd_check_uri(args->value[KN_OPT_KEY]);
    if (status == KN_EXIT_OK)
        status = kn_cmd_read_text(args->operands[0], CHAIN_FILE_MAX, &text);
    if (status == KN_EXIT_OK)
        status = chain_of(text, args->operands[0], &certs);
    if (status == KN_EXIT_OK)
        status = kn_cmd_context(args, &ctx);
    if (status == KN_EXIT_OK) {
        kn_err err = kn_cert_write_chain(ctx, args->value[KN_OPT_KEY], &certs);
        if (kn_failed(err))
            status = kn_cmd_fail_backend(args->path, err);
        else if (args->value[KN_OPT_JSON])
            status = print_json(args, &certs);
        else
            printf("%zu certificate%s stored\n", certs.count, certs.count == 1 ? "" : "s");
    }
    kn_certs_free(&certs);
    kn_ctx_unref(&ctx);
    free(text);
    return status == KN_EXIT_OK ? kn_cmd_flush() : status;
}

static const kn_opt import_options[] = {KN_OPT_KEY, KN_OPT_MODULE, KN_OPT_PIN_SOURCE, KN_OPT_JSON, KN_OPT_COUNT};

static const kn_cmd import = {
    .name = "import",
    .summary = "store a certificate chain beside its key",
    .synopsis = "--key URI [OPTIONS] FILE",
    .description = "Stores the certificates of a PEM file on the token: the first, which must be that of the key, under\n"
                   "the key's id and label; its issuers, up to the root, under their common names.\n",
    .options = import_options,
    .operands_max = 1,
    .run = run_import,
};

static kn_exit run_show(const kn_cmd_args *args)
{
    kn_ctx *ctx = NULL;
    kn_certs certs = {.count = 0};
    if (args->operand_count != 1)
        return kn_cmd_fail_usage(args->path, "one URI is needed");
    kn_exit status = kn_cmd_check_uri(args->operands[0]);
    if (status == KN_EXIT_OK)
        status = kn_cmd_context(args, &ctx);
    if (status != KN_EXIT_OK)
        return status;
    kn_err err = kn_cert_read_chain(ctx, args->operands[0], &certs);
    if (kn_failed(err))
        status = kn_cmd_fail_backend(args->path, err);
    else if (args->value[KN_OPT_JSON])
        status = print_json(args, &certs);
    for (size_t i = 0; !args->value[KN_OPT_JSON] && i < certs.count && status == KN_EXIT_OK; i++)
        if (!PEM_write(stdout, PEM_STRING_X509, "", certs.cert[i].der, (long)certs.cert[i].length))
            status = kn_cmd_fail(KN_EXIT_FAILURE, args->path, NULL, "standard output cannot be written");
    kn_certs_free(&certs);
    kn_ctx_unref(&ctx);
    return status == KN_EXIT_OK ? kn_cmd_flush() : status;
}

static const kn_opt show_options[] = {KN_OPT_MODULE, KN_OPT_PIN_SOURCE, KN_OPT_JSON, KN_OPT_COUNT};

static const kn_cmd show = {
    .name = "show",
    .summary = "print a certificate and its issuers from a token",
    .synopsis = "[OPTIONS] URI",
    .description = "Prints PEM: the certificate that the URI names, then its issuers as far as the token has them.\n",
    .options = show_options,
    .operands_max = 1,
    .run = run_show,
};

static const kn_cmd *const children[] = {&import, &show, NULL};

const kn_cmd kn_cmd_cert = {
    .name = "cert",
    .summary = "store and read certificates beside a key",
    .synopsis = "COMMAND",
    .description = "Looks after certificate chains on tokens.\n",
    .children = children,
};
