/* The example configuration files: each setting of the libraries' tables is in them with words of its own, and what they have is accepted
 * when all of it is switched on. */
#include "hsm_config.h"
#include "kn_config.h"
#include "keynym_hsm.h"

#include "support/kn_check.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINES_MAX 200
#define LINE_CHARS 400

typedef struct example {
    char line[LINES_MAX][LINE_CHARS];
    size_t count;
} example;

static void read_example(const char *path, example *ret_example)
{
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    ret_example->count = 0;
    while (ret_example->count < LINES_MAX && fgets(ret_example->line[ret_example->count], LINE_CHARS, file)) {
        char *line = ret_example->line[ret_example->count++];
        assert_non_null(strchr(line, '\n')); /* a whole one */
        line[strcspn(line, "\n")] = '\0';
    }
    assert_true(feof(file));
    (void)fclose(file);
}

/* The setting of a line that is on or off, switched on ("name = value"), or NULL; @ret_name gets its name. */
static const char *setting_of(const char *line, char ret_name[64])
{
    const char *text = strncmp(line, "# ", 2) ? line : line + 2;
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz_");
    if (!length || length >= 64 || strncmp(text + length, " = ", 3))
        return NULL;
    memcpy(ret_name, text, length);
    ret_name[length] = '\0';
    return text;
}

/* The value of the first setting @name, which must have prose above it; NULL: it is not in the example. */
static const char *explained(const example *e, const char *name)
{
    char found[64];
    for (size_t i = 1; i < e->count; i++) {
        const char *text = setting_of(e->line[i], found);
        if (!text || strcmp(found, name))
            continue;
        assert_int_equal(strncmp(e->line[i - 1], "# ", 2), 0);
        assert_null(setting_of(e->line[i - 1], found));
        return text + strlen(name) + 3;
    }
    return NULL;
}

static void write_switched_on(const example *e, const char *path)
{
    char name[64];
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    for (size_t i = 0; i < e->count; i++) {
        const char *text = setting_of(e->line[i], name);
        if (!text && !strncmp(e->line[i], "# [", 3))
            text = e->line[i] + 2;
        (void)fprintf(file, "%s\n", text ? text : e->line[i]);
    }
    assert_int_equal(fclose(file), 0);
}

static void test_hsm_library(void **state)
{
    static example e;
    char path[] = "/tmp/kn-example-XXXXXX";
    hsm_settings settings = {.ctx = NULL};
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    (void)close(fd);
    read_example(KN_EXAMPLES "/keynym.cnf", &e);
    for (int i = 0; i < HSM_SETTING_COUNT; i++)
        if (!explained(&e, hsm_setting_name((hsm_setting)i)))
            fail_msg("docs/examples/keynym.cnf does not explain %s", hsm_setting_name((hsm_setting)i));
    assert_int_equal(keynym_hsm_load_config(KN_EXAMPLES "/keynym.cnf"), 0);
    write_switched_on(&e, path);
    if (keynym_hsm_load_config(path))
        fail_msg("%s", keynym_hsm_last_error());
    assert_ok(hsm_settings_get(&settings));
    for (int i = 0; i < HSM_SETTING_COUNT; i++) {
        assert_non_null(settings.value[i]);
        assert_string_equal(settings.value[i], explained(&e, hsm_setting_name((hsm_setting)i)));
    }
    hsm_settings_free(&settings);
    assert_int_equal(keynym_hsm_use("pump"), 0);
    assert_ok(hsm_settings_get(&settings));
    assert_string_equal(settings.value[HSM_KEY], "pkcs11:token=devices;object=pump");
    hsm_settings_free(&settings);
    assert_int_equal(unlink(path), 0);
}

static void test_provider(void **state)
{
    static example e;
    kn_config config = {0};
    (void)state;
    read_example(KN_EXAMPLES "/openssl.cnf", &e);
    for (size_t i = 0; i < kn_setting_count; i++) {
        const char *value = explained(&e, kn_settings[i].name);
        if (!value)
            fail_msg("docs/examples/openssl.cnf does not explain %s", kn_settings[i].name);
        assert_ok(kn_config_set(&config, &kn_settings[i], value));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hsm_library),
        cmocka_unit_test(test_provider),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
