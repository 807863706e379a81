/* A TPM for one test program: swtpm, reached through the TCTI that counts and fails commands (tcti_shim.c).
 *
 * Units: none. Ownership: one for the process. Errors: a failing assertion. Threads: the thread that runs the tests.
 */
#ifndef SWTPM_H
#define SWTPM_H

#include <stddef.h>
#include <stdint.h>

extern char swtpm_dir[], swtpm_tcti[300];
extern unsigned *swtpm_count;   /* commands since swtpm_arm() */
extern uint32_t *swtpm_codes;   /* theirs */

void swtpm_set_up(void);    /* makes the directory, names the TCTI and starts the TPM */
void swtpm_tear_down(void); /* stops it and removes the directory */
void swtpm_start(void);
void swtpm_stop(void);

/* From now on commands @at to @at + @times - 1 are answered by @rc in the TPM's place; @at 0: none. */
void swtpm_arm(unsigned at, unsigned times, uint32_t rc);

/* From now on byte @at of the TPM's answers to the command @code is changed; @code 0: none. */
void swtpm_change(uint32_t code, size_t at);
size_t swtpm_changed_size(void); /* of the last such answer */

/* Wrong authorizations that the TPM remembers: its lockout counter. */
unsigned swtpm_tries_spent(void);

/* In the TPM's directory, with tpm2-tools for it; ends the test when a command fails. */
void swtpm_tools(const char *commands);
/* A primary key of the owner hierarchy, kept at @handle; @attributes besides those of a key that the TPM has made; @auth "": none. */
void swtpm_make_key(const char *handle, const char *alg, const char *attributes, const char *auth);

extern char swtpm_pin_path[64];
void swtpm_write_pin(const char *pin); /* into that file */

/* No object and no session is left in the TPM. */
void swtpm_check_clean(void);

#endif
