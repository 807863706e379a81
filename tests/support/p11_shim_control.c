#include "p11_shim.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char *const shim_module = P11_SHIM;

static void stop(const char *what)
{
    (void)fprintf(stderr, "shim: %s: %s\n", what, kn_err_detail());
    abort();
}

shim *shim_new(const test_token *token)
{
    const char *path = test_token_path(token, "shim");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(shim)))
        stop(path);
    shim *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (s == MAP_FAILED)
        stop("mmap");
    memset(s, 0, sizeof *s); /* the same file as an earlier one's: a module that is still loaded looks at it */
    (void)setenv("KN_SHIM_MODULE", test_module, 1);
    (void)setenv("KN_SHIM_STATE", path, 1);
    return s;
}

void shim_free(shim **s)
{
    (void)munmap(*s, sizeof **s);
    *s = NULL;
}

void shim_reset_calls(shim *s)
{
    for (size_t i = 0; i < SHIM_CALL_COUNT; i++)
        atomic_store(&s->calls[i], 0);
}

unsigned shim_total(shim *s)
{
    unsigned total = 0;
    for (size_t i = 0; i < SHIM_CALL_COUNT; i++)
        total += atomic_load(&s->calls[i]);
    return total;
}

void shim_fail(shim *s, shim_call call, unsigned long rv, unsigned times)
{
    atomic_store(&s->fail_rv[call], rv);
    atomic_store(&s->fail_times[call], times);
}

kn_ctx *shim_context(const char *pin_file)
{
    kn_ctx *ctx = NULL;
    kn_config config = {.module_path = shim_module, .pin_source = pin_file};
    if (kn_failed(kn_ctx_new(&config, &ctx)))
        stop("kn_ctx_new");
    return ctx;
}
