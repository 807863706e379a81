/* Keys that a TPM has wrapped for itself, in files: "TSS2 PRIVATE KEY".
 *
 * Units: bytes. Ownership: as named. Errors: KN_E_TPM_FILE says what is wrong. Threads: pure functions but for
 * reading and writing the file; no TPM.
 * Spec: TPMKey of draft-bottomley-tpm2-keys, in DER or BER, with what programs write instead of it:
 *
 *   SEQUENCE {
 *     type        OBJECT IDENTIFIER   2.23.133.10.1.3, a loadable key; the other types are refused by name
 *     emptyAuth   [0] BOOLEAN OPTIONAL   TRUE as ff or 01. Absent or FALSE: the key may have an authorization
 *     policy      [1] OPTIONAL           not used: a key that cannot be used without is refused when it is used
 *     secret      [2] OCTET STRING OPTIONAL   refused: it belongs to the types that are not served
 *     authPolicy  [3] OPTIONAL           not used
 *     [4], [5] OPTIONAL                  description, rsaParent; an RSA parent is refused by name
 *     parent      INTEGER             the owner hierarchy (0x40000001) or a persistent handle, which some write as a negative number
 *     pubkey      OCTET STRING        TPM2B_PUBLIC of an RSA or ECC key
 *     privkey     OCTET STRING        TPM2B_PRIVATE }
 */
#ifndef KN_TPM2_TSS_KEY_H
#define KN_TPM2_TSS_KEY_H

#include "tpm2_api.h"

#include <stdint.h>

#define TPM2_TSS_KEY_PEM_LABEL "TSS2 PRIVATE KEY"
#define TPM2_TSS_KEY_OWNER     0x40000001u
#define TPM2_TSS_KEY_FILE_MAX  65536 /* bytes of the file */

typedef struct tpm2_tss_key {
    bool empty_auth; /* the file says that the key has no authorization */
    uint32_t parent;
    TPM2B_PUBLIC public; /* .size is not used */
    TPM2B_PRIVATE private;
} tpm2_tss_key;

KN_MUST_CHECK kn_err tpm2_tss_key_parse(const uint8_t *der, size_t length, tpm2_tss_key *ret_key);

/* Without what is optional but emptyAuth. @public is a TPM2B_PUBLIC as it stands in the file. @ret_der is for free(). */
KN_MUST_CHECK kn_err tpm2_tss_key_to_der(const tpm2_tss_key *key, const uint8_t *public, size_t public_length, uint8_t **ret_der,
                                         size_t *ret_length);

/* The first block of its label in the file at @path; others, such as certificates, may stand there too. KN_E_IO. */
KN_MUST_CHECK kn_err tpm2_tss_key_read(const char *path, tpm2_tss_key *ret_key);
/* The same of an open file, wherever it stands; @path is for messages. */
KN_MUST_CHECK kn_err tpm2_tss_key_read_fd(int fd, const char *path, tpm2_tss_key *ret_key);

/* The PEM block of @der, to an open file. KN_E_IO. */
KN_MUST_CHECK kn_err tpm2_tss_key_write(int fd, const uint8_t *der, size_t length);

/* Base64 in one line, strictly. @ret_text is for free(). */
KN_MUST_CHECK kn_err tpm2_tss_key_from_base64(const char *text, tpm2_tss_key *ret_key);
KN_MUST_CHECK kn_err tpm2_tss_key_base64(const uint8_t *der, size_t length, char **ret_text);

/* Do the bytes begin as a TPMKey does? Looks at the tags and the first arcs of the type only. */
bool tpm2_tss_key_looks_like(const uint8_t *der, size_t length);

/* The TPM2B_PUBLIC in @bytes, strictly. */
KN_MUST_CHECK kn_err tpm2_tss_key_public(const uint8_t *bytes, size_t length, TPM2B_PUBLIC *ret_public);

#endif
