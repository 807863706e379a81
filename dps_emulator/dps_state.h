/* Units:     none.
 * Ownership: a dps_state owns its paths and its lock; dps_state_close() gives them back.
 * Errors:    a dps_fail with the path and the next step.
 * Threads:   one thread.
 * Spec:      the folder given with --dir, mode 0700:
 *            dps.db (+ -wal, -shm), ca.pem, ca.key, server.pem, server.key, serve.lock. */
#ifndef DPS_STATE_H
#define DPS_STATE_H

#include <stdbool.h>

#include "dps_fail.h"
#include "dps_store.h"

enum { DPS_PATH_LEN = 4096 };

#define DPS_DATABASE_NAME "dps.db"

/* Zero-initialise. */
typedef struct dps_state {
    char dir[DPS_PATH_LEN];
    int lock_fd; /* 0: not locked */
} dps_state;

/* @create makes the folder when it is missing. */
DPS_MUST_CHECK bool dps_state_open(const char *dir, bool create, dps_state *ret_state, dps_fail *fail);
/* For the one server of this folder. CONFLICT when there is another. The system unlocks at the end of the
 * process. */
DPS_MUST_CHECK bool dps_state_lock(dps_state *state, dps_fail *fail);
void dps_state_close(dps_state *state);

/* "<dir>/<name>". */
DPS_MUST_CHECK bool dps_state_path(const dps_state *state, const char *name, char ret_path[DPS_PATH_LEN],
                                   dps_fail *fail);
/* @create makes folder and database when they are missing; otherwise their absence is NOT_FOUND. */
DPS_MUST_CHECK bool dps_state_open_store(const char *dir, bool create, dps_store **ret_store, dps_fail *fail);

#endif
