/* Fuzz target: key files of TPMs. What is accepted has the sizes that a TPM's structures have room for, is written again as a
 * file that is read as the same, and becomes an alias or a named error. */
#include "fuzz_driver.h"

#include "kn_alias.h"
#include "tpm2/tpm2_tss_key.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tpm2_tss_key key;
    kn_alias *alias = NULL;
    char *text = NULL;
    if (kn_failed(tpm2_tss_key_parse(data, size, &key)))
        return 0;
    const TPMT_PUBLIC *area = &key.public.publicArea;
    if (!key.private.size || key.private.size > sizeof key.private.buffer || area->authPolicy.size > sizeof area->authPolicy.buffer)
        abort();
    if (area->type == TPM2_ALG_RSA ? area->unique.rsa.size > sizeof area->unique.rsa.buffer
                                   : area->type != TPM2_ALG_ECC || area->unique.ecc.x.size > sizeof area->unique.ecc.x.buffer ||
                                         area->unique.ecc.y.size > sizeof area->unique.ecc.y.buffer)
        abort();
    if (kn_failed(tpm2_tss_key_base64(data, size, &text)) || kn_failed(tpm2_tss_key_from_base64(text, &key)))
        abort();
    free(text);
    if (!kn_failed(kn_alias_from_der(data, size, &alias)) && !kn_alias_public(alias))
        abort();
    kn_alias_free(&alias);
    return 0;
}

void fuzz_seeds(void (*add)(const void *data, size_t size))
{
    static const char hex[] =
        "3081f006066781050a0103a0030101ff020440000001045800560023000b00040472000000100010"
        "00030010002067bb6347ea5b7f5848a7d563c9828ecb2f40e471c76a12a38ecfc2c0883b7d1f0020"
        "0f225bf473f92adb6f2072c496f56371e3e5d9950a9ab1cb9890b2b1bae07cf8048180007e00205c"
        "e676812d0810f26b938116ee27988ffe00e0592e857c9fe27ba38ee01047f5001067908bb4f43877"
        "e117183712ab8acf7a98bb4f2ef4024a381c6940615ec21810f6fa73d5bb8da7e374b0676f255809"
        "4ec83005db50fb8f4f82788cc32b4d8ffa9c31b5be32d2cbab3b1449b3982ca5a648eec38007a49d"
        "a4c079";
    long length = 0;
    uint8_t *seed = OPENSSL_hexstr2buf(hex, &length);
    if (!seed)
        abort();
    add(seed, (size_t)length);
    OPENSSL_free(seed);
}
