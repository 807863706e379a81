/* The symmetric key interface. The application hands the key in, or the configuration says where it is. The SDK takes it out
 * again and signs in software: its interface has no way to leave the key in hardware (azure-iot-sdk-c issue 2427).
 * keynym_hsm_sign_sas() has. */
#define KEYNYM_HSM_SAS_IS_HERE
#include "keynym_hsm_sas.h"

#include "hsm_chain.h"
#include "hsm_config.h"
#include "hsm_report.h"
#include "kn_hmac.h"

#include <stdlib.h>
#include <string.h>

#define KEY_TEXT_MAX 512 /* characters of base64: longer than any key that DPS issues */

_Static_assert(KEYNYM_HSM_SAS_BYTES == KN_HMAC_BYTES, "one size");

typedef struct hsm_symmetric {
    hsm_settings settings;
    char *name;     /* of the application; NULL: of the settings */
    kn_secret *key; /* of the application, as base64; NULL: of the settings */
    kn_hmac *hmac;  /* in the token; NULL until it is used */
} hsm_symmetric;

static HSM_CLIENT_HANDLE key_create(void)
{
    hsm_symmetric *handle = calloc(1, sizeof *handle);
    kn_err err = handle ? hsm_settings_get(&handle->settings) : kn_fail(KN_E_NO_MEMORY, "a handle");
    if (kn_failed(err)) {
        hsm_report("hsm_client_key_create", err);
        free(handle);
        return NULL;
    }
    return handle;
}

static void key_destroy(HSM_CLIENT_HANDLE arg)
{
    hsm_symmetric *handle = arg;
    if (!handle)
        return;
    hsm_settings_free(&handle->settings);
    free(handle->name);
    kn_secret_free(&handle->key);
    kn_hmac_free(&handle->hmac);
    free(handle);
}

/* ---- where the key is ---- */

static bool in_token(const hsm_symmetric *handle)
{
    const char *where = handle->settings.value[HSM_SYMMETRIC_KEY];
    return !handle->key && where && *where != '/';
}

/* The bytes of a key that is not in a token. */
static kn_err read_key(const hsm_symmetric *handle, kn_secret **ret_key)
{
    const char *path = handle->settings.value[HSM_SYMMETRIC_KEY];
    if (handle->key)
        return kn_hmac_key_from_base64((const char *)kn_secret_data(handle->key), kn_secret_length(handle->key), ret_key);
    if (!path)
        return kn_fail(KN_E_CONFIG, "no symmetric key: call prov_dev_set_symmetric_key_info(), or configure symmetric_key");
    return kn_hmac_key_read(path, ret_key);
}

/* As the SDK releases it: memory of libc. */
static kn_err to_base64(const kn_secret *key, char **ret_text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = kn_secret_data(key);
    size_t length = kn_secret_length(key);
    char *text = calloc(1, (length + 2) / 3 * 4 + 1), *out = text;
    if (!text)
        return kn_fail(KN_E_NO_MEMORY, "a copy of the key");
    for (size_t i = 0; i < length; i += 3) {
        unsigned left = (unsigned)(length - i), bits = (unsigned)in[i] << 16;
        bits |= (left > 1 ? (unsigned)in[i + 1] << 8 : 0) | (left > 2 ? in[i + 2] : 0);
        for (unsigned n = 0; n < 4; n++)
            *out++ = n <= left ? digits[bits >> (18 - 6 * n) & 63] : '=';
    }
    *ret_text = text;
    return kn_success();
}

static kn_err key_text(const hsm_symmetric *handle, char **ret_text)
{
    kn_secret *key = NULL;
    if (!handle)
        return kn_fail(KN_E_ARGUMENT, "the handle is NULL");
    if (handle->key) { /* as the application wrote it */
        size_t length = kn_secret_length(handle->key);
        char *copy = calloc(1, length + 1);
        if (!copy)
            return kn_fail(KN_E_NO_MEMORY, "a copy of the key");
        memcpy(copy, kn_secret_data(handle->key), length);
        *ret_text = copy;
        return kn_success();
    }
    if (in_token(handle))
        return kn_fail(KN_E_KEY_USE, "the symmetric key stays in its token, and this caller wants it out: keynym provision "
                                     "and callers of keynym_hsm_sign_sas() can use it");
    kn_err err = read_key(handle, &key);
    if (!kn_failed(err))
        err = to_base64(key, ret_text);
    kn_secret_free(&key);
    return err;
}

static char *key_get_symm_key(HSM_CLIENT_HANDLE arg)
{
    char *text = NULL;
    kn_err err = key_text(arg, &text);
    if (kn_failed(err))
        hsm_report("hsm_client_get_symm_key", err);
    return text;
}

/* ---- the name ---- */

static kn_err name_text(const hsm_symmetric *handle, char **ret_name)
{
    if (!handle)
        return kn_fail(KN_E_ARGUMENT, "the handle is NULL");
    const char *name = handle->name ? handle->name : handle->settings.value[HSM_REGISTRATION_ID];
    if (!name)
        return kn_fail(KN_E_CONFIG, "no registration name: call prov_dev_set_symmetric_key_info(), or configure "
                                    "registration_id");
    if (!hsm_is_registration_id(name, strlen(name)))
        return kn_fail(KN_E_CONFIG, "'%.128s' is no registration id, which is 1 to %d letters, digits and - . _ :, the last a "
                                    "letter, a digit or -", name, HSM_REGISTRATION_ID_MAX);
    char *copy = strdup(name);
    if (!copy)
        return kn_fail(KN_E_NO_MEMORY, "the registration name");
    *ret_name = copy;
    return kn_success();
}

static char *key_get_registration_name(HSM_CLIENT_HANDLE arg)
{
    char *name = NULL;
    kn_err err = name_text(arg, &name);
    if (kn_failed(err))
        hsm_report("hsm_client_get_registration_name", err);
    return name;
}

/* ---- what the application says ---- */

static kn_err take_info(hsm_symmetric *handle, const char *name, const char *key)
{
    kn_secret *new_key = NULL;
    size_t length = strnlen(key, KEY_TEXT_MAX + 1);
    if (length == 0 || length > KEY_TEXT_MAX || strnlen(name, HSM_REGISTRATION_ID_MAX + 1) > HSM_REGISTRATION_ID_MAX)
        return kn_fail(KN_E_DATA_SIZE, "the key has 1 to %d characters, the name up to %d", KEY_TEXT_MAX,
                       HSM_REGISTRATION_ID_MAX);
    kn_err err = kn_secret_new(key, length, &new_key);
    char *new_name = kn_failed(err) ? NULL : strdup(name);
    if (!kn_failed(err) && !new_name)
        err = kn_fail(KN_E_NO_MEMORY, "the registration name");
    if (kn_failed(err)) {
        kn_secret_free(&new_key);
        return err;
    }
    kn_secret_free(&handle->key);
    free(handle->name);
    handle->key = new_key;
    handle->name = new_name;
    return kn_success();
}

/* The SDK passes NULL, NULL when the application said nothing: then the configuration must know. */
static kn_err set_info(hsm_symmetric *handle, const char *name, const char *key)
{
    if (!handle)
        return kn_fail(KN_E_ARGUMENT, "the handle is NULL");
    if (name && key)
        return take_info(handle, name, key);
    if (!name && !key && handle->settings.value[HSM_SYMMETRIC_KEY])
        return kn_success();
    return kn_fail(KN_E_CONFIG, "call prov_dev_set_symmetric_key_info() with a registration name and a key, or configure "
                                "registration_id and symmetric_key");
}

static int key_set_symm_key_info(HSM_CLIENT_HANDLE arg, const char *name, const char *key)
{
    kn_err err = set_info(arg, name, key);
    if (kn_failed(err))
        hsm_report("hsm_client_set_symm_key_info", err);
    return kn_failed(err) ? 1 : 0;
}

/* ---- signing where the key is ---- */

static kn_err sign(hsm_symmetric *handle, const unsigned char *data, size_t length, unsigned char *ret_signature)
{
    kn_secret *key = NULL;
    kn_err err = kn_success();
    if (!handle || !data || !ret_signature)
        return kn_fail(KN_E_ARGUMENT, "the handle, the data or the place for the signature is NULL");
    if (in_token(handle)) {
        if (!handle->hmac)
            err = kn_hmac_open(handle->settings.ctx, handle->settings.value[HSM_SYMMETRIC_KEY], &handle->hmac);
        return kn_failed(err) ? err : kn_hmac_sign(handle->hmac, data, length, ret_signature);
    }
    err = read_key(handle, &key);
    if (!kn_failed(err))
        err = kn_hmac_software(key, data, length, ret_signature);
    kn_secret_free(&key);
    return err;
}

int keynym_hsm_sign_sas(HSM_CLIENT_HANDLE handle, const unsigned char *data, size_t data_length,
                        unsigned char ret_signature[KEYNYM_HSM_SAS_BYTES])
{
    kn_err err = sign(handle, data, data_length, ret_signature);
    if (kn_failed(err))
        hsm_report("keynym_hsm_sign_sas", err);
    return kn_failed(err) ? 1 : 0;
}

const HSM_CLIENT_KEY_INTERFACE *hsm_client_key_interface(void)
{
    static const HSM_CLIENT_KEY_INTERFACE table = {
        .hsm_client_key_create = key_create,
        .hsm_client_key_destroy = key_destroy,
        .hsm_client_get_symm_key = key_get_symm_key,
        .hsm_client_get_registration_name = key_get_registration_name,
        .hsm_client_set_symm_key_info = key_set_symm_key_info,
    };
    return &table;
}
