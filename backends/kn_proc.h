/* What happens to the process as a whole: fork and exit.
 *
 * Units: none. Ownership: none. Errors: none. Threads: any.
 *
 * A fork waits until no thread is inside a token call, so that the child finds neither our locks nor those of
 * a module held by threads that it does not have. The child's handler only counts; work happens at its next call.
 */
#ifndef KN_PROC_H
#define KN_PROC_H

#include <stdbool.h>

/* Around everything that takes a lock of ours or calls a module. Not nested. What a module that uses the same
 * libcrypto leaves on this thread's OpenSSL error queue is taken off again. */
void kn_proc_enter(void);
void kn_proc_leave(void);

/* How many forks lie between the first process and this one. */
unsigned kn_proc_fork_count(void);

/* Call after a module was loaded: from then on the exit of the process is noticed before the module's own
 * destructors run. */
void kn_proc_watch_exit(void);

/* The process is ending: modules may be half destroyed and must not be called any more
 * (openssl issue 22508, SoftHSMv2 issues 729 and 780). */
bool kn_proc_exiting(void);

#endif
