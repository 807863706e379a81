#include "dps_faults.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cJSON.h>
#include <openssl/rand.h>

#include "dps_error.h"
#include "dps_file.h"
#include "dps_json.h"
#include "dps_log.h"

struct dps_faults {
    char *path;
    struct stat seen; /* of the file that was read last; all zero: none */
    size_t count;
    dps_fault_rule rules[DPS_FAULTS_MAX];
};

static const char *const kind_names[DPS_FAULT_KINDS] = {
    [DPS_FAULT_THROTTLE] = "throttle",   [DPS_FAULT_ERROR] = "error",
    [DPS_FAULT_DROP] = "drop",           [DPS_FAULT_DELAY] = "delay",
    [DPS_FAULT_MALFORMED] = "malformed", [DPS_FAULT_FAIL] = "fail",
    [DPS_FAULT_STUCK] = "stuck",         [DPS_FAULT_CERTIFICATE] = "wrong-certificate",
    [DPS_FAULT_CLOCK] = "clock-skew",
};

static const char *const step_names[DPS_STEPS] = {
    [DPS_STEP_REQUEST] = "request", [DPS_STEP_CONNECT] = "connect",   [DPS_STEP_HANDSHAKE] = "handshake",
    [DPS_STEP_ADMIT] = "admit",     [DPS_STEP_REGISTER] = "register", [DPS_STEP_STATUS] = "status",
    [DPS_STEP_SERVICE] = "service",
};

static const char *const certificate_names[DPS_WRONG_COUNT] = {
    [DPS_WRONG_NAME] = "wrong-name",
    [DPS_WRONG_EXPIRED] = "expired",
    [DPS_WRONG_UNTRUSTED] = "untrusted",
};

static bool find_name(const cJSON *item, const char *const *names, size_t count, size_t *ret)
{
    for (size_t i = 0; cJSON_IsString(item) && i < count; i++) {
        if (strcmp(item->valuestring, names[i]) == 0) {
            *ret = i;
            return true;
        }
    }
    return false;
}

/* A whole number of @min..@max. */
static bool take_number(const cJSON *item, double min, double max, double *ret)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= min && item->valuedouble <= max))
        return false;
    *ret = item->valuedouble;
    return *ret == (double)(int64_t)*ret;
}

/* The members, each with what it may be; the sentence says so. NULL: taken. */
static const char *take_member(const cJSON *item, dps_fault_rule *rule)
{
    double n = 0;
    size_t i = 0;
    if (strcmp(item->string, "kind") == 0)
        return NULL; /* was taken first */
    if (strcmp(item->string, "step") == 0) {
        if (!find_name(item, step_names, DPS_STEPS, &i))
            return "step is not request, connect, handshake, admit, register, status or service";
        rule->step = (dps_fault_step)i;
    } else if (strcmp(item->string, "registrationId") == 0) {
        if (!cJSON_IsString(item) || dps_id_check(dps_span_of(item->valuestring)) != DPS_ID_OK)
            return "registrationId is not a registration id";
        snprintf(rule->registration_id, sizeof(rule->registration_id), "%s", item->valuestring);
    } else if (strcmp(item->string, "percent") == 0) {
        if (!take_number(item, 1, 100, &n))
            return "percent is not a number of 1..100";
        rule->percent = (unsigned)n;
    } else if (strcmp(item->string, "count") == 0) {
        if (!take_number(item, 1, 1000000, &n))
            return "count is not a number of 1..1000000";
        rule->count = (unsigned)n;
    } else if (strcmp(item->string, "after") == 0) {
        if (!cJSON_IsBool(item))
            return "after is not true or false";
        rule->after = cJSON_IsTrue(item);
    } else if (strcmp(item->string, "status") == 0) {
        if (!take_number(item, 500, 599, &n))
            return "status is not a number of 500..599";
        rule->status = (int)n;
    } else if (strcmp(item->string, "retryAfterS") == 0) {
        if (!take_number(item, 0, 3600, &n))
            return "retryAfterS is not a number of 0..3600";
        rule->retry_after_s = (unsigned)n;
    } else if (strcmp(item->string, "delayMs") == 0) {
        if (!take_number(item, 1, DPS_FAULT_DELAY_MAX_MS, &n))
            return "delayMs is not a number of 1..600000";
        rule->delay_ms = (unsigned)n;
    } else if (strcmp(item->string, "errorCode") == 0) {
        if (!take_number(item, 400000, 599999, &n))
            return "errorCode is not a number of 400000..599999";
        rule->error_code = (int)n;
    } else if (strcmp(item->string, "message") == 0) {
        if (!cJSON_IsString(item) || strlen(item->valuestring) >= sizeof(rule->message))
            return "message is not a text of less than 256 bytes";
        snprintf(rule->message, sizeof(rule->message), "%s", item->valuestring);
    } else if (strcmp(item->string, "skewS") == 0) {
        if (!take_number(item, -(double)DPS_FAULT_SKEW_MAX_S, DPS_FAULT_SKEW_MAX_S, &n))
            return "skewS is not a number of seconds of at most ten years";
        rule->skew_s = (int64_t)n;
    } else if (strcmp(item->string, "certificate") == 0) {
        if (!find_name(item, certificate_names, DPS_WRONG_COUNT, &i))
            return "certificate is not wrong-name, expired or untrusted";
        rule->certificate = (dps_wrong_certificate)i;
    } else {
        return "a member is not known";
    }
    return NULL;
}

/* What a kind needs, and where it can happen. NULL: fine. */
static const char *check_rule(const dps_fault_rule *rule)
{
    bool request =
        rule->step == DPS_STEP_REQUEST || rule->step == DPS_STEP_REGISTER || rule->step == DPS_STEP_STATUS;
    switch (rule->kind) {
    case DPS_FAULT_DROP:
        return rule->after && !request ? "after belongs to the steps request, register and status" : NULL;
    case DPS_FAULT_THROTTLE:
    case DPS_FAULT_ERROR:
        return rule->step == DPS_STEP_CONNECT || rule->step == DPS_STEP_HANDSHAKE
                   ? "there is no answer at the steps connect and handshake"
                   : NULL;
    case DPS_FAULT_DELAY:
        if (rule->delay_ms == 0)
            return "delayMs is missing";
        return rule->step == DPS_STEP_CONNECT || rule->step == DPS_STEP_HANDSHAKE
                   ? "there is no answer at the steps connect and handshake"
                   : NULL;
    case DPS_FAULT_MALFORMED:
    case DPS_FAULT_FAIL:
    case DPS_FAULT_STUCK:
        return request ? NULL : "this kind belongs to the steps request, register and status";
    case DPS_FAULT_CERTIFICATE:
        return rule->registration_id[0] != '\0' ? "the registration id is not known before the handshake"
                                                : NULL;
    case DPS_FAULT_CLOCK:
        return rule->skew_s == 0 ? "skewS is missing" : NULL;
    case DPS_FAULT_KINDS:
        break;
    }
    return NULL;
}

static const char *take_rule(const cJSON *object, dps_fault_rule *rule)
{
    const cJSON *item;
    size_t kind = 0;
    *rule = (dps_fault_rule){.percent = 100, .count = UINT32_MAX};
    if (!cJSON_IsObject(object))
        return "it is not an object";
    if (!find_name(cJSON_GetObjectItemCaseSensitive(object, "kind"), kind_names, DPS_FAULT_KINDS, &kind))
        return "kind is not throttle, error, drop, delay, malformed, fail, stuck, wrong-certificate or "
               "clock-skew";
    rule->kind = (dps_fault_kind)kind;
    rule->status = 500;
    rule->retry_after_s = rule->kind == DPS_FAULT_THROTTLE ? 5 : 0;
    rule->error_code = DPS_FAILED_NO_HUB;
    cJSON_ArrayForEach(item, object)
    {
        const char *problem = take_member(item, rule);
        if (problem != NULL)
            return problem;
    }
    return check_rule(rule);
}

bool dps_faults_parse(dps_span text, dps_fault_rule rules[DPS_FAULTS_MAX], size_t *ret_count, dps_fail *fail)
{
    const char *problem = NULL;
    cJSON *root = dps_json_parse(text, &problem);
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "faults");
    const cJSON *item;
    size_t count = 0;
    bool ok = cJSON_IsArray(list);
    if (!ok)
        dps_fail_set(fail, DPS_EXIT_FAILED,
                     "the faults are not a JSON object with an array \"faults\"; check the file");
    cJSON_ArrayForEach(item, list)
    {
        problem = count == DPS_FAULTS_MAX ? "there are more than 64" : take_rule(item, &rules[count]);
        count++;
        if (problem != NULL) {
            ok = dps_fail_set(fail, DPS_EXIT_FAILED, "fault number %zu: %s; check the file", count, problem);
            break;
        }
    }
    cJSON_Delete(root);
    if (ok)
        *ret_count = count;
    return ok;
}

dps_faults *dps_faults_new(const char *path)
{
    dps_faults *faults = calloc(1, sizeof(*faults));
    if (faults == NULL)
        return NULL;
    faults->path = strdup(path);
    if (faults->path == NULL)
        dps_faults_free(&faults);
    return faults;
}

void dps_faults_free(dps_faults **faults)
{
    if (*faults == NULL)
        return;
    free((*faults)->path);
    free(*faults);
    *faults = NULL;
    dps_time_set_skew_ms(0);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void read_file(dps_faults *faults)
{
    dps_blob file = {0};
    dps_fail fail;
    dps_fault_rule *rules = calloc(DPS_FAULTS_MAX, sizeof(*rules));
    size_t count = 0;
    if (rules != NULL && dps_file_read(faults->path, DPS_FAULTS_FILE_MAX, &file, &fail) &&
        dps_faults_parse((dps_span){(const char *)file.bytes, file.len}, rules, &count, &fail)) {
        memcpy(faults->rules, rules, sizeof(faults->rules));
        faults->count = count;
        dps_log(DPS_LOG_WARN, "%zu fault%s on demand", count, count == 1 ? "" : "s");
    } else if (rules != NULL) {
        dps_log(DPS_LOG_ERROR, "%s: %s; the faults from before stay", faults->path, fail.text);
    }
    dps_blob_clear(&file);
    free(rules);
}

void dps_faults_refresh(dps_faults *faults)
{
    struct stat st;
    int64_t skew_s = 0;
    if (faults == NULL)
        return;
    if (stat(faults->path, &st) != 0) {
        if (faults->count > 0)
            dps_log(DPS_LOG_WARN, "no faults on demand any more");
        faults->count = 0;
        faults->seen = (struct stat){0};
    } else if (!same_file(&st, &faults->seen)) {
        faults->seen = st;
        read_file(faults);
    }
    for (size_t i = 0; i < faults->count; i++)
        skew_s += faults->rules[i].kind == DPS_FAULT_CLOCK ? faults->rules[i].skew_s : 0;
    dps_time_set_skew_ms(skew_s * 1000);
}

static bool fits(const dps_fault_rule *rule, dps_fault_step step, dps_span id)
{
    if (rule->kind == DPS_FAULT_CERTIFICATE || rule->kind == DPS_FAULT_CLOCK)
        return false;
    if (rule->step != step &&
        !(rule->step == DPS_STEP_REQUEST && (step == DPS_STEP_REGISTER || step == DPS_STEP_STATUS)))
        return false;
    return rule->registration_id[0] == '\0' ||
           dps_text_equal_nocase(rule->registration_id, strlen(rule->registration_id), id.at, id.len);
}

/* Whether a rule that fits acts this time; counts it. */
static bool acts(dps_fault_rule *rule)
{
    uint32_t random = 0;
    if (rule->count == 0)
        return false;
    if (rule->percent < 100 &&
        (RAND_bytes((unsigned char *)&random, sizeof(random)) != 1 || random % 100 >= rule->percent))
        return false;
    if (rule->count != UINT32_MAX)
        rule->count--;
    return true;
}

static void add_to_plan(const dps_fault_rule *rule, dps_fault_plan *plan)
{
    switch (rule->kind) {
    case DPS_FAULT_THROTTLE:
        plan->status = 429;
        plan->retry_after_s = rule->retry_after_s;
        break;
    case DPS_FAULT_ERROR:
        plan->status = rule->status;
        plan->retry_after_s = rule->retry_after_s;
        break;
    case DPS_FAULT_DROP:
        plan->drop_before = plan->drop_before || !rule->after;
        plan->drop_after = plan->drop_after || rule->after;
        return;
    case DPS_FAULT_DELAY:
        plan->delay_ms += rule->delay_ms;
        return;
    case DPS_FAULT_MALFORMED:
        plan->malformed = true;
        return;
    case DPS_FAULT_FAIL:
        plan->fail_code = rule->error_code;
        break;
    case DPS_FAULT_STUCK:
        plan->stuck = true;
        return;
    case DPS_FAULT_CERTIFICATE:
    case DPS_FAULT_CLOCK:
    case DPS_FAULT_KINDS:
        return;
    }
    snprintf(plan->message, sizeof(plan->message), "%s",
             rule->message[0] != '\0' ? rule->message : "A fault on demand");
}

void dps_faults_pick(dps_faults *faults, dps_fault_step step, dps_span registration_id,
                     dps_fault_plan *ret_plan)
{
    *ret_plan = (dps_fault_plan){0};
    dps_faults_refresh(faults);
    for (size_t i = 0; faults != NULL && i < faults->count; i++) {
        if (!fits(&faults->rules[i], step, registration_id) || !acts(&faults->rules[i]))
            continue;
        add_to_plan(&faults->rules[i], ret_plan);
        dps_log(DPS_LOG_WARN, "fault on demand: %s at %s of \"%.*s\"", kind_names[faults->rules[i].kind],
                step_names[step], (int)registration_id.len, registration_id.at);
    }
}

bool dps_faults_certificate(dps_faults *faults, dps_wrong_certificate *ret_kind)
{
    dps_faults_refresh(faults);
    for (size_t i = 0; faults != NULL && i < faults->count; i++) {
        if (faults->rules[i].kind == DPS_FAULT_CERTIFICATE && acts(&faults->rules[i])) {
            *ret_kind = faults->rules[i].certificate;
            dps_log(DPS_LOG_WARN, "fault on demand: certificate %s", certificate_names[*ret_kind]);
            return true;
        }
    }
    return false;
}
