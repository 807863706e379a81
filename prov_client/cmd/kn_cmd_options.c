#include "kn_cmd.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const kn_opt_row kn_opts[KN_OPT_COUNT] = {
    [KN_OPT_ID_SCOPE] = {"id-scope", "SCOPE", "ID scope of the provisioning service"},
    [KN_OPT_ENDPOINT] = {"endpoint", "HOST[:PORT]",
                         "provisioning service (global.azure-devices-provisioning.net)"},
    [KN_OPT_TRANSPORT] = {"transport", "NAME", "mqtt (the default), mqtt-ws, amqp, amqp-ws or https"},
    [KN_OPT_ATTESTATION] = {"attestation", "NAME", "x509 (the default), symmetric-key or tpm"},
    [KN_OPT_PROXY] = {"proxy", "URL",
                      "http://HOST:PORT or socks5h://HOST:PORT; \"\" for none (the environment's)"},
    [KN_OPT_PROXY_AUTH] = {"proxy-auth", "FILE",
                           "file with USER:PASSWORD for the proxy, readable by its owner only"},
    [KN_OPT_CA] = {"ca", "FILE", "PEM file with the only roots to trust (the system's)"},
    [KN_OPT_IDENTITY] = {"identity", "NAME", "which identity of the configuration (the one without a name)"},
    [KN_OPT_KEY] = {"key", "ALIAS", "private key: a pkcs11: or tpm2: URI, or a PEM file with an alias"},
    [KN_OPT_CERT] = {"cert", "CERT", "certificate chain, leaf first: a PEM file, or a pkcs11: URI"},
    [KN_OPT_PIN_SOURCE] = {"pin-source", "SOURCE", "where the token's user PIN is: a file, credential:NAME or fd:N"},
    [KN_OPT_SO_PIN_SOURCE] = {"so-pin-source", "SOURCE", "where the security officer's PIN is, likewise"},
    [KN_OPT_MODULE] = {"module", "PATH", "PKCS#11 module to load (those registered with p11-kit)"},
    [KN_OPT_TPM] = {"tpm", "URI", "TPM that attests: tpm2:tcti=CONF;owner-auth=FILE;... (the kernel's)"},
    [KN_OPT_ATTESTATION_KEY] = {"attestation-key", "ALIAS", "attestation key that certifies the key, of the same TPM: a tpm2: URI or a PEM file"},
    [KN_OPT_NONCE] = {"nonce", "HEX", "what the one who asked for the certification sent, to be in it (random)"},
    [KN_OPT_ALGORITHM] = {"algorithm", "NAME", "EC:P-256 (the default), EC:P-384, EC:P-521, RSA:2048, RSA:3072, RSA:4096, ED25519, ED448, X25519 or X448"},
    [KN_OPT_USAGE] = {"usage", "LIST", "what the key may do, of sign, decrypt and derive (sign; X25519 and X448: derive)"},
    [KN_OPT_REGISTRATION_ID] = {"registration-id", "ID", "registration ID (the certificate's common name)"},
    [KN_OPT_PAYLOAD] = {"payload", "FILE", "JSON file for the service's allocation policy"},
    [KN_OPT_SUBJECT] = {"subject", "NAME", "common name of the certificate"},
    [KN_OPT_DAYS] = {"days", "N", "how long the certificate is valid"},
    [KN_OPT_PROFILE] = {"profile", "NAME", "device (the default) or intermediate: what the certificate may be used for"},
    [KN_OPT_CODE] = {"code", "CODE", "the verification code that the service has made"},
    [KN_OPT_CONNECTION] = {"connection", "FILE", "file with the service's connection string, readable by its owner only"},
    [KN_OPT_GROUP] = {"group", NULL, "an enrollment group instead of the enrollment of one device"},
    [KN_OPT_DEFINITION] = {"definition", "FILE", "JSON file with the enrollment; the other options change it"},
    [KN_OPT_SECONDARY_CERT] = {"secondary-cert", "FILE", "PEM file with a second certificate that is as good"},
    [KN_OPT_CA_REFERENCE] = {"ca-reference", "NAME", "name of a verified certificate of the service"},
    [KN_OPT_ENDORSEMENT_KEY] = {"endorsement-key", "FILE", "file with the TPM's endorsement key in base64"},
    [KN_OPT_SYMMETRIC_KEY] = {"symmetric-key", NULL, "symmetric keys, which the service makes"},
    [KN_OPT_SYMMETRIC_KEYS] = {"symmetric-keys", "FILE",
                               "file with the primary and the secondary key in base64, a line each, readable by its owner only"},
    [KN_OPT_ALLOCATION] = {"allocation", "POLICY", "hashed, static, geoLatency or custom (the service's)"},
    [KN_OPT_REPROVISION] = {"reprovision", "POLICY", "migrate, reset or never: what becomes of a device's data when it registers again"},
    [KN_OPT_TWIN] = {"twin", "FILE", "JSON file with the initial twin: tags and desired properties"},
    [KN_OPT_EDGE] = {"iot-edge", NULL, "the device is an IoT Edge device"},
    [KN_OPT_ENABLED] = {"enabled", NULL, "the enrollment lets devices in"},
    [KN_OPT_DISABLED] = {"disabled", NULL, "the enrollment keeps devices out"},
    [KN_OPT_ETAG] = {"etag", "ETAG", "only if the enrollment still has this ETag"},
    [KN_OPT_MODE] = {"mode", "MODE", "create, update, updateIfMatchETag or delete"},
    [KN_OPT_REGISTRATION] = {"registration", "FILE", "what keynym provision --output wrote"},
    [KN_OPT_HUB] = {"hub", "HOST[:PORT]", "the IoT hub (the registration's)"},
    [KN_OPT_DEVICE_ID] = {"device-id", "ID", "the device ID at the hub (the registration's)"},
    [KN_OPT_NO_REPROVISION] = {"no-reprovision", NULL, "do not register again when the hub refuses the device"},
    [KN_OPT_CONTENT_TYPE] = {"content-type", "TYPE", "what the message holds, for example application/json"},
    [KN_OPT_PROPERTIES] = {"properties", "NAME=VALUE&...", "application properties, percent-encoded"},
    [KN_OPT_DURATION] = {"duration", "SECONDS", "end after this time (never)"},
    [KN_OPT_EVENTS] = {"events", "N", "end after so many messages and changes; fewer are a failure (any)"},
    [KN_OPT_TIMEOUT] = {"timeout", "SECONDS", "limit for the whole command (300)"},
    [KN_OPT_RETRY_STATE] = {"retry-state", "FILE", "keep the back-off in FILE through restarts and reboots (not kept)"},
    [KN_OPT_SPREAD] = {"spread", "SECONDS", "begin after a random pause of up to this time (0)"},
    [KN_OPT_OUTPUT] = {"output", "FILE", "write the result into FILE, in one step"},
    [KN_OPT_JSON] = {"json", NULL, "print JSON instead of text"},
    [KN_OPT_QUIET] = {"quiet", NULL, "print nothing but errors"},
    [KN_OPT_VERBOSE] = {"verbose", NULL, "tell each step on standard error"},
    [KN_OPT_HELP] = {"help", NULL, "show this text"},
};

#define GETOPT_BASE 1000 /* above all characters, so that getopt's '?' is no option */

static size_t add_long_option(kn_opt option, struct option *ret_option)
{
    *ret_option = (struct option){
        .name = kn_opts[option].name,
        .has_arg = kn_opts[option].value ? required_argument : no_argument,
        .val = GETOPT_BASE + (int)option,
    };
    return 1;
}

static void make_long_options(const kn_cmd *cmd, struct option ret_options[KN_OPT_COUNT + 1])
{
    size_t count = add_long_option(KN_OPT_HELP, &ret_options[0]);

    for (const kn_opt *option = cmd->options; option && *option != KN_OPT_COUNT; option++)
        count += add_long_option(*option, &ret_options[count]);
    ret_options[count] = (struct option){.name = NULL};
}

/* The option as it was typed, without a value behind '=': that might be a secret. */
static kn_exit fail_option(const char *path, const char *text, const char *problem)
{
    return kn_cmd_fail_usage(path, "%.*s %s", (int)strcspn(text, "="), text, problem);
}

/* getopt_long() takes any unambiguous beginning of a name. A script that relies on one breaks with the next
 * new option, and "--pin 1234" would be taken for --pin-source. */
static bool is_spelled_out(const char *text, const char *name)
{
    size_t size = strlen(name);

    return strncmp(text, "--", 2) == 0 && strncmp(text + 2, name, size) == 0 &&
           (text[2 + size] == '\0' || text[2 + size] == '=');
}

/* Looks at what getopt_long() just found and notes it. */
static kn_exit take_option(kn_cmd_args *args, int found, char **argv)
{
    const char *text = argv[optind - 1];
    int option = found - GETOPT_BASE;

    if (found == 'h') {
        args->value[KN_OPT_HELP] = "";
        return KN_EXIT_OK;
    }
    if (found == ':')
        return fail_option(args->path, text, "needs a value");
    if (option < 0)
        return fail_option(args->path, text, "is unknown or malformed");
    if (optarg == text) /* a value of its own: the option is the word before */
        text = argv[optind - 2];
    if (!is_spelled_out(text, kn_opts[option].name))
        return fail_option(args->path, text, "is unknown");
    if (args->value[option])
        return fail_option(args->path, text, "is given twice");
    args->value[option] = optarg ? optarg : "";
    return KN_EXIT_OK;
}

kn_exit kn_cmd_parse(const kn_cmd *cmd, const char *path, int argc, char **argv, kn_cmd_args *ret_args)
{
    kn_cmd_args args = {.cmd = cmd, .path = path};
    struct option options[KN_OPT_COUNT + 1];
    int found;

    make_long_options(cmd, options);
    optind = 0; /* glibc: start afresh */
    opterr = 0;
    while ((found = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        kn_exit status = take_option(&args, found, argv);

        if (status)
            return status;
    }
    args.operand_count = argc - optind;
    args.operands = argv + optind;
    if (args.operand_count > cmd->operands_max && !args.value[KN_OPT_HELP])
        return kn_cmd_fail_usage(path, "unexpected argument \"%s\"", args.operands[cmd->operands_max]);
    *ret_args = args;
    return KN_EXIT_OK;
}

static void print_option(kn_opt option)
{
    const kn_opt_row *row = &kn_opts[option];
    char left[64];

    (void)snprintf(left, sizeof left, "--%s%s%s", row->name, row->value ? " " : "",
                   row->value ? row->value : "");
    (void)printf("  %-24s %s\n", left, row->help);
}

void kn_cmd_print_help(const kn_cmd *cmd, const char *path)
{
    (void)printf("Usage: %s %s\n\n%s\nOptions:\n", path, cmd->synopsis, cmd->description);
    for (const kn_opt *option = cmd->options; option && *option != KN_OPT_COUNT; option++)
        print_option(*option);
    print_option(KN_OPT_HELP);
}

kn_exit kn_cmd_number(const kn_cmd_args *args, kn_opt option, unsigned min, unsigned max,
                      unsigned *ret_number)
{
    const char *text = args->value[option];
    unsigned long number;
    char *end;

    if (!text)
        return KN_EXIT_OK;
    number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || strlen(text) > 10 || number < min || number > max)
        return kn_cmd_fail_usage(args->path, "--%s \"%s\" is not a whole number from %u to %u",
                                 kn_opts[option].name, text, min, max);
    *ret_number = (unsigned)number;
    return KN_EXIT_OK;
}

kn_exit kn_cmd_require(const kn_cmd_args *args, kn_opt option)
{
    if (args->value[option])
        return KN_EXIT_OK;
    return kn_cmd_fail_usage(args->path, "--%s %s is required", kn_opts[option].name, kn_opts[option].value);
}

/* The value itself is not repeated: it holds the PIN. */
kn_exit kn_cmd_refuse_pin(const kn_cmd_args *args, kn_opt option)
{
    if (!args->value[option] || !strstr(args->value[option], "pin-value"))
        return KN_EXIT_OK;
    return kn_cmd_fail(KN_EXIT_USAGE, args->path, "put the PIN into a file and name it with --pin-source",
                       "--%s carries a PIN, which every user of this machine can read; change that PIN",
                       kn_opts[option].name);
}
