#include "kn_cmd_certify.h"

#include "../prov_base64.h"

#include "kn_crypto.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool parse_nonce(const char *text, uint8_t ret_nonce[KN_NONCE_MAX], size_t *ret_length)
{
    size_t length = 0;
    return strlen(text) <= 2 * KN_NONCE_MAX && !strchr(text, ':') && *text &&
           OPENSSL_hexstr2buf_ex(ret_nonce, KN_NONCE_MAX, ret_length ? ret_length : &length, text, '\0') == 1;
}

kn_exit kn_cmd_check_certify(const kn_cmd_args *args)
{
    const char *nonce = args->value[KN_OPT_NONCE];
    uint8_t bytes[KN_NONCE_MAX];
    if (nonce && !args->value[KN_OPT_ATTESTATION_KEY])
        return kn_cmd_fail_usage(args->path, "--nonce is for --attestation-key");
    if (nonce && !parse_nonce(nonce, bytes, NULL))
        return kn_cmd_fail_usage(args->path, "--nonce takes 1 to %d bytes in hexadecimal", KN_NONCE_MAX);
    return KN_EXIT_OK;
}

static kn_exit take_nonce(const kn_cmd_args *args, kn_cmd_certified *c)
{
    const char *text = args->value[KN_OPT_NONCE];
    c->nonce_length = sizeof c->nonce;
    bool good = text ? parse_nonce(text, c->nonce, &c->nonce_length) : kn_crypto_random(c->nonce, sizeof c->nonce);
    return good ? KN_EXIT_OK : kn_cmd_fail(KN_EXIT_FAILURE, args->path, NULL, "no random numbers for a nonce");
}

kn_exit kn_cmd_certify(const kn_cmd_args *args, kn_ctx *ctx, kn_key *key, kn_cmd_certified *ret_certified)
{
    kn_alias *alias = NULL;
    kn_key *by = NULL;
    ret_certified->asked = args->value[KN_OPT_ATTESTATION_KEY] != NULL;
    if (!ret_certified->asked)
        return KN_EXIT_OK;
    kn_exit status = kn_cmd_alias_of(args->value[KN_OPT_ATTESTATION_KEY], &alias);
    if (status == KN_EXIT_OK)
        status = take_nonce(args, ret_certified);
    if (status == KN_EXIT_OK) {
        kn_err err = kn_key_open(ctx, alias, &by);
        if (!kn_failed(err))
            err = kn_key_certify(key, by, ret_certified->nonce, ret_certified->nonce_length, &ret_certified->said);
        if (kn_failed(err))
            status = kn_cmd_fail_backend(args->path, err);
    }
    if (status == KN_EXIT_OK) {
        ret_certified->by = *kn_key_public(by);
        kn_uri_redact(kn_alias_uri(alias), ret_certified->by_uri, sizeof ret_certified->by_uri);
    }
    kn_key_unref(&by);
    kn_alias_free(&alias);
    return status;
}

/* ---- what is shown ---- */

static char *hex(const uint8_t *bytes, size_t length)
{
    char *text = malloc(2 * length + 1);
    for (size_t i = 0; text && i < length; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return text;
}

static void print_hex(const char *what, const uint8_t *bytes, size_t length)
{
    printf("  %-22s ", what);
    for (size_t i = 0; i < length; i++)
        printf("%02x", bytes[i]);
    putchar('\n');
}

void kn_cmd_print_certified(const kn_cmd_certified *c)
{
    printf("certified by %s (%s, %s)\n", c->by_uri, c->by.alg->name, c->said.how.digest->name);
    print_hex("nonce", c->nonce, c->nonce_length);
    print_hex("name of the key", c->said.name, c->said.name_length);
}

static bool add(cJSON *tree, const char *name, char *text)
{
    bool good = text && kn_cmd_json_text(tree, name, text);
    free(text);
    return good;
}

static bool add_bytes(cJSON *tree, const char *name, const uint8_t *bytes, size_t length)
{
    return add(tree, name, prov_base64_encode(bytes, length));
}

static char *pem_of(const kn_public *public)
{
    uint8_t spki[KN_SPKI_MAX];
    size_t length = 0;
    char *data = NULL, *text = NULL;
    long size = 0;
    BIO *out = BIO_new(BIO_s_mem());
    if (out && !kn_failed(kn_public_to_spki(public, spki, &length)) && PEM_write_bio(out, "PUBLIC KEY", "", spki, (long)length) > 0 &&
        (size = BIO_get_mem_data(out, &data)) > 0)
        text = strndup(data, (size_t)size);
    BIO_free(out);
    return text;
}

bool kn_cmd_certified_json(cJSON *tree, const kn_cmd_certified *c)
{
    const kn_certification *said = &c->said;
    cJSON *member = cJSON_AddObjectToObject(tree, "certification");
    return member && kn_cmd_json_text(member, "attestationKey", c->by_uri) && add(member, "attestationPublicKey", pem_of(&c->by)) &&
           kn_cmd_json_text(member, "digest", said->how.digest->name) && add(member, "nonce", hex(c->nonce, c->nonce_length)) &&
           add(member, "name", hex(said->name, said->name_length)) &&
           add_bytes(member, "publicArea", said->area, said->area_length) &&
           add_bytes(member, "statement", said->statement, said->statement_length) &&
           add_bytes(member, "signature", said->signature, said->signature_length);
}
