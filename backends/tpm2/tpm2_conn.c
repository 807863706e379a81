#include "tpm2_conn.h"

#include "kn_log.h"
#include "kn_proc.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The kernel's resource manager, and never what happens to listen on a port: a TPM that anybody may have started proves nothing. */
#define DEFAULT_TCTI "device:" TPM2_DEFAULT_DEVICE

typedef struct entry {
    struct entry *next;
    char *tcti_name;
    pthread_mutex_t lock;
    pid_t owner; /* of the context */
    TSS2_TCTI_CONTEXT *tcti;
    tpm2_conn conn; /* esys NULL: closed */
} entry;

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static entry *list;

/* ---- response codes ---- */

typedef struct rc_row {
    TSS2_RC rc; /* without the layer, and without the number of handle, session or parameter */
    kn_code code;
} rc_row;

static const rc_row rc_rows[] = {
    {TPM2_RC_LOCKOUT, KN_E_TPM_LOCKOUT},
    {TPM2_RC_AUTH_FAIL, KN_E_TPM_AUTH},
    {TPM2_RC_BAD_AUTH, KN_E_TPM_AUTH},
    {TPM2_RC_OBJECT_MEMORY, KN_E_TPM_SLOTS},
    {TPM2_RC_SESSION_MEMORY, KN_E_TPM_SLOTS},
    {TPM2_RC_OBJECT_HANDLES, KN_E_TPM_SLOTS},
    {TPM2_RC_SESSION_HANDLES, KN_E_TPM_SLOTS},
    {TPM2_RC_NV_SPACE, KN_E_TOKEN_FULL},
    {TPM2_RC_INTEGRITY, KN_E_TPM_BLOB},
    {TPM2_RC_HANDLE, KN_E_TPM_HANDLE},
};

/* TPM 2.0 part 2, 6.6.2: bit 7 says that the number of what is wrong stands in bits 6 and 8 to 11. */
TSS2_RC tpm2_base_of(TSS2_RC rc)
{
    rc &= 0xffff;
    return rc & 0x80 ? rc & 0xbf : rc;
}

/* Behind a resource manager, a handle whose object was lost when the TPM was reset: tpm2-abrmd says that the handle's value is out of
 * range, and whoever passes the handle on gets TPM_RC_REFERENCE_H0 and the next. */
static bool is_lost_object(TSS2_RC rc)
{
    bool about_handle = rc & 0x80 && !(rc & (TPM2_RC_P | TPM2_RC_S)) && rc & TPM2_RC_7;
    rc &= 0xffff;
    return (about_handle && tpm2_base_of(rc) == TPM2_RC_VALUE) || (rc >= TPM2_RC_REFERENCE_H0 && rc <= TPM2_RC_REFERENCE_H6);
}

static bool is_from_tpm(TSS2_RC rc)
{
    return (rc & TSS2_RC_LAYER_MASK) == 0 || (rc & TSS2_RC_LAYER_MASK) == TSS2_RESMGR_TPM_RC_LAYER;
}

/* The connection, not the TPM, has failed: nothing more will come over this context. */
static bool is_dead(TSS2_RC rc)
{
    return (rc & TSS2_RC_LAYER_MASK) == TSS2_TCTI_RC_LAYER || rc == TSS2_ESYS_RC_BAD_SEQUENCE ||
           rc == TSS2_ESYS_RC_INSUFFICIENT_RESPONSE || rc == TSS2_ESYS_RC_MALFORMED_RESPONSE;
}

kn_err tpm2_fail(TSS2_RC rc, const char *call)
{
    if (rc == TSS2_RC_SUCCESS)
        return kn_success();
    kn_code code = is_dead(rc) ? KN_E_NO_TPM : KN_E_TPM_FAILED;
    for (size_t i = 0; is_from_tpm(rc) && i < sizeof rc_rows / sizeof rc_rows[0]; i++)
        if (rc_rows[i].rc == tpm2_base_of(rc))
            code = rc_rows[i].code;
    if (is_from_tpm(rc) && is_lost_object(rc))
        code = KN_E_TPM_HANDLE;
    return kn_fail(code, "%s: 0x%x", call, (unsigned)rc);
}

bool tpm2_busy(TSS2_RC rc, unsigned *waited_ms)
{
    TSS2_RC base = rc & 0xffff;
    if (!is_from_tpm(rc) || (base != TPM2_RC_RETRY && base != TPM2_RC_YIELDED && base != TPM2_RC_TESTING) ||
        *waited_ms >= TPM2_BUSY_MAX_MS)
        return false;
    unsigned pause_ms = *waited_ms < 8 ? 2 : *waited_ms / 4; /* 2 2 2 2, then a quarter more each time */
    if (pause_ms > 250)
        pause_ms = 250;
    struct timespec pause = {.tv_sec = 0, .tv_nsec = (long)pause_ms * 1000000};
    (void)nanosleep(&pause, NULL);
    *waited_ms += pause_ms;
    return true;
}

/* ---- objects at persistent handles ---- */

struct tpm2_object {
    struct tpm2_object *next;
    uint32_t handle;
    ESYS_TR object;
    unsigned refs;
};

kn_err tpm2_object_open(tpm2_conn *conn, uint32_t handle, ESYS_TR *ret_object, bool *ret_fresh)
{
    struct tpm2_object *o = conn->objects;
    kn_err err = kn_success();
    while (o && o->handle != handle)
        o = o->next;
    if (ret_fresh)
        *ret_fresh = !o;
    if (!o) {
        o = calloc(1, sizeof *o);
        if (!o)
            return kn_fail(KN_E_NO_MEMORY, "an object of a TPM");
        TPM2_CALL(err, conn, Esys_TR_FromTPMPublic, handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &o->object);
        if (kn_failed(err)) {
            free(o);
            return err;
        }
        o->handle = handle;
        o->next = conn->objects;
        conn->objects = o;
    }
    o->refs++;
    *ret_object = o->object;
    return err;
}

void tpm2_object_close(tpm2_conn *conn, uint32_t handle)
{
    struct tpm2_object **at = &conn->objects;
    while (*at && (*at)->handle != handle)
        at = &(*at)->next;
    struct tpm2_object *o = *at;
    if (!o || --o->refs > 0)
        return;
    *at = o->next;
    (void)conn->api->Esys_TR_Close(conn->esys, &o->object);
    free(o);
}

void tpm2_flush(tpm2_conn *conn, ESYS_TR *object)
{
    for (int i = 0; *object != ESYS_TR_NONE && i < 2; i++) /* a slot that stays taken is missed by everybody */
        if (conn->api->Esys_FlushContext(conn->esys, *object) == TSS2_RC_SUCCESS)
            break;
    *object = ESYS_TR_NONE;
}

/* ---- the connection ---- */

/* As tpm2-tss names them: tabrmd, libtss2-tcti-tabrmd.so.0, device:/dev/tpmrm0, libtss2-tcti-device.so.0:/dev/tpmrm0. */
static bool is_managed(const char *tcti)
{
    size_t name = strcspn(tcti, ":");
    const char *device = strstr(tcti, "/dev/tpmrm"), *tabrmd = strstr(tcti, "tabrmd");
    return device || (tabrmd && (size_t)(tabrmd - tcti) < name);
}

static void disconnect(entry *e)
{
    if (e->conn.esys && e->owner == getpid()) {
        e->conn.api->Esys_Finalize(&e->conn.esys);
        e->conn.api->Tss2_TctiLdr_Finalize(&e->tcti);
    }
    /* a child of fork leaves its parent's context as it is: a TCTI may share a socket or a bus with it */
    e->conn.esys = NULL;
    e->tcti = NULL;
    for (struct tpm2_object *o = e->conn.objects, *next; o; o = next) { /* gone with their context */
        next = o->next;
        free(o);
    }
    e->conn.objects = NULL;
}

static kn_err connect(entry *e)
{
    if (e->conn.esys && e->owner == getpid())
        return kn_success();
    disconnect(e);
    kn_err err = tpm2_api_load(&e->conn.api);
    if (kn_failed(err))
        return err;
    TSS2_RC rc = e->conn.api->Tss2_TctiLdr_Initialize(e->tcti_name, &e->tcti);
    if (rc != TSS2_RC_SUCCESS)
        return kn_fail(KN_E_NO_TPM, "TCTI %s: 0x%x", e->tcti_name, (unsigned)rc);
    rc = e->conn.api->Esys_Initialize(&e->conn.esys, e->tcti, NULL);
    if (rc != TSS2_RC_SUCCESS) {
        e->conn.api->Tss2_TctiLdr_Finalize(&e->tcti);
        e->conn.esys = NULL;
        return kn_fail(KN_E_NO_TPM, "TCTI %s, Esys_Initialize: 0x%x", e->tcti_name, (unsigned)rc);
    }
    e->owner = getpid();
    e->conn.generation++;
    return kn_success();
}

const char *tpm2_conn_name(const char *tcti)
{
    const char *name = tcti ? tcti : secure_getenv("KEYNYM_TCTI");
    return name && *name ? name : DEFAULT_TCTI;
}

bool tpm2_conn_is_named(void)
{
    const char *name = secure_getenv("KEYNYM_TCTI");
    return name && *name;
}

bool tpm2_conn_same(const char *tcti, const char *other)
{
    return strcmp(tpm2_conn_name(tcti), tpm2_conn_name(other)) == 0;
}

static kn_err find(const char *tcti, entry **ret_entry)
{
    const char *name = tpm2_conn_name(tcti);
    (void)pthread_mutex_lock(&list_lock);
    entry *e = list;
    while (e && strcmp(e->tcti_name, name) != 0)
        e = e->next;
    if (!e && (e = calloc(1, sizeof *e))) {
        e->tcti_name = strdup(name);
        e->conn.managed = is_managed(name);
        if (!e->tcti_name || pthread_mutex_init(&e->lock, NULL) != 0) {
            free(e->tcti_name);
            free(e);
            e = NULL;
        } else {
            e->next = list;
            list = e;
        }
    }
    (void)pthread_mutex_unlock(&list_lock);
    *ret_entry = e;
    return e ? kn_success() : kn_fail(KN_E_NO_MEMORY, "a TPM connection");
}

/* What others hold for one command is free again within milliseconds. Not in step with them: who holds one slot and waits for the
 * second may meet others who do the same. */
static bool wait_for_slot(unsigned *waited_ms)
{
    struct timespec now = {.tv_nsec = 0};
    if (*waited_ms >= TPM2_SLOTS_MAX_MS)
        return false;
    unsigned most_ms = *waited_ms < 32 ? 8 : *waited_ms / 4;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    unsigned pause_ms = 1 + (unsigned)(now.tv_nsec / 1000) % most_ms;
    const struct timespec pause = {.tv_sec = 0, .tv_nsec = (long)pause_ms * 1000000};
    (void)nanosleep(&pause, NULL);
    *waited_ms += pause_ms;
    return true;
}

static bool is_worth_another_try(entry *e, kn_err err, bool *died, unsigned *waited_ms)
{
    bool first = !*died;
    if (err.code == KN_E_TPM_SLOTS)
        return !e->conn.managed && wait_for_slot(waited_ms);
    if (err.code != KN_E_NO_TPM)
        return false;
    disconnect(e);
    *died = true;
    return first;
}

kn_err tpm2_conn_run(const char *tcti, kn_err (*operation)(tpm2_conn *conn, void *arg), void *arg)
{
    entry *e = NULL;
    if (kn_proc_exiting())
        return kn_fail(KN_E_NO_TPM, "the process is ending");
    kn_err err = find(tcti, &e);
    if (kn_failed(err))
        return err;
    (void)pthread_mutex_lock(&e->lock);
    bool died = false;
    unsigned waited_ms = 0;
    do {
        err = connect(e);
        if (!kn_failed(err))
            err = operation(&e->conn, arg);
    } while (is_worth_another_try(e, err, &died, &waited_ms));
    (void)pthread_mutex_unlock(&e->lock);
    return kn_failed(err) ? kn_fail_within(err, "TPM %s", e->tcti_name) : err;
}

void tpm2_conn_leave(const char *tcti, unsigned generation, void (*leave)(tpm2_conn *conn, void *arg), void *arg)
{
    entry *e = NULL;
    if (kn_proc_exiting() || kn_failed(find(tcti, &e)))
        return;
    (void)pthread_mutex_lock(&e->lock);
    if (e->conn.esys && e->owner == getpid() && e->conn.generation == generation)
        leave(&e->conn, arg);
    (void)pthread_mutex_unlock(&e->lock);
}
