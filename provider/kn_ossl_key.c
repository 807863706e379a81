#include "kn_ossl_key.h"

#include <openssl/core_names.h>
#include <openssl/core_object.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

const kn_ossl_kind kn_ossl_ec = {"EC", KN_KEY_EC, false, "ECDSA", "ECDH", NULL};
const kn_ossl_kind kn_ossl_rsa = {"RSA", KN_KEY_RSA, false, "RSA", NULL, "RSA"};
const kn_ossl_kind kn_ossl_rsa_pss = {"RSA-PSS", KN_KEY_RSA, true, "RSA", NULL, NULL};
const kn_ossl_kind kn_ossl_ed25519 = {"ED25519", KN_KEY_ED25519, false, "ED25519", NULL, NULL};
const kn_ossl_kind kn_ossl_ed448 = {"ED448", KN_KEY_ED448, false, "ED448", NULL, NULL};
const kn_ossl_kind kn_ossl_x25519 = {"X25519", KN_KEY_X25519, false, NULL, "X25519", NULL};
const kn_ossl_kind kn_ossl_x448 = {"X448", KN_KEY_X448, false, NULL, "X448", NULL};

const kn_ossl_kind *kn_ossl_kind_of(const kn_public *public)
{
    switch (public->alg->type) {
    case KN_KEY_EC:
        return &kn_ossl_ec;
    case KN_KEY_RSA:
        return public->pss ? &kn_ossl_rsa_pss : &kn_ossl_rsa;
    case KN_KEY_ED25519:
        return &kn_ossl_ed25519;
    case KN_KEY_ED448:
        return &kn_ossl_ed448;
    case KN_KEY_X25519:
        return &kn_ossl_x25519;
    case KN_KEY_X448:
        return &kn_ossl_x448;
    }
    return NULL;
}

kn_ossl_key *kn_ossl_key_new(kn_ossl *prov, kn_key *key)
{
    kn_ossl_key *new = calloc(1, sizeof *new);
    if (!new) {
        kn_key_unref(&key);
        return NULL;
    }
    new->prov = prov;
    new->kind = kn_ossl_kind_of(kn_key_public(key));
    new->key = key;
    return new;
}

kn_ossl_key *kn_ossl_key_without(kn_ossl *prov, const kn_ossl_kind *kind, const kn_public *public)
{
    kn_ossl_key *new = calloc(1, sizeof *new);
    kn_public *copy = public ? malloc(sizeof *copy) : NULL;
    if (!new || (public && !copy)) {
        free(new);
        free(copy);
        return NULL;
    }
    if (copy)
        *copy = *public;
    new->prov = prov;
    new->kind = kind;
    new->public = copy;
    return new;
}

void kn_ossl_key_free(void *arg)
{
    kn_ossl_key *key = arg;
    if (!key)
        return;
    kn_key_unref(&key->key);
    free(key->public);
    free(key);
}

const kn_public *kn_ossl_key_public(const kn_ossl_key *key)
{
    return key->key ? kn_key_public(key->key) : key->public;
}

bool kn_ossl_key_has_public(const kn_ossl_key *key)
{
    const kn_public *public = kn_ossl_key_public(key);
    return public && (public->point_length || public->exponent_length);
}

const char *kn_ossl_key_type(const kn_public *public)
{
    return kn_ossl_kind_of(public)->name;
}

int kn_ossl_key_deliver(kn_ossl_key *key, OSSL_CALLBACK *callback, void *arg)
{
    int object_type = OSSL_OBJECT_PKEY;
    char *type = (char *)(uintptr_t)key->kind->name;
    void *reference = key; /* load() of the key management takes it and leaves NULL */
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &object_type),
        OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_TYPE, type, strlen(type)),
        OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_REFERENCE, &reference, sizeof reference),
        OSSL_PARAM_construct_end(),
    };
    int ok = callback(params, arg);
    kn_ossl_key_free(reference);
    return ok;
}
