#include "dps_topic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PUT "$dps/registrations/PUT/iotdps-register/"
#define GET "$dps/registrations/GET/iotdps-get-operationstatus/"

static dps_topic_err parse(const char *text, dps_topic *ret)
{
    return dps_topic_parse(dps_span_of(text), ret);
}

static void test_username(void **state)
{
    (void)state;
    dps_username user;
    const char *text =
        "0ne1/registrations/dev-1/api-version=2019-03-31&ClientVersion=azure-iot-provisioning-device%2F1.9.1";
    assert_int_equal(dps_username_parse(dps_span_of(text), &user), DPS_TOPIC_OK);
    assert_true(dps_span_is(user.id_scope, "0ne1") && dps_span_is(user.registration_id, "dev-1"));
    assert_true(dps_span_is(user.api_version, "2019-03-31"));
    assert_true(dps_span_is(user.client_version, "azure-iot-provisioning-device%2F1.9.1"));
    assert_int_equal(dps_username_parse(dps_span_of("s/registrations/d/api-version=1"), &user), DPS_TOPIC_OK);
    assert_int_equal(user.client_version.len, 0);
    assert_int_equal(dps_username_parse(dps_span_of("s/registrations/d/ClientVersion=1"), &user),
                     DPS_TOPIC_OK);
    assert_int_equal(user.api_version.len, 0);
}

static void test_username_bad(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        dps_topic_err err;
    } rows[] = {
        {"", DPS_TOPIC_E_SHAPE},
        {"scope", DPS_TOPIC_E_SHAPE},
        {"scope/registrations", DPS_TOPIC_E_SHAPE},
        {"scope/registrations/dev", DPS_TOPIC_E_SHAPE},
        {"/registrations/dev/api-version=1", DPS_TOPIC_E_SHAPE},
        {"scope/registrations//api-version=1", DPS_TOPIC_E_SHAPE},
        {"scope/devices/dev/api-version=1", DPS_TOPIC_E_SHAPE},
        {"scope/registrations/dev/api-version", DPS_TOPIC_E_QUERY},
        {"scope/registrations/dev/=1", DPS_TOPIC_E_QUERY},
        {"scope/registrations/dev/api-version=1&api-version=2", DPS_TOPIC_E_QUERY},
    };
    dps_username user;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(dps_username_parse(dps_span_of(rows[i].text), &user), rows[i].err);
    char *big = malloc(DPS_USERNAME_MAX + 1);
    assert_non_null(big);
    memset(big, 'a', DPS_USERNAME_MAX + 1);
    assert_int_equal(dps_username_parse((dps_span){big, DPS_USERNAME_MAX + 1}, &user), DPS_TOPIC_E_LENGTH);
    assert_int_equal(dps_username_parse((dps_span){big, DPS_USERNAME_MAX}, &user), DPS_TOPIC_E_SHAPE);
    free(big);
}

static void test_topics(void **state)
{
    (void)state;
    dps_topic topic;
    assert_int_equal(parse(PUT "?$rid=abc-1", &topic), DPS_TOPIC_OK);
    assert_int_equal(topic.kind, DPS_TOPIC_REGISTER);
    assert_true(dps_span_is(topic.rid, "abc-1"));
    assert_int_equal(parse(PUT "?x=1&$rid=7", &topic), DPS_TOPIC_OK);
    assert_true(dps_span_is(topic.rid, "7"));
    assert_int_equal(parse(GET "?$rid=2&operationId=5.ab%2e1%2Fx", &topic), DPS_TOPIC_OK);
    assert_int_equal(topic.kind, DPS_TOPIC_STATUS);
    assert_string_equal(topic.operation_id, "5.ab.1/x");
}

static void test_topics_bad(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        dps_topic_err err;
    } rows[] = {
        {"", DPS_TOPIC_E_UNKNOWN},
        {"a/b", DPS_TOPIC_E_UNKNOWN},
        {"devices/d/messages/events/?$rid=1", DPS_TOPIC_E_UNKNOWN},
        {"$dps/registrations/PUT/iotdps-register/", DPS_TOPIC_E_UNKNOWN},
        {"$dps/registrations/PUT/iotdps-register?$rid=1", DPS_TOPIC_E_UNKNOWN},
        {"$dps/registrations/put/iotdps-register/?$rid=1", DPS_TOPIC_E_UNKNOWN},
        {PUT "?", DPS_TOPIC_E_RID},
        {PUT "?$rid=", DPS_TOPIC_E_RID},
        {PUT "?$rid", DPS_TOPIC_E_QUERY},
        {PUT "?$rid=1&$rid=2", DPS_TOPIC_E_QUERY},
        {GET "?operationId=5", DPS_TOPIC_E_RID},
        {GET "?$rid=1", DPS_TOPIC_E_OPERATION},
        {GET "?$rid=1&operationId=", DPS_TOPIC_E_OPERATION},
        {GET "?$rid=1&operationId=%", DPS_TOPIC_E_OPERATION},
        {GET "?$rid=1&operationId=%4", DPS_TOPIC_E_OPERATION},
        {GET "?$rid=1&operationId=%zz", DPS_TOPIC_E_OPERATION},
        {GET "?$rid=1&operationId=a%00b", DPS_TOPIC_E_OPERATION},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        dps_topic topic;
        assert_int_equal(parse(rows[i].text, &topic), rows[i].err);
    }
}

static void test_topic_limits(void **state)
{
    (void)state;
    char text[DPS_TOPIC_MAX + 2];
    dps_topic topic;
    size_t head = (size_t)snprintf(text, sizeof(text), PUT "?$rid=");
    memset(text + head, 'r', sizeof(text) - head);
    assert_int_equal(dps_topic_parse((dps_span){text, head + DPS_RID_MAX}, &topic), DPS_TOPIC_OK);
    assert_int_equal(dps_topic_parse((dps_span){text, head + DPS_RID_MAX + 1}, &topic), DPS_TOPIC_E_RID);
    assert_int_equal(topic.rid.len, 0);
    assert_int_equal(dps_topic_parse((dps_span){text, DPS_TOPIC_MAX + 1}, &topic), DPS_TOPIC_E_LENGTH);
    head = (size_t)snprintf(text, sizeof(text), GET "?$rid=1&operationId=");
    memset(text + head, 'o', sizeof(text) - head);
    assert_int_equal(dps_topic_parse((dps_span){text, head + 127}, &topic), DPS_TOPIC_OK);
    assert_int_equal(strlen(topic.operation_id), 127);
    assert_int_equal(dps_topic_parse((dps_span){text, head + 128}, &topic), DPS_TOPIC_E_OPERATION);
    assert_string_equal(topic.operation_id, "");
}

/* Every prefix of a good topic, in a buffer of its exact size. */
static void test_topic_prefixes(void **state)
{
    (void)state;
    const char *whole = GET "?$rid=1&operationId=5.ab%2e1";
    for (size_t n = 0; n <= strlen(whole); n++) {
        char *copy = malloc(n + 1);
        assert_non_null(copy);
        memcpy(copy, whole, n);
        dps_topic topic;
        dps_topic_err err = dps_topic_parse((dps_span){copy, n}, &topic);
        assert_true(err != DPS_TOPIC_OK || n > strlen(GET "?$rid=1&operationId="));
        free(copy);
    }
}

static void test_response(void **state)
{
    (void)state;
    char topic[DPS_RES_TOPIC_LEN];
    dps_topic_response(topic, 202, dps_span_of("abc"), 3);
    assert_string_equal(topic, "$dps/registrations/res/202/?$rid=abc&retry-after=3");
    dps_topic_response(topic, 401, dps_span_of("1"), 0);
    assert_string_equal(topic, "$dps/registrations/res/401/?$rid=1");
    char rid[DPS_RID_MAX + 1];
    memset(rid, 'r', DPS_RID_MAX);
    rid[DPS_RID_MAX] = '\0';
    dps_topic_response(topic, 202, dps_span_of(rid), 300);
    assert_non_null(strstr(topic, "r&retry-after=300"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_username),     cmocka_unit_test(test_username_bad),
        cmocka_unit_test(test_topics),       cmocka_unit_test(test_topics_bad),
        cmocka_unit_test(test_topic_limits), cmocka_unit_test(test_topic_prefixes),
        cmocka_unit_test(test_response),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
