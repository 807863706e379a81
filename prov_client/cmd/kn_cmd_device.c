#include "kn_cmd_device.h"
#include "kn_cmd_terminal.h"

#include "../../hsm_api/keynym_hsm.h"

#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_bool cancelled;
static volatile sig_atomic_t caught_signal;

static void on_signal(int number)
{
    caught_signal = number;
    atomic_store(&cancelled, true);
}

atomic_bool *kn_cmd_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    return &cancelled;
}

void kn_cmd_pass_signal_on(void)
{
    if (!caught_signal)
        return;
    (void)signal(caught_signal, SIG_DFL);
    (void)raise(caught_signal);
}

void kn_cmd_print_trace(const char *line, void *context)
{
    (void)context;
    (void)fprintf(stderr, "keynym: %s\n", line);
}

/* The HSM library's failures become part of our own message; what else it has to say is passed on. */
static void pass_hsm_line(int level, const char *line)
{
    if (level <= 1)
        return;
    kn_cmd_progress_hide();
    (void)fprintf(stderr, "keynym: %s\n", line);
    kn_cmd_progress_show();
}

kn_exit kn_cmd_set_identity(const kn_cmd_args *args, const char *what)
{
    char pin_source[KN_CMD_PATH_MAX];
    keynym_hsm_config config = {
        .size = sizeof config,
        .key = args->value[KN_OPT_KEY],
        .certificate = args->value[KN_OPT_CERT],
        .pin_source = kn_cmd_absolute(args->value[KN_OPT_PIN_SOURCE], pin_source),
        .module_path = args->value[KN_OPT_MODULE],
        .tpm = args->value[KN_OPT_TPM],
    };

    keynym_hsm_set_log(pass_hsm_line);
    if (!config.key && !config.certificate && !config.pin_source && !config.module_path && !config.tpm)
        return KN_EXIT_OK;
    if (keynym_hsm_configure(NULL, &config) == 0)
        return KN_EXIT_OK;
    return kn_cmd_fail(KN_EXIT_FAILURE, what, "check --key, --cert, --pin-source, --module and --tpm", "%s",
                       keynym_hsm_last_error());
}

/* The file holds "USER:PASSWORD" and at most one line feed. */
kn_exit kn_cmd_proxy_of(const kn_cmd_args *args, kn_cmd_proxy *ret_proxy)
{
    const char *path = args->value[KN_OPT_PROXY_AUTH], *url = args->value[KN_OPT_PROXY];
    kn_exit status;
    char *user, *colon;

    if (url && strchr(url, '@'))
        return kn_cmd_fail_usage(args->path,
                                 "--proxy carries a user: put USER:PASSWORD into a file for --proxy-auth");
    *ret_proxy = (kn_cmd_proxy){.url = url};
    if (!path)
        return KN_EXIT_OK;
    if ((status = kn_cmd_read_secret(path, 512, &user)))
        return status;
    user[strcspn(user, "\r\n")] = '\0';
    colon = strchr(user, ':');
    if (!colon) {
        kn_cmd_wipe(&user);
        return kn_cmd_fail(KN_EXIT_USAGE, path, "write USER:PASSWORD into it", "holds no user and password");
    }
    *colon = '\0';
    ret_proxy->user = user;
    ret_proxy->password = colon + 1;
    return KN_EXIT_OK;
}

void kn_cmd_proxy_clear(kn_cmd_proxy *proxy)
{
    if (proxy->user)
        OPENSSL_cleanse(proxy->user, (size_t)(proxy->password - proxy->user) + strlen(proxy->password));
    free(proxy->user);
    *proxy = (kn_cmd_proxy){.user = NULL};
}

kn_exit kn_cmd_exit_of(kn_prov_code code)
{
    switch (code) {
    case KN_PROV_OK:
        return KN_EXIT_OK;
    case KN_PROV_E_ARGUMENT:
        return KN_EXIT_USAGE;
    case KN_PROV_E_NOT_ENROLLED:
        return KN_EXIT_NOT_FOUND;
    case KN_PROV_E_TIMEOUT:
    case KN_PROV_E_RESOLVE:
    case KN_PROV_E_UNREACHABLE:
    case KN_PROV_E_CLOSED:
    case KN_PROV_E_THROTTLED:
    case KN_PROV_E_SERVICE:
        return KN_EXIT_UNAVAILABLE;
    case KN_PROV_E_MEMORY:
    case KN_PROV_E_CANCELLED:
    case KN_PROV_E_IDENTITY:
    case KN_PROV_E_KEY:
    case KN_PROV_E_CERTIFICATE:
    case KN_PROV_E_KEY_MISMATCH:
    case KN_PROV_E_CA_FILE:
    case KN_PROV_E_PROXY:
    case KN_PROV_E_TLS:
    case KN_PROV_E_SERVER_UNTRUSTED:
    case KN_PROV_E_TLS_VERSION:
    case KN_PROV_E_SERVER_NAME:
    case KN_PROV_E_CERTIFICATE_REFUSED:
    case KN_PROV_E_PROTOCOL:
    case KN_PROV_E_CONNECT_REFUSED:
    case KN_PROV_E_RESPONSE:
    case KN_PROV_E_UNAUTHORIZED:
    case KN_PROV_E_DISABLED:
    case KN_PROV_E_NO_HUB:
    case KN_PROV_E_FAILED:
    case KN_PROV_E_REFUSED:
        break;
    }
    return KN_EXIT_FAILURE;
}
