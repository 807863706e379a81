#include "prov.h"

#include "kn_cert.h"
#include "kn_crypto.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/store.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#define HANDSHAKE_TURNS 64 /* more than any handshake needs */

test_token *prov_token;

static OSSL_LIB_CTX *plain; /* knows the default provider only: the software side of every test */
static EVP_PKEY *ca_key;
static X509 *ca_cert;

static void need(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "test of the provider: %s\n", what);
    ERR_print_errors_fp(stderr);
    abort();
}

/* ---- files ---- */

const char *prov_file(const kn_alg *alg, const char *ending)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s.%s", alg->group, ending);
    return test_token_path(prov_token, name);
}

char *prov_read(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = calloc(1, 65536);
    need(file && text, path);
    need(fread(text, 1, 65535, file) > 0, path);
    (void)fclose(file);
    return text;
}

static void write_alias(const char *path, const char *uri, const kn_public *public)
{
    kn_alias *alias = NULL;
    char *pem = NULL;
    need(!kn_failed(kn_alias_new(uri, public, &alias)) && !kn_failed(kn_alias_to_pem(alias, &pem)), path);
    FILE *file = fopen(path, "w");
    need(file && fputs(pem, file) >= 0 && !fclose(file), path);
    free(pem);
    kn_alias_free(&alias);
}

/* ---- certificates ---- */

static void add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    need(extension && X509_add_ext(cert, extension, -1), value);
    X509_EXTENSION_free(extension);
}

static X509 *make_certificate(EVP_PKEY *public, const char *common_name, long not_before, long not_after)
{
    X509 *cert = X509_new_ex(plain, NULL);
    uint8_t serial[8];
    need(cert && X509_set_version(cert, X509_VERSION_3), "a certificate");
    need(kn_crypto_random(serial, sizeof serial), "a serial number");
    BIGNUM *number = BN_bin2bn(serial, sizeof serial, NULL);
    need(number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)), "a serial number");
    BN_free(number);
    X509_NAME *name = X509_get_subject_name(cert);
    need(!common_name || X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                                    (const unsigned char *)common_name, -1, -1, 0),
         "a subject");
    need(X509_gmtime_adj(X509_getm_notBefore(cert), not_before) &&
             X509_gmtime_adj(X509_getm_notAfter(cert), not_after) && X509_set_pubkey(cert, public),
         "times and key of a certificate");
    return cert;
}

static void sign_and_write(X509 *cert, const char *path)
{
    need(X509_set_issuer_name(cert, X509_get_subject_name(ca_cert ? ca_cert : cert)), "an issuer");
    need(X509_sign(cert, ca_key, EVP_sha256()) > 0, "signing a certificate");
    FILE *file = fopen(path, "w");
    need(file && PEM_write_X509(file, cert) && !fclose(file), path);
}

void prov_issue(EVP_PKEY *public, const char *common_name, long not_before, long not_after, const char *path)
{
    X509 *cert = make_certificate(public, common_name, not_before, not_after);
    sign_and_write(cert, path);
    X509_free(cert);
}

static void make_ca(void)
{
    ca_key = EVP_PKEY_Q_keygen(plain, NULL, "EC", "P-256");
    need(ca_key != NULL, "the CA's key");
    X509 *cert = make_certificate(ca_key, "Test CA", -3600, 86400);
    add_extension(cert, NID_basic_constraints, "critical,CA:TRUE");
    sign_and_write(cert, test_token_path(prov_token, "ca.crt"));
    ca_cert = cert;
    FILE *file = fopen(test_token_path(prov_token, "ca.key"), "w");
    need(file && PEM_write_PrivateKey(file, ca_key, NULL, NULL, 0, NULL, NULL) && !fclose(file), "ca.key");
}

/* ---- the token ---- */

static EVP_PKEY *to_software(const kn_public *public)
{
    uint8_t spki[KN_SPKI_MAX];
    size_t length;
    need(!kn_failed(kn_public_to_spki(public, spki, &length)), "SubjectPublicKeyInfo");
    const uint8_t *der = spki;
    EVP_PKEY *pkey = d2i_PUBKEY_ex(NULL, &der, (long)length, plain, NULL);
    need(pkey != NULL, "a public key");
    return pkey;
}

static EVP_PKEY *generate(kn_ctx *ctx, const char *label, const kn_key_spec *spec)
{
    kn_key *key = NULL;
    const char *uri = test_token_uri(prov_token, label);
    need(!kn_failed(kn_key_make(ctx, uri, spec, &key)), kn_err_detail());
    EVP_PKEY *public = to_software(kn_key_public(key));
    char name[64];
    (void)snprintf(name, sizeof name, "%s.alias.pem", label);
    write_alias(test_token_path(prov_token, name), uri, kn_key_public(key));
    (void)snprintf(name, sizeof name, "%s.bare.pem", label);
    write_alias(test_token_path(prov_token, name), uri, NULL);
    kn_key_unref(&key);
    return public;
}

EVP_PKEY *prov_make(const char *label, const kn_key_spec *spec)
{
    kn_ctx *ctx = test_token_context(prov_token);
    EVP_PKEY *public = generate(ctx, label, spec);
    kn_ctx_unref(&ctx);
    return public;
}

EVP_PKEY *prov_generate(const char *label, const kn_alg *alg)
{
    return prov_make(label, &(kn_key_spec){.alg = alg});
}

EVP_PKEY *prov_alias(const prov *p, const char *label)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s.alias.pem", label);
    EVP_PKEY *pkey = prov_read_key(p, test_token_path(prov_token, name));
    need(pkey != NULL, label);
    return pkey;
}

void prov_store_certificate(const char *label, const char *path)
{
    kn_ctx *ctx = test_token_context(prov_token);
    uint8_t *der = NULL;
    FILE *file = fopen(path, "r");
    X509 *cert = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    int length = cert ? i2d_X509(cert, &der) : 0;
    kn_certs certs = {.count = 0};
    need(length > 0 && !kn_failed(kn_certs_add(&certs, der, (size_t)length)), path);
    need(!kn_failed(kn_cert_write_chain(ctx, test_token_uri(prov_token, label), &certs)), kn_err_detail());
    kn_certs_free(&certs);
    OPENSSL_free(der);
    X509_free(cert);
    (void)fclose(file);
    kn_ctx_unref(&ctx);
}

int prov_group_setup(void **state)
{
    (void)state;
    plain = OSSL_LIB_CTX_new();
    prov_token = test_token_new("keynym");
    make_ca();
    kn_ctx *ctx = test_token_context(prov_token);
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        EVP_PKEY *public = generate(ctx, kn_algs[i].group, &(kn_key_spec){.alg = &kn_algs[i]});
        prov_issue(public, kn_algs[i].group, -3600, 86400, prov_file(&kn_algs[i], "crt"));
        EVP_PKEY_free(public);
    }
    kn_ctx_unref(&ctx);
    prov_store_certificate(kn_algs[0].group, prov_file(&kn_algs[0], "crt"));
    return 0;
}

int prov_group_teardown(void **state)
{
    (void)state;
    EVP_PKEY_free(ca_key);
    X509_free(ca_cert);
    ca_cert = NULL;
    OSSL_LIB_CTX_free(plain);
    test_token_free(&prov_token);
    return 0;
}

/* ---- one context ---- */

void prov_open(prov *p, prov_order order)
{
    *p = (prov){.libctx = OSSL_LIB_CTX_new(), .order = order};
    need(p->libctx && OSSL_PROVIDER_set_default_search_path(p->libctx, KEYNYM_MODULE_DIR),
         "a library context");
    if (order == PROV_KEYNYM_FIRST)
        p->keynym = OSSL_PROVIDER_load(p->libctx, "keynym");
    p->def = OSSL_PROVIDER_load(p->libctx, "default");
    if (order == PROV_DEFAULT_FIRST)
        p->keynym = OSSL_PROVIDER_load(p->libctx, "keynym");
    need(p->def && (p->keynym || order == PROV_WITHOUT_KEYNYM), "the providers");
}

void prov_close(prov *p)
{
    unsigned long left = ERR_peek_error();
    if (left)
        ERR_print_errors_fp(stderr);
    if (p->keynym)
        (void)OSSL_PROVIDER_unload(p->keynym);
    (void)OSSL_PROVIDER_unload(p->def);
    OSSL_LIB_CTX_free(p->libctx);
    *p = (prov){.libctx = NULL};
    assert_int_equal(left, 0);
}

static int setup(void **state, prov_order order)
{
    static prov p;
    prov_open(&p, order);
    *state = &p;
    return 0;
}

int prov_setup_keynym_first(void **state)
{
    return setup(state, PROV_KEYNYM_FIRST);
}

int prov_setup_default_first(void **state)
{
    return setup(state, PROV_DEFAULT_FIRST);
}

int prov_teardown(void **state)
{
    prov_close(*state);
    return 0;
}

/* ---- keys ---- */

EVP_PKEY *prov_load(const prov *p, const char *uri)
{
    OSSL_STORE_CTX *store = OSSL_STORE_open_ex(uri, p->libctx, NULL, NULL, NULL, NULL, NULL, NULL);
    EVP_PKEY *pkey = NULL;
    if (!store)
        return NULL;
    if (OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY)) {
        OSSL_STORE_INFO *info = OSSL_STORE_load(store);
        pkey = info ? OSSL_STORE_INFO_get1_PKEY(info) : NULL;
        OSSL_STORE_INFO_free(info);
    }
    (void)OSSL_STORE_close(store);
    return pkey;
}

EVP_PKEY *prov_key(const prov *p, const kn_alg *alg)
{
    EVP_PKEY *pkey = prov_load(p, test_token_uri(prov_token, alg->group));
    need(pkey != NULL, alg->name);
    return pkey;
}

EVP_PKEY *prov_read_key_text(const prov *p, const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    need(bio != NULL, "a BIO");
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, p->libctx, NULL);
    BIO_free(bio);
    return pkey;
}

EVP_PKEY *prov_read_key(const prov *p, const char *path)
{
    char *pem = prov_read(path);
    EVP_PKEY *pkey = prov_read_key_text(p, pem);
    free(pem);
    return pkey;
}

X509 *prov_certificate(const prov *p, const char *path)
{
    FILE *file = fopen(path, "r");
    X509 *cert = X509_new_ex(p->libctx, NULL);
    need(file && cert && PEM_read_X509(file, &cert, NULL, NULL), path);
    (void)fclose(file);
    return cert;
}

EVP_PKEY *prov_software_public(const kn_alg *alg)
{
    const prov software = {.libctx = plain};
    X509 *cert = prov_certificate(&software, prov_file(alg, "crt"));
    EVP_PKEY *pkey = X509_get_pubkey(cert);
    need(pkey != NULL, alg->name);
    X509_free(cert);
    return pkey;
}

const char *prov_of(const EVP_PKEY *pkey)
{
    return OSSL_PROVIDER_get0_name(EVP_PKEY_get0_provider(pkey));
}

/* ---- errors ---- */

const char *prov_errors(void)
{
    static char text[16384];
    const char *data;
    int flags;
    unsigned long code;
    size_t used = 0;
    *text = '\0';
    while ((code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)) && used < sizeof text - 1) {
        const char *library = ERR_lib_error_string(code), *reason = ERR_reason_error_string(code);
        (void)snprintf(text + used, sizeof text - used, "%s|%s|%s\n", library ? library : "",
                       reason ? reason : "", flags & ERR_TXT_STRING ? data : "");
        used += strlen(text + used);
    }
    assert_null(strstr(text, prov_token->pin));
    return text;
}

void prov_expect_error(const char *text, ...)
{
    char one[4096] = "";
    const char *all = prov_errors(), *found = strstr(all, "keynym|");
    if (!found)
        fail_msg("no entry of keynym in: %s", all);
    (void)snprintf(one, sizeof one, "%.*s", (int)strcspn(found, "\n"), found);
    va_list args;
    va_start(args, text);
    for (; text; text = va_arg(args, const char *))
        if (!strstr(one, text))
            fail_msg("'%s' is not in: %s", text, one);
    va_end(args);
    assert_non_null(strstr(one, "(next step: "));
}

/* ---- TLS ---- */

SSL_CTX *prov_ssl_ctx(OSSL_LIB_CTX *libctx, const SSL_METHOD *method, int version)
{
    SSL_CTX *ctx = SSL_CTX_new_ex(libctx ? libctx : plain, NULL, method);
    need(ctx && SSL_CTX_set_min_proto_version(ctx, version) && SSL_CTX_set_max_proto_version(ctx, version) &&
             SSL_CTX_load_verify_file(ctx, test_token_path(prov_token, "ca.crt")),
         "an SSL_CTX");
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return ctx;
}

void prov_use_software(SSL_CTX *ctx, const kn_alg *alg)
{
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(plain, NULL, "EC", alg->group);
    need(pkey != NULL, alg->name);
    X509 *cert = make_certificate(pkey, "software", -3600, 86400);
    sign_and_write(cert, test_token_path(prov_token, "software.crt"));
    need(SSL_CTX_use_certificate(ctx, cert) && SSL_CTX_use_PrivateKey(ctx, pkey), "a software key");
    X509_free(cert);
    EVP_PKEY_free(pkey);
}

static bool one_line(SSL *from, SSL *to)
{
    char line[8];
    return SSL_write(from, "hello\n", 6) == 6 && SSL_read(to, line, sizeof line) == 6 &&
           !memcmp(line, "hello\n", 6);
}

bool prov_handshake(SSL_CTX *client_ctx, SSL_CTX *server_ctx)
{
    SSL *client = SSL_new(client_ctx), *server = SSL_new(server_ctx);
    BIO *to_server = BIO_new(BIO_s_mem()), *to_client = BIO_new(BIO_s_mem());
    need(client && server && to_server && to_client && BIO_up_ref(to_server) && BIO_up_ref(to_client),
         "two sides");
    BIO_set_mem_eof_return(to_server, -1);
    BIO_set_mem_eof_return(to_client, -1);
    SSL_set_bio(client, to_client, to_server);
    SSL_set_bio(server, to_server, to_client);
    SSL_set_connect_state(client);
    SSL_set_accept_state(server);
    int client_done = 0, server_done = 0;
    for (int i = 0; i < HANDSHAKE_TURNS && !(client_done == 1 && server_done == 1); i++) {
        client_done = SSL_do_handshake(client);
        if (client_done != 1 && SSL_get_error(client, client_done) != SSL_ERROR_WANT_READ)
            break;
        server_done = SSL_do_handshake(server);
        if (server_done != 1 && SSL_get_error(server, server_done) != SSL_ERROR_WANT_READ)
            break;
    }
    bool good = client_done == 1 && server_done == 1 && SSL_get0_peer_certificate(client) &&
                SSL_get0_peer_certificate(server) && one_line(client, server) && one_line(server, client);
    SSL_free(client);
    SSL_free(server);
    return good;
}
