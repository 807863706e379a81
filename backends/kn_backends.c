#include "kn_backend.h"

#include "pkcs11/p11_backend.h"
#include "tpm2/tpm2_backend.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

const kn_backend *const kn_backends[] = {
    &kn_p11_backend,
    &kn_tpm2_backend,
    NULL,
};

kn_err kn_backend_for_uri(const char *uri, const kn_backend **ret_backend)
{
    const char *colon = strchr(uri, ':');
    size_t length = colon ? (size_t)(colon - uri) : 0;
    for (size_t i = 0; kn_backends[i]; i++)
        if (kn_backends[i]->key_open && length == strlen(kn_backends[i]->scheme) && !strncasecmp(uri, kn_backends[i]->scheme, length)) {
            *ret_backend = kn_backends[i];
            return kn_success();
        }
    char shown[128];
    kn_uri_redact(uri, shown, sizeof shown);
    return kn_fail(KN_E_URI_SCHEME, "'%s'", shown);
}

static const char *pin_value(const char *uri)
{
    for (const char *p = uri; (p = strcasestr(p, "pin-value=")); p++)
        if (p != uri && strchr("?&;:", p[-1]))
            return p + strlen("pin-value=");
    return NULL;
}

bool kn_uri_has_pin(const char *uri)
{
    return pin_value(uri) != NULL;
}

void kn_uri_redact(const char *uri, char *ret_text, size_t size)
{
    const char *pin = pin_value(uri);
    if (pin)
        (void)snprintf(ret_text, size, "%.*s...", (int)(pin - uri), uri);
    else
        (void)snprintf(ret_text, size, "%s", uri);
}
