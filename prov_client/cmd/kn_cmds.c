/* The subcommands of `keynym`, in the order of its help. */
#include "kn_cmd.h"

const kn_cmd *const kn_cmds[] = {
    &kn_cmd_token,
    &kn_cmd_key,
    &kn_cmd_cert,
    &kn_cmd_alias,
    &kn_cmd_ca,
    &kn_cmd_hsm,
    &kn_cmd_tpm,
    &kn_cmd_doctor,
    &kn_cmd_provision,
    &kn_cmd_hub,
    &kn_cmd_enroll,
    NULL,
};
