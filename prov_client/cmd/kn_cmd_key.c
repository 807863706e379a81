/* keynym key: keys that are made in a token and stay there. */
#include "kn_cmd_backend.h"
#include "kn_cmd_certify.h"
#include "kn_cmd_symmetric.h"
#include "kn_cmd_terminal.h"

#include "kn_token.h"

#include <stdio.h>
#include <string.h>

/* ---- generate ---- */

static const kn_alg *algorithm_of(const kn_cmd_args *args)
{
    const char *name = args->value[KN_OPT_ALGORITHM] ? args->value[KN_OPT_ALGORITHM] : "EC:P-256";
    const kn_alg *alg = kn_alg_by_name(name);
    char known[128] = "";
    for (size_t i = 0; !alg && i < kn_alg_count; i++)
        (void)snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", kn_algs[i].name);
    if (!alg)
        (void)kn_cmd_fail_usage(args->path, "algorithm '%s' is not known; these are: %s", name, known);
    return alg;
}

static bool usage_of(const kn_cmd_args *args, const kn_alg *alg, unsigned *ret_uses)
{
    const char *list = args->value[KN_OPT_USAGE];
    *ret_uses = 0; /* the usual */
    if (!list || (kn_uses_parse(list, ret_uses) && !(*ret_uses & ~alg->uses)))
        return true;
    (void)kn_cmd_fail_usage(args->path, "usage '%s': a %s key can have%s%s%s", list, alg->name,
                            alg->uses & KN_USE_SIGN ? " sign" : "", alg->uses & KN_USE_DECRYPT ? " decrypt" : "",
                            alg->uses & KN_USE_DERIVE ? " derive" : "");
    return false;
}

static kn_exit print_key(const kn_cmd_args *args, const kn_key *key, const kn_custody *custody, const kn_cmd_certified *certified)
{
    if (args->value[KN_OPT_JSON]) {
        cJSON *tree = kn_cmd_custody_json(custody);
        bool ok = tree && kn_cmd_json_text(tree, "algorithm", kn_key_public(key)->alg->name) &&
                  (!certified->asked || kn_cmd_certified_json(tree, certified));
        kn_exit status = kn_cmd_print_json(ok ? tree : NULL);
        cJSON_Delete(tree);
        return status;
    }
    printf("algorithm %s\n", kn_key_public(key)->alg->name);
    kn_cmd_print_custody(custody);
    if (certified->asked)
        kn_cmd_print_certified(certified);
    return kn_cmd_flush();
}

/* What is printed and the exit status say the same: a script need not read the text. */
static kn_exit report_key(const kn_cmd_args *args, kn_ctx *ctx, kn_key *key)
{
    kn_custody custody;
    kn_cmd_certified certified;
    kn_err err = kn_key_inspect(key, &custody);
    if (kn_failed(err))
        return kn_cmd_fail_backend(args->path, err);
    kn_exit status = kn_cmd_certify(args, ctx, key, &certified);
    if (status == KN_EXIT_OK)
        status = print_key(args, key, &custody, &certified);
    return status == KN_EXIT_OK ? kn_cmd_custody_status(args->path, &custody) : status;
}

static kn_exit run_generate(const kn_cmd_args *args)
{
    kn_ctx *ctx = NULL;
    kn_key *key = NULL;
    kn_key_spec spec = {.alg = algorithm_of(args)};
    if (!spec.alg || !usage_of(args, spec.alg, &spec.uses))
        return KN_EXIT_USAGE;
    if (args->operand_count != 1)
        return kn_cmd_fail_usage(args->path, "one URI is needed that names token and key");
    kn_exit status = kn_cmd_check_uri(args->operands[0]);
    if (status == KN_EXIT_OK)
        status = kn_cmd_context(args, &ctx);
    if (status != KN_EXIT_OK)
        return status;
    (void)kn_cmd_progress_begin(args, "making a %s key", spec.alg->name);
    kn_err err = kn_key_make(ctx, args->operands[0], &spec, &key);
    kn_cmd_progress_end();
    status = kn_failed(err) ? kn_cmd_fail_backend(args->path, err) : report_key(args, ctx, key);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    return status;
}

static const kn_opt generate_options[] = {KN_OPT_ALGORITHM, KN_OPT_USAGE, KN_OPT_MODULE, KN_OPT_PIN_SOURCE,
                                          KN_OPT_JSON, KN_OPT_COUNT};

static const kn_cmd generate = {
    .name = "generate",
    .summary = "make a key pair in a token",
    .synopsis = "[OPTIONS] URI",
    .description = "Makes a key pair in the token that the URI names, under the URI's object= (label) and id=. The\n"
                   "private key is sensitive and not extractable; it is read back, and a key that does not prove to be\n"
                   "so is destroyed. A name that is in use is refused. The key may do what --usage says and nothing else.\n"
                   "\n"
                   "  keynym key generate 'pkcs11:token=devices;object=device-01?pin-source=/etc/keynym/pin'\n"
                   "  keynym key generate 'tpm2:handle=0x81000200'\n"
                   "  keynym key generate 'tpm2:file=device-01.key'\n",
    .options = generate_options,
    .operands_max = 1,
    .run = run_generate,
};

/* ---- show ---- */

static bool is_symmetric(const kn_alias *alias)
{
    return strstr(kn_alias_uri(alias), "type=secret-key");
}

static kn_exit run_show(const kn_cmd_args *args)
{
    kn_ctx *ctx = NULL;
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    if (args->operand_count != 1)
        return kn_cmd_fail_usage(args->path, "one URI or alias file is needed");
    kn_exit status = kn_cmd_check_certify(args);
    if (status == KN_EXIT_OK)
        status = kn_cmd_alias_of(args->operands[0], &alias);
    if (status == KN_EXIT_OK)
        status = kn_cmd_context(args, &ctx);
    if (status == KN_EXIT_OK && is_symmetric(alias)) {
        status = kn_cmd_show_symmetric(args, ctx, kn_alias_uri(alias));
    } else if (status == KN_EXIT_OK) {
        kn_err err = kn_key_open(ctx, alias, &key);
        status = kn_failed(err) ? kn_cmd_fail_backend(args->path, err) : report_key(args, ctx, key);
    }
    kn_key_unref(&key);
    kn_alias_free(&alias);
    kn_ctx_unref(&ctx);
    return status;
}

static const kn_opt show_options[] = {KN_OPT_ATTESTATION_KEY, KN_OPT_NONCE, KN_OPT_MODULE, KN_OPT_PIN_SOURCE, KN_OPT_JSON, KN_OPT_COUNT};

static const kn_cmd show = {
    .name = "show",
    .summary = "prove where a key is: six facts, read from the token",
    .synopsis = "[OPTIONS] URI|ALIAS-FILE",
    .description = "Reads six attributes that together tell a key that was made in the token from one that was\n"
                   "imported, or was extractable once: CKA_SENSITIVE and CKA_EXTRACTABLE alone do not. Of a key in a TPM\n"
                   "they follow from its object attributes. Also tells what the key may do. The exit status is 1 when the\n"
                   "six do not prove custody. With type=secret-key in the URI, of a symmetric key.\n"
                   "\n"
                   "With --attestation-key the TPM also certifies what it says (TPM2_Certify), for somebody who does not\n"
                   "trust the machine around it; --json has all that is needed to verify it elsewhere.\n"
                   "\n"
                   "  keynym key show --attestation-key tpm2:handle=0x81010002 --nonce 0123456789abcdef tpm2:handle=0x81000200\n",
    .options = show_options,
    .operands_max = 1,
    .run = run_show,
};

/* ---- delete ---- */

static const kn_opt usual_options[] = {KN_OPT_MODULE, KN_OPT_PIN_SOURCE, KN_OPT_JSON, KN_OPT_COUNT};

static kn_exit print_deleted(const kn_cmd_args *args, const char *alg, const char *full_uri)
{
    char uri[512];
    kn_uri_redact(full_uri, uri, sizeof uri);
    if (!args->value[KN_OPT_JSON]) {
        printf("deleted %s %s\n", alg, uri);
        return kn_cmd_flush();
    }
    cJSON *tree = cJSON_CreateObject();
    bool ok = tree && kn_cmd_json_text(tree, "algorithm", alg) && kn_cmd_json_text(tree, "deleted", uri);
    kn_exit status = kn_cmd_print_json(ok ? tree : NULL);
    cJSON_Delete(tree);
    return status;
}

static kn_err delete_private(kn_ctx *ctx, const kn_alias *alias, const char **ret_alg)
{
    kn_key *key = NULL;
    kn_err err = kn_key_open(ctx, alias, &key);
    if (!kn_failed(err)) {
        *ret_alg = kn_key_public(key)->alg->name;
        err = kn_key_delete(key);
    }
    kn_key_unref(&key);
    return err;
}

static kn_exit run_delete(const kn_cmd_args *args)
{
    kn_ctx *ctx = NULL;
    kn_alias *alias = NULL;
    const char *alg = "HMAC";
    if (args->operand_count != 1)
        return kn_cmd_fail_usage(args->path, "one URI or alias file is needed");
    kn_exit status = kn_cmd_alias_of(args->operands[0], &alias);
    if (status == KN_EXIT_OK)
        status = kn_cmd_context(args, &ctx);
    if (status == KN_EXIT_OK) {
        kn_err err = is_symmetric(alias) ? kn_cmd_delete_symmetric(ctx, kn_alias_uri(alias)) : delete_private(ctx, alias, &alg);
        status = kn_failed(err) ? kn_cmd_fail_backend(args->path, err) : print_deleted(args, alg, kn_alias_uri(alias));
    }
    kn_alias_free(&alias);
    kn_ctx_unref(&ctx);
    return status;
}

static const kn_cmd delete = {
    .name = "delete",
    .summary = "remove a key from its token, for good",
    .synopsis = "[OPTIONS] URI|ALIAS-FILE",
    .description = "Removes the one private key that the URI names, and its public key, from the token or from the TPM's\n"
                   "handle; with type=secret-key in the URI, a symmetric key. Nobody is asked, and nothing brings the key\n"
                   "back. Certificates stay. A key in a file is removed with its file; storage and attestation keys of a\n"
                   "TPM are refused.\n",
    .options = usual_options,
    .operands_max = 1,
    .run = run_delete,
};

/* ---- list ---- */

typedef struct listing {
    cJSON *array; /* NULL: print lines */
} listing;

static void add_row(const kn_object_info *info, void *arg)
{
    listing *l = arg;
    const char *what = info->is_key ? "key" : "certificate";
    if (!l->array) {
        printf("%-12s %-10s %-32s id %s\n", what, info->kind, *info->label ? info->label : "(no label)",
               *info->id ? info->id : "(none)");
        return;
    }
    cJSON *row = cJSON_CreateObject();
    if (row && kn_cmd_json_text(row, "object", what) && kn_cmd_json_text(row, "kind", info->kind) &&
        kn_cmd_json_text(row, "label", info->label) && kn_cmd_json_text(row, "id", info->id) &&
        cJSON_AddItemToArray(l->array, row))
        return;
    cJSON_Delete(row);
}

static kn_exit run_list(const kn_cmd_args *args)
{
    kn_ctx *ctx = NULL;
    listing l = {0};
    if (args->operand_count != 1)
        return kn_cmd_fail_usage(args->path, "one URI is needed that names the token");
    kn_exit status = kn_cmd_check_uri(args->operands[0]);
    if (status == KN_EXIT_OK)
        status = kn_cmd_context(args, &ctx);
    if (status != KN_EXIT_OK)
        return status;
    if (args->value[KN_OPT_JSON])
        l.array = cJSON_CreateArray();
    kn_err err = kn_token_objects(ctx, args->operands[0], add_row, &l);
    if (kn_failed(err))
        status = kn_cmd_fail_backend(args->path, err);
    else if (args->value[KN_OPT_JSON])
        status = kn_cmd_print_json(l.array);
    cJSON_Delete(l.array);
    kn_ctx_unref(&ctx);
    return status == KN_EXIT_OK ? kn_cmd_flush() : status;
}

static const kn_cmd list = {
    .name = "list",
    .summary = "list the keys and certificates of a token",
    .synopsis = "[OPTIONS] URI",
    .description = "Lists what is on the token that the URI names. Logs in, since private keys show themselves only "
                   "then.\n",
    .options = usual_options,
    .operands_max = 1,
    .run = run_list,
};

static const kn_cmd *const children[] = {
    &generate, &kn_cmd_key_generate_symmetric, &kn_cmd_key_import_symmetric, &list, &show, &delete, NULL,
};

const kn_cmd kn_cmd_key = {
    .name = "key",
    .summary = "make, list, inspect and remove keys that stay in a token",
    .synopsis = "COMMAND",
    .description = "Looks after private keys in tokens.\n",
    .children = children,
};
