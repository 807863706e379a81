/* A throw-away SoftHSM2 token for one test process: own directory, own configuration, random PINs.
 *
 * Units: none. Ownership: test_token_free() removes everything. Errors: a failure ends the test process with a message.
 * Threads: none. The process's environment names the token's configuration from test_token_new() on, so it must be
 * called before the module is loaded.
 */
#ifndef TEST_TOKEN_H
#define TEST_TOKEN_H

#include "kn_ctx.h"

typedef struct test_token {
    char dir[64];           /* temporary directory; holds all that follows */
    char pin_file[96];      /* mode 0600 */
    char so_pin_file[96];   /* mode 0600 */
    char wrong_pin_file[96]; /* mode 0600, a PIN that is not the token's */
    char pin[17];
    const char *label;
} test_token;

/* The SoftHSM2 module of this machine. */
extern const char *const test_module;

test_token *test_token_new(const char *label);
void test_token_free(test_token **token);

/* One more token in the same SoftHSM2, with the same PINs. */
void test_token_add(const test_token *token, const char *label);

/* A context that loads test_module and takes the PIN from the token's file. */
kn_ctx *test_token_context(const test_token *token);

/* "pkcs11:token=LABEL;object=OBJECT?pin-source=FILE&module-path=MODULE": complete in itself. The buffer is one of a
 * few static ones, used in turn. */
const char *test_token_uri(const test_token *token, const char *object);

/* A file in the token's directory. The result is static, as above. */
const char *test_token_path(const test_token *token, const char *name);
void test_token_write(const test_token *token, const char *name, const char *text);

#endif
