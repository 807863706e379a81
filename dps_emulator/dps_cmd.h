/* Units:     none.
 * Ownership: rows are constant; a command borrows its arguments.
 * Errors:    a command returns its exit code and has printed why on stderr.
 * Threads:   one thread.
 * Spec:      the command line of keynym-dps(1): one row per command. */
#ifndef DPS_CMD_H
#define DPS_CMD_H

#include <stddef.h>

#include "dps_fail.h"

typedef struct dps_cmd {
    const char *name;                                             /* "serve", "group create" */
    const char *summary;                                          /* one line for the list of commands */
    const char *help;                                             /* everything after "Usage: keynym-dps " */
    int (*run)(const struct dps_cmd *cmd, int argc, char **argv); /* argv[0] is the last word of the name */
} dps_cmd;

extern const dps_cmd dps_cmd_serve;
extern const dps_cmd dps_cmd_group_create;
extern const dps_cmd dps_cmd_group_list;
extern const dps_cmd dps_cmd_group_show;
extern const dps_cmd dps_cmd_group_delete;
extern const dps_cmd dps_cmd_group_enable;
extern const dps_cmd dps_cmd_group_disable;
extern const dps_cmd dps_cmd_group_key;
extern const dps_cmd dps_cmd_enrollment_create;
extern const dps_cmd dps_cmd_enrollment_list;
extern const dps_cmd dps_cmd_enrollment_show;
extern const dps_cmd dps_cmd_enrollment_delete;
extern const dps_cmd dps_cmd_enrollment_enable;
extern const dps_cmd dps_cmd_enrollment_disable;
extern const dps_cmd dps_cmd_enrollment_key;
extern const dps_cmd dps_cmd_certificate_add;
extern const dps_cmd dps_cmd_certificate_list;
extern const dps_cmd dps_cmd_certificate_delete;
extern const dps_cmd dps_cmd_certificate_code;
extern const dps_cmd dps_cmd_certificate_verify;
extern const dps_cmd dps_cmd_connection_string;
extern const dps_cmd dps_cmd_registrations;
extern const dps_cmd dps_cmd_events;
extern const dps_cmd dps_cmd_send;
extern const dps_cmd dps_cmd_twin_show;
extern const dps_cmd dps_cmd_twin_update;
extern const dps_cmd dps_cmd_fault_add;
extern const dps_cmd dps_cmd_fault_list;
extern const dps_cmd dps_cmd_fault_clear;

/* In the order of the help text; NULL-terminated. */
extern const dps_cmd *const dps_cmds[];

/* All of main(). */
int dps_cmd_main(int argc, char **argv);

void dps_cmd_help(const dps_cmd *cmd);
/* Prints "keynym-dps <name>: <text>" and returns the exit code. */
int dps_cmd_failed(const dps_cmd *cmd, const dps_fail *fail);
/* Prints what is wrong with the command line and how to get help; returns DPS_EXIT_USAGE. */
int dps_cmd_usage(const dps_cmd *cmd, const char *fmt, ...) DPS_PRINTF(2, 3);

/* Options of a command, parsed alike by all of them: "--name value" and "--name=value". */
typedef struct dps_opt {
    const char *name;   /* without the dashes */
    const char **value; /* where the value goes; NULL for a flag */
    bool *flag;
    const char **values; /* instead of value: an array of values_max, for options that may be repeated */
    size_t values_max;
    size_t *values_count;
    bool required;
} dps_opt;

/* True: go on. False: return *@ret_exit (help was printed, or the mistake was). @opts ends with a NULL name.
 */
DPS_MUST_CHECK bool dps_cmd_options(const dps_cmd *cmd, int argc, char **argv, const dps_opt *opts,
                                    int *ret_exit);
/* A decimal number of @min..@max. */
DPS_MUST_CHECK bool dps_cmd_number(const char *text, long min, long max, long *ret_number);

#endif
