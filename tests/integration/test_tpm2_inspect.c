/* What a TPM says of itself, on swtpm: nothing is changed in it, and what is wrong is seen. */
#include "support/kn_check.h"
#include "support/swtpm.h"

#include "kn_token.h"
#include "kn_tpm.h"
#include "tpm2/tpm2_conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static kn_ctx *ctx;
static char uri[400];

static int set_up(void **state)
{
    const kn_config config = {.module_path = TEST_EMPTY_MODULE}; /* and none of the machine's tokens */
    (void)state;
    swtpm_set_up();
    (void)snprintf(uri, sizeof uri, "tpm2:tcti=%s", swtpm_tcti);
    assert_int_equal(setenv("KEYNYM_TCTI", swtpm_tcti, 1), 0);
    assert_ok(kn_ctx_new(&config, &ctx));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kn_ctx_unref(&ctx);
    swtpm_tear_down();
    return 0;
}

/* No command that changes anything, and each may fail. */
static void test_reads_only(void **state)
{
    kn_tpm_info info;
    (void)state;
    swtpm_tools("tpm2_createek -c 0x81010001 -G rsa && tpm2_flushcontext -t");
    swtpm_arm(0, 0, 0);
    assert_ok(kn_tpm_inspect(ctx, uri, &info));
    unsigned commands = *swtpm_count;
    assert_true(commands >= 5 && commands <= 12);
    for (unsigned i = 0; i < commands; i++)
        assert_true(swtpm_codes[i] == TPM2_CC_GetCapability || swtpm_codes[i] == TPM2_CC_ReadPublic || swtpm_codes[i] == TPM2_CC_TestParms);
    for (unsigned n = 1; n <= commands; n++) {
        swtpm_arm(n, 1, TPM2_RC_FAILURE);
        kn_err err = kn_tpm_inspect(ctx, uri, &info);
        bool test = swtpm_codes[n - 1] == TPM2_CC_TestParms; /* what it says no to, it does not have */
        swtpm_arm(0, 0, 0);
        assert_int_equal(err.code, test ? KN_OK : KN_E_TPM_FAILED);
        swtpm_check_clean();
    }
    swtpm_arm(2, 1, TSS2_TCTI_RC_IO_ERROR);
    assert_ok(kn_tpm_inspect(ctx, uri, &info));
    swtpm_tools("tpm2_evictcontrol -Q -C o -c 0x81010001");
}

static void test_what_it_says(void **state)
{
    kn_tpm_info info;
    (void)state;
    assert_ok(kn_tpm_inspect(ctx, uri, &info));
    assert_string_equal(info.tcti, swtpm_tcti);
    assert_false(info.managed);
    assert_string_equal(info.manufacturer, "IBM");
    assert_true(strlen(info.vendor) > 2);
    assert_true(info.revision >= 138 && info.revision < 1000 && info.year > 2010);
    assert_true(info.p256 && info.p384 && info.rsa2048 && info.rsa3072);
    assert_int_equal(info.slots_free, 3);
    assert_int_equal(info.sessions_free, 3);
    assert_int_equal(info.tries_spent, 0);
    assert_true(info.tries_max > 0 && info.gives_back_s > 0);
    assert_false(info.in_lockout || info.owner_auth || info.lockout_auth);
    assert_false(info.ek.present || info.ek.fits || info.srk.present);
    assert_int_equal(info.ek.handle, 0x81010001);

    swtpm_tools("tpm2_createprimary -Q -C o -c a.ctx && tpm2_createprimary -Q -C o -c b.ctx && tpm2_changeauth -c o secret");
    assert_ok(kn_tpm_inspect(ctx, uri, &info));
    assert_int_equal(info.slots_free, 1);
    assert_true(info.owner_auth);
    swtpm_tools("tpm2_flushcontext -t && tpm2_changeauth -c o -p secret");
    assert_ok(kn_tpm_inspect(ctx, "tpm2:", &info)); /* the environment's */
    assert_int_equal(info.slots_free, 3);
}

static void test_keys_of_attestation(void **state)
{
    char other[500];
    kn_tpm_info info;
    (void)state;
    swtpm_tools("tpm2_createek -c 0x81010001 -G rsa && tpm2_createprimary -Q -C o -G ecc -c p.ctx && tpm2_evictcontrol -Q -C o -c p.ctx 0x81000001 && "
          "tpm2_flushcontext -t");
    assert_ok(kn_tpm_inspect(ctx, uri, &info));
    assert_true(info.ek.present && info.ek.fits);
    assert_text(info.ek.kind, "RSA 2048");
    assert_true(info.srk.present && !info.srk.fits); /* as tpm2-pkcs11 puts it there */
    assert_text(info.srk.kind, "ECC");
    assert_int_equal(info.persistent, 2);
    (void)snprintf(other, sizeof other, "%s;srk-handle=0x81000005;ek-handle=0x81000001", uri);
    assert_ok(kn_tpm_inspect(ctx, other, &info));
    assert_true(info.ek.present && !info.ek.fits && !info.srk.present);
    (void)snprintf(other, sizeof other, "%s;handle=0x81000001", uri); /* of a key */
    assert_ok(kn_tpm_inspect(ctx, other, &info));
    assert_error(KN_E_URI_ATTRIBUTE, kn_tpm_inspect(ctx, "tpm2:nonsense=1", &info));
    assert_error(KN_E_TOKEN_CANNOT, kn_tpm_inspect(ctx, "pkcs11:token=a", &info));
    swtpm_tools("tpm2_evictcontrol -Q -C o -c 0x81010001 && tpm2_evictcontrol -Q -C o -c 0x81000001");
}

static void test_lockout(void **state)
{
    kn_tpm_info info;
    (void)state;
    swtpm_tools("tpm2_dictionarylockout -s -n 2 -t 1000 -l 1000 && tpm2_createprimary -Q -C o -G ecc -p right -c k.ctx -a "
          "'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign' && tpm2_evictcontrol -Q -C o -c k.ctx 0x81000009 && tpm2_flushcontext -t");
    for (unsigned spent = 0; spent <= 2; spent++) {
        assert_ok(kn_tpm_inspect(ctx, uri, &info));
        assert_int_equal(info.tries_spent, spent);
        assert_int_equal(info.tries_max, 2);
        assert_int_equal(info.gives_back_s, 1000);
        assert_int_equal(info.in_lockout, spent == 2);
        if (spent < 2)
            swtpm_tools("! tpm2_sign -Q -c 0x81000009 -p bad -g sha256 -o sig k.ctx 2>/dev/null");
    }
    swtpm_tools("tpm2_dictionarylockout --clear-lockout && tpm2_evictcontrol -Q -C o -c 0x81000009");
}

static void count(const kn_token_info *info, void *arg)
{
    if (strcmp(info->module, swtpm_tcti) == 0) {
        assert_string_equal(info->label, "TPM");
        assert_string_equal(info->manufacturer, "IBM");
        ++*(unsigned *)arg;
    }
}

static void test_list(void **state)
{
    unsigned found = 0;
    (void)state;
    assert_ok(kn_token_list(ctx, count, &found));
    assert_int_equal(found, 1);
    swtpm_stop();
    found = 0;
    assert_error(KN_E_NO_TPM, kn_token_list(ctx, count, &found)); /* it was named */
    assert_int_equal(found, 0);
    assert_int_equal(setenv("KEYNYM_TCTI", "", 1), 0);
    assert_ok(kn_token_list(ctx, count, &found)); /* a machine without a TPM */
    assert_int_equal(found, 0);
    swtpm_start();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_it_says), cmocka_unit_test(test_reads_only), cmocka_unit_test(test_keys_of_attestation),
        cmocka_unit_test(test_lockout),      cmocka_unit_test(test_list),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
