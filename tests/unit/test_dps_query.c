#include "dps_query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <cmocka.h>

static const char document[] =
    "{\"registrationId\":\"dev-1\",\"n\":5,\"on\":true,\"etag\":\"a b\",\"none\":null,"
    "\"attestation\":{\"type\":\"x509\",\"x509\":{\"v\":-2.5}}}";

static void test_conditions(void **state)
{
    (void)state;
    static const struct {
        const char *where;
        bool matches;
    } rows[] = {
        {"", true},
        {"WHERE registrationId = 'dev-1'", true},
        {"where REGISTRATIONID=\"dev-1\"", true},
        {"WHERE registrationId = 'DEV-1'", false},
        {"WHERE registrationId != 'dev-1'", false},
        {"WHERE registrationId <> 'dev-2'", true},
        {"WHERE registrationId < 'dev-2'", true},
        {"WHERE registrationId < 'dev'", false},
        {"WHERE registrationId > 'dev'", true},
        {"WHERE n = 5", true},
        {"WHERE n >= 5 AND n <= 5", true},
        {"WHERE n > 5", false},
        {"WHERE n = '5'", false},
        {"WHERE on = true", true},
        {"WHERE on = false", false},
        {"WHERE etag = 'a b'", true},
        {"WHERE attestation.type = 'x509'", true},
        {"WHERE attestation.x509.v = -2.5", true},
        {"WHERE attestation.x509 = 'x'", false},
        {"WHERE missing = 1", false},
        {"WHERE NOT missing = 1", true},
        {"WHERE none = 1", false},
        {"WHERE n = 1 OR n = 5", true},
        {"WHERE n = 5 OR n = 1 AND n = 2", true},
        {"WHERE (n = 5 OR n = 1) AND n = 2", false},
        {"WHERE NOT (n = 1 OR n = 2) AND on = true", true},
        {"WHERE NOT NOT n = 5", true},
    };
    cJSON *json = cJSON_Parse(document);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[256];
        const char *problem = NULL;
        snprintf(text, sizeof(text), "SELECT * FROM enrollments %s", rows[i].where);
        dps_query *query = dps_query_parse(dps_span_of(text), &problem);
        if (query == NULL)
            fail_msg("%s: %s", text, problem);
        if (dps_query_matches(query, json) != rows[i].matches)
            fail_msg("%s", text);
        dps_query_free(&query);
    }
    cJSON_Delete(json);
}

static void test_sources(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        dps_query_source source;
    } rows[] = {{"enrollments", DPS_QUERY_ENROLLMENTS},
                {"EnrollmentGroups", DPS_QUERY_GROUPS},
                {"registrations", DPS_QUERY_REGISTRATIONS},
                {"deviceRegistrations", DPS_QUERY_REGISTRATIONS}};
    for (size_t i = 0; i < 4; i++) {
        char text[64];
        const char *problem = NULL;
        snprintf(text, sizeof(text), " select  *\nfrom %s ", rows[i].name);
        dps_query *query = dps_query_parse(dps_span_of(text), &problem);
        assert_non_null(query);
        assert_int_equal(dps_query_from(query), rows[i].source);
        dps_query_free(&query);
    }
}

static void refused(const char *text, const char *part)
{
    const char *problem = NULL;
    assert_null(dps_query_parse(dps_span_of(text), &problem));
    if (strstr(problem, part) == NULL)
        fail_msg("%.60s: %s", text, problem);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const starts[] = {"",
                                         "SELECT",
                                         "SELECT a FROM enrollments",
                                         "SELECT * FROM",
                                         "SELECT * FROM users",
                                         "DELETE * FROM enrollments",
                                         "SELECT * enrollments",
                                         ";"};
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
        refused(starts[i], "SELECT");
#define S "SELECT * FROM enrollments "
    refused(S "ORDER BY x", "WHERE");
    refused(S "WHERE", "member, comparison, value");
    refused(S "WHERE a", "member, comparison, value");
    refused(S "WHERE a =", "member, comparison, value");
    refused(S "WHERE a = b", "member, comparison, value");
    refused(S "WHERE a == 1", "member, comparison, value");
    refused(S "WHERE a = 1 b", "something follows");
    refused(S "WHERE a = 1 AND", "member, comparison, value");
    refused(S "WHERE a = 'x", "member, comparison, value");
    refused(S "WHERE a = 1.2.3", "member, comparison, value");
    refused(S "WHERE (a = 1", "parenthesis");
    refused(S "WHERE 'a' = 1", "member, comparison, value");
    char big[DPS_QUERY_MAX + 2];
    memset(big, ' ', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    refused(big, "longer");
    char deep[256] = S "WHERE ";
    for (int i = 0; i < DPS_QUERY_DEPTH_MAX; i++)
        strcat(deep, "(");
    refused(strcat(deep, "a = 1"), "deeply");
    char wide[DPS_QUERY_MAX] = S "WHERE a = 1";
    for (int i = 0; i < DPS_QUERY_NODES_MAX; i++)
        strcat(wide, " OR a = 1");
    refused(wide, "too many");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_sources),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
