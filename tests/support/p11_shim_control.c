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

const char *shim_call_name(shim_call call)
{
    static const char *const names[] = {
#define SHIM_NAME(name, kind) #name,
        SHIM_CALLS(SHIM_NAME)
#undef SHIM_NAME
    };
    return names[call];
}

void shim_calm(shim *s)
{
    unsigned closings = atomic_load(&s->closings); /* what a module has followed must not come again */
    memset(s, 0, sizeof *s);
    atomic_store(&s->closings, closings);
}

void shim_reset_calls(shim *s)
{
    for (size_t i = 0; i < SHIM_CALL_COUNT; i++) {
        atomic_store(&s->calls[i], 0);
        atomic_store(&s->done[i], 0);
    }
}

unsigned shim_total(shim *s)
{
    unsigned total = 0;
    for (size_t i = 0; i < SHIM_CALL_COUNT; i++)
        total += atomic_load(&s->calls[i]);
    return total;
}

static void set_rule(shim_rule *rule, unsigned skip, unsigned times, unsigned long rv, bool after, shim_event event)
{
    atomic_store(&rule->times, 0);
    atomic_store(&rule->skip, skip);
    atomic_store(&rule->rv, rv);
    atomic_store(&rule->after, after);
    atomic_store(&rule->event, event);
    atomic_store(&rule->times, times);
}

void shim_fail(shim *s, shim_call call, unsigned long rv, unsigned times)
{
    set_rule(&s->rules[call], 0, times, rv, false, SHIM_NO_EVENT);
}

void shim_fail_nth(shim *s, shim_call call, unsigned nth, unsigned long rv, bool after)
{
    set_rule(&s->rules[call], nth - 1, 1, rv, after, SHIM_NO_EVENT);
}

void shim_happens(shim *s, shim_call call, unsigned nth, shim_event event)
{
    set_rule(&s->rules[call], nth - 1, 1, 0, false, event);
}

void shim_close_sessions(shim *s)
{
    (void)atomic_fetch_add(&s->closings, 1);
}

void shim_take_out(shim *s)
{
    atomic_store(&s->token_out, true);
    shim_close_sessions(s);
}

void shim_put_in(shim *s, unsigned long slot_shift)
{
    atomic_store(&s->slot_shift, slot_shift);
    atomic_store(&s->token_out, false);
}

kn_ctx *shim_context(const char *pin_file)
{
    kn_ctx *ctx = NULL;
    kn_config config = {.module_path = shim_module, .pin_source = pin_file};
    if (kn_failed(kn_ctx_new(&config, &ctx)))
        stop("kn_ctx_new");
    return ctx;
}
