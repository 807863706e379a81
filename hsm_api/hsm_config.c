#include "hsm_config.h"

#include "hsm_report.h"
#include "keynym_hsm.h"
#include "kn_alias.h"
#include "kn_config.h"
#include "kn_hmac.h"

#include <errno.h>
#include <openssl/conf.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_CONFIG   "/etc/keynym/keynym.cnf"
#define CONFIG_SECTION   "keynym_hsm"
#define IDENTITY_MAX     64 /* characters of the name of an identity */
#define ENVIRONMENT_FILE "KEYNYM_CONF"
#define ENVIRONMENT_NAME "KEYNYM_HSM_IDENTITY"

typedef struct setting_row {
    const char *name, *variable;
    size_t member;       /* of keynym_hsm_config */
    bool for_all;        /* an identity with a name takes it from the one without */
    bool of_context;     /* a row of kn_settings: another value needs another context */
    bool of_process;     /* only the identity without a name has it: the SDK's keys all live in that one's context */
} setting_row;

#define ROW(upper, member, ...) \
    [HSM_##upper] = {#member, "KEYNYM_HSM_" #upper, offsetof(keynym_hsm_config, member), __VA_ARGS__}

static const setting_row rows[HSM_SETTING_COUNT] = {
    ROW(KEY, key, false, false, false),
    ROW(CERTIFICATE, certificate, false, false, false),
    ROW(PIN_SOURCE, pin_source, true, true, false),
    ROW(MODULE_PATH, module_path, true, true, false),
    ROW(KEY_FORM, key_form, true, false, false),
    ROW(REGISTRATION_ID, registration_id, false, false, false),
    ROW(SYMMETRIC_KEY, symmetric_key, false, false, false),
    ROW(TPM, tpm, false, false, false),
    ROW(LOGIN, login, true, true, true),
    ROW(SESSIONS_MAX, sessions_max, true, true, true),
    ROW(SESSION_WAIT_MS, session_wait_ms, true, true, true),
    ROW(TOKEN_COPY, token_copy, true, true, true),
};

typedef struct identity {
    struct identity *next;
    char name[IDENTITY_MAX + 1];
    char *said[HSM_SETTING_COUNT]; /* by the application; NULL: nothing */
} identity;

typedef struct context {
    struct context *next;
    char *value[HSM_SETTING_COUNT]; /* of those that are of_context; NULL: nobody said */
    kn_ctx *ctx;
} context;

static struct {
    pthread_mutex_t lock;
    identity *identities; /* those that the application spoke of */
    CONF *file;           /* NULL: not read, or there is none */
    char *file_path;
    context *contexts;
} config = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local char chosen[IDENTITY_MAX + 1];
static _Thread_local bool has_chosen;

/* ---- values ---- */

/* None of them is a secret, whoever says it. The text of a refused value is not shown: it might be one. */
static kn_err check_value(const char *whose, hsm_setting which, const char *value)
{
    const char *name = rows[which].name;
    if (kn_uri_has_pin(value))
        return kn_fail(KN_E_ALIAS_SECRET, "%s has pin-value", name);
    if (rows[which].of_process && *whose)
        return kn_fail(KN_E_CONFIG, "%s is the same for all identities of a process: say it for the one without a name", name);
    if (rows[which].of_process) {
        kn_config scratch = {0};
        return kn_config_set(&scratch, kn_setting_by_name(name), value);
    }
    if (which == HSM_KEY_FORM && strcmp(value, "alias") && strcmp(value, "uri"))
        return kn_fail(KN_E_CONFIG, "key_form is alias or uri, not '%.20s'", value);
    if (which == HSM_SYMMETRIC_KEY) {
        kn_secret *key = NULL;
        bool is_key = !kn_failed(kn_hmac_key_from_base64(value, strlen(value), &key));
        kn_secret_free(&key);
        if (is_key || (*value != '/' && strncmp(value, "pkcs11:", 7)))
            return kn_fail(KN_E_CONFIG, "symmetric_key is the absolute path of a file or a pkcs11: URI, never the key");
    }
    return kn_success();
}

static bool is_name(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    size_t length = strlen(name);
    return length && length <= IDENTITY_MAX && strspn(name, allowed) == length;
}

/* ---- the configuration file ---- */

static const char *section_name(const char *name, char *buffer, size_t size)
{
    (void)snprintf(buffer, size, "%s%s%s", CONFIG_SECTION, *name ? "." : "", name);
    return buffer;
}

/* Borrows from @file. Not NCONF_get_string(), which goes on in the file's default section. */
static kn_err read_section(const CONF *file, const char *path, const char *name,
                           const char *ret_values[HSM_SETTING_COUNT], bool *ret_there)
{
    char section[IDENTITY_MAX + sizeof CONFIG_SECTION + 1];
    STACK_OF(CONF_VALUE) *lines = NCONF_get_section(file, section_name(name, section, sizeof section));
    for (int i = 0; i < sk_CONF_VALUE_num(lines); i++) {
        const CONF_VALUE *line = sk_CONF_VALUE_value(lines, i);
        int n = 0;
        while (n < HSM_SETTING_COUNT && strcmp(line->name, rows[n].name))
            n++;
        if (n == HSM_SETTING_COUNT)
            return kn_fail(KN_E_CONFIG, "%s: section [%s] has no setting '%.60s'", path, section, line->name);
        kn_err err = check_value(name, (hsm_setting)n, line->value);
        if (kn_failed(err))
            return kn_fail_within(err, "%s: section [%s]", path, section);
        ret_values[n] = line->value;
    }
    *ret_there = lines != NULL;
    return kn_success();
}

/* Needs the lock. */
static kn_err load_file(const char *path)
{
    long line = 0;
    const char *values[HSM_SETTING_COUNT] = {NULL};
    bool there;
    kn_err err;
    ERR_set_mark();
    CONF *file = NCONF_new(NULL);
    char *copy = strdup(path);
    if (!file || !copy)
        err = kn_fail(KN_E_NO_MEMORY, "a configuration");
    else if (NCONF_load(file, path, &line) <= 0)
        err = line > 0 ? kn_fail(KN_E_CONFIG, "%s: error in line %ld", path, line)
                       : kn_fail(KN_E_CONFIG, "%s: %s", path, strerror(errno));
    else
        err = read_section(file, path, "", values, &there);
    if (!kn_failed(err)) {
        NCONF_free(config.file);
        free(config.file_path);
        config.file = file;
        config.file_path = copy;
    } else {
        NCONF_free(file);
        free(copy);
    }
    ERR_pop_to_mark();
    return err;
}

static const char *config_path(void)
{
    const char *path = secure_getenv(ENVIRONMENT_FILE);
    return path && *path ? path : DEFAULT_CONFIG;
}

static bool readable(const char *path)
{
    FILE *file = fopen(path, "re");
    if (file)
        (void)fclose(file);
    return file != NULL;
}

/* Needs the lock. */
static kn_err ensure_file(void)
{
    if (config.file || (!secure_getenv(ENVIRONMENT_FILE) && !readable(DEFAULT_CONFIG)))
        return kn_success();
    return load_file(config_path());
}

/* ---- looking up; all of it needs the lock ---- */

static identity *find(const char *name)
{
    for (identity *one = config.identities; one; one = one->next)
        if (!strcmp(one->name, name))
            return one;
    return NULL;
}

/* What the environment says is of the identity without a name. */
static kn_err read_environment(const char *ret_values[HSM_SETTING_COUNT])
{
    for (int i = 0; i < HSM_SETTING_COUNT; i++) {
        const char *value = secure_getenv(rows[i].variable);
        if (!value || !*value)
            continue;
        kn_err err = check_value("", (hsm_setting)i, value);
        if (kn_failed(err))
            return kn_fail_within(err, "environment variable %s", rows[i].variable);
        ret_values[i] = value;
    }
    return kn_success();
}

/* Borrowed values. @ret_there: somebody spoke of this identity. */
static kn_err collect(const char *name, const char *ret_values[HSM_SETTING_COUNT], bool *ret_there)
{
    kn_err err = kn_success();
    const identity *one = find(name);
    bool in_file = false;
    if (config.file)
        err = read_section(config.file, config.file_path, name, ret_values, &in_file);
    if (!kn_failed(err) && !*name)
        err = read_environment(ret_values);
    for (int i = 0; one && i < HSM_SETTING_COUNT; i++)
        if (one->said[i])
            ret_values[i] = one->said[i];
    *ret_there = in_file || one || !*name;
    return err;
}

static kn_err resolve(const char *name, const char *ret_values[HSM_SETTING_COUNT])
{
    const char *general[HSM_SETTING_COUNT] = {NULL};
    bool there;
    kn_err err = ensure_file();
    if (!kn_failed(err))
        err = collect("", general, &there);
    if (!kn_failed(err))
        err = collect(name, ret_values, &there);
    if (kn_failed(err))
        return err;
    if (!there)
        return kn_fail(KN_E_CONFIG, "no identity '%s': neither keynym_hsm_configure() nor a section [%s.%s] named it", name,
                       CONFIG_SECTION, name);
    for (int i = 0; i < HSM_SETTING_COUNT; i++)
        if (!ret_values[i] && rows[i].for_all)
            ret_values[i] = general[i];
    return kn_success();
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static bool fits(const context *one, const char *const values[HSM_SETTING_COUNT])
{
    for (int i = 0; i < HSM_SETTING_COUNT; i++)
        if (rows[i].of_context && !same(one->value[i], values[i]))
            return false;
    return true;
}

static void context_free(context *one)
{
    if (!one)
        return;
    kn_ctx_unref(&one->ctx);
    for (int i = 0; i < HSM_SETTING_COUNT; i++)
        free(one->value[i]);
    free(one);
}

static kn_err context_new(const char *const values[HSM_SETTING_COUNT], context **ret_context)
{
    kn_config wanted = {.pin_source = NULL};
    context *made = calloc(1, sizeof *made);
    kn_err err = made ? kn_success() : kn_fail(KN_E_NO_MEMORY, "a context");
    for (int i = 0; i < HSM_SETTING_COUNT && !kn_failed(err); i++) {
        if (!rows[i].of_context || !values[i])
            continue;
        made->value[i] = strdup(values[i]);
        err = made->value[i] ? kn_config_set(&wanted, kn_setting_by_name(rows[i].name), made->value[i])
                             : kn_fail(KN_E_NO_MEMORY, "a context");
    }
    if (!kn_failed(err))
        err = kn_ctx_new(&wanted, &made->ctx);
    if (kn_failed(err))
        context_free(made);
    else
        *ret_context = made;
    return err;
}

static kn_err context_for(const char *const values[HSM_SETTING_COUNT], kn_ctx **ret_ctx)
{
    context *one = config.contexts;
    while (one && !fits(one, values))
        one = one->next;
    if (!one) {
        kn_err err = context_new(values, &one);
        if (kn_failed(err))
            return err;
        one->next = config.contexts;
        config.contexts = one;
    }
    *ret_ctx = one->ctx;
    return kn_success();
}

static const char *current_name(void)
{
    const char *name = secure_getenv(ENVIRONMENT_NAME);
    return has_chosen ? chosen : name ? name : "";
}

/* ---- what the other files use ---- */

const char *hsm_setting_name(hsm_setting setting)
{
    return rows[setting].name;
}

kn_err hsm_settings_get(hsm_settings *ret_settings)
{
    const char *values[HSM_SETTING_COUNT] = {NULL};
    hsm_settings copy = {.ctx = NULL};
    (void)pthread_mutex_lock(&config.lock);
    kn_err err = resolve(current_name(), values);
    for (int i = 0; i < HSM_SETTING_COUNT && !kn_failed(err); i++)
        if (values[i] && !(copy.value[i] = strdup(values[i])))
            err = kn_fail(KN_E_NO_MEMORY, "settings");
    if (!kn_failed(err))
        err = context_for(values, &copy.ctx);
    (void)pthread_mutex_unlock(&config.lock);
    if (kn_failed(err))
        hsm_settings_free(&copy);
    else
        *ret_settings = copy;
    return err;
}

void hsm_settings_free(hsm_settings *settings)
{
    for (int i = 0; i < HSM_SETTING_COUNT; i++)
        free(settings->value[i]);
    *settings = (hsm_settings){.ctx = NULL};
}

kn_err hsm_context(kn_ctx **ret_ctx)
{
    const char *values[HSM_SETTING_COUNT] = {NULL};
    (void)pthread_mutex_lock(&config.lock);
    kn_err err = resolve("", values);
    if (!kn_failed(err))
        err = context_for(values, ret_ctx);
    (void)pthread_mutex_unlock(&config.lock);
    return err;
}

void hsm_contexts_rest(void)
{
    (void)pthread_mutex_lock(&config.lock);
    context *first = config.contexts; /* none is ever taken away again */
    (void)pthread_mutex_unlock(&config.lock);
    for (; first; first = first->next)
        kn_ctx_rest(first->ctx);
}

/* ---- the application ---- */

static kn_err configure(const char *name, const char *const values[HSM_SETTING_COUNT])
{
    identity *one = find(name), *made = NULL;
    char *copy[HSM_SETTING_COUNT] = {NULL};
    kn_err err = kn_success();
    if (!one && !(one = made = calloc(1, sizeof *made)))
        return kn_fail(KN_E_NO_MEMORY, "an identity");
    for (int i = 0; i < HSM_SETTING_COUNT && !kn_failed(err); i++) {
        if (values[i])
            err = check_value(name, (hsm_setting)i, values[i]);
        if (!kn_failed(err) && values[i] && !(copy[i] = strdup(values[i])))
            err = kn_fail(KN_E_NO_MEMORY, "settings");
    }
    for (int i = 0; i < HSM_SETTING_COUNT; i++) {
        free(kn_failed(err) ? copy[i] : one->said[i]);
        if (!kn_failed(err))
            one->said[i] = copy[i];
    }
    if (kn_failed(err)) {
        free(made);
        return err;
    }
    if (made) {
        (void)snprintf(made->name, sizeof made->name, "%s", name);
        made->next = config.identities;
        config.identities = made;
    }
    return kn_success();
}

static int finish(const char *call, kn_err err)
{
    if (kn_failed(err))
        hsm_report(call, err);
    return kn_failed(err) ? -1 : 0;
}

int keynym_hsm_configure(const char *name, const keynym_hsm_config *said)
{
    const char *values[HSM_SETTING_COUNT] = {NULL};
    if (!said || said->size < sizeof said->size || said->size > sizeof *said)
        return finish("keynym_hsm_configure",
                      kn_fail(KN_E_ARGUMENT, said ? "its size is not that of this library's structure: start from "
                                                    "KEYNYM_HSM_CONFIG_INIT"
                                                  : "the configuration is NULL"));
    if (name && !is_name(name))
        return finish("keynym_hsm_configure", kn_fail(KN_E_ARGUMENT, "the name of an identity is 1 to %d letters, digits "
                                                                     "and - . _", IDENTITY_MAX));
    for (int i = 0; i < HSM_SETTING_COUNT; i++)
        if (rows[i].member + sizeof(char *) <= said->size) /* of an older header, perhaps */
            memcpy(&values[i], (const char *)said + rows[i].member, sizeof values[i]);
    (void)pthread_mutex_lock(&config.lock);
    kn_err err = configure(name ? name : "", values);
    (void)pthread_mutex_unlock(&config.lock);
    return finish("keynym_hsm_configure", err);
}

int keynym_hsm_use(const char *name)
{
    const char *values[HSM_SETTING_COUNT] = {NULL};
    kn_err err = kn_success();
    if (name && !is_name(name))
        err = kn_fail(KN_E_ARGUMENT, "the name of an identity is 1 to %d letters, digits and - . _", IDENTITY_MAX);
    if (name && !kn_failed(err)) {
        (void)pthread_mutex_lock(&config.lock);
        err = resolve(name, values);
        (void)pthread_mutex_unlock(&config.lock);
    }
    if (!kn_failed(err)) {
        has_chosen = name != NULL;
        (void)snprintf(chosen, sizeof chosen, "%s", name ? name : "");
    }
    return finish("keynym_hsm_use", err);
}

char *keynym_hsm_setting(const char *setting)
{
    const char *values[HSM_SETTING_COUNT] = {NULL};
    char *copy = NULL;
    (void)pthread_mutex_lock(&config.lock);
    kn_err err = setting ? resolve(current_name(), values) : kn_fail(KN_E_ARGUMENT, "the name of the setting is NULL");
    for (int i = 0; i < HSM_SETTING_COUNT && !kn_failed(err); i++)
        if (values[i] && !strcmp(rows[i].name, setting) && !(copy = strdup(values[i])))
            err = kn_fail(KN_E_NO_MEMORY, "a setting");
    (void)pthread_mutex_unlock(&config.lock);
    (void)finish("keynym_hsm_setting", err);
    return copy;
}

int keynym_hsm_load_config(const char *path)
{
    (void)pthread_mutex_lock(&config.lock);
    kn_err err = load_file(path ? path : config_path());
    (void)pthread_mutex_unlock(&config.lock);
    return finish("keynym_hsm_load_config", err);
}
