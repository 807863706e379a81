/* Processes: children of every kind, ends in every order, and a neighbour in the process that uses the same module. */
#include "fault/fault.h"

#include "../support/self.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <p11-kit/p11-kit.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- this program again, as a process with an ending of its own ---- */

static kn_ctx *left_ctx; /* what an ending leaves, or frees late */
static kn_key *left_key;

static void free_late(void)
{
    kn_key_unref(&left_key);
    kn_ctx_unref(&left_ctx);
}

/* It may work or be refused; it must not crash, hang or repeat. */
static void sign_late(void)
{
    (void)fault_sign(left_key);
}

static void finalize_late(void)
{
    (void)fault_finalize_real();
}

/* As a library's destructor: after the exit handlers. */
static bool in_destructor;

__attribute__((destructor)) static void destroy(void)
{
    if (in_destructor) {
        (void)fault_sign(left_key);
        free_late();
    }
}

typedef struct ending {
    const char *name;
    void (*registered_first)(void); /* with atexit, before the module is loaded: runs after its destructors may have */
    void (*registered_last)(void);  /* after: runs first */
    void (*at_the_end)(void);
    bool destructor;
} ending;

static const ending endings[] = {
    {.name = "everything is left"},
    {.name = "freed", .at_the_end = free_late},
    {.name = "freed in the first exit handler", .registered_last = free_late},
    {.name = "freed in the last exit handler", .registered_first = free_late},
    {.name = "signs in the first exit handler", .registered_last = sign_late},
    {.name = "signs in the last exit handler", .registered_first = sign_late},
    {.name = "C_Finalize by somebody else, then freed", .registered_last = free_late, .at_the_end = finalize_late},
    {.name = "C_Finalize in the first exit handler, freed in the last", .registered_first = free_late,
     .registered_last = finalize_late},
    {.name = "signs and frees in a destructor", .destructor = true},
    {.name = "OPENSSL_cleanup, then freed in an exit handler", .registered_first = free_late,
     .at_the_end = OPENSSL_cleanup},
};

static int run_ending(const ending *e, const char *pin_file)
{
    (void)alarm(FAULT_SECONDS);
    if (e->registered_first && atexit(e->registered_first))
        return 4;
    left_ctx = shim_context(pin_file);
    uint8_t digest[32] = {1}, signature[KN_ECDSA_DER_MAX];
    size_t length;
    if (kn_failed(fault_open_uri(left_ctx, FAULT_URI, &left_key)) ||
        kn_failed(kn_key_sign(left_key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length))) {
        (void)fprintf(stderr, "%s\n", kn_err_detail());
        return 5;
    }
    if (e->registered_last && atexit(e->registered_last))
        return 4;
    in_destructor = e->destructor;
    if (e->at_the_end)
        e->at_the_end();
    return 0;
}

static int child_main(const char *name, const char *pin_file)
{
    for (size_t i = 0; i < COUNT_OF(endings); i++)
        if (!strcmp(endings[i].name, name))
            exit(run_ending(&endings[i], pin_file));
    return 6;
}

static pid_t spawn(const char *name)
{
    pid_t child = fork();
    if (child == 0) {
        const char *const argv[] = {test_self(), name, fault_token->pin_file, NULL};
        (void)execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return child;
}

static void test_endings(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(endings); i++) {
        int status;
        pid_t child = spawn(endings[i].name);
        assert_int_equal(waitpid(child, &status, 0), child);
        if (status)
            fail_msg("'%s': status 0x%x", endings[i].name, (unsigned)status);
    }
    pid_t none = spawn("no such ending"); /* the status is that of the child */
    int status;
    assert_int_equal(waitpid(none, &status, 0), none);
    assert_int_equal(WEXITSTATUS(status), 6);
    fault_row("processes", "ends of a process: exit handlers, destructors, C_Finalize and OPENSSL_cleanup in 10 orders", "each ends with status 0");
}

/* ---- children ---- */

static kn_ctx *ctx;
static kn_key *key;

static int calm(void **state)
{
    (void)fault_calm(state);
    ctx = shim_context(fault_token->pin_file);
    key = fault_open(ctx);
    return 0;
}

static int end(void **state)
{
    shim_calm(fault_shim);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    return fault_end(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, calm, end)

/* In a child, kn_proc.c makes a new lock of the one that the parent's thread holds; ThreadSanitizer takes it for held. */
static void skip_with_thread_sanitizer(void)
{
#ifdef __SANITIZE_THREAD__
    print_message("skipped: ThreadSanitizer does not follow a lock into the child\n");
    skip();
#endif
}

static void prefork(void)
{
    pid_t children[8];
    for (size_t i = 0; i < COUNT_OF(children); i++)
        children[i] = fault_child(key, 5);
    for (size_t i = 0; i < COUNT_OF(children); i++)
        fault_ends_well(children[i]);
    fault_works(key);
}

static void test_prefork(void **state)
{
    (void)state;
    skip_with_thread_sanitizer();
    prefork(); /* the parent has not signed yet */
    prefork();
    fault_row("peers", "8 prefork children sign at once", "8 of 8, the parent too");
}

/* The sessions were lost in the parent, which did not notice, or the token comes back in another slot in the child's time. */
static void test_children_of_a_loss(void **state)
{
    (void)state;
    skip_with_thread_sanitizer();
    assert_ok(fault_sign(key));
    shim_close_sessions(fault_shim);
    fault_ends_well(fault_child(key, 3));
    fault_works(key);
    shim_take_out(fault_shim);
    shim_put_in(fault_shim, 5);
    fault_ends_well(fault_child(key, 3));
    fault_works(key);
    shim_put_in(fault_shim, 0);
}

static void test_fork_while_threads_sign(void **state)
{
    fault_worker w[4];
    atomic_bool stop;
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: the sanitizer's own locks do not survive a fork of several threads\n");
    skip();
#endif
    atomic_init(&stop, false);
    fault_start(w, COUNT_OF(w), key, UINT32_MAX, &stop);
    for (int i = 0; i < 10; i++)
        fault_ends_well(fault_child(key, 3));
    atomic_store(&stop, true);
    fault_finish(w, COUNT_OF(w));
    fault_row("peers", "fork while 4 threads sign, 10 times", "0 hang, every child signs");
}

/* What the first signature of a child costs, in calls: no more than a first start, and one login. */
static void test_calls_of_a_child(void **state)
{
    (void)state;
    skip_with_thread_sanitizer();
    assert_ok(fault_sign(key));
    shim_reset_calls(fault_shim);
    fault_ends_well(fault_child(key, 1));
    unsigned calls = shim_total(fault_shim);
    assert_in_range(calls, 5, 16);
    assert_int_equal(fault_calls(SHIM_C_Login), 1);
    assert_int_equal(fault_calls(SHIM_C_CloseSession), 0); /* the parent's are left alone */
    shim_reset_calls(fault_shim);
    fault_ends_well(fault_child(key, 2));
    assert_int_equal(shim_total(fault_shim), calls + 2);
    fault_row("processes", "first signature in a forked child", "%u Cryptoki calls, one of them C_Login; then 2 each", calls);
}

/* fork, setsid, fork, and standard descriptors closed, as daemon(3) does; the result comes through a pipe. */
static void test_daemon(void **state)
{
    int ends[2];
    char answer = '?';
    (void)state;
    skip_with_thread_sanitizer();
    assert_int_equal(pipe(ends), 0);
    pid_t first = fork();
    if (first == 0) {
        if (setsid() < 0 || fork() != 0)
            _exit(0);
        (void)alarm(FAULT_SECONDS);
        for (int i = 0; i < 3; i++)
            (void)close(i);
        char told = kn_failed(fault_sign(key)) || kn_failed(fault_sign(key)) ? 'n' : 'y';
        _exit(write(ends[1], &told, 1) == 1 ? 0 : 1);
    }
    assert_int_equal(waitpid(first, NULL, 0), first);
    (void)close(ends[1]);
    assert_int_equal(read(ends[0], &answer, 1), 1);
    (void)close(ends[0]);
    assert_int_equal(answer, 'y');
    fault_works(key);
    fault_row("processes", "daemonise after the key was opened", "the daemon signs");
}

/* Another program is started from a child while the parent signs on. */
static void test_exec(void **state)
{
    int status;
    (void)state;
    assert_ok(fault_sign(key));
    pid_t child = spawn("freed");
    fault_works(key);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    fault_works(key);
}

/* A grandchild, and a child that ends its context while the parent goes on. */
static void test_generations(void **state)
{
    (void)state;
    skip_with_thread_sanitizer();
    pid_t child = fork();
    if (child == 0) {
        int status = 1;
        pid_t grandchild = fault_child(key, 2);
        (void)waitpid(grandchild, &status, 0);
        bool good = status == 0 && !kn_failed(fault_sign(key));
        kn_key_unref(&key);
        kn_ctx_unref(&ctx);
        _exit(good ? 0 : 1);
    }
    fault_ends_well(child);
    fault_works(key);
}

/* ---- neighbours ---- */

typedef struct neighbour {
    CK_FUNCTION_LIST *fn;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE object;
} neighbour;

/* Opens a session and finds the key. */
static void move_in(neighbour *n, CK_FUNCTION_LIST *fn)
{
    static const CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_SLOT_ID slots[8];
    CK_ULONG count = 8, found = 0;
    CK_ATTRIBUTE template[] = {{CKA_CLASS, (void *)(uintptr_t)&class, sizeof class}, {CKA_LABEL, (void *)(uintptr_t)"device", 6}};
    n->fn = fn;
    assert_int_equal(fn->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    assert_int_equal(fn->C_OpenSession(slots[0], CKF_SERIAL_SESSION, NULL, NULL, &n->session), CKR_OK);
    CK_RV rv = fn->C_Login(n->session, CKU_USER, (CK_UTF8CHAR *)fault_token->pin, strlen(fault_token->pin));
    assert_true(rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN);
    assert_int_equal(fn->C_FindObjectsInit(n->session, template, 2), CKR_OK);
    assert_int_equal(fn->C_FindObjects(n->session, &n->object, 1, &found), CKR_OK);
    assert_int_equal(fn->C_FindObjectsFinal(n->session), CKR_OK);
    assert_int_equal(found, 1);
}

/* With the handles that it has had all the time. */
static void lives(const neighbour *n)
{
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    CK_BYTE digest[32] = {1}, signature[64];
    CK_ULONG length = sizeof signature;
    assert_int_equal(n->fn->C_SignInit(n->session, &mechanism, n->object), CKR_OK);
    assert_int_equal(n->fn->C_Sign(n->session, digest, sizeof digest, signature, &length), CKR_OK);
}

static void our_life(const neighbour *n)
{
    fault_works(key);
    lives(n);
    shim_fail(fault_shim, SHIM_C_SignInit, CKR_SESSION_HANDLE_INVALID, 1);
    fault_works(key);
    lives(n);
    shim_fail(fault_shim, SHIM_C_SignInit, CKR_DEVICE_REMOVED, 1);
    fault_works(key);
    lives(n);
    shim_fail(fault_shim, SHIM_C_SignInit, CKR_CRYPTOKI_NOT_INITIALIZED, 1);
    fault_works(key);
    lives(n);
    shim_fail(fault_shim, SHIM_C_SignInit, CKR_GENERAL_ERROR, 4);
    for (int i = 0; i < 4; i++)
        assert_true(kn_failed(fault_sign(key)));
    fault_works(key);
    lives(n);
    kn_ctx *other = shim_context(fault_token->pin_file);
    kn_key *second = fault_open(other);
    fault_works(second);
    kn_key_unref(&second);
    kn_ctx_unref(&other);
    lives(n);
}

/* One who uses p11-kit, as GnuTLS does: also our end is not his. */
static void test_neighbour_by_p11_kit(void **state)
{
    neighbour n;
    (void)state;
    CK_FUNCTION_LIST *fn = p11_kit_module_load(shim_module, 0);
    assert_non_null(fn);
    assert_int_equal(p11_kit_module_initialize(fn), CKR_OK);
    move_in(&n, fn);
    our_life(&n);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    lives(&n);
    ctx = shim_context(fault_token->pin_file);
    key = fault_open(ctx);
    fault_works(key);
    assert_int_equal(p11_kit_module_finalize(fn), CKR_OK); /* and his end is not ours */
    p11_kit_module_release(fn);
    fault_works(key);
    fault_row("processes", "another user of the module through p11-kit (GnuTLS)", "keeps its sessions through our faults and our end, and we through its end");
}

/* One who loads the module himself, as libp11's engine does, and was there before us. */
static void test_neighbour_who_loads_it_himself(void **state)
{
    neighbour n;
    CK_C_GetFunctionList get;
    CK_FUNCTION_LIST *fn = NULL;
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
    (void)state;
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    void *library = dlopen(shim_module, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    assert_int_equal(get(&fn), CKR_OK);
    assert_int_equal(fn->C_Initialize(&args), CKR_OK);
    move_in(&n, fn);
    ctx = shim_context(fault_token->pin_file);
    key = fault_open(ctx);
    our_life(&n);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    lives(&n);
    ctx = shim_context(fault_token->pin_file);
    key = fault_open(ctx);
    assert_int_equal(fn->C_Finalize(NULL), CKR_OK); /* which is the end for everybody, but for us */
    fault_works(key);
    (void)dlclose(library);
    fault_row("processes", "another user who loaded the module himself (libp11's engine)", "the same; when he calls C_Finalize we start the module again");
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return child_main(argv[1], argv[2]);
    const struct CMUnitTest tests[] = {
        FAULT_TEST(test_endings),
        TEST(test_prefork),
        TEST(test_children_of_a_loss),
        TEST(test_fork_while_threads_sign),
        TEST(test_calls_of_a_child),
        TEST(test_daemon),
        TEST(test_exec),
        TEST(test_generations),
        TEST(test_neighbour_by_p11_kit),
        TEST(test_neighbour_who_loads_it_himself),
    };
    return cmocka_run_group_tests(tests, fault_setup, fault_teardown);
}
