#include "dps_webhook.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cJSON.h>
#include <curl/curl.h>
#include <netinet/in.h>

#include "dps_enrollment_json.h"
#include "dps_error.h"
#include "dps_json.h"
#include "dps_log.h"

struct dps_webhook {
    char *database;
    char *ca;
    dps_hubs hubs;
    unsigned timeout_s;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    bool stopping;
    size_t first, count; /* of the ring */
    char queue[DPS_WEBHOOK_QUEUE_MAX][DPS_ID_LEN];
};

void dps_webhook_answer_clear(dps_webhook_answer *answer)
{
    free(answer->initial_twin);
    free(answer->payload);
    *answer = (dps_webhook_answer){0};
}

static bool keep_json(const cJSON *item, size_t max, char **ret)
{
    if (item == NULL || cJSON_IsNull(item))
        return true;
    *ret = cJSON_PrintUnformatted(item);
    return *ret != NULL && strlen(*ret) <= max;
}

const char *dps_webhook_parse(dps_span body, const dps_hubs *hubs, dps_webhook_answer *ret_answer,
                              int *ret_code)
{
    dps_webhook_answer answer = {.hub = ""};
    const char *problem = NULL;
    cJSON *root = dps_json_parse(body, &problem);
    const char *hub = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "iotHubHostName"));
    const cJSON *twin = cJSON_GetObjectItemCaseSensitive(root, "initialTwin");
    *ret_code = DPS_FAILED_WEBHOOK;
    if (!cJSON_IsObject(root)) {
        problem = "Custom allocation failed: the webhook did not answer with a JSON object";
    } else if (hub == NULL || hub[0] == '\0') {
        *ret_code = DPS_FAILED_NO_HUB;
        problem = "Custom allocation failed: the webhook named no iotHubHostName";
    } else if (!dps_hubs_has(hubs, hub)) {
        *ret_code = DPS_FAILED_NO_HUB;
        problem = "Custom allocation failed: the webhook named a hub that is not linked";
    } else if (twin != NULL && !cJSON_IsNull(twin) && !cJSON_IsObject(twin)) {
        problem = "Custom allocation failed: the webhook's initialTwin is not an object";
    } else if (!keep_json(twin, DPS_DOCUMENT_MAX, &answer.initial_twin) ||
               !keep_json(cJSON_GetObjectItemCaseSensitive(root, "payload"), DPS_PAYLOAD_MAX,
                          &answer.payload)) {
        problem = "Custom allocation failed: the webhook's initialTwin or payload is too long";
    } else {
        problem = NULL;
        snprintf(answer.hub, sizeof(answer.hub), "%s", hub);
    }
    cJSON_Delete(root);
    if (problem != NULL)
        dps_webhook_answer_clear(&answer);
    else
        *ret_answer = answer;
    return problem;
}

/* The request. */

static bool add(cJSON *object, const char *name, cJSON *item)
{
    if (item != NULL && cJSON_AddItemToObject(object, name, item))
        return true;
    cJSON_Delete(item);
    return false;
}

static cJSON *device_context(const dps_registration *r)
{
    cJSON *root = cJSON_CreateObject();
    cJSON *evidence = NULL;
    bool ok = cJSON_AddStringToObject(root, "registrationId", r->id) != NULL &&
              (evidence = cJSON_AddObjectToObject(root, dps_attestation_type(r->attestation))) != NULL;
    if (ok && r->evidence.leaf.len > 0) {
        char *der = dps_base64_encode(r->evidence.leaf.bytes, r->evidence.leaf.len);
        ok = der != NULL && cJSON_AddStringToObject(evidence, "clientCertificate", der) != NULL;
        free(der);
    }
    ok = ok && (r->payload == NULL || cJSON_AddRawToObject(root, "payload", r->payload) != NULL);
    if (ok)
        return root;
    cJSON_Delete(root);
    return NULL;
}

static char *request_body(const dps_enrollment *e, const dps_registration *r, const dps_hubs *hubs)
{
    cJSON *root = cJSON_CreateObject();
    bool ok = add(root, e->is_group ? "enrollmentGroup" : "individualEnrollment",
                  dps_enrollment_to_json(e, NULL)) &&
              add(root, "deviceRuntimeContext", device_context(r));
    cJSON *list = ok ? cJSON_AddArrayToObject(root, "linkedHubs") : NULL;
    ok = list != NULL;
    for (size_t i = 0; ok && i < hubs->count; i++) {
        cJSON *name = cJSON_CreateString(hubs->names[i]);
        ok = name != NULL && cJSON_AddItemToArray(list, name);
    }
    if (ok)
        return dps_json_print(root);
    cJSON_Delete(root);
    return NULL;
}

/* The call. */

typedef struct body {
    char *text;
    size_t len;
} body;

static size_t take_body(char *bytes, size_t size, size_t n, void *user)
{
    body *b = user;
    if (n > DPS_WEBHOOK_RESPONSE_MAX - b->len)
        return 0;
    char *grown = realloc(b->text, b->len + n + 1);
    if (grown == NULL)
        return 0;
    b->text = grown;
    memcpy(b->text + b->len, bytes, n);
    b->len += n;
    return n * size;
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 == 127;
    return address->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

static curl_socket_t open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
    bool *refused = user;
    (void)purpose;
    if (!is_loopback(&address->addr)) {
        *refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static int stop_early(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    dps_webhook *w = user;
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    pthread_mutex_lock(&w->lock);
    bool stopping = w->stopping;
    pthread_mutex_unlock(&w->lock);
    return stopping ? 1 : 0;
}

static bool set_options(CURL *curl, dps_webhook *w, const char *url, const char *text,
                        struct curl_slist *fields, body *b, bool *refused)
{
    return curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)w->timeout_s) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_POSTFIELDS, text) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_HTTPHEADER, fields) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEDATA, b) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, refused) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, stop_early) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_XFERINFODATA, w) == CURLE_OK &&
           (w->ca == NULL || (curl_easy_setopt(curl, CURLOPT_CAINFO, w->ca) == CURLE_OK &&
                              curl_easy_setopt(curl, CURLOPT_CAPATH, NULL) == CURLE_OK));
}

/* The URL with the api-version that the enrollment names. */
static void url_of(const dps_enrollment *e, char *out, size_t cap)
{
    if (e->webhook_api_version[0] == '\0') {
        snprintf(out, cap, "%s", e->webhook_url);
        return;
    }
    char *version = curl_easy_escape(NULL, e->webhook_api_version, 0);
    snprintf(out, cap, "%s%capi-version=%s", e->webhook_url, strchr(e->webhook_url, '?') != NULL ? '&' : '?',
             version != NULL ? version : "");
    curl_free(version);
}

/* True: @ret has a body with status 200. False: @problem says what happened. */
static bool post(dps_webhook *w, const dps_enrollment *e, const char *text, body *ret, char *problem,
                 size_t cap)
{
    char url[DPS_URL_LEN + 128];
    bool refused = false;
    long status = 0;
    CURL *curl = curl_easy_init();
    struct curl_slist *fields = curl_slist_append(NULL, "Content-Type: application/json; charset=utf-8");
    url_of(e, url, sizeof(url));
    CURLcode code = curl != NULL && fields != NULL && set_options(curl, w, url, text, fields, ret, &refused)
                        ? curl_easy_perform(curl)
                        : CURLE_OUT_OF_MEMORY;
    if (code == CURLE_OK && curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK)
        status = 0;
    if (refused)
        snprintf(problem, cap, "Custom allocation failed: the webhook is not on this machine");
    else if (code != CURLE_OK)
        snprintf(problem, cap, "Custom allocation failed: %s", curl_easy_strerror(code));
    else
        snprintf(problem, cap, "Custom allocation failed with status code: %ld", status);
    curl_slist_free_all(fields);
    curl_easy_cleanup(curl);
    return code == CURLE_OK && status == 200;
}

/* What it comes to. */

static void fail(dps_registration *r, int code, const char *message)
{
    r->outcome = DPS_OUTCOME_FAILED;
    r->error_code = code;
    snprintf(r->error_message, sizeof(r->error_message), "%s", message);
}

/* @r->hub: the hub from before, or empty. */
static void take_answer(const dps_enrollment *e, dps_webhook_answer *answer, dps_registration *r)
{
    bool moved = r->hub[0] != '\0' && strcmp(r->hub, answer->hub) != 0;
    bool stays = r->hub[0] != '\0' && (!moved || e->migrate_data);
    snprintf(r->substatus, sizeof(r->substatus), "%s",
             !moved            ? "initialAssignment"
             : e->migrate_data ? "deviceDataMigrated"
                               : "deviceDataReset");
    memcpy(r->hub, answer->hub, sizeof(r->hub));
    if (!stays && answer->initial_twin != NULL) {
        free(r->initial_twin);
        r->initial_twin = answer->initial_twin;
        answer->initial_twin = NULL;
    } else if (!stays && e->initial_twin != NULL) {
        free(r->initial_twin);
        r->initial_twin = strdup(e->initial_twin);
    }
    free(r->payload_out);
    r->payload_out = answer->payload;
    answer->payload = NULL;
    r->outcome = DPS_OUTCOME_ASSIGNED;
}

static void ask_for(dps_webhook *w, const dps_enrollment *e, dps_registration *r)
{
    char problem[DPS_MESSAGE_LEN];
    body answer_text = {0};
    dps_webhook_answer answer = {.hub = ""};
    dps_hubs hubs;
    dps_hubs_of(e, &w->hubs, &hubs);
    char *text = request_body(e, r, &hubs);
    if (text == NULL) {
        fail(r, DPS_FAILED_WEBHOOK, "Custom allocation failed: out of memory");
    } else if (!post(w, e, text, &answer_text, problem, sizeof(problem))) {
        fail(r, DPS_FAILED_WEBHOOK, problem);
    } else {
        int code = 0;
        const char *wrong =
            dps_webhook_parse((dps_span){answer_text.text != NULL ? answer_text.text : "", answer_text.len},
                              &hubs, &answer, &code);
        if (wrong != NULL)
            fail(r, code, wrong);
        else
            take_answer(e, &answer, r);
    }
    dps_webhook_answer_clear(&answer);
    free(answer_text.text);
    free(text);
    dps_log(r->outcome == DPS_OUTCOME_ASSIGNED ? DPS_LOG_INFO : DPS_LOG_WARN, "webhook for \"%s\": %s", r->id,
            r->outcome == DPS_OUTCOME_ASSIGNED ? r->hub : r->error_message);
}

static bool stopping(dps_webhook *w)
{
    pthread_mutex_lock(&w->lock);
    bool result = w->stopping;
    pthread_mutex_unlock(&w->lock);
    return result;
}

static void serve(dps_webhook *w, dps_store *store, const char *id)
{
    dps_registration r;
    dps_enrollment e;
    char etag[DPS_ETAG_LEN];
    if (dps_store_registration_get(store, id, &r) != DPS_STORE_OK)
        return;
    bool is_group = r.group_id[0] != '\0';
    if (r.outcome == DPS_OUTCOME_PENDING) {
        memcpy(etag, r.etag, sizeof(etag));
        dps_store_result found = dps_store_enrollment_get(store, is_group, is_group ? r.group_id : r.id, &e);
        if (found == DPS_STORE_OK) {
            ask_for(w, &e, &r);
            dps_enrollment_clear(&e);
        } else {
            fail(&r, DPS_FAILED_WEBHOOK, "Custom allocation failed: the enrollment is gone");
        }
        r.updated_ms = dps_time_now_ms();
        /* STALE: the device registered again meanwhile, and that is asked for on its own */
        if (!stopping(w) &&
            (!dps_random_etag(r.etag) || dps_store_registration_update(store, &r, etag) == DPS_STORE_FAILED))
            dps_log(DPS_LOG_ERROR, "the outcome of a webhook cannot be written: %s",
                    dps_store_message(store));
    }
    dps_registration_clear(&r);
}

/* Waits for the next id. False: stop. */
static bool next(dps_webhook *w, char ret_id[DPS_ID_LEN])
{
    pthread_mutex_lock(&w->lock);
    while (w->count == 0 && !w->stopping)
        pthread_cond_wait(&w->changed, &w->lock);
    bool go = !w->stopping;
    if (go) {
        memcpy(ret_id, w->queue[w->first], DPS_ID_LEN);
        w->first = (w->first + 1) % DPS_WEBHOOK_QUEUE_MAX;
        w->count--;
    }
    pthread_mutex_unlock(&w->lock);
    return go;
}

static void *run(void *user)
{
    dps_webhook *w = user;
    dps_store *store = NULL;
    dps_fail why;
    char id[DPS_ID_LEN];
    while (next(w, id)) {
        if (store == NULL && !dps_store_open(w->database, false, &store, &why))
            dps_log(DPS_LOG_ERROR, "webhook for \"%s\": %s", id, why.text);
        else
            serve(w, store, id);
    }
    dps_store_close(&store);
    return NULL;
}

/* Signals are for the server's loop: the thread takes none. */
static bool start_thread(dps_webhook *w)
{
    sigset_t all, before;
    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
        return false;
    bool ok = pthread_create(&w->thread, NULL, run, w) == 0;
    return pthread_sigmask(SIG_SETMASK, &before, NULL) == 0 && ok;
}

static void release(dps_webhook *w)
{
    free(w->database);
    free(w->ca);
    free(w);
}

bool dps_webhook_new(const dps_webhook_config *config, dps_webhook **ret_webhook, dps_fail *why)
{
    dps_webhook *w = calloc(1, sizeof(*w));
    if (w == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        free(w);
        return dps_fail_set(why, DPS_EXIT_FAILED, "libcurl does not start; check its installation");
    }
    w->hubs = *config->hubs;
    w->timeout_s = config->timeout_s;
    w->database = strdup(config->database);
    w->ca = config->ca != NULL ? strdup(config->ca) : NULL;
    bool ok = w->database != NULL && (config->ca == NULL || w->ca != NULL) &&
              pthread_mutex_init(&w->lock, NULL) == 0;
    if (ok && pthread_cond_init(&w->changed, NULL) != 0) {
        pthread_mutex_destroy(&w->lock);
        ok = false;
    }
    if (ok && !start_thread(w)) {
        pthread_cond_destroy(&w->changed);
        pthread_mutex_destroy(&w->lock);
        ok = false;
    }
    if (!ok) {
        release(w);
        return dps_fail_set(why, DPS_EXIT_FAILED,
                            "a thread for webhooks does not start; check the limits of the system");
    }
    *ret_webhook = w;
    return true;
}

void dps_webhook_free(dps_webhook **webhook)
{
    dps_webhook *w = *webhook;
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    release(w);
    *webhook = NULL;
}

static bool waits(const dps_webhook *w, const char *id)
{
    for (size_t i = 0; i < w->count; i++) {
        if (strcmp(w->queue[(w->first + i) % DPS_WEBHOOK_QUEUE_MAX], id) == 0)
            return true;
    }
    return false;
}

bool dps_webhook_ask(dps_webhook *webhook, const char *registration_id)
{
    pthread_mutex_lock(&webhook->lock);
    bool known = waits(webhook, registration_id);
    bool ok = known || webhook->count < DPS_WEBHOOK_QUEUE_MAX;
    if (!known && ok) {
        snprintf(webhook->queue[(webhook->first + webhook->count) % DPS_WEBHOOK_QUEUE_MAX], DPS_ID_LEN, "%s",
                 registration_id);
        webhook->count++;
        pthread_cond_signal(&webhook->changed);
    }
    pthread_mutex_unlock(&webhook->lock);
    return ok;
}
