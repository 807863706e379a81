/* Keynym's own calls of the HSM library: how an application says who a device is. What it does not say is taken from the
 * environment, and then from the configuration file (docs/hsm.md).
 *
 * Units: sizes in bytes. Ownership: arguments are borrowed until return (the library keeps copies).
 * Errors: 0 for success; otherwise keynym_hsm_last_error() of the same thread names the cause and the next
 * step, never with a PIN in it. Threads: any; a change applies to handles that are created afterwards.
 *
 * Several identities in one process: each has a name, and a thread says with keynym_hsm_use() whose handles it creates next.
 * The SDK creates a handle inside Prov_Device_LL_Create(), Prov_Device_Create() and IoTHubDeviceClient(_LL)_CreateFromDeviceAuth(),
 * in the thread that calls them; handles that exist keep their identity.
 */
#ifndef KEYNYM_HSM_H
#define KEYNYM_HSM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define KEYNYM_HSM_API __attribute__((visibility("default")))
#else
#define KEYNYM_HSM_API
#endif

/* None of the members is a secret. NULL leaves what the environment or the configuration file says. */
typedef struct keynym_hsm_config {
    size_t size;                 /* of this structure: KEYNYM_HSM_CONFIG_INIT */
    const char *key;             /* alias of the private key: a pkcs11: URI, or the path of an alias PEM file */
    const char *certificate;     /* chain, leaf first: the path of a PEM file, or a pkcs11: URI (type=cert) */
    const char *pin_source;      /* where the user PIN is, when the alias names none: the path of a file, ... */
    const char *module_path;     /* PKCS#11 module to load; NULL: those that are registered with p11-kit */
    const char *key_form;        /* what the SDK gets for the key: "alias" (the default), or "uri" for the pkcs11 engine */
    const char *registration_id; /* symmetric key: the name of the device; X.509: must be the certificate's common name */
    const char *symmetric_key;   /* a file with the key in base64, mode 0600, or the pkcs11: URI of an HMAC key */
    const char *tpm;             /* which TPM attests; NULL: the one that there is */
    /* Those that follow are for all identities of the process; only the one without a name may say them. */
    const char *login;           /* "when_needed" (the default), "always" or "never" */
    const char *sessions_max;    /* sessions with a token at most: a number; NULL: what the token allows */
    const char *session_wait_ms; /* how long an operation waits for one of them: a number of milliseconds */
    const char *token_copy;      /* "yes": sign with a copy of the key that lives in a session; "no" (the default) */
} keynym_hsm_config;

#define KEYNYM_HSM_CONFIG_INIT                                                                                         \
    {                                                                                                                  \
        .size = sizeof(keynym_hsm_config)                                                                              \
    }

/* Says who @identity is; NULL is the identity without a name, which threads use that said nothing. Each call replaces what
 * the one before said of the same identity. A name is 1 to 64 letters, digits and - . _ */
KEYNYM_HSM_API int keynym_hsm_configure(const char *identity, const keynym_hsm_config *config);

/* The handles that this thread creates from now on are those of @identity, which must have been configured or be a section
 * [keynym_hsm.IDENTITY] of the file. NULL: of the one that the environment variable KEYNYM_HSM_IDENTITY names, else of
 * the one without a name. */
KEYNYM_HSM_API int keynym_hsm_use(const char *identity);

/* Reads an OpenSSL configuration file: section [keynym_hsm] is the identity without a name, [keynym_hsm.NAME] another one.
 * The settings are named as the members above. NULL: the file named by the environment variable KEYNYM_CONF, else
 * /etc/keynym/keynym.cnf; without this call, that file is read when it is there. */
KEYNYM_HSM_API int keynym_hsm_load_config(const char *path);

/* What the next handle of this thread would have as @setting, a name as in the file ("key"); a copy for free(). NULL: nobody said,
 * or the configuration cannot be read. */
KEYNYM_HSM_API char *keynym_hsm_setting(const char *setting);

/* The sentence of this thread's last failure in any call of this library, "" when there was none.
 * Valid until this thread's next call. */
KEYNYM_HSM_API const char *keynym_hsm_last_error(void);

/* Where the library's own lines go instead of stderr; NULL: stderr again. @level: 1 error, 2 warning, 3 information,
 * 4 debugging. A failure is one line of level 1, with the text of keynym_hsm_last_error(). */
KEYNYM_HSM_API void keynym_hsm_set_log(void (*sink)(int level, const char *line));

/* "MAJOR.MINOR.PATCH" */
KEYNYM_HSM_API const char *keynym_hsm_version(void);

#ifdef __cplusplus
}
#endif
#endif
