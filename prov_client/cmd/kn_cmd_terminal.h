/* What the command does on a terminal and nowhere else: one line that tells what long work is at, and colours.
 *
 * The line stands on standard error, begins after half a second, is drawn anew every second with the seconds that have passed, and is
 * taken away before anything else is printed: what is left on the screen is what a pipe gets. There is none with --json, --quiet or
 * --verbose, when standard error is no terminal, when TERM is dumb or not set, or when a PIN may be typed (fd:N). Colours are on a stream that is a terminal, unless
 * TERM is so or NO_COLOR is set and not empty.
 *
 * Units: none. Ownership: nothing is kept. Errors: none; without the line the work is the same. Threads: a thread of its own draws;
 * all calls are the main thread's. SIGINT and SIGTERM, where nobody else handles them, take the line away before they end the process. Spec: ECMA-48 (EL, SGR); no-color.org.
 */
#ifndef KN_CMD_TERMINAL_H
#define KN_CMD_TERMINAL_H

#include "kn_cmd.h"

#include <stdio.h>

/* From here on the line may stand there, "WHAT: STATE, NOTE (12 s)"; this is WHAT. False: there is none, or there is one already, whose
 * end is another's. */
bool kn_cmd_progress_begin(const kn_cmd_args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* STATE: what the work is at now. Control characters and bytes that are not ASCII become '?'. */
void kn_cmd_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* For a request's on_trace: NOTE is the line that tells of a pause, until the next one. */
void kn_cmd_progress_trace(const char *line, void *context);

/* Takes the line away while something is printed. They may be called without a line, and nest. */
void kn_cmd_progress_hide(void);
void kn_cmd_progress_show(void);

void kn_cmd_progress_end(void);

/* @text, cut to fit into @columns with one to spare; in @ret_line, which has room for @size bytes. */
void kn_cmd_progress_fit(const char *text, unsigned columns, char *ret_line, size_t size);

typedef enum kn_style { KN_STYLE_GOOD, KN_STYLE_DOUBT, KN_STYLE_BAD, KN_STYLE_END } kn_style;

/* What begins the style on @stream, and what ends it; "" where there are no colours. */
const char *kn_cmd_style(FILE *stream, kn_style style);

#endif
