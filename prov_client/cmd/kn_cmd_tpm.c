/* keynym tpm show: what an enrollment for a TPM needs. Through the SDK's TPM interface, as a registration will see it. */
#include "kn_cmd_device.h"

#include "../../hsm_api/hsm_client_data.h"
#include "../../hsm_api/keynym_hsm.h"
#include "../prov_base64.h"
#include "../prov_identity.h"

#include <stdio.h>
#include <stdlib.h>

static kn_exit print(const kn_cmd_args *args, const prov_identity *identity)
{
    char *endorsement = prov_base64_encode(identity->endorsement_key, identity->endorsement_key_bytes);
    char *storage = prov_base64_encode(identity->storage_root_key, identity->storage_root_key_bytes);
    kn_exit status = KN_EXIT_OK;

    if (!endorsement || !storage) {
        status = kn_cmd_fail(KN_EXIT_FAILURE, args->path, NULL, "out of memory");
    } else if (args->value[KN_OPT_JSON]) {
        cJSON *json = cJSON_CreateObject();

        status = kn_cmd_print_json(json && kn_cmd_json_text(json, "registrationId", identity->registration_id) &&
                                           kn_cmd_json_text(json, "endorsementKey", endorsement) &&
                                           kn_cmd_json_text(json, "storageRootKey", storage)
                                       ? json
                                       : NULL);
        cJSON_Delete(json);
    } else {
        (void)printf("registration id   %s\nendorsement key   %s\nstorage root key  %s\n", identity->registration_id, endorsement,
                     storage);
        status = kn_cmd_flush();
    }
    free(endorsement);
    free(storage);
    return status;
}

static kn_exit run_show(const kn_cmd_args *args)
{
    prov_identity identity = {.hsm = NULL};
    prov_error error = {.detail = ""};
    kn_exit status = kn_cmd_set_identity(args, args->path);
    kn_prov_code code;

    if (status)
        return status;
    code = prov_attestation_tpm.open(args->value[KN_OPT_REGISTRATION_ID], &identity, &error);
    if (code == KN_PROV_OK)
        code = prov_attestation_tpm.prepare(&identity, &error);
    if (code) {
        const char *cause = keynym_hsm_last_error();

        status = kn_cmd_fail(kn_cmd_exit_of(code), args->path, *cause ? NULL : kn_prov_error_of(code)->remedy, "%s",
                             *cause ? cause : error.detail);
    } else {
        status = print(args, &identity);
    }
    prov_attestation_tpm.close(&identity);
    return status;
}

static const kn_opt show_options[] = {KN_OPT_TPM, KN_OPT_REGISTRATION_ID, KN_OPT_JSON, KN_OPT_COUNT};

static const kn_cmd kn_cmd_tpm_show = {
    .name = "show",
    .summary = "print the registration ID and the public keys of a TPM, for an enrollment",
    .synopsis = "[options]",
    .description = "Prints the registration ID, and endorsement key and storage root key in Base64. Where the TPM has\n"
                   "not got one of the keys, it is made and kept in the TPM, as a registration would do.\n",
    .options = show_options,
    .run = run_show,
};

static const kn_cmd *const children[] = {&kn_cmd_tpm_show, NULL};

const kn_cmd kn_cmd_tpm = {
    .name = "tpm",
    .summary = "look at the TPM that attests",
    .children = children,
};
