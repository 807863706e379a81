/* The identities of this process: who a device is, by what the application said, the environment and the configuration
 * file, in this order; and the contexts in which their keys are.
 *
 * Units: none. Ownership: hsm_settings_free() releases; a context is lent for the life of the process. Errors: KN_E_CONFIG,
 * which names the setting. Threads: any; one lock. Fork: as kn_ctx.
 *
 * An identity has a name, "" for the one without. A thread says with keynym_hsm_use() which one the handles have that it
 * creates afterwards; the SDK creates a handle in the thread that creates a client.
 *
 * OpenSSL keeps a built-in provider, and with it our context, until the process ends. So contexts are made once for each
 * combination of settings that concern tokens, and rest while the library is not initialised: no session, no login.
 */
#ifndef KN_HSM_CONFIG_H
#define KN_HSM_CONFIG_H

#include "kn_ctx.h"

/* In the order of the rows in hsm_config.c. */
typedef enum hsm_setting {
    HSM_KEY,
    HSM_CERTIFICATE,
    HSM_PIN_SOURCE,
    HSM_MODULE_PATH,
    HSM_KEY_FORM,
    HSM_REGISTRATION_ID,
    HSM_SYMMETRIC_KEY,
    HSM_TPM,
    HSM_LOGIN,
    HSM_SESSIONS_MAX,
    HSM_SESSION_WAIT_MS,
    HSM_TOKEN_COPY,
    HSM_SETTING_COUNT
} hsm_setting;

typedef struct hsm_settings {
    char *value[HSM_SETTING_COUNT]; /* NULL: nobody said */
    kn_ctx *ctx;
} hsm_settings;

/* The setting's name in the configuration file. */
const char *hsm_setting_name(hsm_setting setting);

/* Copies of the settings of this thread's identity, as they are now. The configuration file is read when it was not yet;
 * that there is none is no error. */
KN_MUST_CHECK kn_err hsm_settings_get(hsm_settings *ret_settings);
void hsm_settings_free(hsm_settings *settings);

/* The context of the identity without a name. */
KN_MUST_CHECK kn_err hsm_context(kn_ctx **ret_ctx);

/* No context holds a session any more, until it is used again. */
void hsm_contexts_rest(void);

#endif
