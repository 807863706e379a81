#include "kn_ossl_config.h"

#include "kn_config.h"

#include <openssl/conf.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <string.h>

#define SETTINGS_MAX 32

typedef struct core_params {
    OSSL_FUNC_core_get_params_fn *get;
    const OSSL_CORE_HANDLE *core;
} core_params;

static kn_err take_settings(const core_params *core, kn_config *config)
{
    char *values[SETTINGS_MAX] = {NULL};
    OSSL_PARAM params[SETTINGS_MAX + 1];
    size_t count = kn_setting_count < SETTINGS_MAX ? kn_setting_count : SETTINGS_MAX;
    for (size_t i = 0; i < count; i++)
        params[i] = OSSL_PARAM_construct_utf8_ptr(kn_settings[i].name, &values[i], 0);
    params[count] = OSSL_PARAM_construct_end();
    if (!core->get(core->core, params))
        return kn_fail(KN_E_CONFIG, "the provider's section of openssl.cnf cannot be read");
    kn_err err = kn_success();
    for (size_t i = 0; !kn_failed(err) && i < count; i++)
        if (values[i])
            err = kn_config_set(config, &kn_settings[i], values[i]);
    return err;
}

/* ---- settings that nobody knows ----
 *
 * The core answers for names that it is asked for, and tells of no others, so a misspelt setting would be passed over. It is
 * found in the configuration file itself: the file that OpenSSL reads when the program names no other. Only a section whose
 * every value is what the core has under that name is the one that this provider was loaded with. */

static bool core_has(const core_params *core, const char *name, const char *value)
{
    char *got = NULL;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_ptr(name, &got, 0), OSSL_PARAM_construct_end()};
    return core->get(core->core, params) && got && !strcmp(got, value);
}

/* What OpenSSL itself takes from the section. */
static bool is_openssls(const char *name)
{
    static const char *const names[] = {"identity", "module", "activate", "soft_load"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i]))
            return true;
    return false;
}

static kn_err check_section(const core_params *core, const STACK_OF(CONF_VALUE) *section, const char *file)
{
    for (int i = 0; i < sk_CONF_VALUE_num(section); i++) {
        const CONF_VALUE *line = sk_CONF_VALUE_value(section, i);
        if (!core_has(core, line->name, line->value))
            return kn_success(); /* not this provider's */
    }
    for (int i = 0; i < sk_CONF_VALUE_num(section); i++) {
        const CONF_VALUE *line = sk_CONF_VALUE_value(section, i);
        if (!is_openssls(line->name) && !kn_setting_by_name(line->name))
            return kn_fail(KN_E_CONFIG, "section [%.40s] of %.200s: '%.60s' is no setting", line->section, file, line->name);
    }
    return kn_success();
}

static kn_err check_providers(const core_params *core, CONF *conf, const char *init_section, const char *file)
{
    const char *name = NCONF_get_string(conf, init_section, "providers");
    const STACK_OF(CONF_VALUE) *providers = name ? NCONF_get_section(conf, name) : NULL;
    kn_err err = kn_success();
    for (int i = 0; !kn_failed(err) && i < sk_CONF_VALUE_num(providers); i++) {
        const CONF_VALUE *line = sk_CONF_VALUE_value(providers, i);
        const char *identity = NCONF_get_string(conf, line->value, "identity");
        const STACK_OF(CONF_VALUE) *section = NCONF_get_section(conf, line->value);
        if (section && core_has(core, OSSL_PROV_PARAM_CORE_PROV_NAME, identity ? identity : line->name))
            err = check_section(core, section, file);
    }
    return err;
}

static kn_err check_names(const core_params *core)
{
    static const char *const roots[] = {"openssl_conf", "nodejs_conf"}; /* node has a name of its own */
    kn_err err = kn_success();
    ERR_set_mark();
    char *file = CONF_get1_default_config_file();
    CONF *conf = NCONF_new(NULL);
    if (file && conf && NCONF_load(conf, file, NULL) > 0)
        for (size_t i = 0; !kn_failed(err) && i < sizeof roots / sizeof *roots; i++) {
            const char *init_section = NCONF_get_string(conf, NULL, roots[i]);
            if (init_section)
                err = check_providers(core, conf, init_section, file);
        }
    NCONF_free(conf);
    OPENSSL_free(file);
    ERR_pop_to_mark();
    return err;
}

kn_err kn_ossl_configure(OSSL_FUNC_core_get_params_fn *get_params, const OSSL_CORE_HANDLE *core, kn_config *config)
{
    const core_params params = {.get = get_params, .core = core};
    kn_err err = take_settings(&params, config);
    return kn_failed(err) ? err : check_names(&params);
}
