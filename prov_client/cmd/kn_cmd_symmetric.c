/* keynym key import-symmetric, keynym key generate-symmetric: HMAC keys that sign in a token. */
#include "kn_cmd_symmetric.h"

#include "kn_cmd_backend.h"
#include "kn_hmac.h"

#include <stdio.h>

/* @prove: the exit status says whether custody is proved. An imported key, which was outside, never proves it. */
static kn_exit report(const kn_cmd_args *args, kn_hmac *hmac, bool prove)
{
    kn_custody custody;
    kn_err err = kn_hmac_inspect(hmac, &custody);
    if (kn_failed(err))
        return kn_cmd_fail_backend(args->path, err);
    if (args->value[KN_OPT_JSON]) {
        cJSON *tree = kn_cmd_custody_json(&custody);
        bool ok = tree && kn_cmd_json_text(tree, "algorithm", "HMAC");
        kn_exit status = kn_cmd_print_json(ok ? tree : NULL);
        cJSON_Delete(tree);
        return status == KN_EXIT_OK && prove ? kn_cmd_custody_status(args->path, &custody) : status;
    }
    printf("algorithm HMAC\n");
    kn_cmd_print_custody(&custody);
    kn_exit status = kn_cmd_flush();
    return status == KN_EXIT_OK && prove ? kn_cmd_custody_status(args->path, &custody) : status;
}

static kn_exit run_import(const kn_cmd_args *args)
{
    kn_ctx *ctx = NULL;
    kn_hmac *hmac = NULL;
    kn_secret *key = NULL;
    if (args->operand_count != 2)
        return kn_cmd_fail_usage(args->path, "a URI is needed that names token and key, and a file with the key");
    kn_exit status = kn_cmd_check_uri(args->operands[0]);
    if (status == KN_EXIT_OK)
        status = kn_cmd_context(args, &ctx);
    if (status != KN_EXIT_OK)
        return status;
    kn_err err = kn_hmac_key_read(args->operands[1], &key);
    if (!kn_failed(err))
        err = kn_hmac_import(ctx, args->operands[0], key, &hmac);
    kn_secret_free(&key);
    status = kn_failed(err) ? kn_cmd_fail_backend(args->path, err) : report(args, hmac, false);
    kn_hmac_free(&hmac);
    kn_ctx_unref(&ctx);
    return status;
}

static kn_exit run_generate(const kn_cmd_args *args)
{
    kn_ctx *ctx = NULL;
    kn_hmac *hmac = NULL;
    if (args->operand_count != 1)
        return kn_cmd_fail_usage(args->path, "one URI is needed that names token and key");
    kn_exit status = kn_cmd_check_uri(args->operands[0]);
    if (status == KN_EXIT_OK)
        status = kn_cmd_context(args, &ctx);
    if (status != KN_EXIT_OK)
        return status;
    kn_err err = kn_hmac_generate(ctx, args->operands[0], KN_HMAC_KEY_MAX, &hmac);
    status = kn_failed(err) ? kn_cmd_fail_backend(args->path, err) : report(args, hmac, true);
    kn_hmac_free(&hmac);
    kn_ctx_unref(&ctx);
    return status;
}

kn_exit kn_cmd_show_symmetric(const kn_cmd_args *args, kn_ctx *ctx, const char *uri)
{
    kn_hmac *hmac = NULL;
    kn_err err = kn_hmac_open(ctx, uri, &hmac);
    kn_exit status = kn_failed(err) ? kn_cmd_fail_backend(args->path, err) : report(args, hmac, true);
    kn_hmac_free(&hmac);
    return status;
}

kn_err kn_cmd_delete_symmetric(kn_ctx *ctx, const char *uri)
{
    kn_hmac *hmac = NULL;
    kn_err err = kn_hmac_open(ctx, uri, &hmac);
    if (!kn_failed(err))
        err = kn_hmac_delete(hmac);
    kn_hmac_free(&hmac);
    return err;
}

static const kn_opt options[] = {KN_OPT_MODULE, KN_OPT_PIN_SOURCE, KN_OPT_JSON, KN_OPT_COUNT};

const kn_cmd kn_cmd_key_import_symmetric = {
    .name = "import-symmetric",
    .summary = "put the symmetric key of a device into a token",
    .synopsis = "[OPTIONS] URI FILE",
    .description = "Puts the key of a symmetric enrollment into the token that the URI names, as a key that signs there and\n"
                   "does not come out again. FILE holds it in base64, as the service shows it, and must be accessible to\n"
                   "its owner only. Remove FILE afterwards: the copy in it is as good as the key.\n"
                   "\n"
                   "  keynym key import-symmetric 'pkcs11:token=devices;object=device-01-sas?pin-source=/etc/keynym/pin' key.b64\n",
    .options = options,
    .operands_max = 2,
    .run = run_import,
};

const kn_cmd kn_cmd_key_generate_symmetric = {
    .name = "generate-symmetric",
    .summary = "make a symmetric key in a token",
    .synopsis = "[OPTIONS] URI",
    .description = "Makes a random HMAC key of 64 bytes in the token that the URI names. It never comes out, so nobody else\n"
                   "can check its signatures: the key of an enrollment has to be imported instead.\n",
    .options = options,
    .operands_max = 1,
    .run = run_generate,
};
