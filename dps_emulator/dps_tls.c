#include "dps_tls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "dps_log.h"

#define CA_NAME     "keynym-dps throw-away CA"
#define SERVER_NAME "keynym-dps"

enum { SAN_LEN = 16 * 1024, DAY_S = 24 * 60 * 60 };

static const char *const own_names[] = {"localhost",
                                        "127.0.0.1",
                                        "::1",
                                        "global.azure-devices-provisioning.net",
                                        "*.azure-devices-provisioning.net",
                                        "*.azure-devices.net"};

typedef struct pair {
    X509 *cert;
    EVP_PKEY *key;
} pair;

static void pair_clear(pair *p)
{
    X509_free(p->cert);
    EVP_PKEY_free(p->key);
    *p = (pair){0};
}

static bool openssl_fail(dps_fail *fail, const char *what)
{
    char reason[160];
    ERR_error_string_n(ERR_peek_last_error(), reason, sizeof(reason));
    ERR_clear_error();
    return dps_fail_set(fail, DPS_EXIT_FAILED, "%s: %s; check the OpenSSL installation", what, reason);
}

/* Reads both, or nothing: a missing or damaged file means "make it anew". */
static bool read_pair(const char *cert_path, const char *key_path, pair *ret)
{
    char no_pass_phrase[] = ""; /* else OpenSSL asks for one on the terminal */
    pair p = {0};
    BIO *bio = BIO_new_file(cert_path, "r");
    if (bio != NULL)
        p.cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    bio = BIO_new_file(key_path, "r");
    if (bio != NULL)
        p.key = PEM_read_bio_PrivateKey(bio, NULL, NULL, no_pass_phrase);
    BIO_free(bio);
    bool ok = p.cert != NULL && p.key != NULL && X509_check_private_key(p.cert, p.key) == 1;
    ERR_clear_error();
    if (ok)
        *ret = p;
    else
        pair_clear(&p);
    return ok;
}

static bool lasts(X509 *cert)
{
    time_t now = time(NULL);
    time_t renew = now + DPS_TLS_RENEW_DAYS * DAY_S;
    return X509_cmp_time(X509_get0_notBefore(cert), &now) < 0 &&
           X509_cmp_time(X509_get0_notAfter(cert), &renew) > 0;
}

/* Writes a new file and puts it in place in one step, so that a kill leaves the old one or the new one. */
static bool write_pem(const char *path, X509 *cert, EVP_PKEY *key, dps_fail *fail)
{
    char temporary[DPS_PATH_LEN + 8];
    snprintf(temporary, sizeof(temporary), "%s.new", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, key != NULL ? 0600 : 0644);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (file == NULL) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return dps_fail_set(fail, DPS_EXIT_FAILED, "cannot write \"%s\": %s; check the rights of the folder",
                            temporary, strerror(error));
    }
    bool ok = cert != NULL ? PEM_write_X509(file, cert) == 1
                           : PEM_write_PKCS8PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1;
    ok = fflush(file) == 0 && ok;
    ok = fclose(file) == 0 && ok;
    if (!ok || rename(temporary, path) != 0) {
        unlink(temporary);
        return dps_fail_set(fail, DPS_EXIT_FAILED, "cannot write \"%s\"; check the free space and the rights",
                            path);
    }
    return true;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&ctx);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = extension != NULL && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok;
}

static bool set_serial(X509 *cert)
{
    unsigned char bytes[16];
    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return false;
    bytes[0] &= 0x7f;
    BIGNUM *bn = BN_bin2bn(bytes, sizeof(bytes), NULL);
    bool ok = bn != NULL && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert)) != NULL;
    BN_free(bn);
    return ok;
}

/* A certificate without extensions and signature; @issuer NULL for a self-signed one. */
static X509 *new_certificate(const char *cn, X509 *issuer, EVP_PKEY *key, long lifetime_s)
{
    X509 *cert = X509_new();
    X509_NAME *name = cert != NULL ? X509_get_subject_name(cert) : NULL;
    bool ok =
        name != NULL && X509_set_version(cert, 2) == 1 && set_serial(cert) &&
        X509_gmtime_adj(X509_getm_notBefore(cert), -60 * 60) != NULL &&
        X509_gmtime_adj(X509_getm_notAfter(cert), lifetime_s) != NULL &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0) == 1 &&
        X509_set_issuer_name(cert, issuer != NULL ? X509_get_subject_name(issuer) : name) == 1 &&
        X509_set_pubkey(cert, key) == 1;
    if (!ok) {
        X509_free(cert);
        return NULL;
    }
    return cert;
}

static bool make_ca(pair *ret, dps_fail *fail)
{
    pair p = {.key = EVP_EC_gen("P-256")};
    if (p.key != NULL)
        p.cert = new_certificate(CA_NAME, NULL, p.key, (long)DPS_TLS_CA_DAYS * DAY_S);
    bool ok = p.cert != NULL &&
              add_extension(p.cert, p.cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
              add_extension(p.cert, p.cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
              add_extension(p.cert, p.cert, NID_subject_key_identifier, "hash") &&
              X509_sign(p.cert, p.key, EVP_sha256()) != 0;
    if (!ok) {
        pair_clear(&p);
        return openssl_fail(fail, "cannot make the throw-away CA");
    }
    *ret = p;
    return true;
}

static bool make_server(const pair *ca, const char *san, long lifetime_s, pair *ret, dps_fail *fail)
{
    pair p = {.key = EVP_EC_gen("P-256")};
    if (p.key != NULL)
        p.cert = new_certificate(SERVER_NAME, ca->cert, p.key, lifetime_s);
    bool ok = p.cert != NULL && add_extension(p.cert, ca->cert, NID_basic_constraints, "critical,CA:FALSE") &&
              add_extension(p.cert, ca->cert, NID_key_usage, "critical,digitalSignature") &&
              add_extension(p.cert, ca->cert, NID_ext_key_usage, "serverAuth") &&
              add_extension(p.cert, ca->cert, NID_subject_alt_name, san) &&
              add_extension(p.cert, ca->cert, NID_subject_key_identifier, "hash") &&
              add_extension(p.cert, ca->cert, NID_authority_key_identifier, "keyid") &&
              X509_sign(p.cert, ca->key, EVP_sha256()) != 0;
    if (!ok) {
        pair_clear(&p);
        return openssl_fail(fail, "cannot make the server certificate");
    }
    *ret = p;
    return true;
}

static void add_name(char san[SAN_LEN], const char *name)
{
    unsigned char address[16];
    bool is_address = inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
    size_t used = strlen(san);
    snprintf(san + used, SAN_LEN - used, "%s%s:%s", used > 0 ? "," : "", is_address ? "IP" : "DNS", name);
}

/* Whether the names of @cert are exactly those of @san, in that order. */
static bool names_match(X509 *cert, const char *san)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, NULL, NULL, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&ctx);
    X509_EXTENSION *wanted = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, san);
    int at = X509_get_ext_by_NID(cert, NID_subject_alt_name, -1);
    bool same = wanted != NULL && at >= 0 &&
                ASN1_OCTET_STRING_cmp(X509_EXTENSION_get_data(wanted),
                                      X509_EXTENSION_get_data(X509_get_ext(cert, at))) == 0;
    X509_EXTENSION_free(wanted);
    ERR_clear_error();
    return same;
}

static bool signed_by(X509 *cert, X509 *issuer)
{
    bool ok =
        X509_check_issued(issuer, cert) == X509_V_OK && X509_verify(cert, X509_get0_pubkey(issuer)) == 1;
    ERR_clear_error();
    return ok;
}

bool dps_tls_prepare(const dps_state *state, const char *const *names, size_t count, dps_tls_files *ret_files,
                     dps_fail *fail)
{
    char ca_key[DPS_PATH_LEN];
    char san[SAN_LEN] = "";
    dps_tls_files files;
    pair ca = {0};
    pair server = {0};
    for (size_t i = 0; i < sizeof(own_names) / sizeof(own_names[0]); i++)
        add_name(san, own_names[i]);
    for (size_t i = 0; i < count; i++)
        add_name(san, names[i]);
    if (!dps_state_path(state, "ca.pem", files.ca, fail) || !dps_state_path(state, "ca.key", ca_key, fail) ||
        !dps_state_path(state, "server.pem", files.cert, fail) ||
        !dps_state_path(state, "server.key", files.key, fail))
        return false;

    bool ok = false;
    if (!read_pair(files.ca, ca_key, &ca) || !lasts(ca.cert)) {
        pair_clear(&ca);
        if (!make_ca(&ca, fail) || !write_pem(ca_key, NULL, ca.key, fail) ||
            !write_pem(files.ca, ca.cert, NULL, fail))
            goto out;
        dps_log(DPS_LOG_INFO, "new throw-away CA: %s", files.ca);
    }
    if (!read_pair(files.cert, files.key, &server) || !lasts(server.cert) || !names_match(server.cert, san) ||
        !signed_by(server.cert, ca.cert)) {
        pair_clear(&server);
        if (!make_server(&ca, san, (long)DPS_TLS_SERVER_DAYS * DAY_S, &server, fail) ||
            !write_pem(files.key, NULL, server.key, fail) || !write_pem(files.cert, server.cert, NULL, fail))
            goto out;
        dps_log(DPS_LOG_INFO, "new server certificate: %s (%s)", files.cert, san);
    }
    *ret_files = files;
    ok = true;
out:
    pair_clear(&server);
    pair_clear(&ca);
    return ok;
}

bool dps_tls_check_own(const char *cert, const char *key, dps_tls_files *ret_files, dps_fail *fail)
{
    pair p = {0};
    if (strlen(cert) >= DPS_PATH_LEN || strlen(key) >= DPS_PATH_LEN)
        return dps_fail_set(fail, DPS_EXIT_USAGE, "the path in --cert or --key is too long");
    if (!read_pair(cert, key, &p))
        return dps_fail_set(
            fail, DPS_EXIT_FAILED,
            "\"%s\" and \"%s\" are not a PEM certificate and its unencrypted private key; check both files",
            cert, key);
    pair_clear(&p);
    *ret_files = (dps_tls_files){0};
    memcpy(ret_files->cert, cert, strlen(cert) + 1);
    memcpy(ret_files->key, key, strlen(key) + 1);
    return true;
}

/* In place of OpenSSL's verification: whom to trust is the service's decision, not the listener's. */
static int accept_any(X509_STORE_CTX *ctx, void *user)
{
    (void)user;
    X509_STORE_CTX_set_error(ctx, X509_V_OK);
    return 1;
}

struct dps_tls_wrong {
    dps_faults *faults;
    char ca[DPS_PATH_LEN], ca_key[DPS_PATH_LEN];
    pair pairs[DPS_WRONG_COUNT]; /* made when they are wanted */
};

dps_tls_wrong *dps_tls_wrong_new(const dps_state *state, dps_faults *faults)
{
    dps_tls_wrong *wrong = calloc(1, sizeof(*wrong));
    if (wrong == NULL)
        return NULL;
    wrong->faults = faults;
    if (!dps_state_path(state, "ca.pem", wrong->ca, NULL) ||
        !dps_state_path(state, "ca.key", wrong->ca_key, NULL))
        dps_tls_wrong_free(&wrong);
    return wrong;
}

void dps_tls_wrong_free(dps_tls_wrong **wrong)
{
    if (*wrong == NULL)
        return;
    for (size_t i = 0; i < DPS_WRONG_COUNT; i++)
        pair_clear(&(*wrong)->pairs[i]);
    free(*wrong);
    *wrong = NULL;
}

/* By the CA that clients trust, where there is one; what is "untrusted" comes from another of the same name.
 */
static bool make_wrong(dps_tls_wrong *wrong, dps_wrong_certificate kind)
{
    pair ca = {0};
    char san[SAN_LEN] = "";
    bool ok = (kind != DPS_WRONG_UNTRUSTED && read_pair(wrong->ca, wrong->ca_key, &ca)) || make_ca(&ca, NULL);
    for (size_t i = 0; kind != DPS_WRONG_NAME && i < sizeof(own_names) / sizeof(own_names[0]); i++)
        add_name(san, own_names[i]);
    if (kind == DPS_WRONG_NAME)
        add_name(san, "wrong.keynym.test");
    ok = ok && make_server(&ca, san, kind == DPS_WRONG_EXPIRED ? -60 : DAY_S, &wrong->pairs[kind], NULL);
    pair_clear(&ca);
    return ok;
}

static int choose_certificate(SSL *ssl, void *user)
{
    dps_tls_wrong *wrong = user;
    dps_wrong_certificate kind;
    if (!dps_faults_certificate(wrong->faults, &kind))
        return 1;
    if (wrong->pairs[kind].cert == NULL && !make_wrong(wrong, kind))
        return 0;
    return SSL_use_certificate(ssl, wrong->pairs[kind].cert) == 1 &&
           SSL_use_PrivateKey(ssl, wrong->pairs[kind].key) == 1;
}

bool dps_tls_configure(SSL_CTX *ctx, dps_tls_wrong *wrong)
{
    if (wrong != NULL)
        SSL_CTX_set_cert_cb(ctx, choose_certificate, wrong);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, accept_any, NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(ctx, 0) == 1 && SSL_CTX_set_num_tickets(ctx, 0) == 1 &&
           SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384:P-521") == 1;
}
