/* Fuzz target: alias private keys. The first byte chooses DER or PEM. What is accepted must come out as the same bytes
 * (DER), must hold no PIN, and must be accepted again. */
#include "fuzz_driver.h"

#include "kn_alias.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool condition, const char *what)
{
    if (!condition) {
        (void)fprintf(stderr, "fuzz_kn_alias: %s: %s\n", what, kn_err_detail());
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kn_alias *alias = NULL, *again = NULL;
    uint8_t *der = NULL;
    size_t length = 0;
    if (size == 0)
        return 0;
    bool is_pem = data[0] & 1;
    kn_err err = is_pem ? kn_alias_from_pem((const char *)data + 1, size - 1, &alias)
                        : kn_alias_from_der(data + 1, size - 1, &alias);
    if (kn_failed(err)) {
        must(alias == NULL, "an alias beside an error");
        return 0;
    }
    must(!kn_uri_has_pin(kn_alias_uri(alias)), "a PIN inside");
    must(!kn_failed(kn_alias_to_der(alias, &der, &length)), "accepted, but not written");
    bool is_foreign = memmem(data, size, "PKCS#11 Provider URI v1.0", 25) != NULL; /* which is written as ours */
    must(is_pem || is_foreign || (length == size - 1 && !memcmp(der, data + 1, length)), "accepted, but not DER");
    must(!kn_failed(kn_alias_from_der(der, length, &again)), "written, but not read");
    must(!strcmp(kn_alias_uri(alias), kn_alias_uri(again)), "another URI");
    free(der);
    kn_alias_free(&again);
    kn_alias_free(&alias);
    return 0;
}

static void seed(void (*add)(const void *data, size_t size), const char *uri, const kn_public *public)
{
    uint8_t buffer[FUZZ_INPUT_MAX], *der = NULL;
    char *pem = NULL;
    size_t length = 0;
    kn_alias *alias = NULL;
    must(!kn_failed(kn_alias_new(uri, public, &alias)) && !kn_failed(kn_alias_to_der(alias, &der, &length)) &&
             !kn_failed(kn_alias_to_pem(alias, &pem)),
         "a seed");
    buffer[0] = 0;
    memcpy(buffer + 1, der, length);
    add(buffer, length + 1);
    buffer[0] = 1;
    length = strlen(pem);
    memcpy(buffer + 1, pem, length);
    add(buffer, length + 1);
    free(der);
    free(pem);
    kn_alias_free(&alias);
}

void fuzz_seeds(void (*add)(const void *data, size_t size))
{
    static const char *const uris[] = {
        "pkcs11:token=bench;object=device;type=private?pin-source=file:/etc/pin",
        "pkcs11:id=%01%02%03;serial=0a?module-path=/usr/lib/m.so",
    };
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        /* no point of the curve, but of its form, and the same on every run */
        kn_public public = {.alg = &kn_algs[i], .point = {0x04}, .point_length = 1 + 2 * kn_algs[i].coord_bytes};
        for (size_t n = 1; n < public.point_length; n++)
            public.point[n] = (uint8_t)n;
        seed(add, uris[i % 2], &public);
    }
    seed(add, uris[0], NULL);
    seed(add, uris[1], NULL);
    static const char foreign[] = "\0\x30\x34\x1a\x19PKCS#11 Provider URI v1.0\x0c\x17pkcs11:token=a;object=b";
    add(foreign, sizeof foreign - 1);
}
