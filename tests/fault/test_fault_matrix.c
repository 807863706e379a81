/* Every call that an operation makes, and every return value that it can give: what the operation comes to.
 *
 * For each cell (operation x call x value, before or after the token did its work): the failure is named, outputs are as they
 * were, the token did the work at most once, the PIN was sent no oftener than it may, no session and no object is left, and the
 * next operation works. What recovers and what does not must be what the rows of docs/errors.md say.
 *
 * Values: all of the table with --full, else one of each kind. */
#include "fault/fault.h"

#include "kn_backend.h"
#include "pkcs11/p11_ckr.h"

#include "support/certs.h"

#include <dirent.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RSA_URI      "pkcs11:token=fault;object=rsa"
#define DERIVE_URI   "pkcs11:token=fault;object=derive"
#define OUTPUT_MAX   1024
#define VENDOR_VALUE 0x80000001UL

static bool full;

/* ---- the operations ---- */

static kn_ctx *ctx;
static kn_key *signing, *decrypting, *deriving;
static uint8_t ciphertext[512];
static size_t ciphertext_length;
static kn_public peer;
static char made[32]; /* object= of the last generation */

typedef struct output {
    uint8_t bytes[OUTPUT_MAX];
    size_t length;
    kn_key *key;
} output;

static kn_err do_open(output *out)
{
    kn_err err = fault_open_uri(ctx, FAULT_URI, &out->key);
    return kn_failed(err) ? err : fault_sign(out->key); /* what was opened is the key */
}

/* Only the opening is counted. */
static kn_err do_open_only(output *out)
{
    return fault_open_uri(ctx, FAULT_URI, &out->key);
}

static kn_err do_sign(output *out)
{
    static const uint8_t digest[32] = {1};
    return kn_key_sign(signing, &kn_sign_ecdsa, digest, sizeof digest, out->bytes, &out->length);
}

static kn_err do_decrypt(output *out)
{
    uint8_t plain[KN_RSA_MAX]; /* all of which may be written, by contract */
    size_t length = 0;
    const kn_digest *sha1 = &kn_digests[KN_SHA1];
    const kn_decrypt_how how = {.padding = KN_PAD_OAEP, .digest = sha1, .mgf1 = sha1};
    kn_err err = kn_key_decrypt(decrypting, &how, ciphertext, ciphertext_length, plain, &length);
    if (!kn_failed(err) && (length != 5 || memcmp(plain, "plain", 5)))
        return kn_fail(KN_E_CRYPTO, "decrypted to something else");
    if (!kn_failed(err))
        out->length = length;
    return err;
}

static kn_err do_derive(output *out)
{
    return kn_key_derive(deriving, &peer, out->bytes, &out->length);
}

static kn_err do_generate(output *out)
{
    static unsigned counter;
    char uri[96];
    (void)snprintf(made, sizeof made, "made-%u", counter++);
    (void)snprintf(uri, sizeof uri, "pkcs11:token=fault;object=%s", made);
    return kn_key_generate(ctx, uri, kn_alg_by_name("EC:P-256"), &out->key);
}

typedef struct operation {
    const char *name;
    kn_err (*run)(output *out);
    kn_err (*next)(output *out); /* afterwards, without a fault */
    shim_call works;             /* the call that does the work and must not be repeated; SHIM_CALL_COUNT: none */
    bool fresh;                  /* in a context of its own, so that the module is started and the PIN sent */
    unsigned makes;              /* object files on success */
} operation;

static const operation operations[] = {
    {"open", do_open_only, do_open, SHIM_CALL_COUNT, true, 0},
    {"sign", do_sign, do_sign, SHIM_C_Sign, false, 0},
    {"decrypt", do_decrypt, do_decrypt, SHIM_C_Decrypt, false, 0},
    {"derive", do_derive, do_derive, SHIM_C_DeriveKey, false, 0},
    {"generate", do_generate, do_generate, SHIM_C_GenerateKeyPair, false, 2},
};

/* ---- what the rows say ---- */

/* Calls of which one failure need not be one of the operation: they clean up, or ask for what can be had elsewhere. */
static bool is_ignored(const operation *op, shim_call call)
{
    static const shim_call ignored[] = {
        SHIM_C_CloseSession, SHIM_C_Finalize, SHIM_C_GetInfo, SHIM_C_GetMechanismInfo,
        SHIM_C_GetTokenInfo,   /* a slot that cannot be read is left out, and looked at again when it was the token's */
        SHIM_C_GetSessionInfo, /* one who may be logged out logs in */
    };
    for (size_t i = 0; i < COUNT_OF(ignored); i++)
        if (ignored[i] == call)
            return true;
    return call == SHIM_C_GetAttributeValue && op->makes; /* one of the six facts: judged by custody */
}

/* The operation has done its work before: nothing is repeated. */
static bool comes_after_the_work(const operation *op, shim_call call)
{
    return !strcmp(op->name, "derive") && (call == SHIM_C_GetAttributeValue || call == SHIM_C_DestroyObject);
}

/* Values by which modules say that the padding is wrong: one error for all, without any detail (Manger's attack). */
static bool says_padding(shim_call call, CK_RV rv)
{
    return call == SHIM_C_Decrypt &&
           (rv == CKR_GENERAL_ERROR || rv == CKR_FUNCTION_FAILED || rv == CKR_ENCRYPTED_DATA_INVALID ||
            rv == CKR_ENCRYPTED_DATA_LEN_RANGE || rv == CKR_DATA_INVALID || rv == CKR_DATA_LEN_RANGE);
}

static bool recovers(const operation *op, shim_call call, const p11_ckr *row)
{
    if (row->rv == CKR_SESSION_COUNT && call == SHIM_C_OpenSession)
        return true; /* waited for */
    if (call == SHIM_C_Login && (row->rv == CKR_USER_ALREADY_LOGGED_IN))
        return true; /* and when it was not so, the token says so later */
    if (row->retry == P11_NEVER || comes_after_the_work(op, call))
        return false;
    return (call != op->works && call != SHIM_C_Login) || row->not_begun;
}

/* Cells whose outcome is another one, each with its reason. */
typedef struct exception {
    const char *op; /* NULL: all */
    shim_call call;
    CK_RV rv; /* CKR_OK: all */
    bool recovers;
    const char *why;
} exception;

static const exception exceptions[] = {
    {NULL, SHIM_C_Initialize, CKR_CRYPTOKI_ALREADY_INITIALIZED, true, "the module is in use already; if not, it is started"},
    {NULL, SHIM_C_Initialize, CKR_OK, false, "named; the next operation tries again"},
    {NULL, SHIM_C_GetSlotList, CKR_CRYPTOKI_NOT_INITIALIZED, false, "the module says itself that it is initialised"},
    {"generate", SHIM_C_GenerateKeyPair, CKR_ATTRIBUTE_READ_ONLY, true, "tried without the attribute; the proof decides"},
    {"generate", SHIM_C_GenerateKeyPair, CKR_ATTRIBUTE_TYPE_INVALID, true, "likewise"},
    {"generate", SHIM_C_GenerateKeyPair, CKR_ATTRIBUTE_VALUE_INVALID, true, "likewise"},
    {"generate", SHIM_C_GenerateKeyPair, CKR_TEMPLATE_INCONSISTENT, true, "likewise"},
    {NULL, SHIM_C_GetSlotList, CKR_OK, false, "no token is known yet that could be looked for again"},
};

static const exception *exception_of(const operation *op, shim_call call, CK_RV rv)
{
    for (size_t i = 0; i < COUNT_OF(exceptions); i++)
        if ((!exceptions[i].op || !strcmp(exceptions[i].op, op->name)) && exceptions[i].call == call &&
            (exceptions[i].rv == rv || exceptions[i].rv == CKR_OK))
            return &exceptions[i];
    return NULL;
}

/* ---- one cell ---- */

typedef struct cell {
    const operation *op;
    shim_call call;
    unsigned nth;
    const p11_ckr *row;
    bool after;
    char problems[1024];
    unsigned sessions; /* open before it */
    kn_code code;      /* what it came to */
} cell;

static void problem(cell *c, const char *format, ...) KN_PRINTF(2, 3);
static void problem(cell *c, const char *format, ...)
{
    size_t used = strlen(c->problems);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(c->problems + used, sizeof c->problems - used, format, args);
    va_end(args);
    used = strlen(c->problems);
    (void)snprintf(c->problems + used, sizeof c->problems - used, "; ");
}

/* Objects of SoftHSM are files; looking at them needs no session. */
static unsigned objects(void)
{
    unsigned count = 0;
    char path[512];
    (void)snprintf(path, sizeof path, "%s", test_token_path(fault_token, "tokens"));
    DIR *tokens = opendir(path);
    for (struct dirent *token; (token = readdir(tokens));) {
        char inner[800];
        if (token->d_name[0] == '.')
            continue;
        (void)snprintf(inner, sizeof inner, "%s/%s", path, token->d_name);
        DIR *dir = opendir(inner);
        for (struct dirent *file; dir && (file = readdir(dir));)
            count += strlen(file->d_name) > 36 && strstr(file->d_name, ".object") != NULL; /* a UUID, not token.object */
        if (dir)
            (void)closedir(dir);
    }
    (void)closedir(tokens);
    return count;
}

static void remove_made(void)
{
    raw r = raw_open(fault_token);
    raw_delete(&r, CKO_PRIVATE_KEY, made);
    raw_delete(&r, CKO_PUBLIC_KEY, made);
    raw_close(&r);
}

static void blank(output *out)
{
    memset(out, 0x5a, sizeof *out);
    out->key = NULL;
}

static bool is_blank(const output *out)
{
    for (size_t i = 0; i < OUTPUT_MAX; i++)
        if (out->bytes[i] != 0x5a)
            return false;
    return out->length == 0x5a5a5a5a5a5a5a5aUL && !out->key;
}

/* A failure says which call and which value, unless what followed from it is the better name. */
static void check_name(cell *c, kn_err err)
{
    const exception *e = exception_of(c->op, c->call, c->row->rv);
    if (e || is_ignored(c->op, c->call))
        return;
    if (says_padding(c->call, c->row->rv)) {
        if (err.code != KN_E_DECRYPT || strstr(kn_err_detail(), "CKR_"))
            problem(c, "%s: %s", kn_code_name(err.code), kn_err_detail());
        return;
    }
    if (strstr(kn_err_detail(), c->row->name) == NULL)
        problem(c, "named '%s: %s' without %s", kn_code_name(err.code), kn_err_detail(), c->row->name);
    if (strstr(kn_err_detail(), shim_call_name(c->call)) == NULL)
        problem(c, "named '%s' without the call", kn_err_detail());
    if (err.code != c->row->code && err.code != KN_E_TOKEN_CANNOT)
        problem(c, "%s instead of %s", kn_code_name(err.code), kn_code_name(c->row->code));
}

static void check_outcome(cell *c, kn_err err, const output *out, unsigned objects_before)
{
    const exception *e = exception_of(c->op, c->call, c->row->rv);
    bool want = e ? e->recovers : recovers(c->op, c->call, c->row);
    unsigned work = c->op->works == SHIM_CALL_COUNT ? 0 : fault_done(c->op->works);
    unsigned logins = fault_calls(SHIM_C_Login), expected = objects_before + (kn_failed(err) ? 0 : c->op->makes);
    c->code = err.code;
    if (!is_ignored(c->op, c->call)) {
        if (kn_failed(err) && want)
            problem(c, "not recovered: %s", kn_err_detail());
        if (!kn_failed(err) && !want)
            problem(c, "recovered");
    }
    if (kn_failed(err)) {
        check_name(c, err);
        if (!is_blank(out))
            problem(c, "outputs were touched");
    }
    if (work > 1)
        problem(c, "the token did the work %u times", work);
    if (logins > (c->op->fresh ? 2u : 1u) || (c->call == SHIM_C_Login && !c->row->not_begun && logins > 1))
        problem(c, "%u C_Login", logins);
    if (objects() != expected)
        problem(c, "%u objects instead of %u", objects(), expected);
}

static void check_next(cell *c)
{
    output out;
    blank(&out);
    kn_err err = c->op->next(&out);
    if (kn_failed(err))
        problem(c, "the next operation: %s: %s", kn_code_name(err.code), kn_err_detail());
    kn_key_unref(&out.key);
    unsigned lost = (c->call == SHIM_C_OpenSession && c->after) || c->call == SHIM_C_CloseSession; /* by the module itself */
    if (fault_sessions() > (c->sessions ? c->sessions : 1) + lost)
        problem(c, "%u sessions are open instead of %u", fault_sessions(), c->sessions);
    if (!kn_failed(err) && c->op->makes)
        remove_made();
}

static void run_cell(cell *c)
{
    output out;
    blank(&out);
    shim_reset_calls(fault_shim);
    if (c->op->fresh)
        ctx = shim_context(fault_token->pin_file);
    unsigned before = objects();
    c->sessions = fault_sessions();
    shim_fail_nth(fault_shim, c->call, c->nth, c->row->rv, c->after);
    kn_err err = c->op->run(&out);
    shim_fail(fault_shim, c->call, CKR_OK, 0);
    check_outcome(c, err, &out, before);
    kn_key_unref(&out.key);
    if (!kn_failed(err) && c->op->makes)
        remove_made();
    check_next(c);
    if (c->op->fresh) {
        kn_ctx_unref(&ctx);
        if (c->call == SHIM_C_Initialize) /* whoever is told "already initialised" does not finalise */
            fault_finalize_real();
        if (fault_sessions())
            problem(c, "%u sessions outlive the context", fault_sessions());
    }
}

/* ---- the table ---- */

/* One of each kind for the fast run. */
static bool is_typical(CK_RV rv)
{
    static const CK_RV typical[] = {
        CKR_HOST_MEMORY,          CKR_SLOT_ID_INVALID,   CKR_GENERAL_ERROR,          CKR_FUNCTION_FAILED,
        CKR_DEVICE_ERROR,         CKR_DEVICE_MEMORY,     CKR_DEVICE_REMOVED,         CKR_KEY_HANDLE_INVALID,
        CKR_MECHANISM_INVALID,    CKR_OPERATION_ACTIVE,  CKR_PIN_LOCKED,             CKR_SESSION_CLOSED,
        CKR_SESSION_COUNT,        CKR_USER_NOT_LOGGED_IN, CKR_SESSION_HANDLE_INVALID, CKR_CRYPTOKI_NOT_INITIALIZED,
        CKR_BUFFER_TOO_SMALL,     CKR_TOKEN_NOT_PRESENT,
    };
    for (size_t i = 0; i < COUNT_OF(typical); i++)
        if (typical[i] == rv)
            return true;
    return false;
}

/* A PIN that the token calls wrong is not sent again in this process: test_p11_login has that. Some values are a success for
 * some calls. */
static bool is_left_out(shim_call call, CK_RV rv)
{
    bool wrong_pin = rv == CKR_PIN_INCORRECT || rv == CKR_PIN_INVALID || rv == CKR_PIN_LEN_RANGE;
    bool partly_read = rv == CKR_ATTRIBUTE_SENSITIVE || rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_BUFFER_TOO_SMALL;
    return (call == SHIM_C_Login && wrong_pin) || (call == SHIM_C_GetAttributeValue && partly_read);
}

typedef struct tally {
    unsigned cells, recovered, named;
    char list[2048]; /* values that recover */
} tally;

static void note(tally *t, const cell *c)
{
    t->cells++;
    t->recovered += c->code == KN_OK;
    t->named += c->code != KN_OK;
    if (c->code == KN_OK && !c->after && c->nth == 1 && strlen(t->list) + 60 < sizeof t->list)
        (void)sprintf(t->list + strlen(t->list), "%s%s", *t->list ? ", " : "", c->row->name + 4);
}

static unsigned run_call(const operation *op, shim_call call, unsigned times, tally *t)
{
    static const p11_ckr vendor = {VENDOR_VALUE, "CKR_?", KN_E_TOKEN_FAILED, P11_NEVER, false};
    size_t count;
    const p11_ckr *rows = p11_ckr_table(&count);
    unsigned bad = 0;
    for (size_t i = 0; i <= count; i++) {
        const p11_ckr *row = i < count ? &rows[i] : &vendor;
        if (row->rv == CKR_OK || is_left_out(call, row->rv) || (!full && i < count && !is_typical(row->rv)))
            continue;
        for (unsigned nth = 1; nth <= times; nth += nth > 1 || !full ? (times > nth ? times - nth : 1) : 1)
            for (int after = 0; after < (row->not_begun ? 1 : 2); after++) {
                cell c = {.op = op, .call = call, .nth = nth, .row = row, .after = after};
                run_cell(&c);
                note(t, &c);
                if (*c.problems) {
                    bad++;
                    print_error("%s, %s no. %u, %s%s: %s\n", op->name, shim_call_name(call), nth, row->name,
                                after ? " after the work" : "", c.problems);
                }
            }
    }
    return bad;
}

static void show(const operation *op, shim_call call, const tally *t)
{
    char what[64];
    (void)snprintf(what, sizeof what, "%s | `%s` | %u", op->name, shim_call_name(call), t->cells);
    if (is_ignored(op, call))
        fault_row("matrix", what, "- | - | whatever follows from it");
    else
        fault_row("matrix", what, "%u | %u | %s", t->recovered, t->named, *t->list ? t->list : "none");
}

/* What the operation calls when nothing is wrong. */
static void clean_calls(const operation *op, unsigned *ret_calls)
{
    output out;
    if (op->fresh)
        ctx = shim_context(fault_token->pin_file);
    for (int i = 0; i < (op->fresh ? 1 : 2); i++) { /* the second time is the usual one */
        blank(&out);
        shim_reset_calls(fault_shim);
        assert_ok(op->run(&out));
        for (shim_call call = 0; call < SHIM_CALL_COUNT; call++)
            ret_calls[call] = fault_calls(call);
        kn_key_unref(&out.key);
        if (op->makes)
            remove_made();
    }
    if (op->fresh)
        kn_ctx_unref(&ctx);
}

static void run_operation(const operation *op)
{
    unsigned calls[SHIM_CALL_COUNT], bad = 0;
    tally all = {0};
    clean_calls(op, calls);
    assert_true(op->works == SHIM_CALL_COUNT || calls[op->works] == 1);
    for (shim_call call = 0; call < SHIM_CALL_COUNT; call++) {
        tally t = {0};
        if (!calls[call])
            continue;
        bad += run_call(op, call, calls[call], &t);
        all.cells += t.cells;
        all.recovered += t.recovered;
        all.named += t.named;
        show(op, call, &t);
    }
    print_message("%s: %u cells, %u recovered, %u named errors, %u wrong\n", op->name, all.cells, all.recovered,
                  all.named, bad);
    assert_int_equal(bad, 0);
    assert_true(all.cells > 15);
}

static void show_exceptions(void)
{
    for (size_t i = 0; i < COUNT_OF(exceptions); i++) {
        const exception *e = &exceptions[i];
        char what[160];
        (void)snprintf(what, sizeof what, "%s | `%s` | %s", e->op ? e->op : "all", shim_call_name(e->call),
                       e->rv == CKR_OK ? "all others" : p11_ckr_row(e->rv)->name);
        fault_row("exceptions", what, "%s", e->why);
    }
}

static void test_operation(void **state)
{
    (void)alarm(full ? 1200 : FAULT_SECONDS);
    run_operation(*state);
}

/* A cell that goes wrong is seen: each check, by a fault that it must find. */
static void test_planted(void **state)
{
    size_t count;
    (void)p11_ckr_table(&count);
    (void)state;
    const operation *sign = &operations[1], *generate = &operations[4];
    /* The work is repeated when a module says "not begun" though it was done. */
    cell lie = {.op = sign, .call = SHIM_C_Sign, .nth = 1, .row = p11_ckr_row(CKR_SESSION_HANDLE_INVALID), .after = true};
    run_cell(&lie);
    assert_text(lie.problems, "the token did the work 2 times");
    /* The answer of a generation is lost in the same way: the first key stays. */
    cell orphan = {.op = generate, .call = SHIM_C_GenerateKeyPair, .nth = 1,
                   .row = p11_ckr_row(CKR_SESSION_HANDLE_INVALID), .after = true};
    unsigned before = objects();
    run_cell(&orphan);
    assert_text(orphan.problems, "objects instead of");
    assert_true(objects() > before || *orphan.problems);
    /* A row that says something else than what happens. */
    static const p11_ckr wrong = {CKR_DEVICE_ERROR, "CKR_DEVICE_ERROR", KN_E_NO_KEY, P11_NEVER, false};
    cell other = {.op = sign, .call = SHIM_C_SignInit, .nth = 1, .row = &wrong};
    run_cell(&other);
    assert_text(other.problems, "recovered");
    output touched;
    blank(&touched);
    touched.bytes[OUTPUT_MAX - 1] = 0;
    assert_false(is_blank(&touched));
}

/* ---- set-up ---- */

static kn_err make_ciphertext(const kn_public *public)
{
    EVP_PKEY *pkey = test_key_public(public);
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(pkey, NULL);
    ciphertext_length = sizeof ciphertext;
    bool good = c && EVP_PKEY_encrypt_init(c) == 1 && EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_OAEP_PADDING) == 1 &&
                EVP_PKEY_encrypt(c, ciphertext, &ciphertext_length, (const uint8_t *)"plain", 5) == 1;
    EVP_PKEY_CTX_free(c);
    EVP_PKEY_free(pkey);
    return good ? kn_success() : kn_fail(KN_E_CRYPTO, "encrypting");
}

static int setup(void **state)
{
    const kn_key_spec rsa = {.alg = kn_alg_by_name("RSA:2048"), .uses = KN_USE_DECRYPT};
    const kn_key_spec ecdh = {.alg = kn_alg_by_name("EC:P-256"), .uses = KN_USE_DERIVE};
    kn_key *key = NULL;
    if (fault_setup(state))
        return -1;
    kn_ctx *plain = test_token_context(fault_token);
    kn_err err = kn_key_make(plain, RSA_URI, &rsa, &key);
    if (!kn_failed(err))
        err = make_ciphertext(kn_key_public(key));
    kn_key_unref(&key);
    if (!kn_failed(err))
        err = kn_key_make(plain, DERIVE_URI, &ecdh, &key);
    kn_key_unref(&key);
    kn_ctx_unref(&plain);
    ctx = shim_context(fault_token->pin_file);
    if (!kn_failed(err))
        err = fault_open_uri(ctx, FAULT_URI, &signing);
    if (!kn_failed(err))
        err = fault_open_uri(ctx, RSA_URI, &decrypting);
    if (!kn_failed(err))
        err = fault_open_uri(ctx, DERIVE_URI, &deriving);
    if (kn_failed(err)) {
        print_error("%s\n", kn_err_detail());
        return -1;
    }
    peer = *kn_key_public(signing);
    return 0;
}

static void close_keys(void)
{
    kn_key_unref(&signing);
    kn_key_unref(&decrypting);
    kn_key_unref(&deriving);
    kn_ctx_unref(&ctx);
}

static int teardown(void **state)
{
    close_keys();
    return fault_teardown(state);
}

/* After the others: no context is open but its own. */
static void test_open(void **state)
{
    unsigned finalized = fault_done(SHIM_C_Finalize);
    show_exceptions();
    close_keys();
    assert_int_equal(fault_done(SHIM_C_Finalize), finalized + 1); /* nobody holds the module: no context was lost */
    test_operation(state);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        full |= !strcmp(argv[i], "--full");
    }
#define TEST(function, number)                                                                               \
    {"matrix: " #number, function, fault_calm, fault_end, (void *)(uintptr_t)&operations[number]}
    const struct CMUnitTest tests[] = {
        TEST(test_operation, 1), TEST(test_operation, 2), TEST(test_operation, 3), TEST(test_operation, 4),
        FAULT_TEST(test_planted), TEST(test_open, 0),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
