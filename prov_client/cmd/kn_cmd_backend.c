#include "kn_cmd_backend.h"

#include <stdio.h>
#include <stddef.h>
#include <string.h>

kn_exit kn_cmd_fail_backend(const char *what, kn_err err)
{
    kn_exit status = KN_EXIT_FAILURE;
    switch ((int)err.code) { /* those that say more than "it did not work" */
    case KN_E_NO_TOKEN:
    case KN_E_NO_KEY:
    case KN_E_NO_CERTIFICATE:
        status = KN_EXIT_NOT_FOUND;
        break;
    case KN_E_URI_MALFORMED:
    case KN_E_URI_ATTRIBUTE:
    case KN_E_URI_SCHEME:
    case KN_E_CONFIG:
        status = KN_EXIT_USAGE;
        break;
    case KN_E_TOKEN_GONE:
    case KN_E_SESSION_LIMIT:
    case KN_E_SESSION_LOST:
        status = KN_EXIT_UNAVAILABLE;
        break;
    }
    return kn_cmd_fail(status, what, kn_code_remedy(err.code), "%s: %s", kn_code_sentence(err.code),
                       kn_err_detail());
}

kn_exit kn_cmd_context(const kn_cmd_args *args, kn_ctx **ret_ctx)
{
    char pin_source[KN_CMD_PATH_MAX];
    kn_config config = {
        .module_path = args->value[KN_OPT_MODULE],
        .pin_source = kn_cmd_absolute(args->value[KN_OPT_PIN_SOURCE], pin_source),
    };
    kn_err err = kn_ctx_new(&config, ret_ctx);
    return kn_failed(err) ? kn_cmd_fail_backend(args->path, err) : KN_EXIT_OK;
}

kn_exit kn_cmd_check_uri(const char *uri)
{
    if (kn_uri_has_pin(uri))
        return kn_cmd_fail(KN_EXIT_USAGE, "the URI holds a PIN", "put it into a file of mode 0600 and name that with "
                                                                 "pin-source= or --pin-source",
                           "every user of this machine can read a command line");
    return KN_EXIT_OK;
}

kn_exit kn_cmd_alias_of(const char *uri_or_path, kn_alias **ret_alias)
{
    kn_exit status = kn_cmd_check_uri(uri_or_path);
    if (status != KN_EXIT_OK)
        return status;
    kn_err err = kn_alias_from_argument(uri_or_path, ret_alias);
    return kn_failed(err) ? kn_cmd_fail_backend("alias", err) : KN_EXIT_OK;
}

const char *kn_cmd_fact(kn_fact fact)
{
    switch (fact) {
    case KN_FACT_UNKNOWN:
        return "unknown";
    case KN_FACT_NO:
        return "no";
    case KN_FACT_YES:
        return "yes";
    }
    return "unknown";
}

typedef struct fact_row {
    const char *attribute, *json;
    kn_fact is, must_be;
    const char *text; /* shown instead of yes, no or unknown */
} fact_row;

#define FACT_COUNT 6

static void fill_facts(const kn_custody *c, fact_row ret_rows[FACT_COUNT])
{
    const fact_row rows[FACT_COUNT] = {
        {"CKA_SENSITIVE", "sensitive", c->sensitive, KN_FACT_YES, NULL},
        {"CKA_EXTRACTABLE", "extractable", c->extractable, KN_FACT_NO, NULL},
        {"CKA_ALWAYS_SENSITIVE", "alwaysSensitive", c->always_sensitive, KN_FACT_YES, NULL},
        {"CKA_NEVER_EXTRACTABLE", "neverExtractable", c->never_extractable, KN_FACT_YES, NULL},
        {"CKA_LOCAL", "local", c->local, KN_FACT_YES, NULL},
        {"CKA_KEY_GEN_MECHANISM", "generatedInToken", c->generated_here, KN_FACT_YES, c->mechanism},
    };
    memcpy(ret_rows, rows, sizeof rows);
}

void kn_cmd_print_custody(const kn_custody *custody)
{
    fact_row rows[FACT_COUNT];
    fill_facts(custody, rows);
    printf("key       %s (id %s)\n", *custody->label ? custody->label : "(no label)",
           *custody->id ? custody->id : "(none)");
    printf("token     %s, serial %s (%s, %s)\n", custody->token, custody->serial, custody->model,
           custody->manufacturer);
    for (size_t i = 0; i < FACT_COUNT; i++)
        printf("  %-22s %-16s %s\n", rows[i].attribute, rows[i].text ? rows[i].text : kn_cmd_fact(rows[i].is),
               rows[i].is == rows[i].must_be ? "as it must be" : "NOT as it must be");
    static const struct {
        const char *name;
        size_t offset;
    } uses[] = {{"sign", offsetof(kn_custody, may_sign)},
                {"decrypt", offsetof(kn_custody, may_decrypt)},
                {"unwrap", offsetof(kn_custody, may_unwrap)},
                {"derive", offsetof(kn_custody, may_derive)}};
    printf("may      ");
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++)
        printf(" %s: %s%s", uses[i].name, kn_cmd_fact(*(const kn_fact *)((const char *)custody + uses[i].offset)),
               i + 1 < sizeof uses / sizeof *uses ? "," : "\n");
    printf("custody   %s\n", kn_custody_holds(custody)
                                 ? "proved: made in the token, never outside, never extractable"
                                 : "NOT proved: this key was, or could have been, outside the token");
}

kn_exit kn_cmd_custody_status(const char *what, const kn_custody *custody)
{
    char doubts[KN_CUSTODY_DOUBTS_MAX];
    kn_custody_doubts(custody, doubts, sizeof doubts);
    return *doubts ? kn_cmd_fail(KN_EXIT_FAILURE, what, "make a new key in the token", "custody is not proved: %s", doubts)
                   : KN_EXIT_OK;
}

cJSON *kn_cmd_custody_json(const kn_custody *custody)
{
    fact_row rows[FACT_COUNT];
    fill_facts(custody, rows);
    cJSON *tree = cJSON_CreateObject();
    bool ok = tree && kn_cmd_json_text(tree, "label", custody->label) && kn_cmd_json_text(tree, "id", custody->id) &&
              kn_cmd_json_text(tree, "token", custody->token) && kn_cmd_json_text(tree, "serial", custody->serial) &&
              kn_cmd_json_text(tree, "mechanism", custody->mechanism) &&
              cJSON_AddBoolToObject(tree, "custodyProved", kn_custody_holds(custody));
    for (size_t i = 0; ok && i < FACT_COUNT; i++)
        ok = kn_cmd_json_text(tree, rows[i].json, kn_cmd_fact(rows[i].is));
    ok = ok && kn_cmd_json_text(tree, "maySign", kn_cmd_fact(custody->may_sign)) &&
         kn_cmd_json_text(tree, "mayDecrypt", kn_cmd_fact(custody->may_decrypt)) &&
         kn_cmd_json_text(tree, "mayUnwrap", kn_cmd_fact(custody->may_unwrap)) &&
         kn_cmd_json_text(tree, "mayDerive", kn_cmd_fact(custody->may_derive));
    if (!ok) {
        cJSON_Delete(tree);
        return NULL;
    }
    return tree;
}
