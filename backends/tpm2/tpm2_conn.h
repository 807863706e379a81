/* The connection of this process with a TPM: one ESYS context for each TCTI, used by one thread at a time.
 *
 * Units: none. Ownership: a connection lives as long as the process. Errors: tpm2_fail() turns a response code into the row of
 * its kind. Threads: any; tpm2_conn_run() takes the connection's lock. Fork: a child opens its own connection and leaves its
 * parent's alone. Spec: TPM 2.0 part 2, 6.6 (response codes); TCG TSS 2.0 TCTI.
 *
 *   state  | event                                            | next
 *   -------+--------------------------------------------------+-----------------------------------------
 *   closed | an operation                                     | open; closed when no TPM answers
 *   open   | the TCTI fails, or ESYS is out of step           | closed; the operation is repeated once
 *   open   | TPM_RC_RETRY, _YIELDED, _TESTING                 | open; the command is repeated with pauses
 *   open   | no slot is free, without a resource manager      | open; the operation is repeated with random pauses
 *   open   | another failure                                  | open
 */
#ifndef KN_TPM2_CONN_H
#define KN_TPM2_CONN_H

#include "tpm2_api.h"

#define TPM2_BUSY_MAX_MS  5000 /* how long a TPM may say that it is busy with itself */
#define TPM2_SLOTS_MAX_MS 1000 /* how long others may have all of its slots */

typedef struct tpm2_conn {
    const tpm2_api *api;
    ESYS_CONTEXT *esys;
    struct tpm2_object *objects; /* that tpm2_object_open() has opened */
    bool managed; /* by a resource manager: objects that stay loaded take a slot from nobody */
    unsigned generation; /* grows with each connection: objects of ESYS are good in their own only; never 0 */
} tpm2_conn;

/* Runs @operation on the TPM that @tcti names; NULL: the environment's KEYNYM_TCTI, or the kernel's resource manager. When the
 * connection turns out to be dead, it is opened anew and @operation called once more, and for a while when others have all of the
 * TPM's slots: it must begin from its start, and leave nothing in the TPM when it fails. */
KN_MUST_CHECK kn_err tpm2_conn_run(const char *tcti, kn_err (*operation)(tpm2_conn *conn, void *arg), void *arg);

#define TPM2_DEFAULT_DEVICE "/dev/tpmrm0"

/* The TCTI that @tcti, NULL for the usual one, comes to. Lives as long as the argument, or the environment. */
const char *tpm2_conn_name(const char *tcti);
bool tpm2_conn_is_named(void); /* does the environment name a TPM? */

/* Do they name the same TPM? */
bool tpm2_conn_same(const char *tcti, const char *other);

/* The object at a persistent handle: one of ESYS for all who ask for it, since ESYS 3 gives out the same one each time and the
 * first Esys_TR_Close() would take it from the others. One command when it is not open yet; KN_E_TPM_HANDLE when there is none.
 * *@ret_fresh, which may be NULL: was it so?
 * tpm2_object_close() gives it back. */
KN_MUST_CHECK kn_err tpm2_object_open(tpm2_conn *conn, uint32_t handle, ESYS_TR *ret_object, bool *ret_fresh);
void tpm2_object_close(tpm2_conn *conn, uint32_t handle);

/* Calls @leave outside of an operation, when the connection of @generation is still the one: to give back what was opened in it. */
void tpm2_conn_leave(const char *tcti, unsigned generation, void (*leave)(tpm2_conn *conn, void *arg), void *arg);

/* Frees the slot of a transient object, which is ESYS_TR_NONE then. */
void tpm2_flush(tpm2_conn *conn, ESYS_TR *object);

/* @call made @rc. KN_OK for success. */
KN_MUST_CHECK kn_err tpm2_fail(TSS2_RC rc, const char *call);

/* The code without the layer that adds nothing, and without the number of the handle, session or parameter that it is about. */
TSS2_RC tpm2_base_of(TSS2_RC rc);

/* Is it worth another try after a pause? Pauses; @waited_ms counts from 0 for each command. */
bool tpm2_busy(TSS2_RC rc, unsigned *waited_ms);

/* Calls an ESYS function until the TPM is not busy: TPM2_CALL(err, conn, Esys_X, arguments without the context). */
#define TPM2_CALL(ret_err, conn, function, ...)                                                                        \
    do {                                                                                                               \
        unsigned waited_ms_ = 0;                                                                                       \
        TSS2_RC rc_;                                                                                                   \
        do                                                                                                             \
            rc_ = (conn)->api->function((conn)->esys, __VA_ARGS__);                                                    \
        while (tpm2_busy(rc_, &waited_ms_));                                                                           \
        (ret_err) = tpm2_fail(rc_, #function);                                                                         \
    } while (0)

#endif
