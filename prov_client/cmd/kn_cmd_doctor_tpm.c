#include "kn_cmd_doctor_tpm.h"

#include "kn_tpm.h"

#include <stdio.h>
#include <string.h>

static void say_who(kn_checks *checks, const kn_tpm_info *tpm)
{
    kn_check_ok(checks, "TPM", "%s %s, firmware %08x.%08x, specification %u.%02u of %u, by %s, %s", tpm->manufacturer, tpm->vendor,
                tpm->firmware[0], tpm->firmware[1], tpm->revision / 100, tpm->revision % 100, tpm->year, tpm->tcti,
                tpm->managed ? "a resource manager" : "without a resource manager");
}

static void say_lockout(kn_checks *checks, const kn_tpm_info *tpm)
{
    if (tpm->in_lockout || (tpm->tries_max && tpm->tries_spent >= tpm->tries_max))
        kn_check_fail(checks, "lockout", kn_code_remedy(KN_E_TPM_LOCKOUT), "%u of %u tries are spent; the TPM gives one back within %u s",
                      tpm->tries_spent, tpm->tries_max, tpm->gives_back_s);
    else if (tpm->tries_max && tpm->tries_spent + 1 >= tpm->tries_max)
        kn_check_ok(checks, "lockout", "%u of %u tries are spent: keys that it protects are not tried before the TPM gives one back, within %u s",
                    tpm->tries_spent, tpm->tries_max, tpm->gives_back_s);
    else
        kn_check_ok(checks, "lockout", "%u of %u tries are spent", tpm->tries_spent, tpm->tries_max);
}

static void say_slots(kn_checks *checks, const kn_tpm_info *tpm)
{
    if (!tpm->managed && (!tpm->slots_free || !tpm->sessions_free))
        kn_check_fail(checks, "slots", kn_code_remedy(KN_E_TPM_SLOTS), "%u are free for objects, %u for sessions", tpm->slots_free,
                      tpm->sessions_free);
    else
        kn_check_ok(checks, "slots", "%u free for objects, %u for sessions; %u kept at handles, room for %u more", tpm->slots_free,
                    tpm->sessions_free, tpm->persistent, tpm->persistent_free);
}

static void say_algorithms(kn_checks *checks, const kn_tpm_info *tpm)
{
    const struct {
        const char *name;
        bool has;
    } rows[] = {{"EC P-256", tpm->p256}, {"EC P-384", tpm->p384}, {"RSA 2048", tpm->rsa2048}, {"RSA 3072", tpm->rsa3072}};
    char has[64] = "", lacks[80] = "";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *list = rows[i].has ? has : lacks;
        (void)snprintf(list + strlen(list), (rows[i].has ? sizeof has : sizeof lacks) - strlen(list), "%s%s", *list ? ", " : "", rows[i].name);
    }
    if (!*has)
        kn_check_fail(checks, "algorithms", "use another TPM", "none of %s", lacks);
    else
        kn_check_ok(checks, "algorithms", "%s%s%s", has, *lacks ? "; not " : "", lacks);
}

static void say_object(kn_checks *checks, const char *what, const kn_tpm_object *object, const char *next)
{
    if (object->fits)
        kn_check_ok(checks, what, "0x%08x: %s", (unsigned)object->handle, object->kind);
    else if (!object->present)
        kn_check_ok(checks, what, "nothing is at 0x%08x: the first registration, or keynym tpm show, makes it there", (unsigned)object->handle);
    else
        kn_check_fail(checks, what, next, "another key is at 0x%08x: %s", (unsigned)object->handle, object->kind);
}

bool kn_cmd_doctor_tpm(kn_checks *checks, kn_ctx *ctx, const char *uri, bool attests)
{
    kn_tpm_info tpm;
    kn_err err = kn_tpm_inspect(ctx, uri, &tpm);
    if (kn_failed(err)) {
        kn_check_fail(checks, "TPM", kn_code_remedy(err.code), "%s: %s", kn_code_sentence(err.code), kn_err_detail());
        return false;
    }
    say_who(checks, &tpm);
    say_lockout(checks, &tpm);
    say_slots(checks, &tpm);
    say_algorithms(checks, &tpm);
    if (attests) {
        say_object(checks, "endorsement key", &tpm.ek, "choose another handle with tpm2:ek-handle=, or remove it: tpm2_evictcontrol -C o -c HANDLE");
        say_object(checks, "storage root key", &tpm.srk,
                   "choose another handle with tpm2:srk-handle= (tpm2-pkcs11 puts a key of its own there), or remove it: tpm2_evictcontrol");
    }
    return true;
}
