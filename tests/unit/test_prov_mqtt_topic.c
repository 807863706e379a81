#include "prov_mqtt_topic.h"

#include "prov_mqtt_codec.h"
#include "prov_response.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RES "$dps/registrations/res/"

static kn_prov_code parse(const char *text, prov_mqtt_topic *ret_topic)
{
    size_t size = strlen(text);
    char *copy = malloc(size + 1); /* no NUL behind it, as on the wire */
    prov_error error = {.detail = ""};
    kn_prov_code code;

    assert_non_null(copy);
    memcpy(copy, text, size);
    copy[size] = 'x';
    code = prov_mqtt_topic_parse(copy, size, ret_topic, &error);
    if (code)
        assert_true(strlen(error.detail) > 0);
    free(copy);
    return code;
}

static void test_good(void **state)
{
    static const struct {
        const char *text;
        prov_mqtt_topic topic;
    } rows[] = {
        {RES "202/?$rid=1&retry-after=3", {202, 1, 3}},
        {RES "202/?retry-after=3&$rid=1", {202, 1, 3}},
        {RES "200/?$rid=42", {200, 42, 0}},
        {RES "401/?$rid=2", {401, 2, 0}},
        {RES "429/?$rid=2&retry-after=0", {429, 2, 0}},
        {RES "200/?$rid=2&retry-after=999999999", {200, 2, 999999999}},
        {RES "200/?$rid=2&later=x&empty=&word", {200, 2, 0}},
        {RES "599/?$rid=999999999", {599, 999999999, 0}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        prov_mqtt_topic topic = {.status = 0};

        if (parse(rows[i].text, &topic) != KN_PROV_OK)
            fail_msg("%s was refused", rows[i].text);
        assert_int_equal(topic.status, rows[i].topic.status);
        assert_int_equal(topic.request_id, rows[i].topic.request_id);
        assert_int_equal(topic.retry_after_s, rows[i].topic.retry_after_s);
    }
}

static void test_bad(void **state)
{
    static const char *const rows[] = {
        "",
        "$dps",
        RES,
        RES "200",
        RES "200/",
        RES "200/?",
        RES "200/?$rid=",
        RES "200/?$rid=1x",
        RES "200/?$rid=-1",
        RES "200/?$rid=+1",
        RES "200/?$rid= 1",
        RES "200/?$rid=1234567890",
        RES "200/?$rid=1&$rid=1",
        RES "200/?$rid=1&retry-after=1&retry-after=2",
        RES "200/?$rid=1&retry-after=",
        RES "200/?$rid=1&retry-after=soon",
        RES "200/?$rid",
        RES "200/?rid=1",
        RES "200?$rid=1",
        RES "20/?$rid=1",
        RES "2000/?$rid=1",
        RES "099/?$rid=1",
        RES "600/?$rid=1",
        RES "2 0/?$rid=1",
        "$DPS/registrations/res/200/?$rid=1",
        "/" RES "200/?$rid=1",
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        prov_mqtt_topic topic = {.status = -7};

        if (parse(rows[i], &topic) != KN_PROV_E_PROTOCOL)
            fail_msg("\"%s\" was accepted", rows[i]);
        assert_int_equal(topic.status, -7); /* untouched on failure */
    }
}

static void test_truncations(void **state)
{
    static const char whole[] = RES "202/?$rid=1&retry-after=3";
    prov_mqtt_topic topic;
    prov_error error;

    (void)state;
    for (size_t size = 0; size < strlen(RES "202/?$rid=1"); size++)
        assert_int_equal(prov_mqtt_topic_parse(whole, size, &topic, &error), KN_PROV_E_PROTOCOL);
}

static void test_requests(void **state)
{
    char text[PROV_MQTT_TOPIC_MAX + 3 * PROV_OPERATION_ID_MAX], longest[PROV_OPERATION_ID_MAX + 1];
    size_t size;

    (void)state;
    size = prov_mqtt_topic_of_register(7, text, sizeof text);
    assert_int_equal(size, strlen(text));
    assert_string_equal(text, "$dps/registrations/PUT/iotdps-register/?$rid=7");
    size = prov_mqtt_topic_of_poll(8, "5.0a.b-c", text, sizeof text);
    assert_int_equal(size, strlen(text));
    assert_string_equal(text,
                        "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=8&operationId=5.0a.b-c");
    assert_int_not_equal(prov_mqtt_topic_of_poll(8, "a/b+#&", text, sizeof text), 0);
    assert_non_null(strstr(text, "operationId=a%2Fb%2B%23%26"));
    memset(longest, '#', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_not_equal(prov_mqtt_topic_of_poll(1, longest, text, sizeof text), 0);
    for (size_t capacity = 1; capacity < 40; capacity++) {
        assert_int_equal(prov_mqtt_topic_of_register(7, text, capacity), 0);
        assert_int_equal(prov_mqtt_topic_of_poll(7, "5", text, capacity), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_truncations),
        cmocka_unit_test(test_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
