/* keynym alias: the PEM file that stands for a key in a token. */
#include "kn_cmd_backend.h"

#include <stdio.h>
#include <stdlib.h>

static kn_exit write_alias(const kn_cmd_args *args, const kn_alias *alias)
{
    char *pem = NULL;
    kn_exit status = KN_EXIT_OK;
    kn_err err = kn_alias_to_pem(alias, &pem);
    if (kn_failed(err))
        return kn_cmd_fail_backend(args->path, err);
    if (args->value[KN_OPT_OUTPUT])
        status = kn_cmd_create_text(args->value[KN_OPT_OUTPUT], pem);
    if (status == KN_EXIT_OK && args->value[KN_OPT_JSON]) {
        const kn_public *public = kn_alias_public(alias);
        status = kn_cmd_print_members("uri", kn_alias_uri(alias), "algorithm", public ? public->alg->name : NULL, "file",
                                      args->value[KN_OPT_OUTPUT], "pem", pem, NULL);
    } else if (!args->value[KN_OPT_OUTPUT]) {
        fputs(pem, stdout);
        status = kn_cmd_flush();
    }
    free(pem);
    return status;
}

static kn_exit run_create(const kn_cmd_args *args)
{
    kn_ctx *ctx = NULL;
    kn_alias *given = NULL, *alias = NULL;
    kn_key *key = NULL;
    if (args->operand_count != 1)
        return kn_cmd_fail_usage(args->path, "one URI is needed that names the key");
    kn_exit status = args->value[KN_OPT_OUTPUT] ? kn_cmd_check_new(args->value[KN_OPT_OUTPUT]) : KN_EXIT_OK;
    if (status == KN_EXIT_OK)
        status = kn_cmd_alias_of(args->operands[0], &given);
    if (status == KN_EXIT_OK)
        status = kn_cmd_context(args, &ctx);
    if (status == KN_EXIT_OK) {
        kn_err err = kn_key_open(ctx, given, &key);
        if (!kn_failed(err))
            err = kn_alias_complete(ctx, kn_alias_uri(given), kn_key_public(key), &alias);
        status = kn_failed(err) ? kn_cmd_fail_backend(args->path, err) : write_alias(args, alias);
    }
    kn_alias_free(&alias);
    kn_key_unref(&key);
    kn_alias_free(&given);
    kn_ctx_unref(&ctx);
    return status;
}

static const kn_opt create_options[] = {KN_OPT_OUTPUT, KN_OPT_MODULE, KN_OPT_PIN_SOURCE, KN_OPT_JSON, KN_OPT_COUNT};

static const kn_cmd create = {
    .name = "create",
    .summary = "write the alias PEM file of a key",
    .synopsis = "[OPTIONS] URI",
    .description = "Finds the key on its token and writes a PEM file that names it: the URI (with the PIN source and\n"
                   "module that are configured) and the public key. No secret is in it; a program with the keynym\n"
                   "provider loads it where it would load a private key file. A file that exists is not overwritten: it may be a\n"
                   "private key.\n",
    .options = create_options,
    .operands_max = 1,
    .run = run_create,
};

static kn_exit run_show(const kn_cmd_args *args)
{
    kn_alias *alias = NULL;
    if (args->operand_count != 1)
        return kn_cmd_fail_usage(args->path, "one alias file is needed");
    kn_exit status = kn_cmd_alias_of(args->operands[0], &alias);
    if (status != KN_EXIT_OK)
        return status;
    const kn_public *public = kn_alias_public(alias);
    if (args->value[KN_OPT_JSON]) {
        status = kn_cmd_print_members("uri", kn_alias_uri(alias), "algorithm", public ? public->alg->name : NULL, NULL);
    } else {
        printf("uri        %s\npublic key %s\n", kn_alias_uri(alias), public ? public->alg->name : "not in the file");
        status = kn_cmd_flush();
    }
    kn_alias_free(&alias);
    return status;
}

static const kn_opt show_options[] = {KN_OPT_JSON, KN_OPT_COUNT};

static const kn_cmd show = {
    .name = "show",
    .summary = "print what an alias PEM file says",
    .synopsis = "[OPTIONS] ALIAS-FILE",
    .description = "Reads the file alone; no token is asked.\n",
    .options = show_options,
    .operands_max = 1,
    .run = run_show,
};

static const kn_cmd *const children[] = {&create, &show, NULL};

const kn_cmd kn_cmd_alias = {
    .name = "alias",
    .summary = "write and read alias PEM files, which stand for a key in a token",
    .synopsis = "COMMAND",
    .description = "An alias private key is a name that looks like a key: a PEM file without a secret.\n",
    .children = children,
};
