#include "fake_dps_hsm.h"

#include "../../hsm_api/hsm_client_data.h"
#include "../../hsm_api/keynym_hsm.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

fake_hsm_settings fake_hsm;
atomic_int fake_hsm_handles;

static char loaded_name[128], loaded_certificate[16384], loaded_key[16384], last_error[512];

_Thread_local const fake_hsm_settings *fake_hsm_mine;

static const fake_hsm_settings *now(void)
{
    return fake_hsm_mine ? fake_hsm_mine : &fake_hsm;
}

static char *copy(const char *text)
{
    return text ? strdup(text) : NULL;
}

static HSM_CLIENT_HANDLE create(void)
{
    if (now()->create_fails)
        return NULL;
    atomic_fetch_add(&fake_hsm_handles, 1);
    return malloc(1);
}

static void destroy(HSM_CLIENT_HANDLE handle)
{
    atomic_fetch_sub(&fake_hsm_handles, 1);
    free(handle);
}

static char *get_certificate(HSM_CLIENT_HANDLE handle)
{
    (void)handle;
    return copy(now()->certificate);
}

static char *get_key(HSM_CLIENT_HANDLE handle)
{
    (void)handle;
    return copy(now()->key);
}

static char *get_common_name(HSM_CLIENT_HANDLE handle)
{
    (void)handle;
    return copy(now()->common_name);
}

int hsm_client_x509_init(void)
{
    return now()->init_fails ? 1 : 0;
}

void hsm_client_x509_deinit(void)
{
}

int hsm_client_tpm_init(void)
{
    return 0;
}

void hsm_client_tpm_deinit(void)
{
}

const HSM_CLIENT_X509_INTERFACE *hsm_client_x509_interface(void)
{
    static const HSM_CLIENT_X509_INTERFACE whole = {create, destroy, get_certificate, get_key,
                                                    get_common_name};
    static const HSM_CLIENT_X509_INTERFACE part = {create, destroy, get_certificate, NULL, get_common_name};

    return now()->lacks_a_function ? &part : &whole;
}

static int give(const void *bytes, size_t size, unsigned char **ret_copy, size_t *ret_size)
{
    *ret_copy = malloc(size);
    memcpy(*ret_copy, bytes, size);
    *ret_size = size;
    return 0;
}

static int activate(HSM_CLIENT_HANDLE handle, const unsigned char *blob, size_t size)
{
    (void)handle;
    if (now()->activation_fails == now()->tpm->activations + 1)
        return 1;
    return soft_tpm_activate(now()->tpm, blob, size) ? 0 : 1;
}

static int get_ek(HSM_CLIENT_HANDLE handle, unsigned char **key, size_t *size)
{
    (void)handle;
    return now()->no_keys ? 1 : give(now()->tpm->ek.public_area, now()->tpm->ek.len, key, size);
}

static int get_srk(HSM_CLIENT_HANDLE handle, unsigned char **key, size_t *size)
{
    (void)handle;
    return give(now()->tpm->srk.public_area, now()->tpm->srk.len - now()->srk_short_by, key, size);
}

static int sign(HSM_CLIENT_HANDLE handle, const unsigned char *data, size_t size, unsigned char **mac, size_t *mac_size)
{
    uint8_t bytes[32];

    (void)handle;
    if (!soft_tpm_sign(now()->tpm, data, size, bytes))
        return 1;
    return give(bytes, sizeof bytes - now()->mac_short_by, mac, mac_size);
}

const HSM_CLIENT_TPM_INTERFACE *hsm_client_tpm_interface(void)
{
    static const HSM_CLIENT_TPM_INTERFACE whole = {create, destroy, activate, get_ek, get_srk, sign};
    static const HSM_CLIENT_TPM_INTERFACE part = {create, destroy, NULL, NULL, NULL, sign};

    if (!now()->tpm)
        return NULL;
    return now()->lacks_a_function ? &part : &whole;
}

static char *get_registration_name(HSM_CLIENT_HANDLE handle)
{
    (void)handle;
    return copy(now()->registration_name);
}

static char *get_symmetric_key(HSM_CLIENT_HANDLE handle)
{
    (void)handle;
    return copy(now()->symmetric_key);
}

static int set_symmetric_key_info(HSM_CLIENT_HANDLE handle, const char *name, const char *key)
{
    (void)handle;
    return name || key || now()->no_own_key;
}

const HSM_CLIENT_KEY_INTERFACE *hsm_client_key_interface(void)
{
    static const HSM_CLIENT_KEY_INTERFACE whole = {create, destroy, get_symmetric_key, get_registration_name,
                                                   set_symmetric_key_info};
    static const HSM_CLIENT_KEY_INTERFACE part = {create, destroy, get_symmetric_key, get_registration_name, NULL};

    if (!now()->symmetric_key)
        return NULL;
    return now()->lacks_a_function ? &part : &whole;
}

static int load(const char *path, char *text, size_t capacity)
{
    FILE *file = fopen(path, "r");
    size_t size;

    if (!file) {
        (void)snprintf(last_error, sizeof last_error, "%s: cannot be opened", path);
        return 1;
    }
    size = fread(text, 1, capacity - 1, file);
    text[size] = '\0';
    (void)fclose(file);
    return 0;
}

static void load_name(void)
{
    BIO *bio = BIO_new_mem_buf(loaded_certificate, -1);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);

    if (certificate)
        (void)X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, loaded_name,
                                        (int)sizeof loaded_name);
    X509_free(certificate);
    BIO_free(bio);
}

int keynym_hsm_configure(const char *identity, const keynym_hsm_config *config)
{
    (void)identity;
    if (config->key) {
        if (load(config->key, loaded_key, sizeof loaded_key))
            return 1;
        fake_hsm.key = loaded_key;
    }
    if (config->certificate) {
        if (load(config->certificate, loaded_certificate, sizeof loaded_certificate))
            return 1;
        load_name();
        fake_hsm.certificate = loaded_certificate;
        fake_hsm.common_name = loaded_name;
    }
    return 0;
}

void keynym_hsm_set_log(void (*sink)(int level, const char *line))
{
    (void)sink; /* it has nothing to say */
}

const char *keynym_hsm_last_error(void)
{
    return last_error;
}
