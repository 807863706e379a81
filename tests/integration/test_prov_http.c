/* The limits of an HTTP answer: header fields that are kept and are too long, lines that never end, a body that
 * is too large. */
#include "prov_http.h"

#include "../support/tls_refuser.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ANSWER_MAX (2U * 1024U * 1024U)

static fake_pki *pki;
static char *answer;

static int set_up(void **state)
{
    (void)state;
    pki = fake_pki_new();
    answer = malloc(ANSWER_MAX);
    return answer == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    free(answer);
    fake_pki_free(pki);
    return 0;
}

/* A good answer with a field of @size bytes 'x'. */
static void write_answer(const char *field, size_t size, const char *body)
{
    size_t at = (size_t)snprintf(answer, ANSWER_MAX, "HTTP/1.1 200 OK\r\n%s: ", field);

    memset(answer + at, 'x', size);
    at += size;
    (void)snprintf(answer + at, ANSWER_MAX - at, "\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
}

static kn_prov_code ask(prov_http_answer *ret_answer, prov_error *error)
{
    tls_refuser *server = tls_refuser_start(pki, &(tls_refuser_script){.answer = answer});
    prov_endpoint endpoint = {.host = "localhost", .port = (uint16_t)tls_refuser_port(server)};
    prov_tls_config config = {.endpoint = &endpoint, .ca_file = pki->ca_file, .proxy = ""};
    prov_http_request request = {.method = "GET", .path = "/enrollments/d"};
    prov_limits limits = prov_limits_start(30000, 30000, NULL);
    prov_deadline deadline = prov_deadline_of_step(&limits, "the test");
    prov_http *http = NULL;
    kn_prov_code code;

    *ret_answer = (prov_http_answer){.status = 0};
    assert_int_equal(prov_http_open(&config, &http, error), KN_PROV_OK);
    code = prov_http_exchange(http, &request, &deadline, ret_answer, error);
    prov_http_close(&http);
    assert_int_equal(tls_refuser_stop(server).handshakes, 1);
    return code;
}

static void test_kept_fields(void **state)
{
    static const char *const fields[] = {"ETag", "x-ms-continuation"};
    prov_http_answer got;
    prov_error error;

    (void)state;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const char *value = i ? got.continuation : got.etag;

        write_answer(fields[i], PROV_HTTP_HEADER_MAX - 1, "{}");
        assert_int_equal(ask(&got, &error), KN_PROV_OK);
        assert_int_equal(got.status, 200);
        assert_int_equal(strspn(value, "x"), PROV_HTTP_HEADER_MAX - 1);
        assert_int_equal(strlen(value), PROV_HTTP_HEADER_MAX - 1);
        assert_string_equal(got.body, "{}");
        prov_http_answer_clear(&got);

        write_answer(fields[i], PROV_HTTP_HEADER_MAX, "{}");
        assert_int_equal(ask(&got, &error), KN_PROV_E_RESPONSE);
        assert_non_null(strstr(error.detail, "a header field of 2048 bytes or more"));
        assert_null(got.body);
    }
}

/* A field that nobody asked for may be longer, but not without end: libcurl's own limit is 100 KiB. */
static void test_other_fields(void **state)
{
    prov_http_answer got;
    prov_error error;

    (void)state;
    write_answer("X-Other", 20000, "{}");
    assert_int_equal(ask(&got, &error), KN_PROV_OK);
    prov_http_answer_clear(&got);
    write_answer("X-Other", 1000000, "{}");
    assert_int_equal(ask(&got, &error), KN_PROV_E_RESPONSE);
    assert_non_null(strstr(error.detail, "a header line beyond libcurl's limit"));
    assert_null(got.body);
}

static void test_body(void **state)
{
    char *body = malloc(PROV_HTTP_BODY_MAX + 2);
    prov_http_answer got;
    prov_error error;

    (void)state;
    assert_non_null(body);
    memset(body, 'b', PROV_HTTP_BODY_MAX + 1);
    body[PROV_HTTP_BODY_MAX + 1] = '\0';
    write_answer("X-Other", 1, body);
    assert_int_equal(ask(&got, &error), KN_PROV_E_RESPONSE);
    assert_non_null(strstr(error.detail, "more than 1048576 bytes"));
    assert_null(got.body);
    body[PROV_HTTP_BODY_MAX] = '\0';
    write_answer("X-Other", 1, body);
    assert_int_equal(ask(&got, &error), KN_PROV_OK);
    assert_int_equal(got.body_size, PROV_HTTP_BODY_MAX);
    prov_http_answer_clear(&got);
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_fields),
        cmocka_unit_test(test_other_fields),
        cmocka_unit_test(test_body),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
