/* keynym provision: registers this device and prints its IoT hub. */
#include "kn_cmd_device.h"
#include "kn_cmd_registration.h"
#include "kn_cmd_terminal.h"

#include "../../hsm_api/hsm_client_data.h"
#include "../../hsm_api/keynym_hsm.h"
#include "../kn_prov.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHAT "provisioning failed"

/* The lines are those of the Azure IoT C SDK's sample, so that scripts made for it keep working. */
static void print_status(kn_prov_status status, void *context)
{
    static const char *const states[] = {[KN_PROV_STATUS_CONNECTED] = "connected", [KN_PROV_STATUS_REGISTERING] = "registering",
                                         [KN_PROV_STATUS_ASSIGNING] = "assigning", [KN_PROV_STATUS_ASSIGNED] = "assigned",
                                         [KN_PROV_STATUS_ERROR] = "failed"};
    const kn_cmd_args *args = context;

    if (args->value[KN_OPT_QUIET] || args->value[KN_OPT_JSON])
        return;
    kn_cmd_progress("%s", states[status]);
    kn_cmd_progress_hide();
    (void)printf("Provisioning Status: %s\n", kn_prov_status_name(status));
    (void)fflush(stdout);
    kn_cmd_progress_show();
}

static bool add_service_words(cJSON *object, const kn_prov_result *result)
{
    if (result->service_status && !cJSON_AddNumberToObject(object, "serviceStatus", result->service_status))
        return false;
    if (result->error_code && !cJSON_AddNumberToObject(object, "errorCode", (double)result->error_code))
        return false;
    return kn_cmd_json_text(object, "trackingId", result->tracking_id) &&
           kn_cmd_json_text(object, "serviceMessage", result->service_message);
}

static bool add_error(cJSON *object, const kn_prov_result *result, const char *message)
{
    const kn_prov_error_row *row = kn_prov_error_of(result->code);

    return kn_cmd_json_text(object, "error", row->name) && kn_cmd_json_text(object, "message", message) &&
           kn_cmd_json_text(object, "next", row->remedy) && add_service_words(object, result);
}

/* NULL when memory is out. */
static cJSON *json_of_failure(const kn_prov_result *result, const char *message)
{
    cJSON *object = kn_cmd_registration_json(result, NULL);

    if (object && add_error(object, result, message))
        return object;
    cJSON_Delete(object);
    return NULL;
}

static kn_exit report_failure(const kn_cmd_args *args, const kn_prov_result *result)
{
    const char *cause = result->code == KN_PROV_E_IDENTITY ? keynym_hsm_last_error() : "";
    const char *next = kn_prov_error_of(result->code)->remedy;
    const char *message = result->message ? result->message : kn_prov_error_of(result->code)->sentence;
    kn_exit status = kn_cmd_exit_of(result->code);
    char whole[1600];

    (void)snprintf(whole, sizeof whole, "%s", *cause ? cause : message);
    if (args->value[KN_OPT_JSON]) {
        cJSON *json = json_of_failure(result, whole);
        kn_exit printed = kn_cmd_print_json(json);

        cJSON_Delete(json);
        if (printed)
            status = printed;
    }
    /* a sentence of the HSM library has its own next step */
    return kn_cmd_fail(status, WHAT, *cause ? NULL : next, "%s", whole);
}

static kn_exit report_success(const kn_cmd_args *args, const kn_prov_request *request, const kn_prov_result *result)
{
    cJSON *json = kn_cmd_registration_json(result, request);
    kn_exit status = KN_EXIT_OK;

    if (args->value[KN_OPT_OUTPUT])
        status = kn_cmd_registration_write(args->value[KN_OPT_OUTPUT], result, request);
    if (status == KN_EXIT_OK && args->value[KN_OPT_JSON]) {
        status = kn_cmd_print_json(json);
    } else if (status == KN_EXIT_OK && !args->value[KN_OPT_QUIET]) {
        (void)printf("Registration Information received from service: %s!\nDevice ID: %s\n",
                     result->assigned_hub, result->device_id);
        status = kn_cmd_flush();
    }
    cJSON_Delete(json);
    return status;
}

static kn_exit register_device(const kn_cmd_args *args, unsigned timeout_s, unsigned spread_s, const char *payload)
{
    kn_cmd_proxy proxy = {.user = NULL};
    kn_prov_request request = {
        .endpoint = args->value[KN_OPT_ENDPOINT],
        .id_scope = args->value[KN_OPT_ID_SCOPE],
        .transport = args->value[KN_OPT_TRANSPORT],
        .attestation = args->value[KN_OPT_ATTESTATION],
        .ca_file = args->value[KN_OPT_CA],
        .registration_id = args->value[KN_OPT_REGISTRATION_ID],
        .payload = payload,
        .retry_file = args->value[KN_OPT_RETRY_STATE],
        .spread_ms = spread_s * 1000,
        .timeout_ms = timeout_s * 1000,
        .on_status = print_status,
        .on_trace = args->value[KN_OPT_VERBOSE] ? kn_cmd_print_trace : kn_cmd_progress_trace,
        .context = (void *)(uintptr_t)args,
        .cancel = kn_cmd_catch_signals(),
    };
    kn_prov_result result = KN_PROV_RESULT_INIT;
    kn_prov_code code;
    kn_exit status = kn_cmd_proxy_of(args, &proxy);

    if (status)
        return status;
    request.proxy = proxy.url;
    request.proxy_user = proxy.user;
    request.proxy_password = proxy.password;
    (void)kn_cmd_progress_begin(args, "registering with %s", request.endpoint ? request.endpoint : KN_PROV_DEFAULT_ENDPOINT);
    code = kn_prov_register(&request, &result);
    kn_cmd_progress_end();
    kn_cmd_proxy_clear(&proxy);
    request.proxy_user = request.proxy_password = NULL;
    if (result.warning)
        (void)fprintf(stderr, "keynym provision: warning: %s\n", result.warning);
    status = code ? report_failure(args, &result) : report_success(args, &request, &result);
    kn_prov_result_clear(&result);
    hsm_client_x509_deinit();
    kn_cmd_pass_signal_on();
    return status;
}

static kn_exit run(const kn_cmd_args *args)
{
    unsigned timeout_s = KN_PROV_DEFAULT_TIMEOUT_MS / 1000, spread_s = 0;
    char *payload = NULL;
    kn_exit status;

    if ((status = kn_cmd_require(args, KN_OPT_ID_SCOPE)))
        return status;
    if ((status = kn_cmd_refuse_pin(args, KN_OPT_KEY)) || (status = kn_cmd_refuse_pin(args, KN_OPT_CERT)))
        return status;
    if ((status = kn_cmd_number(args, KN_OPT_TIMEOUT, 1, 86400, &timeout_s)) ||
        (status = kn_cmd_number(args, KN_OPT_SPREAD, 0, 86400, &spread_s)))
        return status;
    if (args->value[KN_OPT_PAYLOAD] &&
        (status = kn_cmd_read_text(args->value[KN_OPT_PAYLOAD], KN_PROV_PAYLOAD_MAX, &payload)))
        return status;
    status = kn_cmd_set_identity(args, WHAT);
    if (status == KN_EXIT_OK)
        status = register_device(args, timeout_s, spread_s, payload);
    free(payload);
    return status;
}

static const kn_opt options[] = {
    KN_OPT_ID_SCOPE, KN_OPT_ENDPOINT,   KN_OPT_TRANSPORT, KN_OPT_ATTESTATION,
    KN_OPT_PROXY,    KN_OPT_PROXY_AUTH, KN_OPT_CA,        KN_OPT_KEY,
    KN_OPT_CERT,     KN_OPT_PIN_SOURCE, KN_OPT_MODULE,    KN_OPT_TPM,
    KN_OPT_REGISTRATION_ID, KN_OPT_PAYLOAD, KN_OPT_TIMEOUT, KN_OPT_RETRY_STATE,
    KN_OPT_SPREAD,   KN_OPT_OUTPUT,     KN_OPT_JSON,      KN_OPT_QUIET,
    KN_OPT_VERBOSE,  KN_OPT_COUNT,
};

const kn_cmd kn_cmd_provision = {
    .name = "provision",
    .summary = "register this device with the Azure Device Provisioning Service",
    .synopsis = "--id-scope SCOPE [options]",
    .description =
        "Registers the device over mutual TLS with a key that stays in its hardware, or with SAS tokens\n"
        "of a symmetric key, and prints the IoT hub that it was assigned to. Without --key and --cert\n"
        "the HSM library's configuration file names them. The service's certificate is always verified.\n",
    .options = options,
    .run = run,
};
