/* The path of this test program, for running it again with arguments. Under valgrind /proc/self/exe cannot be run, but it can
 * be read. */
#ifndef TEST_SELF_H
#define TEST_SELF_H

#include <unistd.h>

static inline char *test_self(void)
{
    static char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    return path;
}

#endif
