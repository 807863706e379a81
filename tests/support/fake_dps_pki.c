#include "fake_dps.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                            \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

typedef struct maker {
    X509 *issuer; /* NULL: self-signed */
    EVP_PKEY *issuer_key;
    const char *name;
    const char *dns; /* NULL: a CA */
    bool is_ca;
    long not_before_s;
    long not_after_s;
} maker;

static void add_extension(X509 *certificate, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_nconf_nid(NULL, NULL, nid, value);

    MUST(extension);
    MUST(X509_add_ext(certificate, extension, -1));
    X509_EXTENSION_free(extension);
}

static X509 *make_certificate(const maker *m, EVP_PKEY *key)
{
    static long serial = 1;
    X509 *certificate = X509_new();
    X509_NAME *name;
    char san[160];

    MUST(certificate);
    MUST(X509_set_version(certificate, 2));
    MUST(ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++));
    name = X509_get_subject_name(certificate);
    MUST(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)m->name, -1, -1, 0));
    MUST(X509_set_issuer_name(certificate, m->issuer ? X509_get_subject_name(m->issuer) : name));
    MUST(X509_gmtime_adj(X509_getm_notBefore(certificate), m->not_before_s));
    MUST(X509_gmtime_adj(X509_getm_notAfter(certificate), m->not_after_s));
    MUST(X509_set_pubkey(certificate, key));
    add_extension(certificate, NID_basic_constraints, m->is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (m->dns) {
        (void)snprintf(san, sizeof san, "DNS:%s", m->dns);
        add_extension(certificate, NID_subject_alt_name, san);
    }
    MUST(X509_sign(certificate, m->issuer_key ? m->issuer_key : key, EVP_sha256()));
    return certificate;
}

static char *text_of(BIO *bio)
{
    char *data, *text;
    long size = BIO_get_mem_data(bio, &data);

    text = strndup(data, (size_t)size);
    MUST(text);
    BIO_free(bio);
    return text;
}

static char *pem_of(X509 *first, X509 *second)
{
    BIO *bio = BIO_new(BIO_s_mem());

    MUST(bio && PEM_write_bio_X509(bio, first) && (!second || PEM_write_bio_X509(bio, second)));
    return text_of(bio);
}

static char *pem_of_key(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());

    MUST(bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL));
    return text_of(bio);
}

static char *make_pem(const maker *m, EVP_PKEY *key)
{
    X509 *certificate = make_certificate(m, key);
    char *text = pem_of(certificate, NULL);

    X509_free(certificate);
    return text;
}

static void make_server(fake_pki *pki, X509 *ca, EVP_PKEY *ca_key, X509 *other_ca, EVP_PKEY *other_key)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    maker good = {ca, ca_key, "fake DPS", "localhost", false, -3600, 86400};
    maker wrong = {ca, ca_key, "fake DPS", "elsewhere.example", false, -3600, 86400};
    maker expired = {ca, ca_key, "fake DPS", "localhost", false, -7200, -3600};
    maker other = {other_ca, other_key, "fake DPS", "localhost", false, -3600, 86400};
    maker early = {ca, ca_key, "fake DPS", "localhost", false, 86400, 172800};
    maker alone = {NULL, NULL, "fake DPS", "localhost", false, -3600, 86400};

    MUST(key);
    pki->server_key = pem_of_key(key);
    pki->server_cert[FAKE_CERT_GOOD] = make_pem(&good, key);
    pki->server_cert[FAKE_CERT_WRONG_NAME] = make_pem(&wrong, key);
    pki->server_cert[FAKE_CERT_EXPIRED] = make_pem(&expired, key);
    pki->server_cert[FAKE_CERT_FROM_OTHER_CA] = make_pem(&other, key);
    pki->server_cert[FAKE_CERT_NOT_YET_VALID] = make_pem(&early, key);
    pki->server_cert[FAKE_CERT_SELF_SIGNED] = make_pem(&alone, key);
    EVP_PKEY_free(key);
}

void fake_pki_device(const fake_pki *pki, const char *name, char **ret_cert, char **ret_key)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    maker leaf = {pki->intermediate, pki->intermediate_key, name, NULL, false, -3600, 86400};
    X509 *certificate = make_certificate(&leaf, key);

    *ret_cert = pem_of(certificate, pki->intermediate);
    *ret_key = pem_of_key(key);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void make_device(fake_pki *pki, X509 *ca, EVP_PKEY *ca_key)
{
    EVP_PKEY *other = EVP_EC_gen("P-256");
    maker middle = {ca, ca_key, "device CA", NULL, true, -3600, 86400};

    pki->intermediate_key = EVP_EC_gen("P-256");
    pki->intermediate = make_certificate(&middle, pki->intermediate_key);
    fake_pki_device(pki, FAKE_DEVICE_NAME, &pki->device_cert, &pki->device_key);
    pki->other_key = pem_of_key(other);
    EVP_PKEY_free(other);
}

char *fake_pki_file(const fake_pki *pki, const char *name, const char *text)
{
    char *path;
    FILE *file;

    MUST(asprintf(&path, "%s/%s", pki->directory, name) > 0);
    file = fopen(path, "w");
    MUST(file && fputs(text, file) >= 0 && fclose(file) == 0);
    return path;
}

fake_pki *fake_pki_new(void)
{
    fake_pki *pki = calloc(1, sizeof *pki);
    EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *other_key = EVP_EC_gen("P-256");
    maker root = {NULL, NULL, "fake root", NULL, true, -86400, 86400};
    maker other = {NULL, NULL, "other root", NULL, true, -86400, 86400};
    X509 *ca = make_certificate(&root, ca_key), *other_ca = make_certificate(&other, other_key);
    char *path;

    MUST(pki);
    MUST(setenv("no_proxy", "*", 1) == 0); /* whatever the machine has, nothing comes between the two */
    pki->ca_cert = pem_of(ca, NULL);
    pki->other_ca_cert = pem_of(other_ca, NULL);
    make_server(pki, ca, ca_key, other_ca, other_key);
    make_device(pki, ca, ca_key);
    (void)snprintf(pki->directory, sizeof pki->directory, "/tmp/kn-fake-dps-XXXXXX");
    MUST(mkdtemp(pki->directory));
    path = fake_pki_file(pki, "ca.pem", pki->ca_cert);
    (void)snprintf(pki->ca_file, sizeof pki->ca_file, "%s", path);
    free(path);
    path = fake_pki_file(pki, "other.pem", pki->other_ca_cert);
    (void)snprintf(pki->other_ca_file, sizeof pki->other_ca_file, "%s", path);
    free(path);
    X509_free(ca);
    X509_free(other_ca);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(other_key);
    return pki;
}

void fake_pki_free(fake_pki *pki)
{
    char command[96];

    (void)snprintf(command, sizeof command, "rm -rf %s", pki->directory);
    MUST(system(command) == 0);
    free(pki->ca_cert);
    free(pki->other_ca_cert);
    for (size_t i = 0; i < FAKE_CERTS; i++)
        free(pki->server_cert[i]);
    free(pki->server_key);
    free(pki->device_cert);
    free(pki->device_key);
    free(pki->other_key);
    X509_free(pki->intermediate);
    EVP_PKEY_free(pki->intermediate_key);
    free(pki);
}
