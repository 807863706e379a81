#include "tpm2_blob.h"

#include <string.h>

enum {
    HASH_BYTES = 32, /* SHA-256 */
    RSA_BYTES = 256,
    INTEGRITY = 2 + HASH_BYTES, /* TPM2B_DIGEST in front of what is encrypted */
    DUPLICATE_MIN = INTEGRITY + INTEGRITY + 2 + 2 + 2 + 2 + HASH_BYTES + 2 + 1, /* no authorization, a key of one byte */
    DUPLICATE_MAX = DUPLICATE_MIN + HASH_BYTES + 63, /* an authorization, a key of 64 bytes, more than which no TPM takes */
    PUBLIC_HEAD = 8,                                 /* type, nameAlg, attributes */
};

typedef struct reader {
    const uint8_t *bytes;
    size_t at, end;
} reader;

static unsigned u16_at(const uint8_t *p)
{
    return (unsigned)(p[0] << 8 | p[1]);
}

static uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)u16_at(p) << 16 | u16_at(p + 2);
}

static kn_err wrong(const char *field, size_t at, const char *what)
{
    return kn_fail(KN_E_TPM_BLOB, "%s at byte %zu %s", field, at, what);
}

/* A size of two bytes and what it counts. */
static kn_err take(reader *r, const char *field, tpm2_span *ret_span)
{
    if (r->end - r->at < 2)
        return wrong(field, r->at, "is cut off");
    size_t length = u16_at(r->bytes + r->at);
    if (length > r->end - r->at - 2)
        return wrong(field, r->at, "is longer than the blob");
    *ret_span = (tpm2_span){r->bytes + r->at + 2, length};
    r->at += 2 + length;
    return kn_success();
}

static kn_err take_between(reader *r, const char *field, size_t min, size_t max, tpm2_span *ret_span)
{
    size_t at = r->at;
    kn_err err = take(r, field, ret_span);
    if (!kn_failed(err) && (ret_span->length < min || ret_span->length > max))
        err = kn_fail(KN_E_TPM_BLOB, "%s at byte %zu has %zu bytes, not %zu to %zu", field, at, ret_span->length, min, max);
    return err;
}

/* TPM2B_ID_OBJECT and TPM2B_PRIVATE begin with the integrity of the rest. */
static kn_err check_integrity(const char *field, const tpm2_span *span, const uint8_t *bytes)
{
    return u16_at(span->at) == HASH_BYTES ? kn_success()
                                          : wrong(field, (size_t)(span->at - bytes), "has an integrity value that is not SHA-256");
}

static kn_err take_credential(reader *r, tpm2_blob *blob)
{
    static const char field[] = "TPM2B_ID_OBJECT";
    kn_err err = take_between(r, field, INTEGRITY + 2 + 16, INTEGRITY + 2 + 32, &blob->credential);
    if (!kn_failed(err))
        err = check_integrity(field, &blob->credential, r->bytes);
    if (kn_failed(err))
        return err;
    blob->inner_key_length = blob->credential.length - INTEGRITY - 2;
    return blob->inner_key_length == 16 || blob->inner_key_length == 32
               ? err
               : wrong(field, (size_t)(blob->credential.at - r->bytes), "has a key that is not for AES-128 or AES-256");
}

/* TPMT_PUBLIC of a keyed hash. */
static kn_err parse_public(const uint8_t *bytes, tpm2_span area, tpm2_blob *blob)
{
    static const char field[] = "TPM2B_PUBLIC";
    size_t base = (size_t)(area.at - bytes);
    reader r = {bytes, base + PUBLIC_HEAD, base + area.length};
    if (u16_at(area.at) != 0x0008)
        return wrong(field, base, "is not of the type KEYEDHASH");
    if (u16_at(area.at + 2) != 0x000b)
        return wrong(field, base + 2, "has a name that is not of SHA-256");
    if (u32_at(area.at + 4) != TPM2_BLOB_ATTRIBUTES)
        return kn_fail(KN_E_TPM_BLOB, "%s at byte %zu has attributes 0x%08x, not 0x%08x", field, base + 4,
                       (unsigned)u32_at(area.at + 4), TPM2_BLOB_ATTRIBUTES);
    kn_err err = take(&r, field, &blob->policy);
    if (!kn_failed(err) && blob->policy.length != 0 && blob->policy.length != HASH_BYTES)
        err = wrong(field, r.at, "has a policy that is not of SHA-256");
    if (!kn_failed(err) && (r.end - r.at < 4 || u16_at(r.bytes + r.at) != 0x0005 || u16_at(r.bytes + r.at + 2) != 0x000b))
        err = wrong(field, r.at, "has a scheme that is not HMAC-SHA256");
    if (kn_failed(err))
        return err;
    r.at += 4;
    err = take_between(&r, field, HASH_BYTES, HASH_BYTES, &blob->unique);
    return kn_failed(err) || r.at == r.end ? err : wrong(field, r.at, "has bytes behind its end");
}

kn_err tpm2_blob_parse(const uint8_t *bytes, size_t length, tpm2_blob *ret_blob)
{
    reader r = {bytes, 0, length};
    tpm2_blob blob = {.inner_key_length = 0};
    tpm2_span area = {NULL, 0}, text = {NULL, 0};
    kn_err err = take_credential(&r, &blob);
    if (!kn_failed(err))
        err = take_between(&r, "TPM2B_ENCRYPTED_SECRET", RSA_BYTES, RSA_BYTES, &blob.secret);
    if (!kn_failed(err))
        err = take_between(&r, "TPM2B_PRIVATE", DUPLICATE_MIN, DUPLICATE_MAX, &blob.duplicate);
    if (!kn_failed(err))
        err = check_integrity("TPM2B_PRIVATE", &blob.duplicate, bytes);
    if (!kn_failed(err))
        err = take_between(&r, "the second TPM2B_ENCRYPTED_SECRET", RSA_BYTES, RSA_BYTES, &blob.seed);
    if (!kn_failed(err))
        err = take_between(&r, "TPM2B_PUBLIC", PUBLIC_HEAD + 2 + 4 + 2 + HASH_BYTES, PUBLIC_HEAD + 2 + 4 + 2 + 2 * HASH_BYTES,
                           &area);
    if (!kn_failed(err))
        err = parse_public(bytes, area, &blob);
    if (!kn_failed(err) && r.at < r.end)
        err = take(&r, "the text behind the key", &text);
    if (!kn_failed(err) && r.at < r.end)
        err = wrong("the blob", r.at, "has bytes behind its end");
    if (!kn_failed(err))
        *ret_blob = blob;
    return err;
}
