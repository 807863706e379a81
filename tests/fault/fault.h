/* What the fault tests share: one token with one key, the misbehaving module in front of it, and what a program does.
 *
 * Units: none. Ownership: fault_setup() and fault_teardown() of cmocka's group hold everything. Errors: those called
 * assert-something end the test; the others return them. Threads: fault_sign() may be called by any.
 */
#ifndef TEST_FAULT_H
#define TEST_FAULT_H

#include "kn_key.h"

#include "support/kn_check.h"
#include "support/p11_raw.h"
#include "support/p11_shim.h"

#include <openssl/types.h>
#include <pthread.h>
#include <sys/types.h>

#define FAULT_URI     "pkcs11:token=fault;object=device"
#define FAULT_SECONDS 250 /* a test that takes longer hangs */

extern test_token *fault_token;
extern shim *fault_shim;

int fault_setup(void **state);    /* of the group */
int fault_teardown(void **state);
int fault_calm(void **state);     /* before each test: nothing is wrong, and an alarm is set */
int fault_end(void **state);      /* after it */

#define FAULT_TEST(name) cmocka_unit_test_setup_teardown(name, fault_calm, fault_end)

unsigned fault_calls(shim_call call);
unsigned fault_done(shim_call call);
unsigned fault_sessions(void);

kn_err fault_open_uri(kn_ctx *ctx, const char *uri, kn_key **ret_key);
kn_key *fault_open(kn_ctx *ctx); /* FAULT_URI; asserts */

/* Signs once and verifies. No assertion inside: also for threads and children. */
kn_err fault_sign(kn_key *key);

/* C_Finalize by somebody who does not know of us. */
unsigned long fault_finalize_real(void);

/* The key is in order: three signatures, of which each is one C_Sign. */
void fault_works(kn_key *key);

/* Threads that sign. */
typedef struct fault_worker {
    pthread_t thread;
    kn_key *key;
    unsigned rounds;
    atomic_bool *stop; /* NULL: only @rounds count */
    atomic_uint done, failed;
    kn_code code; /* of the first failure */
    char detail[256];
} fault_worker;

void fault_start(fault_worker *workers, size_t count, kn_key *key, unsigned rounds, atomic_bool *stop);
void fault_join(fault_worker *workers, size_t count);
/* Joins, and asserts that none failed. */
void fault_finish(fault_worker *workers, size_t count);

/* A child of fork that signs @times; its status is 0 when all verified. Never comes back to the test. */
pid_t fault_child(kn_key *key, unsigned times);
void fault_ends_well(pid_t child);

/* One row of docs/reliability.md, when the run writes it (KN_RELIABILITY names a directory): into the file @section. */
void fault_row(const char *section, const char *fault, const char *format, ...) KN_PRINTF(3, 4);

#endif
