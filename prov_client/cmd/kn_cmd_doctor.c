/* keynym doctor: everything between a device and its service, step by step. */
#include "kn_cmd_checks.h"
#include "kn_cmd_doctor_net.h"
#include "kn_cmd_doctor_tpm.h"
#include "kn_cmd_hsm.h"

#include "kn_cmd_backend.h"
#include "kn_cmd_chain.h"

#include "../../hsm_api/hsm_client_data.h"
#include "../../hsm_api/keynym_hsm.h"
#include "../../hsm_api/keynym_hsm_sas.h"
#include "kn_token.h"

#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>

#define NOT_LOOKED_AT  "not looked at: what it needs has failed"
#define CLOCK_EARLIEST 1767225600 /* 2026-01-01: before this program was written */
#define RENEW_DAYS     30         /* days before the end of a certificate in which that is said */

typedef struct patient {
    kn_checks checks;
    char *key_setting, *symmetric_setting, *tpm_setting; /* NULL: not configured */
    kn_ctx *ctx;
    char *chain_pem, *key_pem; /* as the SDK gets them; NULL: it does not */
    kn_cmd_chain chain;
} patient;

/* ---- configuration ---- */

static bool check_configuration(patient *p)
{
    char *pin_source, *module_path;
    if (hsm_client_x509_init()) {
        kn_check_fail(&p->checks, "configuration", NULL, "%s", keynym_hsm_last_error());
        return false;
    }
    p->key_setting = keynym_hsm_setting("key");
    p->symmetric_setting = keynym_hsm_setting("symmetric_key");
    p->tpm_setting = keynym_hsm_setting("tpm");
    if (!p->key_setting && !p->symmetric_setting && !p->tpm_setting) {
        kn_check_fail(&p->checks, "configuration", "name the key, or the TPM that attests: --key, --tpm, KEYNYM_HSM_KEY, or key in section [keynym_hsm] of "
                                                   "/etc/keynym/keynym.cnf", "nobody says which key the device has");
        return false;
    }
    pin_source = keynym_hsm_setting("pin_source");
    module_path = keynym_hsm_setting("module_path");
    kn_config config = {.pin_source = pin_source, .module_path = module_path};
    kn_err err = kn_ctx_new(&config, &p->ctx);
    free(pin_source);
    free(module_path);
    if (kn_failed(err)) {
        kn_check_fail(&p->checks, "configuration", kn_code_remedy(err.code), "%s", kn_err_detail());
        return false;
    }
    kn_check_ok(&p->checks, "configuration", "%s", p->key_setting ? "X.509" : p->symmetric_setting ? "symmetric key" : "TPM attestation");
    return true;
}

/* ---- module, token, PIN, login: one call, and its error says how far it came ---- */

enum stage { MODULE, TOKEN, PIN, LOGIN, STAGE_COUNT };
static const char *const stage_names[STAGE_COUNT] = {"module", "token", "PIN source", "login"};

static enum stage stage_of(kn_code code)
{
    static const struct {
        kn_code code;
        enum stage stage;
    } rows[] = {
        {KN_E_MODULE_LOAD, MODULE},  {KN_E_MODULE_INIT, MODULE},  {KN_E_NO_MODULE, MODULE},   {KN_E_NO_PIN, PIN},
        {KN_E_PIN_SOURCE, PIN},      {KN_E_PIN_INCORRECT, LOGIN}, {KN_E_PIN_LAST_TRY, LOGIN}, {KN_E_PIN_LOCKED, LOGIN},
        {KN_E_PIN_STATE, LOGIN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].code == code)
            return rows[i].stage;
    return TOKEN;
}

static void count_row(const kn_object_info *info, void *arg)
{
    (void)info;
    ++*(unsigned *)arg;
}

static bool check_token(patient *p, const char *uri)
{
    unsigned objects = 0;
    kn_err err = kn_token_objects(p->ctx, uri, count_row, &objects);
    enum stage reached = kn_failed(err) ? stage_of(err.code) : STAGE_COUNT;
    for (int i = 0; i < STAGE_COUNT; i++) {
        if (i < (int)reached)
            kn_check_ok(&p->checks, stage_names[i], i == LOGIN ? "%u objects" : "ready", objects);
        else if (i == (int)reached)
            kn_check_fail(&p->checks, stage_names[i], kn_code_remedy(err.code), "%s: %s", kn_code_sentence(err.code),
                          kn_err_detail());
        else
            kn_check_skip(&p->checks, stage_names[i], NOT_LOOKED_AT);
    }
    return !kn_failed(err);
}

/* ---- the key ---- */

typedef struct slot_search {
    const char *serial;
    bool found;
    unsigned long slot;
    char module[256];
} slot_search;

static void look_for_slot(const kn_token_info *info, void *arg)
{
    slot_search *s = arg;
    if (s->found || strcmp(info->serial, s->serial))
        return;
    s->found = true;
    s->slot = info->slot;
    (void)snprintf(s->module, sizeof s->module, "%s", info->module);
}

static void check_custody(patient *p, kn_key *key, bool in_tpm)
{
    kn_custody custody;
    char doubts[KN_CUSTODY_DOUBTS_MAX];
    kn_err err = kn_key_inspect(key, &custody);
    if (kn_failed(err)) {
        kn_check_fail(&p->checks, "six facts", kn_code_remedy(err.code), "%s", kn_err_detail());
        return;
    }
    slot_search search = {.serial = custody.serial};
    if (in_tpm)
        ; /* which has been told of */
    else if (!kn_failed(kn_token_list(p->ctx, look_for_slot, &search)) && search.found)
        kn_check_ok(&p->checks, "slot", "%lu of %s: token '%s', serial %s", search.slot, search.module, custody.token,
                    custody.serial);
    else
        kn_check_ok(&p->checks, "slot", "token '%s', serial %s", custody.token, custody.serial);
    kn_custody_doubts(&custody, doubts, sizeof doubts);
    if (kn_custody_holds(&custody))
        kn_check_ok(&p->checks, "six facts", "made in the token, never outside, never extractable");
    else
        kn_check_fail(&p->checks, "six facts", "make a key in the token (keynym key generate), and have it certified",
                      "the key was, or could have been, outside the token: %s", doubts);
}

static void check_key(patient *p, const kn_alias *alias, bool in_tpm)
{
    kn_alias *bare = NULL;
    kn_key *key = NULL;
    kn_err err = kn_alias_new(kn_alias_uri(alias), NULL, &bare);
    if (!kn_failed(err))
        err = kn_key_open(p->ctx, bare, &key);
    if (err.code == KN_E_NO_PUBLIC && kn_alias_public(alias))
        err = kn_key_open(p->ctx, alias, &key);
    if (kn_failed(err)) {
        kn_check_fail(&p->checks, "key", kn_code_remedy(err.code), "%s: %s", kn_code_sentence(err.code), kn_err_detail());
        kn_check_skip(&p->checks, "six facts", NOT_LOOKED_AT);
    } else {
        kn_check_ok(&p->checks, "key", "%s", kn_key_public(key)->alg->name);
        check_custody(p, key, in_tpm);
    }
    kn_key_unref(&key);
    kn_alias_free(&bare);
}

static void check_hardware(patient *p)
{
    kn_alias *alias = NULL;
    kn_err err = kn_alias_from_argument(p->key_setting, &alias);
    if (kn_failed(err)) {
        kn_check_fail(&p->checks, "alias", kn_code_remedy(err.code), "%s: %s", kn_code_sentence(err.code), kn_err_detail());
        return;
    }
    const char *uri = kn_alias_uri(alias);
    bool in_tpm = strncmp(uri, "tpm2:", 5) == 0;
    if (in_tpm ? kn_cmd_doctor_tpm(&p->checks, p->ctx, uri, false) : check_token(p, uri)) {
        check_key(p, alias, in_tpm);
    } else {
        kn_check_skip(&p->checks, "key", NOT_LOOKED_AT);
        kn_check_skip(&p->checks, "six facts", NOT_LOOKED_AT);
    }
    kn_alias_free(&alias);
}

/* ---- what the SDK gets ---- */

static void check_validity(patient *p)
{
    time_t now = time(NULL), soon = now + RENEW_DAYS * 24 * 3600;
    for (size_t i = 0; i < p->chain.count; i++) {
        const X509 *cert = p->chain.cert[i];
        char subject[200], end[32];
        kn_cmd_subject(cert, subject, sizeof subject);
        kn_cmd_time(X509_get0_notAfter(cert), end, sizeof end);
        if (X509_cmp_time(X509_get0_notAfter(cert), &now) < 0)
            kn_check_fail(&p->checks, "validity", "have the certificate renewed", "%s: has expired at %s", subject, end);
        else if (X509_cmp_time(X509_get0_notBefore(cert), &now) > 0)
            kn_check_fail(&p->checks, "validity", "check the clock of this machine", "%s: is not valid yet", subject);
        else if (X509_cmp_time(X509_get0_notAfter(cert), &soon) < 0)
            kn_check_ok(&p->checks, "validity", "%s: until %s; renew it soon", subject, end);
        else
            kn_check_ok(&p->checks, "validity", "%s: until %s", subject, end);
    }
}

static void check_chain(patient *p)
{
    for (size_t i = 0; i + 1 < p->chain.count; i++) {
        X509 *issuer = p->chain.cert[i + 1], *cert = p->chain.cert[i];
        EVP_PKEY *key = X509_get0_pubkey(issuer);
        if (X509_check_issued(issuer, cert) != X509_V_OK || !key || X509_verify(cert, key) != 1) {
            kn_check_fail(&p->checks, "chain", "put the certificates in order: the device's first, each followed by its issuer",
                          "certificate %zu was not issued by certificate %zu", i + 1, i + 2);
            return;
        }
    }
    kn_check_ok(&p->checks, "chain", "%zu certificate%s", p->chain.count,
                p->chain.count == 1 ? ": the service must know its issuer" : "s, each issued by the next");
}

static void check_sdk(patient *p)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    if (!handle) {
        kn_check_fail(&p->checks, "certificate", NULL, "%s", keynym_hsm_last_error());
        return;
    }
    p->chain_pem = x509->hsm_client_get_cert(handle);
    if (p->chain_pem && kn_cmd_chain_parse(p->chain_pem, &p->chain)) {
        char subject[200];
        kn_cmd_subject(p->chain.cert[0], subject, sizeof subject);
        kn_check_ok(&p->checks, "certificate", "%s", subject);
        check_chain(p);
        check_validity(p);
    } else {
        kn_check_fail(&p->checks, "certificate", NULL, "%s", keynym_hsm_last_error());
    }
    char *name = p->chain_pem ? x509->hsm_client_get_common_name(handle) : NULL;
    if (name)
        kn_check_ok(&p->checks, "registration id", "%s", name);
    else if (p->chain_pem)
        kn_check_fail(&p->checks, "registration id", NULL, "%s", keynym_hsm_last_error());
    free(name);
    p->key_pem = p->chain_pem ? x509->hsm_client_get_key(handle) : NULL;
    if (p->key_pem)
        kn_check_ok(&p->checks, "match", "the first certificate is that of the key");
    else if (p->chain_pem)
        kn_check_fail(&p->checks, "match", NULL, "%s", keynym_hsm_last_error());
    x509->hsm_client_x509_destroy(handle);
}

static void check_symmetric(patient *p)
{
    const HSM_CLIENT_KEY_INTERFACE *key = hsm_client_key_interface();
    unsigned char signature[KEYNYM_HSM_SAS_BYTES];
    HSM_CLIENT_HANDLE handle = key->hsm_client_key_create();
    char *name = handle ? key->hsm_client_get_registration_name(handle) : NULL;
    if (name)
        kn_check_ok(&p->checks, "registration id", "%s", name);
    else
        kn_check_fail(&p->checks, "registration id", NULL, "%s", keynym_hsm_last_error());
    free(name);
    if (handle && keynym_hsm_sign_sas(handle, (const unsigned char *)"test", 4, signature) == 0)
        kn_check_ok(&p->checks, "symmetric key", "signs %s", *p->symmetric_setting == '/' ? "in software" : "in its token");
    else
        kn_check_fail(&p->checks, "symmetric key", NULL, "%s", keynym_hsm_last_error());
    key->hsm_client_key_destroy(handle);
}

/* ---- the machine ---- */

static void check_clock(patient *p)
{
    char text[32];
    struct timex state = {.modes = 0};
    struct tm tm;
    time_t now = time(NULL);
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    if (now < CLOCK_EARLIEST)
        kn_check_fail(&p->checks, "clock", "set it, or let NTP do so (timedatectl)", "%s is in the past", text);
    else
        kn_check_ok(&p->checks, "clock", "%s, %s", text,
                    adjtimex(&state) == TIME_ERROR ? "not synchronised by NTP" : "synchronised");
}

static kn_exit run(const kn_cmd_args *args)
{
    static patient p; /* large; one for the process */
    unsigned limit_s = 1;
    kn_exit status = kn_cmd_number(args, KN_OPT_TIMEOUT, 1, 86400, &limit_s);
    if (status == KN_EXIT_OK)
        status = kn_cmd_hsm_configure(args);
    if (status != KN_EXIT_OK)
        return status;
    p.checks = kn_checks_begin(args->value[KN_OPT_JSON] != NULL);
    if (check_configuration(&p)) {
        if (p.key_setting) {
            check_hardware(&p);
            check_sdk(&p);
        } else if (p.symmetric_setting) {
            check_symmetric(&p);
        }
        if (p.tpm_setting)
            (void)kn_cmd_doctor_tpm(&p.checks, p.ctx, p.tpm_setting, true);
    }
    check_clock(&p);
    kn_cmd_doctor_net(&p.checks, args, p.key_pem ? p.chain_pem : NULL, p.key_pem);
    status = kn_checks_end(&p.checks);
    kn_cmd_chain_free(&p.chain);
    free(p.chain_pem);
    free(p.key_pem);
    free(p.key_setting);
    free(p.symmetric_setting);
    free(p.tpm_setting);
    kn_ctx_unref(&p.ctx);
    hsm_client_x509_deinit();
    return status;
}

static const kn_opt options[] = {
    KN_OPT_IDENTITY, KN_OPT_KEY, KN_OPT_CERT,    KN_OPT_PIN_SOURCE, KN_OPT_MODULE, KN_OPT_TPM, KN_OPT_ENDPOINT,
    KN_OPT_CA,       KN_OPT_PROXY, KN_OPT_TIMEOUT, KN_OPT_JSON,       KN_OPT_COUNT,
};

const kn_cmd kn_cmd_doctor = {
    .name = "doctor",
    .summary = "look at everything between this device and its service",
    .synopsis = "[OPTIONS]",
    .description =
        "Looks at configuration, module, slot, token, PIN source, login, key, the six facts, certificate, chain, validity,\n"
        "registration id, whether key and certificate match, the clock, the name of the service and a TLS handshake with\n"
        "it. Of a TPM: who made it, how it is reached, its lockout, what is free and what it can; with --tpm also the keys\n"
        "with which it attests. Each is a line: OK, or FAIL with the next step, or - where what it needs has failed.\n"
        "Nothing is changed, and the device is not registered. Status 1 when something fails.\n",
    .options = options,
    .run = run,
};
