#include "hsm_state.h"

#include "hsm_rsa.h"
#include "keynym_hsm.h"
#include "kn_log.h"
#include "kn_ossl.h"

#include <errno.h>
#include <openssl/conf.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_CONFIG "/etc/keynym/keynym.cnf"
#define CONFIG_SECTION "keynym_hsm"

/* Settings, in the order of the setting_names. */
enum { KEY, CERTIFICATE, PIN_SOURCE, MODULE_PATH, SETTING_COUNT };
static const char *const setting_names[SETTING_COUNT] = {"key", "certificate", "pin_source", "module_path"};

static struct {
    pthread_mutex_t lock;
    char *said[SETTING_COUNT];    /* by the application; NULL: nothing */
    char *in_file[SETTING_COUNT]; /* of the configuration file */
    bool file_read;
    kn_ctx *ctx; /* NULL: to be made from the settings */
    OSSL_PROVIDER *provider;
    bool builtin_added; /* OpenSSL knows of our provider from then on */
    unsigned handles;
    bool leaving;
} hsm = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local char last_error[KN_DETAIL_MAX + 512];

void hsm_report(const char *call, kn_err err)
{
    char text[KN_DETAIL_MAX + 256];
    kn_err_text(err, text, sizeof text);
    (void)snprintf(last_error, sizeof last_error, "%s: %s", call, text);
    kn_log(KN_LOG_ERROR, "%s", last_error);
}

const char *keynym_hsm_last_error(void)
{
    return last_error;
}

const char *keynym_hsm_version(void)
{
    return KN_VERSION;
}

static void (*user_sink)(int level, const char *line); /* set before lines are written, like kn_log's own */

static void pass_line(kn_log_level level, const char *line)
{
    user_sink((int)level, line);
}

void keynym_hsm_set_log(void (*sink)(int level, const char *line))
{
    if (sink)
        user_sink = sink; /* never back to NULL: a thread may be on its way to it */
    kn_log_set_sink(sink ? pass_line : NULL);
}

/* ---- settings ---- */

/* What the application said comes before the file. */
static const char *setting(int which)
{
    return hsm.said[which] ? hsm.said[which] : hsm.in_file[which];
}

/* @old becomes a copy of @values; on failure it stays as it is. Needs the lock. */
static kn_err replace_locked(char *old[SETTING_COUNT], const char *const values[SETTING_COUNT])
{
    char *copy[SETTING_COUNT] = {NULL};
    bool complete = true;
    for (int i = 0; i < SETTING_COUNT; i++)
        if (values[i] && !(copy[i] = strdup(values[i])))
            complete = false;
    for (int i = 0; i < SETTING_COUNT; i++) {
        free(complete ? old[i] : copy[i]);
        if (complete)
            old[i] = copy[i];
    }
    if (!complete)
        return kn_fail(KN_E_NO_MEMORY, "settings");
    kn_ctx_unref(&hsm.ctx); /* handles and the provider keep theirs */
    return kn_success();
}

/* Borrows from @conf. Not NCONF_get_string(), which goes on in the file's default section. */
static kn_err read_section(const CONF *conf, const char *path, const char *ret_values[SETTING_COUNT])
{
    STACK_OF(CONF_VALUE) *section = NCONF_get_section(conf, CONFIG_SECTION);
    for (int i = 0; i < sk_CONF_VALUE_num(section); i++) {
        const CONF_VALUE *line = sk_CONF_VALUE_value(section, i);
        int n = 0;
        while (n < SETTING_COUNT && strcmp(line->name, setting_names[n]))
            n++;
        if (n == SETTING_COUNT)
            return kn_fail(KN_E_CONFIG, "%s: section [%s] has no setting '%.60s'", path, CONFIG_SECTION, line->name);
        ret_values[n] = line->value;
    }
    return kn_success();
}

static kn_err load_file_locked(const char *path)
{
    long line = 0;
    const char *values[SETTING_COUNT] = {NULL};
    kn_err err;
    ERR_set_mark();
    CONF *conf = NCONF_new(NULL);
    if (!conf)
        err = kn_fail(KN_E_NO_MEMORY, "a configuration");
    else if (NCONF_load(conf, path, &line) <= 0)
        err = line > 0 ? kn_fail(KN_E_CONFIG, "%s: error in line %ld", path, line)
                       : kn_fail(KN_E_CONFIG, "%s: %s", path, strerror(errno));
    else
        err = read_section(conf, path, values);
    if (!kn_failed(err))
        err = replace_locked(hsm.in_file, values);
    if (!kn_failed(err))
        hsm.file_read = true;
    NCONF_free(conf);
    ERR_pop_to_mark();
    return err;
}

static const char *config_path(void)
{
    const char *path = getenv("KEYNYM_CONF");
    return path && *path ? path : DEFAULT_CONFIG;
}

static bool readable(const char *path)
{
    FILE *file = fopen(path, "re");
    if (file)
        (void)fclose(file);
    return file != NULL;
}

/* Reads the configuration file once. That there is none is no error before a key is needed. */
static kn_err ensure_context(void)
{
    if (!hsm.file_read && (getenv("KEYNYM_CONF") || readable(DEFAULT_CONFIG))) {
        kn_err err = load_file_locked(config_path());
        if (kn_failed(err))
            return err;
    }
    if (hsm.ctx)
        return kn_success();
    kn_config config = {.module_path = setting(MODULE_PATH), .pin_source = setting(PIN_SOURCE)};
    return kn_ctx_new(&config, &hsm.ctx);
}

int keynym_hsm_load_config(const char *path)
{
    (void)pthread_mutex_lock(&hsm.lock);
    kn_err err = load_file_locked(path ? path : config_path());
    (void)pthread_mutex_unlock(&hsm.lock);
    if (kn_failed(err))
        hsm_report("keynym_hsm_load_config", err);
    return kn_failed(err) ? -1 : 0;
}

int keynym_hsm_set_x509(const keynym_hsm_x509_config *config)
{
    static const keynym_hsm_x509_config nothing = {.key = NULL};
    const keynym_hsm_x509_config *from = config ? config : &nothing;
    const char *const values[SETTING_COUNT] = {
        [KEY] = from->key,
        [CERTIFICATE] = from->certificate,
        [PIN_SOURCE] = from->pin_source,
        [MODULE_PATH] = from->module_path,
    };
    (void)pthread_mutex_lock(&hsm.lock);
    kn_err err = config ? replace_locked(hsm.said, values) : kn_fail(KN_E_ARGUMENT, "the configuration is NULL");
    (void)pthread_mutex_unlock(&hsm.lock);
    if (kn_failed(err))
        hsm_report("keynym_hsm_set_x509", err);
    return kn_failed(err) ? -1 : 0;
}

/* ---- the provider ---- */

static kn_ctx *context_of_provider; /* guarded by the lock, which is held while the provider is loaded */

static int init_provider(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                         void **provctx)
{
    return keynym_provider_init_on(context_of_provider, core, in, out, provctx);
}

static kn_err load_provider(void)
{
    if (hsm.provider)
        return kn_success();
    kn_err err = ensure_context();
    if (kn_failed(err))
        return err;
    /* Another copy of this library, or openssl.cnf, may have brought it; an alias key is complete in itself. */
    bool there = OSSL_PROVIDER_available(NULL, KN_OSSL_NAME);
    context_of_provider = hsm.ctx;
    /* The default provider must go on being loaded by itself: retain_fallbacks. */
    if (!there && !hsm.builtin_added)
        hsm.builtin_added = OSSL_PROVIDER_add_builtin(NULL, KN_OSSL_NAME, init_provider);
    if (there || hsm.builtin_added)
        hsm.provider = OSSL_PROVIDER_try_load(NULL, KN_OSSL_NAME, 1);
    context_of_provider = NULL;
    if (!hsm.provider)
        return kn_fail(KN_E_CRYPTO, "the provider cannot be added to the process: %s",
                       ERR_reason_error_string(ERR_peek_last_error()) ? ERR_reason_error_string(ERR_peek_last_error())
                                                                      : "no reason given");
    return kn_success();
}

static void unload_provider(void)
{
    if (hsm.provider)
        (void)OSSL_PROVIDER_unload(hsm.provider);
    hsm.provider = NULL;
    hsm.leaving = false;
    kn_ctx_unref(&hsm.ctx);
}

kn_err hsm_context(kn_ctx **ret_ctx)
{
    kn_ctx *shared = NULL;
    (void)pthread_mutex_lock(&hsm.lock);
    if (hsm.ctx)
        shared = kn_ctx_ref(hsm.ctx);
    (void)pthread_mutex_unlock(&hsm.lock);
    if (!shared)
        return kn_ctx_new(NULL, ret_ctx);
    *ret_ctx = shared;
    return kn_success();
}

kn_err hsm_init(void)
{
    (void)pthread_mutex_lock(&hsm.lock);
    hsm.leaving = false;
    kn_err err = load_provider();
    if (!kn_failed(err))
        err = hsm_rsa_start();
    (void)pthread_mutex_unlock(&hsm.lock);
    return err;
}

void hsm_deinit(void)
{
    (void)pthread_mutex_lock(&hsm.lock);
    if (hsm.handles)
        hsm.leaving = true;
    else
        unload_provider();
    (void)pthread_mutex_unlock(&hsm.lock);
}

kn_err hsm_handle_opened(hsm_x509_settings *ret_settings)
{
    hsm_x509_settings copy = {.key = NULL};
    (void)pthread_mutex_lock(&hsm.lock);
    kn_err err = load_provider();
    if (!kn_failed(err))
        err = ensure_context();
    if (!kn_failed(err)) {
        const char *key = setting(KEY), *certificate = setting(CERTIFICATE);
        copy.key = key ? strdup(key) : NULL;
        copy.certificate = certificate ? strdup(certificate) : NULL;
        if (!copy.key != !key || !copy.certificate != !certificate)
            err = kn_fail(KN_E_NO_MEMORY, "settings");
    }
    if (!kn_failed(err)) {
        copy.ctx = kn_ctx_ref(hsm.ctx);
        hsm.handles++;
        hsm.leaving = false;
        *ret_settings = copy;
    }
    (void)pthread_mutex_unlock(&hsm.lock);
    if (kn_failed(err))
        hsm_settings_free(&copy);
    return err;
}

void hsm_handle_closed(void)
{
    (void)pthread_mutex_lock(&hsm.lock);
    if (--hsm.handles == 0 && hsm.leaving)
        unload_provider();
    (void)pthread_mutex_unlock(&hsm.lock);
}

void hsm_settings_free(hsm_x509_settings *settings)
{
    free(settings->key);
    free(settings->certificate);
    kn_ctx_unref(&settings->ctx);
    *settings = (hsm_x509_settings){.key = NULL};
}
