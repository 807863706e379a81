#include "kn_config.h"

#include "kn_log.h"
#include "kn_pin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Absolute paths: what the folder of a program happens to hold is not loaded. */
static bool set_module_path(kn_config *config, const char *value)
{
    config->module_path = value;
    for (const char *path = value; path; path = strchr(path, ':')) {
        path += *path == ':';
        if (*path != '/')
            return false;
    }
    return true;
}

static bool set_pin_source(kn_config *config, const char *value)
{
    config->pin_source = value;
    return kn_pin_is_source(value);
}

static bool set_login(kn_config *config, const char *value)
{
    static const char *const names[] = {
        [KN_LOGIN_WHEN_NEEDED] = "when_needed", [KN_LOGIN_ALWAYS] = "always", [KN_LOGIN_NEVER] = "never"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(value, names[i])) {
            config->login = (kn_login)i;
            return true;
        }
    return false;
}

static bool set_number(const char *value, unsigned least, unsigned most, unsigned *ret_number)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(value, &end, 10);
    if (errno || *end || end == value || *value == '-' || *value == '+' || number < least || number > most)
        return false;
    *ret_number = (unsigned)number;
    return true;
}

static bool set_sessions_max(kn_config *config, const char *value)
{
    return set_number(value, 1, KN_CONFIG_SESSIONS_MAX, &config->sessions_max);
}

static bool set_session_wait(kn_config *config, const char *value)
{
    return set_number(value, 1, KN_CONFIG_WAIT_MAX_MS, &config->session_wait_ms);
}

static bool set_token_copy(kn_config *config, const char *value)
{
    config->token_copy = !strcmp(value, "yes");
    return config->token_copy || !strcmp(value, "no");
}

static bool set_log_level(kn_config *config, const char *value)
{
    kn_log_level level;
    (void)config;
    if (!kn_log_level_parse(value, &level))
        return false;
    kn_log_set_level(level);
    return true;
}

const kn_setting kn_settings[] = {
    {"module_path", "absolute paths of PKCS#11 modules, separated by ':'", set_module_path},
    {"pin_source", "an absolute path, or file:, credential:, fd: or ask:", set_pin_source},
    {"login", "when_needed, always or never", set_login},
    {"sessions_max", "a number from 1 to 1024", set_sessions_max},
    {"session_wait_ms", "a number from 1 to 3600000", set_session_wait},
    {"token_copy", "yes or no", set_token_copy},
    {"log_level", "none, error, warn, info or debug", set_log_level},
};
const size_t kn_setting_count = sizeof kn_settings / sizeof *kn_settings;

kn_err kn_config_set(kn_config *config, const kn_setting *setting, const char *value)
{
    if (setting->set(config, value))
        return kn_success();
    if (setting->set == set_pin_source) /* the value may be the PIN itself */
        return kn_fail(KN_E_CONFIG, "pin_source: %s is expected", setting->expected);
    return kn_fail(KN_E_CONFIG, "%s = %.60s: %s is expected", setting->name, value, setting->expected);
}

const kn_setting *kn_setting_by_name(const char *name)
{
    for (size_t i = 0; i < kn_setting_count; i++)
        if (!strcmp(name, kn_settings[i].name))
            return &kn_settings[i];
    return NULL;
}
