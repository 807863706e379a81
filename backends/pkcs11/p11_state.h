/* What one context knows of PKCS#11: its configuration, the modules that were loaded, the tokens that were seen.
 *
 * Units: as named. Ownership: p11_state_free() releases everything; a p11_token lives as long as its state.
 * Errors: KN_E_MODULE_*, KN_E_NO_TOKEN, KN_E_AMBIGUOUS_TOKEN. Threads: any; `lock` guards modules and the list of
 * tokens and is held while both are searched for; each token has a lock of its own, and no other lock is held across a
 * token call but `login_lock` and that of PINs.
 * Fork: module and token notice by kn_proc_fork_count() and start anew.
 */
#ifndef KN_P11_STATE_H
#define KN_P11_STATE_H

#include "../kn_ctx.h"
#include "../kn_token.h"
#include "p11_ckr.h"
#include "p11_uri.h"

#include <pthread.h>
#include <stdint.h>

#define P11_MODULES_MAX  16   /* modules */
#define P11_SLOTS_MAX    64   /* slots of one module that are looked at */
#define P11_READ_AGAIN_MAX 4       /* times that modules read their tokens again, 10, 20, 40, 80 ms apart */
#define P11_READ_AGAIN_PAUSE_MS 1000 /* before that is done once more */
#define P11_MECHANISMS_MAX 13 /* mechanisms that are used; p11_mechanism.c names them */
#define P11_SESSIONS_MAX 1024 /* sessions of one token, when it states no limit of its own */
#define P11_GROW_MIN_MS  10   /* after CKR_SESSION_COUNT: until one more session is tried; doubled each time it fails */
#define P11_GROW_MAX_MS  5000
#define P11_RESTART_MIN_MS 100 /* before C_Initialize is called again in vain; doubled each time */
#define P11_RESTART_MAX_MS 5000
#define P11_OWNERS_MAX    16 /* sessions of one token that have session copies of keys */
#define P11_ABANDONED_MAX 64 /* session copies that wait to be destroyed */
#define P11_FAILURES_MAX 2 /* operations in a row that failed in the token, before its module is started anew */

typedef struct p11_module {
    CK_FUNCTION_LIST *fn;
    char *name; /* p11-kit's name, or the path */
    char *path; /* NULL: registered with p11-kit */
    bool configured;  /* else only for the URIs that name it with module-path or module-name */
    bool initialised; /* registered ones are when a URI first allows them */
    CK_RV start_rv;   /* why it does not start */
} p11_module;

/* What a token said of a mechanism. */
typedef struct p11_offer {
    bool asked, offered;
    CK_FLAGS flags;
} p11_offer;

/* A session in which session copies of keys live: they go with it. */
typedef struct p11_owner {
    CK_SESSION_HANDLE session;
    unsigned id; /* never used twice, other than handles; 0: none */
} p11_owner;

typedef struct p11_abandoned {
    CK_OBJECT_HANDLE handle;
    unsigned owner, generation;
} p11_abandoned;

typedef struct p11_state p11_state;

typedef struct p11_token {
    p11_state *state;
    const p11_module *module;
    char label[33], manufacturer[33], model[17], serial[17]; /* what identifies it, in any slot */
    struct p11_token *next;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t freed;
    CK_SLOT_ID slot;
    CK_FLAGS flags;
    bool flags_fresh;    /* read since the last login, so the PIN counter flags can be trusted */
    unsigned stated;     /* sessions that the token says it has */
    unsigned limit;      /* sessions: what is stated, or learned from CKR_SESSION_COUNT; may be 0 for a while */
    unsigned grow_pause_ms; /* see P11_GROW_MIN_MS */
    int64_t grow_at_ms;     /* time of CLOCK_MONOTONIC from which one more than @limit is tried */
    unsigned generation; /* grows when handles of sessions and objects have become worthless; never 0 */
    unsigned epoch;      /* grows when session handles may be somebody else's: then they are not even closed */
    unsigned failures;   /* operations in a row that ended with KN_E_TOKEN_FAILED */
    unsigned renewals;   /* of the module because of that, with no success in between */
    int64_t renew_at_ms; /* the next one not before this time of CLOCK_MONOTONIC */
    unsigned fork;       /* kn_proc_fork_count() of the last use */
    unsigned restarts, module_restarts; /* p11_restart_count(), p11_restart_count_of() then */
    bool logged_in;
    unsigned keys;       /* handles of ours that use it */
    p11_offer offers[P11_MECHANISMS_MAX];
    unsigned open; /* sessions, idle ones included */
    unsigned idle_count;
    CK_SESSION_HANDLE idle[P11_SESSIONS_MAX];
    p11_owner owners[P11_OWNERS_MAX];
    unsigned owner_last; /* id */
    p11_abandoned abandoned[P11_ABANDONED_MAX];
    unsigned abandoned_count;

    kn_secret *kept_pin; /* that somebody typed; NULL: none. For logging in again */

    pthread_mutex_t login_lock; /* held across C_Login, so that a wrong PIN is tried once; guards what follows */
    CK_RV login_rv;             /* what C_Login returned last */
} p11_token;

struct p11_state {
    char *module_path, *pin_source;
    kn_login login;
    unsigned sessions_max, session_wait_ms;
    bool token_copy;

    pthread_mutex_t lock; /* guards what follows */
    unsigned fork;
    bool registered_loaded;
    CK_FUNCTION_LIST **registered; /* p11-kit's list, to be released with it; not all are initialised */
    p11_module modules[P11_MODULES_MAX];
    size_t module_count;
    p11_token *tokens;
    unsigned start_failures;  /* of C_Initialize after a module was lost, in a row */
    int64_t start_at_ms;      /* it is not tried again before this time of CLOCK_MONOTONIC */
    int64_t read_again_at_ms; /* not before this time of CLOCK_MONOTONIC */
};

kn_err p11_state_new(const kn_config *config, void **ret_state);
void p11_state_free(void *state);
void p11_state_rest(void *state);

/* The modules that @uri allows, loaded and initialised. Needs @state->lock. */
KN_MUST_CHECK kn_err p11_modules_for(p11_state *state, const p11_uri *uri, const p11_module **ret_modules,
                                     size_t *ret_count);

kn_err p11_uri_complete(void *state, const char *uri, char **ret_uri);

/* Finds exactly one initialised token. */
KN_MUST_CHECK kn_err p11_token_find(p11_state *state, const p11_uri *uri, p11_token **ret_token);

/* Looks for the same token again, by serial number, in every slot of its module. */
KN_MUST_CHECK kn_err p11_token_find_again(p11_token *token);

/* A child of fork has the modules, but must initialise them before any other call. Needs @state->lock. */
KN_MUST_CHECK kn_err p11_modules_follow_fork(p11_state *state);

int64_t p11_now_ms(void); /* of CLOCK_MONOTONIC */

KN_MUST_CHECK kn_err p11_token_list(void *state, void (*row)(const kn_token_info *info, void *arg), void *arg);

KN_MUST_CHECK kn_err p11_token_init(void *state, const char *uri, const kn_secret *so_pin, const kn_secret *pin);
KN_MUST_CHECK kn_err p11_token_wants_pin(void *state, const char *uri, bool unprompted, bool *ret_wants, char ret_label[33]);
KN_MUST_CHECK kn_err p11_token_login(void *state, const char *uri, const kn_secret *pin);

/* For a walk over slots: those of @module with a token in them. @ret_slots has room for P11_SLOTS_MAX. */
KN_MUST_CHECK kn_err p11_slots_of(const p11_module *module, CK_SLOT_ID *ret_slots, CK_ULONG *ret_count);
bool p11_slot_matches(CK_FUNCTION_LIST *fn, CK_SLOT_ID slot, const p11_uri *uri);

/* Blank-padded Cryptoki text as a string. */
void p11_text(const CK_UTF8CHAR *padded, size_t length, char *ret_text);

#endif
