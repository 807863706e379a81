#include "kn_ossl_key.h"

#include <openssl/core_names.h>
#include <openssl/core_object.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

kn_ossl_key *kn_ossl_key_new(kn_ossl *prov, kn_key *key)
{
    kn_ossl_key *new = calloc(1, sizeof *new);
    if (!new) {
        kn_key_unref(&key);
        return NULL;
    }
    new->prov = prov;
    new->key = key;
    return new;
}

void kn_ossl_key_free(void *arg)
{
    kn_ossl_key *key = arg;
    if (!key)
        return;
    kn_key_unref(&key->key);
    free(key);
}

const char *kn_ossl_key_type(const kn_public *public)
{
    switch (public->alg->type) {
    case KN_KEY_EC:
        return "EC";
    case KN_KEY_RSA:
        return "RSA";
    case KN_KEY_ED25519:
    case KN_KEY_ED448:
    case KN_KEY_X25519:
    case KN_KEY_X448:
        return public->alg->group;
    }
    return NULL;
}

int kn_ossl_key_deliver(kn_ossl_key *key, OSSL_CALLBACK *callback, void *arg)
{
    int object_type = OSSL_OBJECT_PKEY;
    char *type = (char *)(uintptr_t)kn_ossl_key_type(kn_key_public(key->key));
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
