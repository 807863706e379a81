/* Somebody else's hsm_custom_lib, as its maker would write it from the Azure IoT C SDK's documentation ("Using a custom HSM"): with
 * declarations of its own, OpenSSL, and nothing of this project. Its X.509 key is in software and comes out as PEM, as those of the
 * SDK's sample do; its symmetric key is told to it; it has no TPM. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef void *HANDLE;

typedef struct X509_INTERFACE {
    HANDLE (*create)(void);
    void (*destroy)(HANDLE handle);
    char *(*get_certificate)(HANDLE handle);
    char *(*get_alias_key)(HANDLE handle);
    char *(*get_common_name)(HANDLE handle);
} X509_INTERFACE;

typedef struct KEY_INTERFACE {
    HANDLE (*create)(void);
    void (*destroy)(HANDLE handle);
    char *(*get_symm_key)(HANDLE handle);
    char *(*get_registration_name)(HANDLE handle);
    int (*set_symm_key_info)(HANDLE handle, const char *name, const char *key);
} KEY_INTERFACE;

typedef struct session {
    char *name, *key;
} session;

static EVP_PKEY *key;
static X509 *certificate;
static char common_name[] = "foreign-device", own_name[] = "foreign-symmetric", own_key[] = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

EXPORT int hsm_client_x509_init(void);
EXPORT void hsm_client_x509_deinit(void);
EXPORT int hsm_client_tpm_init(void);
EXPORT void hsm_client_tpm_deinit(void);
EXPORT const void *hsm_client_tpm_interface(void);
EXPORT const X509_INTERFACE *hsm_client_x509_interface(void);
EXPORT const KEY_INTERFACE *hsm_client_key_interface(void);

static int make_certificate(void)
{
    X509_NAME *name;

    certificate = X509_new();
    if (!certificate || !X509_set_version(certificate, 2) || !ASN1_INTEGER_set(X509_get_serialNumber(certificate), 7) ||
        !X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) || !X509_gmtime_adj(X509_getm_notAfter(certificate), 86400) ||
        !X509_set_pubkey(certificate, key))
        return 1;
    name = X509_get_subject_name(certificate);
    return !X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1, 0) ||
           !X509_set_issuer_name(certificate, name) || !X509_sign(certificate, key, EVP_sha256());
}

int hsm_client_x509_init(void)
{
    if (certificate)
        return 0;
    key = EVP_EC_gen("P-256");
    return !key || make_certificate();
}

void hsm_client_x509_deinit(void)
{
    X509_free(certificate);
    EVP_PKEY_free(key);
    certificate = NULL;
    key = NULL;
}

int hsm_client_tpm_init(void)
{
    return 0;
}

void hsm_client_tpm_deinit(void)
{
}

static HANDLE create(void)
{
    return calloc(1, sizeof(session));
}

static void destroy(HANDLE handle)
{
    session *s = handle;

    if (!s)
        return;
    free(s->name);
    free(s->key);
    free(s);
}

static char *text_of(int (*write)(BIO *out))
{
    BIO *out = BIO_new(BIO_s_mem());
    char *data, *text = NULL;

    if (out && write(out)) {
        long size = BIO_get_mem_data(out, &data);
        text = strndup(data, (size_t)size);
    }
    BIO_free(out);
    return text;
}

static int write_certificate(BIO *out)
{
    return PEM_write_bio_X509(out, certificate);
}

static int write_key(BIO *out)
{
    return PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
}

static char *get_certificate(HANDLE handle)
{
    return handle ? text_of(write_certificate) : NULL;
}

static char *get_alias_key(HANDLE handle)
{
    return handle ? text_of(write_key) : NULL;
}

static char *get_common_name(HANDLE handle)
{
    return handle ? strdup(common_name) : NULL;
}

static char *get_symm_key(HANDLE handle)
{
    const session *s = handle;

    return strdup(s->key ? s->key : own_key);
}

static char *get_registration_name(HANDLE handle)
{
    const session *s = handle;

    return strdup(s->name ? s->name : own_name);
}

static int set_symm_key_info(HANDLE handle, const char *name, const char *value)
{
    session *s = handle;

    if (!name && !value) /* as the SDK calls when the application has set none: the library's own */
        return 0;
    free(s->name);
    free(s->key);
    s->name = strdup(name);
    s->key = strdup(value);
    return !s->name || !s->key;
}

const void *hsm_client_tpm_interface(void)
{
    return NULL;
}

const X509_INTERFACE *hsm_client_x509_interface(void)
{
    static const X509_INTERFACE interface = {create, destroy, get_certificate, get_alias_key, get_common_name};

    return &interface;
}

const KEY_INTERFACE *hsm_client_key_interface(void)
{
    static const KEY_INTERFACE interface = {create, destroy, get_symm_key, get_registration_name, set_symm_key_info};

    return &interface;
}
