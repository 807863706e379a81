/* Keynym's own calls of the HSM library: how an application says which key and certificate a device has.
 * What it does not say is taken from the configuration file (keynym_hsm_load_config).
 *
 * Units: sizes in bytes. Ownership: arguments are borrowed until return (the library keeps copies).
 * Errors: 0 for success; otherwise keynym_hsm_last_error() of the same thread names the cause and the next
 * step, never with a PIN in it. Threads: any; a change applies to handles that are created afterwards.
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

/* What identifies the device. Each call replaces what the one before said; a member that is NULL leaves what the
 * configuration file says. */
typedef struct keynym_hsm_x509_config {
    const char *key;         /* alias of the private key: a pkcs11: URI, or the path of an alias PEM file */
    const char *certificate; /* chain, leaf first: the path of a PEM file, or a pkcs11: URI (type=cert) */
    const char *pin_source;  /* where the user PIN is, when the alias does not say: a path, credential:NAME, fd:N */
    const char *module_path; /* PKCS#11 module to load; NULL: those that are registered with p11-kit */
} keynym_hsm_x509_config;

KEYNYM_HSM_API int keynym_hsm_set_x509(const keynym_hsm_x509_config *config);

/* Reads section [keynym_hsm] of an OpenSSL configuration file: key, certificate, pin_source, module_path.
 * NULL: the file named by the environment variable KEYNYM_CONF, else /etc/keynym/keynym.cnf; without this call, that
 * file is read when it is there. What keynym_hsm_set_x509() says comes before the file, in whatever order they came. */
KEYNYM_HSM_API int keynym_hsm_load_config(const char *path);

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
