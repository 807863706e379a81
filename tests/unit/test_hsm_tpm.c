/* The TPM interface on a backend that attests, and on one that does not: the seam that a TPM backend fills. */
#include "hsm_client_data.h"

#include "hsm_config.h"
#include "hsm_report.h"
#include "kn_attest.h"
#include "kn_backend.h"

#include "support/kn_check.h"

#include <stdio.h>
#include <stdlib.h>

static char reported[2048];
static unsigned opened, released;
static size_t key_length = 7;
static kn_err outcome;
static char seen[64];

void hsm_report(const char *call, kn_err err)
{
    char text[1024];
    kn_err_text(err, text, sizeof text);
    (void)snprintf(reported, sizeof reported, "%s: %s", call, text);
}

/* ---- a backend ---- */

static kn_err fake_state_new(const kn_config *config, void **ret_state)
{
    (void)config;
    *ret_state = &opened;
    return kn_success();
}

static void fake_state_free(void *state)
{
    assert_ptr_equal(state, &opened);
}

static kn_err fake_open(void *state, const char *uri, void **ret_device)
{
    assert_ptr_equal(state, &opened);
    (void)snprintf(seen, sizeof seen, "%s", uri ? uri : "(none)");
    if (!kn_failed(outcome)) {
        opened++;
        *ret_device = &released;
    }
    return outcome;
}

static kn_err fake_key(void *device, uint8_t **ret_key, size_t *ret_length)
{
    assert_ptr_equal(device, &released);
    *ret_key = calloc(1, key_length ? key_length : 1);
    *ret_length = key_length;
    return outcome;
}

static kn_err fake_activate(void *device, const uint8_t *blob, size_t length)
{
    assert_ptr_equal(device, &released);
    (void)snprintf(seen, sizeof seen, "%.*s", (int)length, (const char *)blob);
    return outcome;
}

static kn_err fake_sign(void *device, const uint8_t *data, size_t length, uint8_t ret_signature[KN_ATTEST_BYTES])
{
    (void)device, (void)data;
    memset(ret_signature, (int)length, KN_ATTEST_BYTES);
    return outcome;
}

static void fake_free(void *device)
{
    assert_ptr_equal(device, &released);
    released++;
}

static const kn_attest_functions attest = {fake_open, fake_key, fake_key, fake_activate, fake_sign, fake_free};
static const kn_backend without = {.scheme = "plain", .state_new = fake_state_new, .state_free = fake_state_free};
static const kn_backend with = {
    .scheme = "fake", .state_new = fake_state_new, .state_free = fake_state_free, .attest = &attest};

const kn_backend *const kn_backends[] = {&without, &with, NULL};

kn_err kn_backend_for_uri(const char *uri, const kn_backend **ret_backend)
{
    *ret_backend = strncmp(uri, "fake:", 5) ? &without : &with;
    return kn_success();
}

static const char *tpm_setting;
static kn_ctx *ctx;

kn_err hsm_settings_get(hsm_settings *ret_settings)
{
    *ret_settings = (hsm_settings){.value[HSM_TPM] = tpm_setting ? strdup(tpm_setting) : NULL, .ctx = ctx};
    return kn_success();
}

void hsm_settings_free(hsm_settings *settings)
{
    free(settings->value[HSM_TPM]);
}

/* ---- tests ---- */

static int set_up(void **state)
{
    (void)state;
    opened = released = 0;
    key_length = 7;
    outcome = kn_success();
    tpm_setting = NULL;
    *reported = '\0';
    assert_ok(kn_ctx_new(NULL, &ctx));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kn_ctx_unref(&ctx);
    assert_int_equal(opened, released);
    return 0;
}

static void test_each_call_reaches_the_backend(void **state)
{
    const HSM_CLIENT_TPM_INTERFACE *tpm = hsm_client_tpm_interface();
    unsigned char *bytes = NULL;
    size_t length = 0;
    (void)state;
    assert_int_equal(hsm_client_tpm_init(), 0);
    HSM_CLIENT_HANDLE handle = tpm->hsm_client_tpm_create();
    assert_non_null(handle);
    assert_string_equal(seen, "(none)");
    assert_int_equal(tpm->hsm_client_get_ek(handle, &bytes, &length), 0);
    assert_int_equal(length, 7);
    free(bytes);
    assert_int_equal(tpm->hsm_client_get_srk(handle, &bytes, &length), 0);
    free(bytes);
    assert_int_equal(tpm->hsm_client_activate_identity_key(handle, (const unsigned char *)"blob", 4), 0);
    assert_string_equal(seen, "blob");
    assert_int_equal(tpm->hsm_client_sign_with_identity(handle, (const unsigned char *)"123", 3, &bytes, &length), 0);
    assert_int_equal(length, 32);
    for (size_t i = 0; i < length; i++)
        assert_int_equal(bytes[i], 3);
    free(bytes);
    tpm->hsm_client_tpm_destroy(handle);
    hsm_client_tpm_deinit();
    assert_string_equal(reported, "");
}

static void test_the_setting_chooses(void **state)
{
    const HSM_CLIENT_TPM_INTERFACE *tpm = hsm_client_tpm_interface();
    (void)state;
    tpm_setting = "fake:handle=1";
    HSM_CLIENT_HANDLE handle = tpm->hsm_client_tpm_create();
    assert_non_null(handle);
    assert_string_equal(seen, tpm_setting);
    tpm->hsm_client_tpm_destroy(handle);
    tpm_setting = "plain:";
    assert_null(tpm->hsm_client_tpm_create());
    assert_text(reported, "hsm_client_tpm_create: there is no TPM that attests: plain");
    assert_text(reported, "next step: use X.509 or a symmetric key");
}

static void test_each_failure_is_told(void **state)
{
    const HSM_CLIENT_TPM_INTERFACE *tpm = hsm_client_tpm_interface();
    unsigned char *bytes = NULL;
    size_t length = 99;
    (void)state;
    HSM_CLIENT_HANDLE handle = tpm->hsm_client_tpm_create();
    outcome = kn_fail(KN_E_TOKEN_FAILED, "the fake");
    assert_null(tpm->hsm_client_tpm_create());
    assert_text(reported, "hsm_client_tpm_create: the token failed: the fake");
    assert_int_not_equal(tpm->hsm_client_get_ek(handle, &bytes, &length), 0);
    assert_text(reported, "hsm_client_get_ek: the token failed");
    assert_int_not_equal(tpm->hsm_client_get_srk(handle, &bytes, &length), 0);
    assert_text(reported, "hsm_client_get_srk: the token failed");
    assert_int_not_equal(tpm->hsm_client_activate_identity_key(handle, (const unsigned char *)"b", 1), 0);
    assert_text(reported, "hsm_client_activate_identity_key: the token failed");
    assert_int_not_equal(
        tpm->hsm_client_sign_with_identity(handle, (const unsigned char *)"1", 1, &bytes, &length), 0);
    assert_text(reported, "hsm_client_sign_with_identity: the token failed");
    outcome = kn_success();
    assert_int_not_equal(tpm->hsm_client_activate_identity_key(handle, (const unsigned char *)"b", 0), 0);
    assert_int_not_equal(
        tpm->hsm_client_activate_identity_key(handle, (const unsigned char *)"b", KN_ATTEST_BLOB_MAX + 1), 0);
    assert_text(reported, "1 to 4096 bytes");
    assert_int_not_equal(tpm->hsm_client_sign_with_identity(handle, (const unsigned char *)"1", KN_ATTEST_DATA_MAX + 1,
                                                            &bytes, &length), 0);
    key_length = KN_ATTEST_KEY_MAX + 1;
    assert_int_not_equal(tpm->hsm_client_get_ek(handle, &bytes, &length), 0);
    key_length = 0;
    assert_int_not_equal(tpm->hsm_client_get_srk(handle, &bytes, &length), 0);
    assert_null(bytes);
    assert_int_equal(length, 99);
    tpm->hsm_client_tpm_destroy(handle);
    tpm->hsm_client_tpm_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_call_reaches_the_backend, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_setting_chooses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_each_failure_is_told, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
