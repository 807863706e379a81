/* Fuzz target: pkcs11: URIs. What is accepted has no unknown attribute, and its PIN never shows. */
#include "fuzz_driver.h"

#include "kn_alias.h"
#include "pkcs11/p11_uri.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECRET "81549300" /* the PIN of the seeds */

static void must(bool condition, const char *what, const char *text)
{
    if (!condition) {
        (void)fprintf(stderr, "fuzz_p11_uri: %s: %s\n", what, text);
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[FUZZ_INPUT_MAX + 1], shown[300];
    p11_uri *uri = NULL;
    if (size > FUZZ_INPUT_MAX)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    kn_uri_redact(text, shown, sizeof shown);
    must(!kn_uri_has_pin(text) || strlen(shown) == sizeof shown - 1 || strstr(shown, "..."), "not redacted", text);
    must(!kn_uri_has_pin(shown) || strlen(shown) == sizeof shown - 1 || !strcmp(shown + strlen(shown) - 3, "..."),
         "half redacted", text);
    if (kn_failed(p11_uri_new(text, &uri))) {
        must(uri == NULL, "a URI beside an error", text);
        return 0;
    }
    must(!uri->pin || kn_uri_has_pin(text), "a PIN that is not noticed", text);
    must(!(uri->pin && uri->pin_source), "two PINs", text);
    must(!uri->module_path || *uri->module_path == '/', "a relative module", text);
    must(uri->id.ulValueLen <= 128 && uri->label.ulValueLen <= 128, "too long", text);
    p11_uri_show(uri, shown, sizeof shown);
    must(!strchr(shown, '?'), "shown with its query", text);
    p11_uri_free(&uri);
    return 0;
}

void fuzz_seeds(void (*add)(const void *data, size_t size))
{
    static const char *const uris[] = {
        "pkcs11:token=bench;object=device;type=private?pin-source=file:/etc/pin",
        "pkcs11:token=bench;object=device?pin-value=" SECRET,
        "pkcs11:id=%01%02%03;serial=0a;model=m;manufacturer=x?module-path=/usr/lib/m.so&pin-value=" SECRET,
        "pkcs11:slot-id=7;slot-description=s;slot-manufacturer=t;library-version=2.6;library-manufacturer=l;"
        "library-description=d;type=cert?module-name=softhsm2",
        "pkcs11:",
    };
    for (size_t i = 0; i < sizeof uris / sizeof *uris; i++)
        add(uris[i], strlen(uris[i]));
}
