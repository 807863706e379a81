#include "kn_secret.h"

#include "support/kn_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static void test_copies(void **state)
{
    char data[] = "a secret";
    kn_secret *secret = NULL;
    (void)state;
    assert_ok(kn_secret_new(data, 8, &secret));
    data[0] = 'X';
    assert_int_equal(kn_secret_length(secret), 8);
    assert_memory_equal(kn_secret_data(secret), "a secret", 8);
    kn_secret_free(&secret);
    assert_null(secret);
    kn_secret_free(&secret);
    assert_ok(kn_secret_new(NULL, 0, &secret));
    assert_int_equal(kn_secret_length(secret), 0);
    kn_secret_free(&secret);
    char *much = malloc(100000);
    assert_non_null(much);
    memset(much, 's', 100000);
    assert_ok(kn_secret_new(much, 100000, &secret));
    assert_memory_equal(kn_secret_data(secret), much, 100000);
    kn_secret_free(&secret);
    free(much);
}

/* Does the kernel list @flag for the page at @address? */
static bool page_has(const void *address, const char *flag)
{
    FILE *file = fopen("/proc/self/smaps", "r");
    char line[512];
    bool here = false, found = false;
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        unsigned long low, high;
        char colon[2];
        if (sscanf(line, "%lx-%lx %1s", &low, &high, colon) == 3)
            here = (uintptr_t)address >= low && (uintptr_t)address < high;
        else if (here && !strncmp(line, "VmFlags:", 8))
            found = strstr(line, flag) != NULL;
    }
    (void)fclose(file);
    return found;
}

static void test_page_is_locked_and_not_dumped(void **state)
{
    kn_secret *secret = NULL;
    (void)state;
    void *ordinary = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(ordinary, MAP_FAILED);
    *(char *)ordinary = 'x';
    assert_ok(kn_secret_new("a secret", 8, &secret));
    /* the test sees what it looks for: an ordinary page has neither flag */
    assert_true(page_has(ordinary, " rd"));
    assert_false(page_has(ordinary, " dd"));
    assert_false(page_has(ordinary, " lo"));
    assert_true(page_has(kn_secret_data(secret), " dd"));
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("lock not looked at: sanitizers make mlock() do nothing\n");
#else
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
    if (limit.rlim_cur >= 65536 || geteuid() == 0)
        assert_true(page_has(kn_secret_data(secret), " lo"));
    else
        print_message("not looked at: RLIMIT_MEMLOCK allows no locked page\n");
#endif
    kn_secret_free(&secret);
    (void)munmap(ordinary, 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_page_is_locked_and_not_dumped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
