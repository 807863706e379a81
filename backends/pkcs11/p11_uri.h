/* pkcs11: URIs, strictly: an attribute that is not known, or comes twice, is an error that names it.
 *
 * Units: bytes. Ownership: p11_uri_free() releases; what is handed out is borrowed. Errors: KN_E_URI_MALFORMED,
 * KN_E_URI_ATTRIBUTE. Threads: a p11_uri does not change after it was made. Spec: RFC 7512.
 * Parsing is pure: no file, no token.
 */
#ifndef KN_P11_URI_H
#define KN_P11_URI_H

#include "../kn_secret.h"

#include <p11-kit/pkcs11.h>
#include <p11-kit/uri.h>

typedef struct p11_uri {
    P11KitUri *kit;
    kn_secret *pin;          /* of pin-value; NULL: none */
    const char *pin_source;  /* NULL: none */
    const char *module_path; /* NULL: none */
    const char *module_name; /* NULL: none */
    bool has_slot_info;      /* slot-description or slot-manufacturer */
    bool has_library_info;   /* library-... */
    bool has_class;          /* type= */
    CK_OBJECT_CLASS class;
    bool wants_secret; /* set by whoever looks for a secret key */
    CK_ATTRIBUTE id, label; /* pValue NULL: none */
} p11_uri;

KN_MUST_CHECK kn_err p11_uri_check(const char *text);
KN_MUST_CHECK kn_err p11_uri_new(const char *text, p11_uri **ret_uri);
void p11_uri_free(p11_uri **uri);

/* @text with @label as its object=. KN_E_NO_KEY when it has another. @ret_text is for free(). */
kn_err p11_uri_with_label(const char *text, const char *label, char **ret_text);

/* For messages: the URI without its query. Cut to fit. */
void p11_uri_show(const p11_uri *uri, char *ret_text, size_t size);

#endif
