/* Settings by name: one row for each, as they stand in the provider's section of openssl.cnf.
 *
 * Units: as named. Ownership: a kn_config borrows the texts that it is given. Errors: KN_E_CONFIG names setting, value and
 * what is expected. Threads: any. Spec: docs/configuration.md.
 */
#ifndef KN_CONFIG_H
#define KN_CONFIG_H

#include "kn_ctx.h"

#define KN_CONFIG_WAIT_MAX_MS  3600000 /* of session_wait_ms */
#define KN_CONFIG_SESSIONS_MAX 1024    /* of sessions_max */

typedef struct kn_setting {
    const char *name, *expected; /* what the value may be, for messages */
    bool (*set)(kn_config *config, const char *value);
} kn_setting;

extern const kn_setting kn_settings[];
extern const size_t kn_setting_count;

/* Borrows @value. log_level takes effect at once, for the whole process. */
KN_MUST_CHECK kn_err kn_config_set(kn_config *config, const kn_setting *setting, const char *value);

/* NULL: there is none of that name. */
const kn_setting *kn_setting_by_name(const char *name);

#endif
