#include "kn_cmd_terminal.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define FIRST_MS 500
#define EVERY_MS 1000
#define ERASE    "\r\033[K"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool runs, ends;
    unsigned hidden; /* how often */
    bool drawn;
    struct timespec from;
    char what[200], state[200], note[200]; /* "" for none */
} line = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool is_terminal(int fd)
{
    const char *term = getenv("TERM");

    return term && *term && strcmp(term, "dumb") != 0 && isatty(fd);
}

/* ---- the line ---- */

void kn_cmd_progress_fit(const char *text, unsigned columns, char *ret_line, size_t size)
{
    size_t room = columns > 1 ? columns - 1 : 0, length = strlen(text);

    if (room >= size)
        room = size - 1;
    if (length > room)
        length = room;
    for (size_t i = 0; i < length; i++)
        ret_line[i] = text[i];
    if (length < strlen(text) && length > 3)
        memcpy(ret_line + length - 3, "...", 3);
    ret_line[length] = '\0';
}

/* Needs the lock, as the next two. */
static void erase(void)
{
    if (line.drawn)
        (void)fputs(ERASE, stderr);
    line.drawn = false;
    (void)fflush(stderr);
}

static long passed_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - line.from.tv_sec) * 1000 + (now.tv_nsec - line.from.tv_nsec) / 1000000;
}

static void draw(void)
{
    struct winsize window = {.ws_col = 0};
    char whole[700], fitting[sizeof whole];

    if (line.hidden || passed_ms() < FIRST_MS)
        return;
    (void)ioctl(STDERR_FILENO, TIOCGWINSZ, &window);
    (void)snprintf(whole, sizeof whole, "%s%s%s%s%s (%ld s)", line.what, *line.state || *line.note ? ": " : "", line.state,
                   *line.state && *line.note ? ", " : "", line.note, passed_ms() / 1000);
    kn_cmd_progress_fit(whole, window.ws_col ? window.ws_col : 80, fitting, sizeof fitting);
    (void)fprintf(stderr, ERASE "%s", fitting);
    (void)fflush(stderr);
    line.drawn = true;
}

static void *draw_often(void *arg)
{
    struct timespec until;

    (void)arg;
    (void)pthread_mutex_lock(&line.lock);
    while (!line.ends) {
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += (line.drawn ? EVERY_MS : FIRST_MS) % 1000 * 1000000L;
        until.tv_sec += (line.drawn ? EVERY_MS : FIRST_MS) / 1000 + until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        (void)pthread_cond_timedwait(&line.changed, &line.lock, &until);
        if (!line.ends)
            draw();
    }
    (void)pthread_mutex_unlock(&line.lock);
    return NULL;
}

/* Signals are for the thread that works. */
static bool start_thread(void)
{
    sigset_t all, old;
    bool good;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    good = pthread_cond_init(&line.changed, NULL) == 0 && pthread_create(&line.thread, NULL, draw_often, NULL) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return good;
}

static void set_text(char ret_text[200], const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void set_text(char ret_text[200], const char *format, va_list args)
{
    (void)vsnprintf(ret_text, sizeof line.what, format, args);
    for (char *c = ret_text; *c; c++)
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
}

static const int ending[] = {SIGINT, SIGTERM};

static void erase_and_end(int number)
{
    static const char text[] = ERASE;

    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static void exchange_handlers(void (*from)(int), void (*to)(int))
{
    struct sigaction now;

    for (size_t i = 0; i < sizeof ending / sizeof *ending; i++)
        if (sigaction(ending[i], NULL, &now) == 0 && now.sa_handler == from)
            (void)signal(ending[i], to);
}

static bool may_be_typed(const kn_cmd_args *args)
{
    const char *sources[] = {args->value[KN_OPT_PIN_SOURCE], args->value[KN_OPT_SO_PIN_SOURCE], args->value[KN_OPT_KEY],
                             args->operand_count > 0 ? args->operands[0] : NULL};

    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        if (sources[i] && strstr(sources[i], "fd:"))
            return true;
    return false;
}

static bool is_wanted(const kn_cmd_args *args)
{
    return !args->value[KN_OPT_JSON] && !args->value[KN_OPT_QUIET] && !args->value[KN_OPT_VERBOSE] && !may_be_typed(args) &&
           is_terminal(STDERR_FILENO);
}

bool kn_cmd_progress_begin(const kn_cmd_args *args, const char *format, ...)
{
    va_list list;

    if (line.runs || !is_wanted(args))
        return false;
    va_start(list, format);
    set_text(line.what, format, list);
    va_end(list);
    *line.state = *line.note = '\0';
    line.ends = line.drawn = false;
    line.hidden = 0;
    (void)clock_gettime(CLOCK_MONOTONIC, &line.from);
    line.runs = start_thread();
    if (line.runs)
        exchange_handlers(SIG_DFL, erase_and_end);
    return line.runs;
}

void kn_cmd_progress(const char *format, ...)
{
    va_list list;

    if (!line.runs)
        return;
    (void)pthread_mutex_lock(&line.lock);
    va_start(list, format);
    set_text(line.state, format, list);
    va_end(list);
    *line.note = '\0';
    (void)pthread_cond_signal(&line.changed);
    (void)pthread_mutex_unlock(&line.lock);
}

static void set_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void set_note(const char *format, ...)
{
    va_list list;

    va_start(list, format);
    set_text(line.note, format, list);
    va_end(list);
}

void kn_cmd_progress_trace(const char *text, void *context)
{
    (void)context;
    if (!line.runs)
        return;
    (void)pthread_mutex_lock(&line.lock);
    set_note("%s", strstr(text, "next ") ? text : "");
    if (*line.note)
        (void)pthread_cond_signal(&line.changed);
    (void)pthread_mutex_unlock(&line.lock);
}

void kn_cmd_progress_hide(void)
{
    if (!line.runs)
        return;
    (void)pthread_mutex_lock(&line.lock);
    line.hidden++;
    erase();
    (void)pthread_mutex_unlock(&line.lock);
}

void kn_cmd_progress_show(void)
{
    if (!line.runs)
        return;
    (void)pthread_mutex_lock(&line.lock);
    line.hidden -= line.hidden > 0;
    (void)pthread_mutex_unlock(&line.lock);
}

void kn_cmd_progress_end(void)
{
    if (!line.runs)
        return;
    (void)pthread_mutex_lock(&line.lock);
    line.ends = true;
    (void)pthread_cond_signal(&line.changed);
    (void)pthread_mutex_unlock(&line.lock);
    (void)pthread_join(line.thread, NULL);
    (void)pthread_cond_destroy(&line.changed);
    line.runs = false;
    erase();
    exchange_handlers(erase_and_end, SIG_DFL);
}

/* ---- colours ---- */

const char *kn_cmd_style(FILE *stream, kn_style style)
{
    static const char *const codes[] = {
        [KN_STYLE_GOOD] = "\033[32m", [KN_STYLE_DOUBT] = "\033[33m", [KN_STYLE_BAD] = "\033[31m", [KN_STYLE_END] = "\033[0m"};
    const char *no_color = getenv("NO_COLOR");

    return is_terminal(fileno(stream)) && !(no_color && *no_color) ? codes[style] : "";
}
