/* libp11 as an independent reader of what keynym wrote on a token: exactly one private key, public key and
 * certificate of a label, with one id; the public key and the certificate are those of the file; the key
 * signs, OpenSSL verifies.
 *
 * test_libp11_reads MODULE TOKEN PIN-FILE LABEL ID-IN-HEX CERTIFICATE-FILE. The token has no Ed25519 key:
 * libp11 0.4.12 cannot list one that does. */
#include <libp11.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                  \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

static PKCS11_KEY *one_key(int (*list)(PKCS11_TOKEN *, PKCS11_KEY **, unsigned int *), PKCS11_TOKEN *token,
                           const char *label)
{
    PKCS11_KEY *keys = NULL, *found = NULL;
    unsigned int count = 0;
    MUST(list(token, &keys, &count) == 0);
    for (unsigned int i = 0; i < count; i++) {
        if (keys[i].label && !strcmp(keys[i].label, label)) {
            MUST(!found);
            found = &keys[i];
        }
    }
    MUST(found);
    return found;
}

static PKCS11_CERT *one_certificate(PKCS11_TOKEN *token, const char *label)
{
    PKCS11_CERT *certificates = NULL, *found = NULL;
    unsigned int count = 0;
    MUST(PKCS11_enumerate_certs(token, &certificates, &count) == 0);
    for (unsigned int i = 0; i < count; i++) {
        if (certificates[i].label && !strcmp(certificates[i].label, label)) {
            MUST(!found);
            found = &certificates[i];
        }
    }
    MUST(found);
    return found;
}

static int is_id(const unsigned char *id, size_t length, const char *hex)
{
    char text[256] = "";
    if (length * 2 >= sizeof text)
        return 0;
    for (size_t i = 0; i < length; i++)
        snprintf(text + 2 * i, 3, "%02x", id[i]);
    return length > 0 && !strcmp(text, hex);
}

static void signs(EVP_PKEY *private_key, EVP_PKEY *public_key)
{
    static const unsigned char message[] = "a message";
    unsigned char signature[1024];
    size_t length = sizeof signature;
    EVP_MD_CTX *sign = EVP_MD_CTX_new(), *verify = EVP_MD_CTX_new();
    MUST(EVP_DigestSignInit(sign, NULL, EVP_sha256(), NULL, private_key) == 1);
    MUST(EVP_DigestSign(sign, signature, &length, message, sizeof message) == 1);
    MUST(EVP_DigestVerifyInit(verify, NULL, EVP_sha256(), NULL, public_key) == 1);
    MUST(EVP_DigestVerify(verify, signature, length, message, sizeof message) == 1);
    EVP_MD_CTX_free(sign);
    EVP_MD_CTX_free(verify);
}

static PKCS11_SLOT *slot_of(PKCS11_SLOT *slots, unsigned int count, const char *label)
{
    for (unsigned int i = 0; i < count; i++) {
        if (slots[i].token && slots[i].token->label && !strcmp(slots[i].token->label, label))
            return &slots[i];
    }
    return NULL;
}

int main(int argc, char **argv)
{
    MUST(argc == 7);
    const char *module = argv[1], *token_label = argv[2], *label = argv[4], *id = argv[5];
    char pin[256] = "";
    FILE *file = fopen(argv[3], "r");
    MUST(file && fgets(pin, sizeof pin, file));
    fclose(file);
    file = fopen(argv[6], "r");
    X509 *expected = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    MUST(expected);
    fclose(file);

    PKCS11_CTX *ctx = PKCS11_CTX_new();
    PKCS11_SLOT *slots = NULL;
    unsigned int count = 0;
    MUST(ctx && PKCS11_CTX_load(ctx, module) == 0);
    MUST(PKCS11_enumerate_slots(ctx, &slots, &count) == 0);
    PKCS11_SLOT *slot = slot_of(slots, count, token_label);
    MUST(slot);
    MUST(PKCS11_open_session(slot, 0) == 0);
    MUST(PKCS11_login(slot, 0, pin) == 0);
    OPENSSL_cleanse(pin, sizeof pin);

    PKCS11_CERT *certificate = one_certificate(slot->token, label);
    MUST(is_id(certificate->id, certificate->id_len, id));
    MUST(X509_cmp(certificate->x509, expected) == 0); /* compares the DER */

    PKCS11_KEY *public_key = one_key(PKCS11_enumerate_public_keys, slot->token, label);
    MUST(!public_key->isPrivate);
    MUST(is_id(public_key->id, public_key->id_len, id));
    EVP_PKEY *public_half = PKCS11_get_public_key(public_key);
    MUST(public_half && EVP_PKEY_eq(public_half, X509_get0_pubkey(expected)) == 1);

    PKCS11_KEY *private_key = one_key(PKCS11_enumerate_keys, slot->token, label);
    MUST(private_key->isPrivate);
    MUST(is_id(private_key->id, private_key->id_len, id));
    MUST(PKCS11_find_certificate(private_key) == certificate);
    EVP_PKEY *private_half = PKCS11_get_private_key(private_key);
    MUST(private_half);
    signs(private_half, X509_get0_pubkey(expected));

    EVP_PKEY_free(private_half);
    EVP_PKEY_free(public_half);
    X509_free(expected);
    PKCS11_release_all_slots(ctx, slots, count);
    PKCS11_CTX_unload(ctx);
    PKCS11_CTX_free(ctx);
    return 0;
}
