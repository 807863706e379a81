/* Making a key that never was outside, and proving it. */
#include "p11_key.h"
#include "p11_mechanism.h"
#include "p11_quirk.h"

#include "../kn_crypto.h"
#include "../kn_log.h"

#include <stdio.h>
#include <string.h>

static const CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

/* Refuses a label or id that is in use: a second key of that name could never be found again. */
static kn_err must_be_free(p11_call *call, const p11_uri *uri)
{
    const CK_ATTRIBUTE *names[] = {&uri->label, &uri->id};
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    for (size_t i = 0; i < 2; i++) {
        if (!names[i]->pValue)
            continue;
        CK_ATTRIBUTE template[] = {p11_attribute(CKA_CLASS, &class, sizeof class), *names[i]};
        CK_OBJECT_HANDLE handles[2];
        CK_ULONG count;
        kn_err err = p11_search(call, template, 2, 1, handles, &count);
        if (kn_failed(err))
            return err;
        if (count)
            return kn_fail(KN_E_EXISTS, "token '%s' has a private key with that %s", call->token->label,
                           i == 0 ? "label" : "id");
    }
    return kn_success();
}

typedef struct pair {
    CK_OBJECT_HANDLE private, public;
} pair;

/* SoftHSM 2.6 makes keys for X25519 and X448 with the mechanism of Edwards curves. */
static CK_MECHANISM_TYPE mechanism_for(p11_token *token, const kn_alg *alg)
{
    switch (alg->type) {
    case KN_KEY_EC:
        return CKM_EC_KEY_PAIR_GEN;
    case KN_KEY_RSA:
        return CKM_RSA_PKCS_KEY_PAIR_GEN;
    case KN_KEY_ED25519:
    case KN_KEY_ED448:
        return CKM_EC_EDWARDS_KEY_PAIR_GEN;
    case KN_KEY_X25519:
    case KN_KEY_X448:
        break;
    }
    return p11_mechanism_offered(token, CKM_EC_MONTGOMERY_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR)
               ? CKM_EC_MONTGOMERY_KEY_PAIR_GEN
               : CKM_EC_EDWARDS_KEY_PAIR_GEN;
}

/* What the public template says of the key's kind. */
static void fill_kind(const kn_alg *alg, CK_ULONG *bits, CK_ATTRIBUTE *template, CK_ULONG *count)
{
    static const CK_BYTE f4[] = {1, 0, 1};
    if (alg->type == KN_KEY_RSA) {
        *bits = alg->key_bits;
        template[(*count)++] = p11_attribute(CKA_MODULUS_BITS, bits, sizeof *bits);
        template[(*count)++] = p11_attribute(CKA_PUBLIC_EXPONENT, f4, sizeof f4);
    } else {
        template[(*count)++] = p11_attribute(CKA_EC_PARAMS, alg->oid, alg->oid_length);
    }
}

/* What a token may refuse to be told. */
typedef struct said {
    bool unextractable, pss_only, unwanted_uses;
} said;

/* A use that is wanted, or one that is not and may be said so. */
static void say_use(CK_ATTRIBUTE_TYPE type, bool wanted, said say, CK_ATTRIBUTE *template, CK_ULONG *count)
{
    const CK_BBOOL *value = wanted ? &yes : &no;
    if (wanted || say.unwanted_uses)
        template[(*count)++] = p11_attribute(type, value, sizeof *value);
}

static CK_RV generate_pair(p11_call *call, const kn_key_spec *spec, const CK_ATTRIBUTE *id, const CK_ATTRIBUTE *label,
                           said say, pair *ret_pair)
{
    static const CK_MECHANISM_TYPE pss_mechanisms[] = {CKM_RSA_PKCS_PSS};
    bool sign = spec->uses & KN_USE_SIGN, decrypt = spec->uses & KN_USE_DECRYPT, derive = spec->uses & KN_USE_DERIVE;
    CK_ULONG bits, public_count = 4, private_count = 5;
    CK_ATTRIBUTE public[8] = {
        p11_attribute(CKA_TOKEN, &yes, sizeof yes),
        p11_attribute(CKA_PRIVATE, &no, sizeof no),
        *id,
        *label,
    };
    say_use(CKA_VERIFY, sign, say, public, &public_count);
    say_use(CKA_ENCRYPT, decrypt, say, public, &public_count);
    CK_MECHANISM mechanism = {mechanism_for(call->token, spec->alg), NULL, 0};
    fill_kind(spec->alg, &bits, public, &public_count);
    CK_ATTRIBUTE private[11] = {
        p11_attribute(CKA_TOKEN, &yes, sizeof yes),
        p11_attribute(CKA_PRIVATE, &yes, sizeof yes),
        p11_attribute(CKA_SENSITIVE, &yes, sizeof yes),
        *id,
        *label,
    };
    say_use(CKA_SIGN, sign, say, private, &private_count);
    say_use(CKA_DECRYPT, decrypt, say, private, &private_count);
    say_use(CKA_UNWRAP, false, say, private, &private_count);
    say_use(CKA_DERIVE, derive, say, private, &private_count);
    if (say.unextractable)
        private[private_count++] = p11_attribute(CKA_EXTRACTABLE, &no, sizeof no);
    if (say.pss_only)
        private[private_count++] = p11_attribute(CKA_ALLOWED_MECHANISMS, pss_mechanisms, sizeof pss_mechanisms);
    return call->token->module->fn->C_GenerateKeyPair(call->session, &mechanism, public, public_count, private,
                                                      private_count, &ret_pair->public, &ret_pair->private);
}

/* A YubiKey refuses an explicit CKA_EXTRACTABLE, which it always sets itself: once more without, and the proof
 * afterwards decides. CKA_ALLOWED_MECHANISMS is left out likewise: then only the alias says that the key is for PSS. */
static bool refuses_attribute(CK_RV rv)
{
    return rv == CKR_ATTRIBUTE_VALUE_INVALID || rv == CKR_ATTRIBUTE_TYPE_INVALID ||
           rv == CKR_TEMPLATE_INCONSISTENT || rv == CKR_ATTRIBUTE_READ_ONLY;
}

static CK_RV generate_as_told(p11_call *call, const kn_key_spec *spec, const CK_ATTRIBUTE *id,
                              const CK_ATTRIBUTE *label, pair *ret_pair)
{
    static const said tries[] = {
        {.unextractable = true, .pss_only = true}, {.pss_only = true}, {.unextractable = true}, {0}};
    const p11_quirk quirk = p11_quirk_of(call->token);
    CK_RV rv = CKR_TEMPLATE_INCONSISTENT;
    for (size_t i = 0; i < sizeof tries / sizeof *tries && refuses_attribute(rv); i++) {
        said say = tries[i];
        say.unwanted_uses = !quirk.fixed_uses;
        if (spec->pss || !say.pss_only)
            rv = generate_pair(call, spec, id, label, say, ret_pair);
    }
    return rv;
}

/* Names the key, by what it was to be called. */
static kn_err weak(p11_call *call, const kn_custody *custody, const char *why)
{
    return kn_fail(KN_E_CUSTODY, "token '%s' made the key '%.40s' (id %.40s), of which it says: %s", call->token->label,
                   custody->label, custody->id, why);
}

static kn_err prove_custody(p11_call *call, CK_OBJECT_HANDLE private, const kn_key_spec *spec)
{
    kn_custody custody;
    char doubts[KN_CUSTODY_DOUBTS_MAX];
    kn_err err = p11_custody_read(call, private, &custody);
    if (kn_failed(err))
        return err;
    kn_custody_doubts(&custody, doubts, sizeof doubts);
    if (*doubts)
        return weak(call, &custody, doubts);
    unsigned more = kn_custody_uses(&custody, spec->alg) & ~spec->uses;
    if (more & KN_USE_DECRYPT)
        return weak(call, &custody, "it may also decrypt, which was not asked for (--usage sign,decrypt)");
    if (more & KN_USE_DERIVE)
        return weak(call, &custody, "it may also derive, which was not asked for (--usage sign,derive)");
    if (more)
        return weak(call, &custody, "it may also sign, which was not asked for");
    return kn_success();
}

static kn_err prove(p11_call *call, const pair *made, const kn_key_spec *spec, kn_public *ret_public)
{
    p11_object object;
    kn_err err = prove_custody(call, made->private, spec);
    if (!kn_failed(err))
        err = p11_object_read(call, made->public, &object);
    if (!kn_failed(err))
        err = p11_object_public(call, &object, ret_public);
    if (!kn_failed(err) && ret_public->alg != spec->alg)
        err = kn_fail(KN_E_MODULE_BROKEN, "token '%s' made a %s key instead of %s", call->token->label,
                      ret_public->alg->name, spec->alg->name);
    return err;
}

typedef struct generation {
    const p11_uri *uri;
    const kn_key_spec *spec;
    uint8_t random_id[16];
    CK_ATTRIBUTE id, label;
    bool own_id;  /* random: what has it is ours */
    bool made;    /* C_GenerateKeyPair succeeded */
    bool unknown; /* it failed in a way that does not tell whether there is a key */
    bool left;    /* a key that is not good was not destroyed */
    kn_public public;
} generation;

static kn_err name_pair(generation *g)
{
    g->id = g->uri->id;
    g->label = g->uri->label;
    g->own_id = !g->id.pValue;
    if (g->own_id) {
        if (!kn_crypto_random(g->random_id, sizeof g->random_id))
            return kn_fail(KN_E_CRYPTO, "no random bytes for the key's id");
        g->id = p11_attribute(CKA_ID, g->random_id, sizeof g->random_id);
    }
    if (!g->label.pValue)
        g->label = p11_attribute(CKA_LABEL, "", 0);
    return kn_success();
}

static p11_step generate_step(p11_call *call, unsigned generation_number, void *arg)
{
    generation *g = arg;
    pair made = {0};
    CK_MECHANISM_TYPE mechanism = mechanism_for(call->token, g->spec->alg);
    (void)generation_number;
    kn_err err = p11_mechanism_check(call->token, mechanism, CKF_GENERATE_KEY_PAIR);
    if (!kn_failed(err))
        err = must_be_free(call, g->uri);
    if (kn_failed(err))
        return (p11_step){.err = err, .rv = call->rv};
    CK_RV rv = generate_as_told(call, g->spec, &g->id, &g->label, &made);
    if (rv == CKR_MECHANISM_INVALID)
        return (p11_step){.err = p11_mechanism_fail(call->token, mechanism, CKF_GENERATE_KEY_PAIR, "C_GenerateKeyPair",
                                                    rv, "")};
    g->made = rv == CKR_OK;
    g->unknown = !g->made && !p11_ckr_row(rv)->not_begun;
    if (rv != CKR_OK)
        return (p11_step){.call = "C_GenerateKeyPair", .rv = rv, .begun = true};
    err = prove(call, &made, g->spec, &g->public);
    if (kn_failed(err)) {
        CK_FUNCTION_LIST *fn = call->token->module->fn;
        CK_RV gone = fn->C_DestroyObject(call->session, made.private);
        g->left = fn->C_DestroyObject(call->session, made.public) != CKR_OK || gone != CKR_OK;
    }
    return (p11_step){.err = err, .begun = true};
}

static p11_step remove_step(p11_call *call, unsigned generation_number, void *arg)
{
    static const CK_OBJECT_CLASS classes[] = {CKO_PRIVATE_KEY, CKO_PUBLIC_KEY};
    const generation *g = arg;
    (void)generation_number;
    for (size_t i = 0; i < 2; i++) {
        CK_ATTRIBUTE template[] = {p11_attribute(CKA_CLASS, &classes[i], sizeof classes[i]), g->id, g->label};
        CK_OBJECT_HANDLE handles[2];
        CK_ULONG count;
        kn_err err = p11_search(call, template, 3, 1, handles, &count);
        if (kn_failed(err))
            return (p11_step){.err = err, .rv = call->rv};
        for (CK_ULONG n = 0; n < count && n < 2; n++) {
            CK_RV rv = call->token->module->fn->C_DestroyObject(call->session, handles[n]);
            if (rv != CKR_OK)
                return (p11_step){.call = "C_DestroyObject", .rv = rv};
        }
    }
    return (p11_step){.call = NULL};
}

/* After a generation that failed with @err: nothing must stay on the token. A key that may be there under a name which
 * somebody chose is not destroyed, because somebody else may have made it in the same moment. */
static kn_err leave_nothing(p11_token *token, generation *g, kn_err err)
{
    char why[KN_DETAIL_MAX];
    if (!g->left && !g->unknown)
        return err;
    (void)snprintf(why, sizeof why, "%s", kn_err_detail());
    if (!g->made && !g->own_id)
        return kn_fail(err.code, "%s; the token may hold the new key all the same: see keynym key list", why);
    const p11_task task = {.uri = g->uri, .read_write = true, .step = remove_step, .arg = g};
    kn_err removed = p11_run(token, &task);
    if (kn_failed(removed))
        return kn_fail(err.code, "%s; and the new key could NOT be destroyed (%s)", why, kn_code_name(removed.code));
    return kn_fail(err.code, "%s", why);
}

kn_err p11_key_generate(void *state, const char *uri, const kn_key_spec *spec, void **ret_key, kn_public *ret_public)
{
    p11_key *key = NULL;
    p11_token *token = NULL;
    kn_err err = p11_key_new(state, uri, &key);
    if (kn_failed(err))
        return err;
    generation g = {.uri = key->uri, .spec = spec};
    const p11_task task = {.uri = key->uri, .read_write = true, .step = generate_step, .arg = &g};
    if (!key->uri->label.pValue && !key->uri->id.pValue)
        err = kn_fail(KN_E_URI_MALFORMED, "a new key needs a name: object= or id=");
    if (!kn_failed(err))
        err = name_pair(&g);
    if (!kn_failed(err))
        err = p11_token_find(state, key->uri, &token);
    if (!kn_failed(err)) {
        err = p11_run(token, &task);
        if (kn_failed(err))
            err = leave_nothing(token, &g, err);
    }
    if (kn_failed(err)) {
        p11_key_free(key);
        return err;
    }
    key->expected = g.public;
    key->has_expected = true;
    p11_key_use(key, token);
    *ret_public = key->expected;
    *ret_key = key;
    return kn_success();
}
