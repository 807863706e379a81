/* An alias private key: the name of a key that looks like a key. A URI, and optionally the public key.
 *
 * Units: bytes. Ownership: kn_alias_free() releases; texts and bytes that are handed out are borrowed and live
 * as long as the alias; *_to_* functions return memory for free(). Errors: KN_E_ALIAS_*, KN_E_URI_*.
 * Threads: an alias does not change after it was made. Spec: docs/alias-format.md, RFC 7512, RFC 7468.
 *
 * Parsing is pure: no file, no token.
 */
#ifndef KN_ALIAS_H
#define KN_ALIAS_H

#include "kn_ctx.h"
#include "kn_public.h"

#define KN_ALIAS_PEM_LABEL "KEYNYM ALIAS PRIVATE KEY"
/* pkcs11-provider's form of the same thing, which is read and never written. */
#define KN_ALIAS_PEM_LABEL_FOREIGN "PKCS#11 PROVIDER URI"
#define KN_ALIAS_URI_MAX   2048 /* bytes of the URI */
#define KN_ALIAS_DER_MAX   4096 /* bytes of the DER form */
#define KN_ALIAS_PEM_MAX   8192 /* bytes of the PEM form and the text around it */

typedef struct kn_alias kn_alias;

/* Checks the URI with the backend that serves its scheme. @public may be NULL. Keeps copies. */
KN_MUST_CHECK kn_err kn_alias_new(const char *uri, const kn_public *public, kn_alias **ret_alias);

/* Strict: one DER SEQUENCE, nothing after it, version 1, no NUL in the URI, no PIN. Also takes the SEQUENCE of
 * pkcs11-provider's form, in BER, too: some of its writers use lengths that are not the shortest; and a backend's own key
 * file, which becomes an alias with the whole of it in the URI, and with its public key. */
KN_MUST_CHECK kn_err kn_alias_from_der(const uint8_t *der, size_t length, kn_alias **ret_alias);

/* @pem is the text of one block with one of the labels that kn_alias_is_pem_begin() knows; text before it is skipped. */
KN_MUST_CHECK kn_err kn_alias_from_pem(const char *pem, size_t length, kn_alias **ret_alias);

/* The DER inside, which is not looked into. */
KN_MUST_CHECK kn_err kn_alias_pem_to_der(const char *pem, size_t length, uint8_t ret_der[KN_ALIAS_DER_MAX],
                                         size_t *ret_length);

/* Is the line the BEGIN line of one of the two labels, or of a backend's own key file ("TSS2 PRIVATE KEY")? */
bool kn_alias_is_pem_begin(const char *line);

/* Do the bytes begin as one of these forms does, which no other key's DER does? Looks at the first bytes only. */
bool kn_alias_looks_like_der(const uint8_t *der, size_t length);

/* A text that starts with a scheme is a URI; anything else is the path of an alias PEM file. */
KN_MUST_CHECK kn_err kn_alias_from_argument(const char *uri_or_path, kn_alias **ret_alias);

/* An alias for other contexts: with @public inside, and the URI completed by what the configuration of @ctx says of
 * PIN source and module. */
KN_MUST_CHECK kn_err kn_alias_complete(kn_ctx *ctx, const char *uri, const kn_public *public, kn_alias **ret_alias);

/* The same without a public key and with @label as the object of its URI. KN_E_NO_KEY when that names another. */
KN_MUST_CHECK kn_err kn_alias_with_label(const kn_alias *alias, const char *label, kn_alias **ret_alias);

KN_MUST_CHECK kn_err kn_alias_to_der(const kn_alias *alias, uint8_t **ret_der, size_t *ret_length);
/* NUL-terminated. */
KN_MUST_CHECK kn_err kn_alias_to_pem(const kn_alias *alias, char **ret_pem);

const char *kn_alias_uri(const kn_alias *alias);
const kn_public *kn_alias_public(const kn_alias *alias); /* NULL: none inside */
void kn_alias_free(kn_alias **alias);

/* Does the URI hold a PIN (pin-value)? For refusing it where it would be stored. */
bool kn_uri_has_pin(const char *uri);

/* The URI without the value of pin-value, for messages. @ret_text is cut to fit. */
void kn_uri_redact(const char *uri, char *ret_text, size_t size);

#endif
