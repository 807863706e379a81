/* keynym hsm show: what the Azure IoT C SDK will get from the HSM library, for an enrollment. */
#include "kn_cmd_hsm.h"

#include "kn_cmd_chain.h"

#include "../../hsm_api/hsm_client_data.h"
#include "../../hsm_api/keynym_hsm.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERRORS_MAX 4
#define EK_MAX     2048 /* bytes of an endorsement key */

static void pass_warning(int level, const char *line)
{
    if (level == 2)
        (void)fprintf(stderr, "keynym: %s\n", line);
}

kn_exit kn_cmd_hsm_configure(const kn_cmd_args *args)
{
    char pin_source[KN_CMD_PATH_MAX];
    const char *identity = args->value[KN_OPT_IDENTITY];
    keynym_hsm_config config = {
        .size = sizeof config,
        .key = args->value[KN_OPT_KEY],
        .certificate = args->value[KN_OPT_CERT],
        .pin_source = kn_cmd_absolute(args->value[KN_OPT_PIN_SOURCE], pin_source),
        .module_path = args->value[KN_OPT_MODULE],
        .tpm = args->value[KN_OPT_TPM],
    };
    keynym_hsm_set_log(pass_warning);
    bool given = config.key || config.certificate || config.pin_source || config.module_path || config.tpm;
    kn_exit status = kn_cmd_refuse_pin(args, KN_OPT_KEY);
    if (status == KN_EXIT_OK)
        status = kn_cmd_refuse_pin(args, KN_OPT_CERT);
    if (status != KN_EXIT_OK)
        return status;
    if ((identity && keynym_hsm_use(identity)) || (given && keynym_hsm_configure(identity, &config)))
        return kn_cmd_fail(KN_EXIT_USAGE, args->path, NULL, "%s", keynym_hsm_last_error());
    return KN_EXIT_OK;
}

/* ---- hsm show ---- */

typedef struct identity {
    char *name, *chain_pem, *key;
    kn_cmd_chain chain;
    char endorsement_key[EK_MAX * 4 / 3 + 8]; /* base64; "" for none */
    char errors[ERRORS_MAX][1600];
    size_t error_count;
} identity;

static void note_error(identity *who)
{
    if (who->error_count < ERRORS_MAX)
        (void)snprintf(who->errors[who->error_count++], sizeof who->errors[0], "%s", keynym_hsm_last_error());
}

/* One getter after the other, so that each says what it has to say. */
static void ask_x509(identity *who)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    HSM_CLIENT_HANDLE handle = hsm_client_x509_init() ? NULL : x509->hsm_client_x509_create();
    if (!handle) {
        note_error(who);
        return;
    }
    if (!(who->name = x509->hsm_client_get_common_name(handle)))
        note_error(who);
    if (!(who->chain_pem = x509->hsm_client_get_cert(handle)) || !kn_cmd_chain_parse(who->chain_pem, &who->chain))
        note_error(who);
    if (!(who->key = x509->hsm_client_get_key(handle)))
        note_error(who);
    x509->hsm_client_x509_destroy(handle);
}

/* That there is no TPM is no error. One that the configuration does not name is left alone: to read its endorsement key may be to
 * make it. */
static void ask_tpm(identity *who)
{
    const HSM_CLIENT_TPM_INTERFACE *tpm = hsm_client_tpm_interface();
    unsigned char *key = NULL;
    size_t length = 0;
    char *setting = keynym_hsm_setting("tpm");
    HSM_CLIENT_HANDLE handle = !setting || hsm_client_tpm_init() ? NULL : tpm->hsm_client_tpm_create();
    if (handle && tpm->hsm_client_get_ek(handle, &key, &length))
        note_error(who);
    if (key && length <= EK_MAX)
        (void)EVP_EncodeBlock((unsigned char *)who->endorsement_key, key, (int)length);
    free(key);
    free(setting);
    tpm->hsm_client_tpm_destroy(handle);
}

static const char *key_form(const char *key)
{
    static const char *const forms[][2] = {
        {"-----BEGIN PRIVATE KEY", "alias, as PKCS#8 for RSA"}, {"-----BEGIN", "alias PEM"}, {"pkcs11:", "URI"}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (!strncmp(key, forms[i][0], strlen(forms[i][0])))
            return forms[i][1];
    return "unknown";
}

static kn_exit print_text(const identity *who)
{
    printf("registration id   %s\n", who->name ? who->name : "(none)");
    printf("key               %s\n", who->key ? key_form(who->key) : "(none)");
    printf("key, certificate  %s\n", who->key ? "match" : "not proved to match");
    kn_cmd_chain_print(&who->chain);
    printf("endorsement key   %s\n", *who->endorsement_key ? who->endorsement_key : "(no TPM)");
    return kn_cmd_flush();
}

static bool add_json(cJSON *tree, const identity *who)
{
    cJSON *chain = kn_cmd_chain_json(&who->chain);
    if (!chain || !cJSON_AddItemToObject(tree, "chain", chain)) {
        cJSON_Delete(chain);
        return false;
    }
    cJSON *errors = cJSON_AddArrayToObject(tree, "errors");
    for (size_t i = 0; errors && i < who->error_count; i++)
        if (!cJSON_AddItemToArray(errors, cJSON_CreateString(who->errors[i])))
            return false;
    return errors && kn_cmd_json_text(tree, "registrationId", who->name) &&
           kn_cmd_json_text(tree, "keyForm", who->key ? key_form(who->key) : NULL) &&
           cJSON_AddBoolToObject(tree, "keyMatchesCertificate", who->key != NULL) &&
           kn_cmd_json_text(tree, "endorsementKey", *who->endorsement_key ? who->endorsement_key : NULL);
}

static kn_exit report(const kn_cmd_args *args, const identity *who)
{
    kn_exit status;
    if (args->value[KN_OPT_JSON]) {
        cJSON *tree = cJSON_CreateObject();
        status = kn_cmd_print_json(tree && add_json(tree, who) ? tree : NULL);
        cJSON_Delete(tree);
    } else {
        status = print_text(who);
    }
    for (size_t i = 0; i < who->error_count; i++)
        status = kn_cmd_fail(KN_EXIT_FAILURE, args->path, NULL, "%s", who->errors[i]);
    return status;
}

static kn_exit run_show(const kn_cmd_args *args)
{
    static identity who; /* large; one for the process */
    kn_exit status = kn_cmd_hsm_configure(args);
    if (status != KN_EXIT_OK)
        return status;
    ask_x509(&who);
    ask_tpm(&who);
    status = report(args, &who);
    kn_cmd_chain_free(&who.chain);
    free(who.name);
    free(who.chain_pem);
    free(who.key);
    hsm_client_x509_deinit();
    return status;
}

static const kn_opt show_options[] = {KN_OPT_IDENTITY,   KN_OPT_KEY,    KN_OPT_CERT, KN_OPT_PIN_SOURCE,
                                      KN_OPT_MODULE,     KN_OPT_JSON,   KN_OPT_COUNT};

static const kn_cmd show = {
    .name = "show",
    .summary = "show what the Azure IoT C SDK will get, for an enrollment",
    .synopsis = "[OPTIONS]",
    .description = "Asks the HSM library as the SDK does: registration id, certificate chain with the thumbprints that an\n"
                   "individual enrollment wants, whether key and certificate match, and the endorsement key of a TPM.\n"
                   "Without options the configuration file says who the device is. Status 1 when something is missing.\n",
    .options = show_options,
    .run = run_show,
};

static const kn_cmd *const children[] = {&show, NULL};

const kn_cmd kn_cmd_hsm = {
    .name = "hsm",
    .summary = "look at the device as the Azure IoT C SDK sees it",
    .synopsis = "COMMAND",
    .description = "Looks through the HSM library that the SDK is linked with.\n",
    .children = children,
};
