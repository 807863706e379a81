/* keynym token: which tokens are there, and setting up a new one. */
#include "kn_cmd_backend.h"

#include "kn_pin.h"
#include "kn_token.h"

#include <stdio.h>

typedef struct listing {
    cJSON *array; /* NULL: print lines */
    unsigned count;
} listing;

static void add_row(const kn_token_info *info, void *arg)
{
    listing *l = arg;
    const char *pin = !info->initialised     ? "not initialised"
                      : info->pin_locked     ? "PIN locked"
                      : info->pin_final_try  ? "one PIN try left"
                      : info->pin_count_low  ? "a wrong PIN was tried"
                      : !info->login_required ? "no login needed"
                      : info->pin_set        ? "ready"
                                             : "no user PIN";
    l->count++;
    if (!l->array) {
        printf("%-24s serial %-16s  slot %-10lu  %s (%s %s, module %s)\n", *info->label ? info->label : "(no label)",
               *info->serial ? info->serial : "-", info->slot, pin, info->manufacturer, info->model, info->module);
        return;
    }
    cJSON *row = cJSON_CreateObject();
    if (row && kn_cmd_json_text(row, "token", info->label) && kn_cmd_json_text(row, "serial", info->serial) &&
        kn_cmd_json_text(row, "manufacturer", info->manufacturer) && kn_cmd_json_text(row, "model", info->model) &&
        kn_cmd_json_text(row, "module", info->module) && kn_cmd_json_text(row, "state", pin) &&
        cJSON_AddNumberToObject(row, "slot", (double)info->slot) && cJSON_AddItemToArray(l->array, row))
        return;
    cJSON_Delete(row);
}

static kn_exit run_list(const kn_cmd_args *args)
{
    kn_ctx *ctx = NULL;
    listing l = {0};
    kn_exit status = kn_cmd_context(args, &ctx);
    if (status != KN_EXIT_OK)
        return status;
    if (args->value[KN_OPT_JSON])
        l.array = cJSON_CreateArray();
    kn_err err = kn_token_list(ctx, add_row, &l);
    if (kn_failed(err))
        status = kn_cmd_fail_backend(args->path, err);
    else if (args->value[KN_OPT_JSON])
        status = kn_cmd_print_json(l.array);
    else if (l.count == 0)
        status = kn_cmd_fail(KN_EXIT_NOT_FOUND, args->path, "insert a token, or name its module with --module",
                             "no slot has a token in it");
    cJSON_Delete(l.array);
    kn_ctx_unref(&ctx);
    return status == KN_EXIT_OK ? kn_cmd_flush() : status;
}

static const kn_opt list_options[] = {KN_OPT_MODULE, KN_OPT_JSON, KN_OPT_COUNT};

static const kn_cmd list = {
    .name = "list",
    .summary = "list the tokens that are there",
    .synopsis = "[OPTIONS]",
    .description = "Lists every token of every PKCS#11 module, without logging in, and the TPM that KEYNYM_TCTI names, or the kernel's.\n",
    .options = list_options,
    .run = run_list,
};

/* ---- init ---- */

static kn_exit read_pin(const kn_cmd_args *args, kn_opt option, kn_secret **ret_pin)
{
    kn_exit status = kn_cmd_require(args, option);
    if (status != KN_EXIT_OK)
        return status;
    char path[KN_CMD_PATH_MAX];
    kn_err err = kn_pin_read(kn_cmd_absolute(args->value[option], path), ret_pin);
    return kn_failed(err) ? kn_cmd_fail_backend(args->path, err) : KN_EXIT_OK;
}

static kn_exit run_init(const kn_cmd_args *args)
{
    kn_ctx *ctx = NULL;
    kn_secret *so_pin = NULL, *pin = NULL;
    if (args->operand_count != 1)
        return kn_cmd_fail_usage(args->path, "one URI is needed, with the new label in token=");
    kn_exit status = kn_cmd_check_uri(args->operands[0]);
    if (status == KN_EXIT_OK)
        status = read_pin(args, KN_OPT_SO_PIN_SOURCE, &so_pin);
    if (status == KN_EXIT_OK)
        status = read_pin(args, KN_OPT_PIN_SOURCE, &pin);
    if (status == KN_EXIT_OK)
        status = kn_cmd_context(args, &ctx);
    if (status == KN_EXIT_OK) {
        kn_err err = kn_token_init(ctx, args->operands[0], so_pin, pin);
        if (kn_failed(err))
            status = kn_cmd_fail_backend(args->path, err);
    }
    if (status == KN_EXIT_OK && args->value[KN_OPT_JSON])
        status = kn_cmd_print_members("uri", args->operands[0], "state", "ready", NULL);
    kn_ctx_unref(&ctx);
    kn_secret_free(&pin);
    kn_secret_free(&so_pin);
    return status;
}

static const kn_opt init_options[] = {KN_OPT_PIN_SOURCE, KN_OPT_SO_PIN_SOURCE, KN_OPT_MODULE, KN_OPT_JSON, KN_OPT_COUNT};

static const kn_cmd init = {
    .name = "init",
    .summary = "set up a blank token",
    .synopsis = "--pin-source SOURCE --so-pin-source SOURCE [OPTIONS] URI",
    .description = "Initialises a blank token with the label token= of the URI, and sets the PINs of user and security\n"
                   "officer. A token that is initialised already is never touched.\n"
                   "\n"
                   "  keynym token init --pin-source pin --so-pin-source so-pin 'pkcs11:token=devices'\n",
    .options = init_options,
    .operands_max = 1,
    .run = run_init,
};

static const kn_cmd *const children[] = {&init, &list, NULL};

const kn_cmd kn_cmd_token = {
    .name = "token",
    .summary = "set up and list tokens",
    .synopsis = "COMMAND",
    .description = "Looks after tokens.\n",
    .children = children,
};
