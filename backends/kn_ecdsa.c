#include "kn_ecdsa.h"

#include "kn_alg.h"

#include <string.h>

/* Writes INTEGER: without leading zeros, with one zero byte in front where the top bit is set. */
static size_t put_integer(uint8_t *out, const uint8_t *number, size_t length)
{
    while (length > 1 && number[0] == 0) {
        number++;
        length--;
    }
    size_t pad = number[0] >> 7;
    out[0] = 0x02;
    out[1] = (uint8_t)(length + pad); /* at most 67: always the short form */
    out[2] = 0;
    memcpy(out + 2 + pad, number, length);
    return 2 + pad + length;
}

kn_err kn_ecdsa_to_der(const uint8_t *raw, size_t raw_length, uint8_t *ret_der, size_t *ret_length)
{
    size_t half = raw_length / 2;
    if (raw_length % 2 || half == 0 || half > KN_EC_COORD_MAX)
        return kn_fail(KN_E_MODULE_BROKEN, "an ECDSA signature of %zu bytes", raw_length);
    uint8_t body[2 * (3 + KN_EC_COORD_MAX)];
    size_t length = put_integer(body, raw, half);
    length += put_integer(body + length, raw + half, half);
    size_t header = length < 128 ? 2 : 3;
    if (header + length > KN_ECDSA_DER_MAX) /* 66 bytes with the top bit set: beyond every order */
        return kn_fail(KN_E_MODULE_BROKEN, "an ECDSA signature with a number of more than 521 bits");
    ret_der[0] = 0x30;
    if (header == 3)
        ret_der[1] = 0x81;
    ret_der[header - 1] = (uint8_t)length;
    memcpy(ret_der + header, body, length);
    *ret_length = header + length;
    return kn_success();
}
