/* The frame of the `keynym` command: a table of subcommands, one set of option names, one way to report.
 *
 * Units: sizes in bytes, times in seconds. Ownership: rows are constant; arguments are borrowed from argv.
 * Errors: every function that fails has told the user on standard error and returns the exit status to end
 * with. Threads: none; the command is one thread. Spec: docs/man/keynym.1; exit status as in kn_exit.
 *
 * A new subcommand is one kn_cmd in a file of its own and one line in kn_cmds.c. An option that is new is one
 * line in kn_opt and one row in kn_cmd_options.c: the same name then means the same thing everywhere. No
 * option takes a PIN or any other secret, because every user of the machine can read a command line.
 */
#ifndef KN_CMD_H
#define KN_CMD_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum kn_exit {
    KN_EXIT_OK = 0,
    KN_EXIT_FAILURE = 1,     /* it did not work; the message says why */
    KN_EXIT_USAGE = 2,       /* the command line, or a value in it, is wrong */
    KN_EXIT_NOT_FOUND = 3,   /* what was named does not exist: a key, a token, an enrollment */
    KN_EXIT_UNAVAILABLE = 4, /* not now: no connection, no answer in time, throttled; trying later may help */
} kn_exit;

typedef enum kn_opt {
    KN_OPT_ID_SCOPE,
    KN_OPT_ENDPOINT,
    KN_OPT_TRANSPORT,
    KN_OPT_ATTESTATION,
    KN_OPT_PROXY,
    KN_OPT_PROXY_AUTH,
    KN_OPT_CA,
    KN_OPT_IDENTITY,
    KN_OPT_KEY,
    KN_OPT_CERT,
    KN_OPT_PIN_SOURCE,
    KN_OPT_SO_PIN_SOURCE,
    KN_OPT_MODULE,
    KN_OPT_TPM,
    KN_OPT_ATTESTATION_KEY,
    KN_OPT_NONCE,
    KN_OPT_ALGORITHM,
    KN_OPT_USAGE,
    KN_OPT_REGISTRATION_ID,
    KN_OPT_PAYLOAD,
    KN_OPT_SUBJECT,
    KN_OPT_DAYS,
    KN_OPT_PROFILE,
    KN_OPT_CODE,
    KN_OPT_CONNECTION,
    KN_OPT_GROUP,
    KN_OPT_DEFINITION,
    KN_OPT_SECONDARY_CERT,
    KN_OPT_CA_REFERENCE,
    KN_OPT_ENDORSEMENT_KEY,
    KN_OPT_SYMMETRIC_KEY,
    KN_OPT_SYMMETRIC_KEYS,
    KN_OPT_ALLOCATION,
    KN_OPT_REPROVISION,
    KN_OPT_TWIN,
    KN_OPT_EDGE,
    KN_OPT_ENABLED,
    KN_OPT_DISABLED,
    KN_OPT_ETAG,
    KN_OPT_MODE,
    KN_OPT_REGISTRATION,
    KN_OPT_HUB,
    KN_OPT_DEVICE_ID,
    KN_OPT_NO_REPROVISION,
    KN_OPT_CONTENT_TYPE,
    KN_OPT_PROPERTIES,
    KN_OPT_DURATION,
    KN_OPT_EVENTS,
    KN_OPT_TIMEOUT,
    KN_OPT_RETRY_STATE,
    KN_OPT_SPREAD,
    KN_OPT_OUTPUT,
    KN_OPT_JSON,
    KN_OPT_QUIET,
    KN_OPT_VERBOSE,
    KN_OPT_HELP, /* every command has it */
    KN_OPT_COUNT
} kn_opt;

typedef struct kn_opt_row {
    const char *name;  /* without the two dashes */
    const char *value; /* "FILE"; NULL: a switch */
    const char *help;
} kn_opt_row;

extern const kn_opt_row kn_opts[KN_OPT_COUNT];

typedef struct kn_cmd kn_cmd;

typedef struct kn_cmd_args {
    const kn_cmd *cmd;
    const char *path;                /* "keynym provision" */
    const char *value[KN_OPT_COUNT]; /* NULL: not given; a switch that is given is "" */
    int operand_count;
    char **operands;
} kn_cmd_args;

struct kn_cmd {
    const char *name;
    const char *summary;     /* one line, without a full stop */
    const char *synopsis;    /* what follows the command's name in the usage line */
    const char *description; /* whole lines */
    const kn_opt *options;   /* ends with KN_OPT_COUNT; NULL: only --help */
    int operands_max;
    kn_exit (*run)(const kn_cmd_args *args);
    const kn_cmd *const *children; /* ends with NULL; a command with children has no run */
};

/* All commands; ends with NULL. */
extern const kn_cmd *const kn_cmds[];

extern const kn_cmd kn_cmd_alias;
extern const kn_cmd kn_cmd_tpm;
extern const kn_cmd kn_cmd_ca;
extern const kn_cmd kn_cmd_cert;
extern const kn_cmd kn_cmd_doctor;
extern const kn_cmd kn_cmd_enroll;
extern const kn_cmd kn_cmd_hsm;
extern const kn_cmd kn_cmd_hub;
extern const kn_cmd kn_cmd_key;
extern const kn_cmd kn_cmd_provision;
extern const kn_cmd kn_cmd_token;

/* Finds argv[1] in @commands, reads its options and runs it. @path is what the user typed so far ("keynym").
 */
kn_exit kn_cmd_dispatch(const kn_cmd *const *commands, const char *path, int argc, char **argv);

/* As kn_cmd_dispatch(), and --version besides. */
kn_exit kn_cmd_main(const kn_cmd *const *commands, int argc, char **argv);

/* kn_cmd_options.c: fills @ret_args from @argv, whose first element is the command's name. */
kn_exit kn_cmd_parse(const kn_cmd *cmd, const char *path, int argc, char **argv, kn_cmd_args *ret_args);
void kn_cmd_print_help(const kn_cmd *cmd, const char *path);

/* A whole number from @min to @max in @ret_number, untouched when the option is not given. */
kn_exit kn_cmd_number(const kn_cmd_args *args, kn_opt option, unsigned min, unsigned max,
                      unsigned *ret_number);

/* KN_EXIT_USAGE when the option is not given. */
kn_exit kn_cmd_require(const kn_cmd_args *args, kn_opt option);

/* KN_EXIT_USAGE when the option's value is a URI that carries a PIN. */
kn_exit kn_cmd_refuse_pin(const kn_cmd_args *args, kn_opt option);

/* kn_cmd_report.c. "keynym: WHAT: DETAIL", and "  next: STEP" when @next is not NULL. Returns @status. */
kn_exit kn_cmd_fail(kn_exit status, const char *what, const char *next, const char *detail, ...)
    __attribute__((format(printf, 4, 5)));

/* For a wrong command line: the next step is the command's help. Returns KN_EXIT_USAGE. */
kn_exit kn_cmd_fail_usage(const char *path, const char *detail, ...) __attribute__((format(printf, 2, 3)));

/* Adds a string member unless @value is NULL. False when memory is out. */
bool kn_cmd_json_text(cJSON *object, const char *name, const char *value);

/* kn_cmd_json.c. Labels of tokens and messages of devices may hold any bytes, JSON is UTF-8 (RFC 8259): the text of @tree, with U+FFFD for
 * each byte that is none; free() it. NULL when memory is out, or @tree is NULL. */
char *kn_cmd_json_print(const cJSON *tree, bool formatted);
bool kn_cmd_is_utf8(const char *text);

/* Prints @tree and a line feed to standard output. Borrows @tree; NULL stands for "out of memory". */
kn_exit kn_cmd_print_json(const cJSON *tree);

/* Prints one JSON object of texts: NAME, VALUE, ..., NULL. A member whose value is NULL is left out. */
kn_exit kn_cmd_print_members(const char *name, ...) __attribute__((sentinel));

/* Standard output has been written, as far as the kernel can tell. */
kn_exit kn_cmd_flush(void);

/* kn_cmd_file.c. Reads a text file of at most @max bytes without a NUL in it; free() @ret_text. */
kn_exit kn_cmd_read_text(const char *path, size_t max, char **ret_text);

/* The same for a file with a secret, a regular file and no link, and only its owner may have access to it. kn_cmd_wipe() the text. */
kn_exit kn_cmd_read_secret(const char *path, size_t max, char **ret_text);

/* Wipes and releases a text, and sets NULL. Accepts a pointer to NULL. */
void kn_cmd_wipe(char **text);

#define KN_CMD_PATH_MAX 4096

/* @path as seen from the root, for what is stored or opened elsewhere. @buffer has KN_CMD_PATH_MAX bytes. Returns @path
 * itself where it is absolute already, NULL, or begins with a scheme ("file:", "credential:", "fd:"). */
const char *kn_cmd_absolute(const char *path, char *buffer);

/* Replaces or makes the file in one step, mode 0600: after a crash there is the old content or the new. */
kn_exit kn_cmd_write_text(const char *path, const char *text);

/* The same for a file that must not exist, such as one with a key: what has that name is left as it is. */
kn_exit kn_cmd_create_text(const char *path, const char *text);

/* KN_EXIT_FAILURE when there is anything of that name: to be asked before work begins whose result goes there. */
kn_exit kn_cmd_check_new(const char *path);

#endif
