/* The symmetric key interface: the application hands the key in, the SDK takes it out again and makes SAS tokens in
 * software. The interface has no way to keep it in hardware (azure-iot-sdk-c issue 2427). */
#include "hsm_client_data.h"

#include "hsm_state.h"
#include "kn_secret.h"

#include <stdlib.h>
#include <string.h>

#define KEY_TEXT_MAX 512 /* characters of base64: longer than any key that DPS issues */
#define NAME_MAX_LEN 128 /* characters of a registration id */

typedef struct hsm_symmetric {
    char *name;
    kn_secret *key;
} hsm_symmetric;

static HSM_CLIENT_HANDLE key_create(void)
{
    hsm_symmetric *handle = calloc(1, sizeof *handle);
    if (!handle)
        hsm_report("hsm_client_key_create", kn_fail(KN_E_NO_MEMORY, "a handle"));
    return handle;
}

static void key_destroy(HSM_CLIENT_HANDLE arg)
{
    hsm_symmetric *handle = arg;
    if (!handle)
        return;
    free(handle->name);
    kn_secret_free(&handle->key);
    free(handle);
}

static char *key_get_symm_key(HSM_CLIENT_HANDLE arg)
{
    const hsm_symmetric *handle = arg;
    char *copy = NULL;
    if (!handle || !handle->key)
        hsm_report("hsm_client_get_symm_key", kn_fail(KN_E_CONFIG, "the application has set no symmetric key"));
    else if (!(copy = malloc(kn_secret_length(handle->key) + 1)))
        hsm_report("hsm_client_get_symm_key", kn_fail(KN_E_NO_MEMORY, "a copy of the key"));
    if (copy) {
        memcpy(copy, kn_secret_data(handle->key), kn_secret_length(handle->key));
        copy[kn_secret_length(handle->key)] = '\0';
    }
    return copy;
}

static char *key_get_registration_name(HSM_CLIENT_HANDLE arg)
{
    const hsm_symmetric *handle = arg;
    char *copy = handle && handle->name ? strdup(handle->name) : NULL;
    if (!copy)
        hsm_report("hsm_client_get_registration_name",
                   kn_fail(KN_E_CONFIG, "the application has set no registration name"));
    return copy;
}

static kn_err set_info(hsm_symmetric *handle, const char *name, const char *key)
{
    kn_secret *new_key = NULL;
    if (!handle)
        return kn_fail(KN_E_ARGUMENT, "the handle is NULL");
    if (!name || !key)
        return kn_fail(KN_E_CONFIG, "call prov_dev_set_symmetric_key_info() with a registration name and a key");
    size_t length = strnlen(key, KEY_TEXT_MAX + 1);
    if (length == 0 || length > KEY_TEXT_MAX || strnlen(name, NAME_MAX_LEN + 1) > NAME_MAX_LEN)
        return kn_fail(KN_E_DATA_SIZE, "the key has 1 to %d characters, the name up to %d", KEY_TEXT_MAX, NAME_MAX_LEN);
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

static int key_set_symm_key_info(HSM_CLIENT_HANDLE arg, const char *name, const char *key)
{
    kn_err err = set_info(arg, name, key);
    if (kn_failed(err))
        hsm_report("hsm_client_set_symm_key_info", err);
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
