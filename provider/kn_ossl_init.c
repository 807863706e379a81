#include "kn_ossl.h"

#include "kn_log.h"
#include "kn_ossl_decoder.h"
#include "kn_ossl_digest.h"
#include "kn_ossl_config.h"
#include "kn_ossl_encoder.h"

#include <dlfcn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct kn_ossl {
    const OSSL_CORE_HANDLE *core;
    OSSL_FUNC_core_get_params_fn *get_params;
    OSSL_FUNC_core_get_libctx_fn *get_libctx;
    OSSL_FUNC_core_new_error_fn *new_error;
    OSSL_FUNC_core_set_error_debug_fn *set_error_debug;
    OSSL_FUNC_core_vset_error_fn *vset_error;
    OSSL_FUNC_core_set_error_mark_fn *set_error_mark;
    OSSL_FUNC_core_pop_error_to_mark_fn *pop_error_to_mark;
    OSSL_FUNC_BIO_gets_fn *bio_gets;
    OSSL_FUNC_BIO_read_ex_fn *bio_read;
    OSSL_FUNC_BIO_write_ex_fn *bio_write;
    _Atomic(kn_ctx *) backends;
    kn_ossl_digests *digests;
    atomic_bool looked_around; /* whether others are loaded */
    atomic_uint after_others; /* bit set of operations whose methods of other providers are registered */
    const OSSL_ALGORITHM *decoders; /* for the OpenSSL that loaded us */
};

/* ---- errors ---- */

static void set_error(const kn_ossl *prov, uint32_t reason, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    prov->vset_error(prov->core, reason, format, args);
    va_end(args);
}

int kn_ossl_raise_at(const kn_ossl *prov, kn_err err, const char *file, int line, const char *function)
{
    prov->new_error(prov->core);
    prov->set_error_debug(prov->core, file, line, function);
    set_error(prov, (uint32_t)err.code, "%s (next step: %s)", kn_err_detail(), kn_code_remedy(err.code));
    if (kn_log_wants(KN_LOG_INFO)) { /* HAProxy, apache2 and Python as a server show nothing of the queue */
        char text[KN_DETAIL_MAX + 256];
        kn_err_text(err, text, sizeof text);
        kn_log(KN_LOG_INFO, "%s", text);
    }
    return 0;
}

int kn_ossl_raise_code(const kn_ossl *prov, kn_code code)
{
    prov->new_error(prov->core);
    set_error(prov, (uint32_t)code, NULL);
    return 0;
}

static OSSL_ITEM reasons[KN_CODE_COUNT];
static pthread_once_t reasons_once = PTHREAD_ONCE_INIT;

static void make_reasons(void)
{
    unsigned n = 0;
    for (unsigned code = 1; code < KN_CODE_COUNT; code++)
        reasons[n++] = (OSSL_ITEM){code, (void *)(uintptr_t)kn_code_sentence((kn_code)code)};
}

static const OSSL_ITEM *get_reason_strings(void *provctx)
{
    (void)provctx;
    (void)pthread_once(&reasons_once, make_reasons);
    return reasons;
}

void kn_ossl_mark_errors(const kn_ossl *prov)
{
    (void)prov->set_error_mark(prov->core);
}

void kn_ossl_drop_errors(const kn_ossl *prov)
{
    (void)prov->pop_error_to_mark(prov->core);
}

/* ---- what the other files use ---- */

kn_ctx *kn_ossl_backends(const kn_ossl *prov)
{
    return prov->backends;
}

int kn_ossl_gets(const kn_ossl *prov, OSSL_CORE_BIO *bio, char *line, int size)
{
    return prov->bio_gets(bio, line, size);
}

int kn_ossl_read(const kn_ossl *prov, OSSL_CORE_BIO *bio, void *data, size_t size, size_t *ret_length)
{
    return prov->bio_read(bio, data, size, ret_length);
}

int kn_ossl_write(const kn_ossl *prov, OSSL_CORE_BIO *bio, const void *data, size_t size)
{
    size_t written = 0;
    if (prov->bio_write(bio, data, size, &written) && written == size)
        return 1;
    return kn_ossl_raise(prov, kn_fail(KN_E_IO, "%zu of %zu bytes of an alias were written", written, size));
}

OSSL_LIB_CTX *kn_ossl_child(kn_ossl *prov)
{
    return kn_ossl_digests_child(prov->digests);
}

EVP_MD *kn_ossl_digest(kn_ossl *prov, const char *name, const char *properties, const kn_digest **ret_row)
{
    return kn_ossl_digests_get(prov->digests, name, properties, ret_row);
}

/* ---- the order of methods ----
 *
 * A fetch by name without a property query takes the first method that was registered. A program that makes an
 * ephemeral EC key for TLS must get the default provider's key management, also where the configuration lists
 * keynym first. So before our methods of an operation are registered for the first time, those of all others
 * are, by a fetch of one of them. Keys of ours need no such favour: OpenSSL goes by the provider of the key.
 */

static _Thread_local bool registering_others;

/* The core's handle of the library context is an OSSL_LIB_CTX of the libcrypto that loaded us. It may be used as
 * one only when that is the libcrypto that we are linked to (provider-base(7), core_get_libctx). */
static bool same_libcrypto(const kn_ossl *prov)
{
    Dl_info core, ours;
    return prov->get_libctx && dladdr((void *)(uintptr_t)prov->get_libctx, &core) &&
           dladdr((void *)(uintptr_t)EVP_KEYMGMT_fetch, &ours) && core.dli_fbase == ours.dli_fbase;
}

/* ---- alone ----
 *
 * With "openssl ... -provider keynym" we are the only provider of the default library context. A token in software that shares
 * the process's libcrypto, as SoftHSM does, then finds no digest and takes the right PIN for a wrong one; nor could OpenSSL do
 * anything with our keys. So the default provider is loaded beside us, where there is no other one at all: what an
 * application chose, FIPS for one, is never added to.
 */

static int count_other(OSSL_PROVIDER *provider, void *arg)
{
    *(unsigned *)arg += strcmp(OSSL_PROVIDER_get0_name(provider), KN_OSSL_NAME) != 0;
    return 1;
}

kn_ctx *kn_ossl_backends_ready(kn_ossl *prov)
{
    unsigned others = 0;
    if (!atomic_exchange(&prov->looked_around, true) && same_libcrypto(prov)) {
        (void)OSSL_PROVIDER_do_all(NULL, count_other, &others);
        if (others == 0) {
            kn_log(KN_LOG_INFO, "no other provider is loaded: the default provider is loaded, too");
            ERR_set_mark();
            (void)OSSL_PROVIDER_load(NULL, "default"); /* stays, as the context does */
            ERR_pop_to_mark();
        }
    }
    return prov->backends;
}

static void register_others(kn_ossl *prov, int operation)
{
    unsigned bit = 1u << operation;
    if (atomic_load(&prov->after_others) & bit)
        return;
    if (same_libcrypto(prov)) {
        OSSL_LIB_CTX *libctx = (OSSL_LIB_CTX *)prov->get_libctx(prov->core); /* NULL is the default one */
        ERR_set_mark();
        registering_others = true;
        if (operation == OSSL_OP_KEYMGMT)
            EVP_KEYMGMT_free(EVP_KEYMGMT_fetch(libctx, "EC", "provider!=" KN_OSSL_NAME));
        else if (operation == OSSL_OP_SIGNATURE)
            EVP_SIGNATURE_free(EVP_SIGNATURE_fetch(libctx, "ECDSA", "provider!=" KN_OSSL_NAME));
        else if (operation == OSSL_OP_KEYEXCH)
            EVP_KEYEXCH_free(EVP_KEYEXCH_fetch(libctx, "ECDH", "provider!=" KN_OSSL_NAME));
        else if (operation == OSSL_OP_ASYM_CIPHER)
            EVP_ASYM_CIPHER_free(EVP_ASYM_CIPHER_fetch(libctx, "RSA", "provider!=" KN_OSSL_NAME));
        registering_others = false;
        ERR_pop_to_mark();
    }
    atomic_fetch_or(&prov->after_others, bit);
}

static const OSSL_ALGORITHM keymgmts[] = {
    {"EC:id-ecPublicKey:1.2.840.10045.2.1", KN_OSSL_PROPERTIES, kn_ossl_ec_keymgmt, "Keynym EC keys"},
    {"RSA:rsaEncryption:1.2.840.113549.1.1.1", KN_OSSL_PROPERTIES, kn_ossl_rsa_keymgmt, "Keynym RSA keys"},
    {"RSA-PSS:RSASSA-PSS:1.2.840.113549.1.1.10", KN_OSSL_PROPERTIES, kn_ossl_rsa_pss_keymgmt, "Keynym RSA-PSS keys"},
    {"ED25519:1.3.101.112", KN_OSSL_PROPERTIES, kn_ossl_ed25519_keymgmt, "Keynym Ed25519 keys"},
    {"ED448:1.3.101.113", KN_OSSL_PROPERTIES, kn_ossl_ed448_keymgmt, "Keynym Ed448 keys"},
    {"X25519:1.3.101.110", KN_OSSL_PROPERTIES, kn_ossl_x25519_keymgmt, "Keynym X25519 keys"},
    {"X448:1.3.101.111", KN_OSSL_PROPERTIES, kn_ossl_x448_keymgmt, "Keynym X448 keys"},
    {NULL, NULL, NULL, NULL},
};

static const OSSL_ALGORITHM signatures[] = {
    {"ECDSA", KN_OSSL_PROPERTIES, kn_ossl_ecdsa, "Keynym ECDSA"},
    {"RSA:rsaEncryption:1.2.840.113549.1.1.1", KN_OSSL_PROPERTIES, kn_ossl_rsa_signature, "Keynym RSA signatures"},
    {"ED25519:1.3.101.112", KN_OSSL_PROPERTIES, kn_ossl_eddsa, "Keynym Ed25519"},
    {"ED448:1.3.101.113", KN_OSSL_PROPERTIES, kn_ossl_eddsa, "Keynym Ed448"},
    {NULL, NULL, NULL, NULL},
};

static const OSSL_ALGORITHM exchanges[] = {
    {"ECDH", KN_OSSL_PROPERTIES, kn_ossl_exchange, "Keynym ECDH"},
    {"X25519:1.3.101.110", KN_OSSL_PROPERTIES, kn_ossl_exchange, "Keynym X25519"},
    {"X448:1.3.101.111", KN_OSSL_PROPERTIES, kn_ossl_exchange, "Keynym X448"},
    {NULL, NULL, NULL, NULL},
};

static const OSSL_ALGORITHM ciphers[] = {
    {"RSA:rsaEncryption:1.2.840.113549.1.1.1", KN_OSSL_PROPERTIES, kn_ossl_cipher, "Keynym RSA encryption"},
    {NULL, NULL, NULL, NULL},
};

static const OSSL_ALGORITHM stores[] = {
    {"pkcs11", KN_OSSL_PROPERTIES, kn_ossl_store, "Keynym PKCS#11 URIs"},
    {"tpm2", KN_OSSL_PROPERTIES, kn_ossl_store, "Keynym TPM URIs"},
    {NULL, NULL, NULL, NULL},
};

static const OSSL_ALGORITHM *query_operation(void *provctx, int operation, int *no_cache)
{
    *no_cache = 0;
    if (registering_others) {
        *no_cache = 1; /* ask again */
        return NULL;
    }
    switch (operation) {
    case OSSL_OP_KEYMGMT:
        register_others(provctx, operation);
        return keymgmts;
    case OSSL_OP_SIGNATURE:
        register_others(provctx, operation);
        return signatures;
    case OSSL_OP_KEYEXCH:
        register_others(provctx, operation);
        return exchanges;
    case OSSL_OP_ASYM_CIPHER:
        register_others(provctx, operation);
        return ciphers;
    case OSSL_OP_STORE:
        return stores;
    case OSSL_OP_DECODER:
        return ((const kn_ossl *)provctx)->decoders;
    case OSSL_OP_ENCODER:
        return kn_ossl_encoders;
    default: /* of OpenSSL's many operations we serve these */
        return NULL;
    }
}

/* ---- the provider itself ---- */

static const OSSL_PARAM *gettable_params(void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_DEFN(OSSL_PROV_PARAM_NAME, OSSL_PARAM_UTF8_PTR, NULL, 0),
        OSSL_PARAM_DEFN(OSSL_PROV_PARAM_VERSION, OSSL_PARAM_UTF8_PTR, NULL, 0),
        OSSL_PARAM_DEFN(OSSL_PROV_PARAM_BUILDINFO, OSSL_PARAM_UTF8_PTR, NULL, 0),
        OSSL_PARAM_DEFN(OSSL_PROV_PARAM_STATUS, OSSL_PARAM_INTEGER, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)provctx;
    return params;
}

static int get_params(void *provctx, OSSL_PARAM params[])
{
    OSSL_PARAM *p;
    (void)provctx;
    if ((p = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_NAME)) && !OSSL_PARAM_set_utf8_ptr(p, "Keynym provider"))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_VERSION)) && !OSSL_PARAM_set_utf8_ptr(p, KN_VERSION))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_BUILDINFO)) && !OSSL_PARAM_set_utf8_ptr(p, KN_VERSION))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_STATUS)) && !OSSL_PARAM_set_int(p, 1))
        return 0;
    return 1;
}

static void teardown(void *provctx)
{
    kn_ossl *prov = provctx;
    if (!prov)
        return;
    kn_ossl_digests_free(&prov->digests);
    kn_ctx *backends = prov->backends;
    kn_ctx_unref(&backends);
    free(prov);
}

static const OSSL_DISPATCH provider_functions[] = {
    {OSSL_FUNC_PROVIDER_TEARDOWN, (void (*)(void))teardown},
    {OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, (void (*)(void))gettable_params},
    {OSSL_FUNC_PROVIDER_GET_PARAMS, (void (*)(void))get_params},
    {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query_operation},
    {OSSL_FUNC_PROVIDER_GET_REASON_STRINGS, (void (*)(void))get_reason_strings},
    {0, NULL},
};

static void take_core_functions(kn_ossl *prov, const OSSL_DISPATCH *in)
{
    for (; in->function_id; in++)
        switch (in->function_id) {
        case OSSL_FUNC_CORE_GET_PARAMS:
            prov->get_params = OSSL_FUNC_core_get_params(in);
            break;
        case OSSL_FUNC_CORE_GET_LIBCTX:
            prov->get_libctx = OSSL_FUNC_core_get_libctx(in);
            break;
        case OSSL_FUNC_CORE_NEW_ERROR:
            prov->new_error = OSSL_FUNC_core_new_error(in);
            break;
        case OSSL_FUNC_CORE_SET_ERROR_DEBUG:
            prov->set_error_debug = OSSL_FUNC_core_set_error_debug(in);
            break;
        case OSSL_FUNC_CORE_VSET_ERROR:
            prov->vset_error = OSSL_FUNC_core_vset_error(in);
            break;
        case OSSL_FUNC_CORE_SET_ERROR_MARK:
            prov->set_error_mark = OSSL_FUNC_core_set_error_mark(in);
            break;
        case OSSL_FUNC_CORE_POP_ERROR_TO_MARK:
            prov->pop_error_to_mark = OSSL_FUNC_core_pop_error_to_mark(in);
            break;
        case OSSL_FUNC_BIO_GETS:
            prov->bio_gets = OSSL_FUNC_BIO_gets(in);
            break;
        case OSSL_FUNC_BIO_READ_EX:
            prov->bio_read = OSSL_FUNC_BIO_read_ex(in);
            break;
        case OSSL_FUNC_BIO_WRITE_EX:
            prov->bio_write = OSSL_FUNC_BIO_write_ex(in);
            break;
        default: /* the core offers more than we use */
            break;
        }
}

void keynym_provider_use(void *provctx, kn_ctx *backends)
{
    kn_ossl *prov = provctx;
    kn_ctx *old = atomic_exchange(&prov->backends, kn_ctx_ref(backends));
    kn_ctx_unref(&old); /* not the last reference: whoever is on the way to it finds it */
}

static kn_err new_backends(kn_ossl *prov, const kn_config *config)
{
    kn_ctx *made = NULL;
    kn_err err = kn_ctx_new(config, &made);
    prov->backends = made;
    return err;
}

static const char *core_version(const kn_ossl *prov)
{
    char *version = NULL;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_ptr(OSSL_PROV_PARAM_CORE_VERSION, &version, 0),
                           OSSL_PARAM_construct_end()};
    return prov->get_params(prov->core, params) ? version : NULL;
}

int keynym_provider_init_on(kn_ctx *backends, const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in,
                            const OSSL_DISPATCH **out, void **provctx)
{
    kn_config config = {0};
    kn_err err = kn_success();
    kn_ossl *prov = calloc(1, sizeof *prov);
    if (!prov)
        return 0;
    prov->core = core;
    prov->digests = kn_ossl_digests_new(core, in);
    take_core_functions(prov, in);
    prov->decoders = kn_ossl_decoders(prov->get_params ? core_version(prov) : NULL);
    if (!prov->digests || !prov->get_params || !prov->new_error || !prov->set_error_debug || !prov->vset_error ||
        !prov->bio_gets || !prov->bio_read || !prov->bio_write || !prov->set_error_mark ||
        !prov->pop_error_to_mark) {
        teardown(prov);
        return 0;
    }
    if (backends)
        prov->backends = kn_ctx_ref(backends);
    else
        err = kn_ossl_configure(prov->get_params, prov->core, &config);
    if (!kn_failed(err) && !backends)
        err = new_backends(prov, &config);
    if (kn_failed(err)) {
        /* Also a line: OpenSSL drops the error queue of a provider that its configuration file activates. */
        char text[KN_DETAIL_MAX + 256];
        kn_err_text(err, text, sizeof text);
        kn_log(KN_LOG_ERROR, "%s", text);
        (void)kn_ossl_raise(prov, err);
        teardown(prov);
        return 0;
    }
    *out = provider_functions;
    *provctx = prov;
    return 1;
}

int keynym_provider_init(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                         void **provctx)
{
    return keynym_provider_init_on(NULL, core, in, out, provctx);
}
