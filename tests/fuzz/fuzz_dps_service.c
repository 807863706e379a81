/* What the service side of keynym-dps reads from others: SAS tokens, base64, enrollments, queries, TPM public
 * areas, faults and webhook answers. The first byte of an input says which. */
#include "fuzz_driver.h"

#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "dps_enrollment_json.h"
#include "dps_faults.h"
#include "dps_json.h"
#include "dps_query.h"
#include "dps_sas.h"
#include "dps_tpm.h"
#include "dps_webhook.h"

/* A result that is wrong, though nothing crashed. */
static void check(bool ok)
{
    if (!ok)
        abort();
}

static void read_sas(dps_span text)
{
    dps_sas sas;
    if (dps_sas_parse(text, &sas) != DPS_SAS_OK)
        return;
    check(strlen(sas.decoded) <= DPS_SAS_RESOURCE_MAX && sas.decoded[0] != '\0' && sas.expiry_s >= 0);
    check(sas.expiry_s == 0 || dps_sas_check(&sas, sas.decoded, sas.expiry_s * 1000 - 1) == DPS_SAS_OK);
    check(dps_sas_check(&sas, sas.decoded, sas.expiry_s * 1000) == DPS_SAS_EXPIRED);
    check(!dps_sas_signed_by(&sas, "0123456789abcdef", 16));
}

static void read_base64(dps_span text)
{
    dps_blob blob = {0};
    if (!dps_base64_decode(text, 64, &blob))
        return;
    char *again = dps_base64_encode(blob.bytes, blob.len);
    check(blob.len <= 64 && again != NULL && dps_span_is(text, again)); /* one spelling only */
    free(again);
    dps_blob_clear(&blob);
}

static void read_enrollment(dps_span text, bool is_group)
{
    const char *problem = NULL;
    dps_enrollment e, again;
    cJSON *root = dps_json_parse(text, &problem);
    if (root != NULL && dps_enrollment_from_json(root, is_group, NULL, &e, &problem)) {
        check(e.is_group == is_group && dps_id_check(dps_span_of(e.id)) == DPS_ID_OK && e.primary.len > 0);
        /* what it says of itself makes the same again */
        cJSON *json = dps_enrollment_to_json(&e, NULL);
        char *said = cJSON_PrintUnformatted(json);
        cJSON_Delete(json);
        json = said != NULL ? dps_json_parse(dps_span_of(said), &problem) : NULL;
        check(json != NULL && dps_enrollment_from_json(json, is_group, &e, &again, &problem));
        check(dps_blob_equal(&e.primary, &again.primary) && dps_blob_equal(&e.secondary, &again.secondary));
        check(e.allocation == again.allocation && e.enabled == again.enabled &&
              strcmp(e.hub, again.hub) == 0);
        cJSON_Delete(json);
        free(said);
        dps_enrollment_clear(&again);
        dps_enrollment_clear(&e);
    }
    cJSON_Delete(root);
}

static void read_query(dps_span text)
{
    static const char document[] =
        "{\"registrationId\":\"dev-1\",\"attestation\":{\"type\":\"x509\"},\"n\":5}";
    const char *problem = NULL;
    dps_query *query = dps_query_parse(text, &problem);
    check((query == NULL) == (problem != NULL));
    if (query == NULL)
        return;
    cJSON *json = cJSON_Parse(document);
    (void)dps_query_matches(query, json);
    cJSON_Delete(json);
    dps_query_free(&query);
}

static void read_tpm(dps_span text)
{
    dps_tpm_public key;
    const dps_blob blob = {(uint8_t *)(uintptr_t)text.at, text.len};
    if (dps_tpm_parse_public(&blob, &key) == NULL)
        check((key.modulus[0] & 0x80) != 0 && (key.exponent & 1) != 0 && text.len > DPS_TPM_MODULUS_SIZE);
}

static void read_faults(dps_span text)
{
    static dps_fault_rule rules[DPS_FAULTS_MAX];
    size_t count = 0;
    dps_fail fail;
    if (!dps_faults_parse(text, rules, &count, &fail)) {
        check(strlen(fail.text) > 0);
        return;
    }
    check(count <= DPS_FAULTS_MAX);
    for (size_t i = 0; i < count; i++)
        check(rules[i].kind < DPS_FAULT_KINDS && rules[i].step < DPS_STEPS && rules[i].percent >= 1 &&
              rules[i].percent <= 100);
}

static void read_webhook(dps_span text)
{
    static const dps_hubs hubs = {.names = {"hub.test"}, .count = 1};
    dps_webhook_answer answer;
    int code = 0;
    if (dps_webhook_parse(text, &hubs, &answer, &code) == NULL) {
        check(dps_hubs_has(&hubs, answer.hub));
        dps_webhook_answer_clear(&answer);
    } else {
        check(code != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    dps_span text = {(const char *)data + 1, size - 1};
    switch (data[0] & 7) {
    case 0:
        read_sas(text);
        break;
    case 1:
        read_base64(text);
        break;
    case 2:
    case 3:
        read_enrollment(text, (data[0] & 1) != 0);
        break;
    case 4:
        read_query(text);
        break;
    case 5:
        read_tpm(text);
        break;
    case 6:
        read_faults(text);
        break;
    default:
        read_webhook(text);
        break;
    }
    return 0;
}

static void add_text(void (*add)(const void *data, size_t size), char kind, const char *text)
{
    char seed[4096];
    size_t n = strlen(text);
    seed[0] = kind;
    memcpy(seed + 1, text, n);
    add(seed, n + 1);
}

void fuzz_seeds(void (*add)(const void *data, size_t size))
{
    uint8_t area[1 + 2 + 10 + 32 + 14 + 256] = {5,    0x01, 0x3a, 0x00, 0x01, 0x00, 0x0b,
                                                0x00, 0x03, 0x00, 0xb2, 0x00, 0x20};
    static const uint8_t middle[] = {0, 6, 0, 0x80, 0, 0x43, 0, 0x10, 8, 0, 0, 0, 0, 0};
    memcpy(area + 13 + 32, middle, sizeof(middle));
    area[1 + 2 + 10 + 32 + 12] = 1; /* the modulus has 256 bytes */
    memset(area + 13 + 32 + 14, 0xab, 256);
    add(area, sizeof(area));
    add_text(add, 0,
             "SharedAccessSignature "
             "sr=0ne%2fregistrations%2fd&sig=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D&se=20&skn="
             "registration");
    add_text(add, 1, "MDEyMzQ1Njc4OWFiY2RlZg==");
    add_text(add, 2,
             "{\"registrationId\":\"d\",\"attestation\":{\"type\":\"symmetricKey\",\"symmetricKey\":{"
             "\"primaryKey\":"
             "\"MDEyMzQ1Njc4OWFiY2RlZg==\",\"secondaryKey\":\"MDEyMzQ1Njc4OWFiY2RlZg==\"}},\"iotHubs\":["
             "\"a\",\"b\"],"
             "\"reprovisionPolicy\":{\"updateHubAssignment\":true},\"initialTwin\":{\"tags\":{}},"
             "\"provisioningStatus\":\"disabled\"}");
    add_text(add, 3,
             "{\"enrollmentGroupId\":\"g\",\"attestation\":{\"type\":\"x509\",\"x509\":{\"caReferences\":{"
             "\"primary\":\"r\"}}},"
             "\"allocationPolicy\":\"custom\",\"customAllocationDefinition\":{\"webhookUrl\":\"https://h/"
             "\",\"apiVersion\":\"v\"}}");
    add_text(add, 4,
             "SELECT * FROM enrollments WHERE (attestation.type = 'x509' OR n >= 5) AND NOT registrationId "
             "<> \"dev-1\"");
    add_text(add, 6,
             "{\"faults\":[{\"kind\":\"drop\",\"step\":\"status\",\"after\":true,\"percent\":5,\"count\":3},{"
             "\"kind\":\"clock-skew\","
             "\"skewS\":-60},{\"kind\":\"delay\",\"delayMs\":5,\"registrationId\":\"d\"}]}");
    add_text(add, 7, "{\"iotHubHostName\":\"hub.test\",\"initialTwin\":{\"tags\":{}},\"payload\":[1,2]}");
}
