#include "p11_shim.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLOTS_MAX     64
#define INSTANT_BYTES 64 /* a signature of P-256 */

typedef enum kind { LIBRARY, SLOT, SESSION } kind;

static CK_FUNCTION_LIST *real;
static shim *state;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_uint closed; /* state->closings that this process has followed */

/* Read: in the real module. SoftHSM frees a session that is closed while another thread works in it, so this waits. */
static pthread_rwlock_t in_module = PTHREAD_RWLOCK_INITIALIZER;

static void attach(void)
{
    const char *module = getenv("KN_SHIM_MODULE"), *path = getenv("KN_SHIM_STATE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *handle = module ? dlopen(module, RTLD_NOW | RTLD_LOCAL) : NULL;
    CK_C_GetFunctionList get = NULL;
    if (fd < 0 || !handle)
        abort();
    state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    *(void **)&get = dlsym(handle, "C_GetFunctionList");
    if (state == MAP_FAILED || !get || get(&real) != CKR_OK)
        abort();
    atomic_store(&closed, atomic_load(&state->closings));
}

static void close_sessions(void)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    (void)pthread_rwlock_wrlock(&in_module);
    if (real->C_GetSlotList(CK_TRUE, slots, &count) == CKR_OK)
        for (CK_ULONG i = 0; i < count; i++)
            (void)real->C_CloseAllSessions(slots[i]);
    atomic_store(&state->sessions, 0);
    (void)pthread_rwlock_unlock(&in_module);
}

static void follow_closings(void)
{
    unsigned wanted = atomic_load(&state->closings), have = atomic_load(&closed);
    if (have != wanted && atomic_compare_exchange_strong(&closed, &have, wanted))
        close_sessions();
}

/* Any session of this process will do: the token is logged out for all of them. */
static void log_out(void)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    CK_SESSION_HANDLE session;
    if (real->C_GetSlotList(CK_TRUE, slots, &count) != CKR_OK)
        return;
    for (CK_ULONG i = 0; i < count; i++)
        if (real->C_OpenSession(slots[i], CKF_SERIAL_SESSION, NULL, NULL, &session) == CKR_OK) {
            (void)real->C_Logout(session);
            (void)real->C_CloseSession(session);
        }
}

static void happen(shim_event event)
{
    switch (event) {
    case SHIM_NO_EVENT:
        break;
    case SHIM_CLOSES_SESSIONS:
        close_sessions();
        break;
    case SHIM_LOGS_OUT:
        log_out();
        break;
    case SHIM_TAKES_OUT:
        atomic_store(&state->token_out, true);
        close_sessions();
        break;
    }
}

/* Takes one from @counter; false when it was 0. */
static bool take(atomic_uint *counter)
{
    unsigned left = atomic_load(counter);
    while (left)
        if (atomic_compare_exchange_weak(counter, &left, left - 1))
            return true;
    return false;
}

typedef struct step {
    CK_RV rv;   /* CKR_OK: as the real module says */
    bool after; /* it does its work nevertheless */
} step;

static step begin(shim_call call, kind what)
{
    shim_rule *rule = &state->rules[call];
    unsigned delay = atomic_load(&state->delay_us[call]);
    (void)atomic_fetch_add(&state->calls[call], 1);
    if (delay) {
        const struct timespec pause = {delay / 1000000, (long)(delay % 1000000) * 1000};
        (void)nanosleep(&pause, NULL);
    }
    if (call != SHIM_C_Initialize && call != SHIM_C_Finalize) {
        follow_closings();
        if (atomic_load(&state->broken))
            return (step){.rv = atomic_load(&state->broken)};
    }
    if (atomic_load(&rule->times) && !take(&rule->skip) && take(&rule->times)) {
        happen((shim_event)atomic_load(&rule->event));
        if (atomic_load(&rule->rv) != CKR_OK)
            return (step){.rv = atomic_load(&rule->rv), .after = atomic_load(&rule->after)};
    }
    if (atomic_load(&state->token_out) && what != LIBRARY && call != SHIM_C_GetSlotInfo)
        return (step){.rv = what == SLOT ? CKR_TOKEN_NOT_PRESENT : CKR_DEVICE_REMOVED};
    return (step){.rv = CKR_OK};
}

static CK_RV end(shim_call call, CK_RV rv)
{
    if (rv == CKR_OK)
        (void)atomic_fetch_add(&state->done[call], 1);
    return rv;
}

/* Runs @work, which may use `rv`, unless a rule says otherwise. */
#define SHIM(call, kind, parameters, work)                                                                   \
    static CK_RV my_##call parameters                                                                        \
    {                                                                                                        \
        const step shim_step = begin(SHIM_##call, kind);                                                     \
        if (shim_step.rv != CKR_OK && !shim_step.after)                                                      \
            return shim_step.rv;                                                                             \
        (void)pthread_rwlock_rdlock(&in_module);                                                             \
        (void)atomic_fetch_add(&state->inside, 1);                                                           \
        CK_RV rv = end(SHIM_##call, work);                                                                   \
        (void)atomic_fetch_sub(&state->inside, 1);                                                           \
        (void)pthread_rwlock_unlock(&in_module);                                                             \
        return shim_step.rv != CKR_OK ? shim_step.rv : rv;                                                   \
    }

#define PASS(call, kind, parameters, arguments) SHIM(call, kind, parameters, real->call arguments)

/* Slots have other numbers outside. */
static CK_SLOT_ID inside(CK_SLOT_ID slot)
{
    return slot - atomic_load(&state->slot_shift);
}

static CK_RV initialize(void *args)
{
    CK_RV rv = real->C_Initialize(args);
    if (rv == CKR_OK)
        atomic_store(&state->broken, 0);
    return rv;
}

static CK_RV finalize(void *reserved)
{
    atomic_store(&state->sessions, 0);
    return real->C_Finalize(reserved);
}

static CK_RV slot_list(CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *count)
{
    if (present && atomic_load(&state->token_out)) {
        *count = 0;
        return CKR_OK;
    }
    CK_RV rv = real->C_GetSlotList(present, slots, count);
    for (CK_ULONG i = 0; rv == CKR_OK && slots && i < *count; i++)
        slots[i] += atomic_load(&state->slot_shift);
    return rv;
}

static CK_RV token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    CK_RV rv = real->C_GetTokenInfo(inside(slot), info);
    if (rv == CKR_OK) {
        if (atomic_load(&state->other_model))
            memcpy(info->model, "shim            ", sizeof info->model);
        info->flags |= atomic_load(&state->token_flags);
        info->flags &= ~atomic_load(&state->token_flags_off);
        if (atomic_load(&state->told_session_count))
            info->ulMaxSessionCount = atomic_load(&state->told_session_count);
        if (atomic_load(&state->portion)) /* such a token is of no model that is known to answer in one go */
            memcpy(info->model, "in portions     ", sizeof info->model);
    }
    return rv;
}

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify,
                          CK_SESSION_HANDLE *session)
{
    unsigned cap = atomic_load(&state->session_cap);
    CK_RV rv = CKR_SESSION_COUNT;
    if (atomic_fetch_add(&state->sessions, 1) < cap || !cap)
        rv = real->C_OpenSession(inside(slot), flags, application, notify, session);
    if (rv != CKR_OK)
        (void)take(&state->sessions);
    return rv;
}

static CK_RV close_session(CK_SESSION_HANDLE session)
{
    CK_RV rv = real->C_CloseSession(session);
    if (rv == CKR_OK)
        (void)take(&state->sessions);
    return rv;
}

static CK_RV close_all(CK_SLOT_ID slot)
{
    atomic_store(&state->sessions, 0);
    return real->C_CloseAllSessions(inside(slot));
}

static CK_RV session_info(CK_SESSION_HANDLE session, CK_SESSION_INFO *info)
{
    CK_RV rv = real->C_GetSessionInfo(session, info);
    if (rv == CKR_OK)
        info->slotID += atomic_load(&state->slot_shift);
    return rv;
}

static CK_RV library_info(CK_INFO *info)
{
    CK_RV rv = real->C_GetInfo(info);
    if (rv == CKR_OK && *state->told_library) {
        memset(info->manufacturerID, ' ', sizeof info->manufacturerID);
        memcpy(info->manufacturerID, state->told_library, strnlen(state->told_library, sizeof info->manufacturerID));
    }
    return rv;
}

static bool denies_a_use(const CK_ATTRIBUTE *template, CK_ULONG count)
{
    static const CK_ATTRIBUTE_TYPE uses[] = {CKA_SIGN,   CKA_VERIFY, CKA_ENCRYPT, CKA_DECRYPT,
                                             CKA_UNWRAP, CKA_WRAP,   CKA_DERIVE};
    for (CK_ULONG i = 0; i < count; i++)
        for (size_t u = 0; u < sizeof uses / sizeof *uses; u++)
            if (template[i].type == uses[u] && !*(const CK_BBOOL *)template[i].pValue)
                return true;
    return false;
}

/* A token with a keypad of its own takes the PIN from there. */
static CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG length)
{
    if (pin)
        return real->C_Login(session, user, pin, length);
    if (!*state->keypad_pin)
        return CKR_FUNCTION_CANCELED;
    return real->C_Login(session, user, (CK_UTF8CHAR *)state->keypad_pin, strlen(state->keypad_pin));
}

static void lie(CK_ATTRIBUTE *attribute, CK_ULONG room)
{
    CK_ULONG length = atomic_load(&state->lie_length);
    if (attribute->type == CKA_EXTRACTABLE && attribute->pValue && atomic_load(&state->says_extractable))
        *(CK_BBOOL *)attribute->pValue = CK_TRUE;
    if (!length || attribute->type != atomic_load(&state->lie_type))
        return;
    if (attribute->pValue && length <= room && length <= SHIM_LIE_MAX)
        memcpy(attribute->pValue, state->lie, length);
    attribute->ulValueLen = length;
}

static CK_RV get_attributes(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG count)
{
    CK_ULONG room[32];
    for (CK_ULONG i = 0; i < count && i < 32; i++)
        room[i] = template[i].ulValueLen;
    CK_RV rv = real->C_GetAttributeValue(session, object, template, count);
    for (CK_ULONG i = 0; i < count && i < 32; i++)
        lie(&template[i], room[i]);
    return rv;
}

static CK_RV find(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max, CK_ULONG *count)
{
    CK_ULONG portion = atomic_load(&state->portion), ask = portion && portion < max ? portion : max;
    bool twice = atomic_load(&state->found_twice);
    CK_RV rv = real->C_FindObjects(session, objects, twice ? ask / 2 : ask, count);
    if (rv != CKR_OK)
        return rv;
    if (*count && atomic_load(&state->found_instead))
        objects[0] = atomic_load(&state->found_instead);
    if (twice) {
        memcpy(objects + *count, objects, *count * sizeof *objects);
        *count *= 2;
    }
    *count += atomic_load(&state->find_overflow);
    return rv;
}

static CK_RV sign_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    if (atomic_load(&state->forks)) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        if (child < 0 || waitpid(child, NULL, 0) != child)
            return CKR_GENERAL_ERROR;
    }
    atomic_store(&state->last_mechanism, mechanism->mechanism);
    if (atomic_load_explicit(&state->instant, memory_order_relaxed))
        return CKR_OK;
    return real->C_SignInit(session, mechanism, key);
}

static CK_RV sign(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG length, CK_BYTE *signature,
                  CK_ULONG *signature_length)
{
    if (atomic_load_explicit(&state->instant, memory_order_relaxed)) {
        memset(signature, 1, INSTANT_BYTES);
        *signature_length = INSTANT_BYTES;
        return CKR_OK;
    }
    CK_RV rv = real->C_Sign(session, data, length, signature, signature_length);
    if (rv == CKR_OK && atomic_load(&state->long_signature))
        memset(signature, 0xff, *signature_length);
    if (rv == CKR_OK && atomic_load(&state->signature_length))
        *signature_length = atomic_load(&state->signature_length);
    return rv;
}

static CK_RV generate_pair(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public,
                           CK_ULONG public_count, CK_ATTRIBUTE *private, CK_ULONG private_count,
                           CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key)
{
    for (CK_ULONG i = 0; i < private_count && atomic_load(&state->refuses_extractable); i++)
        if (private[i].type == CKA_EXTRACTABLE)
            return CKR_ATTRIBUTE_VALUE_INVALID;
    if (atomic_load(&state->fixed_uses) && (denies_a_use(public, public_count) || denies_a_use(private, private_count)))
        return CKR_GENERAL_ERROR;
    return plant_pair(real, atomic_load(&state->plants), session, mechanism, public, public_count, private, private_count,
                      public_key, private_key);
}

SHIM(C_Initialize, LIBRARY, (void *args), initialize(args))
SHIM(C_Finalize, LIBRARY, (void *reserved), finalize(reserved))
SHIM(C_GetInfo, LIBRARY, (CK_INFO * info), library_info(info))
SHIM(C_GetSlotList, LIBRARY, (CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *count), slot_list(present, slots, count))
PASS(C_GetSlotInfo, SLOT, (CK_SLOT_ID slot, CK_SLOT_INFO *info), (inside(slot), info))
SHIM(C_GetTokenInfo, SLOT, (CK_SLOT_ID slot, CK_TOKEN_INFO *info), token_info(slot, info))
PASS(C_GetMechanismInfo, SLOT, (CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info),
     (inside(slot), type, info))
PASS(C_InitToken, SLOT, (CK_SLOT_ID slot, CK_UTF8CHAR *pin, CK_ULONG length, CK_UTF8CHAR *label),
     (inside(slot), pin, length, label))
SHIM(C_OpenSession, SLOT,
     (CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify, CK_SESSION_HANDLE *session),
     open_session(slot, flags, application, notify, session))
SHIM(C_CloseAllSessions, SLOT, (CK_SLOT_ID slot), close_all(slot))
SHIM(C_CloseSession, SESSION, (CK_SESSION_HANDLE session), close_session(session))
SHIM(C_GetSessionInfo, SESSION, (CK_SESSION_HANDLE session, CK_SESSION_INFO *info), session_info(session, info))
PASS(C_InitPIN, SESSION, (CK_SESSION_HANDLE session, CK_UTF8CHAR *pin, CK_ULONG length), (session, pin, length))
SHIM(C_Login, SESSION, (CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG length),
     login(session, user, pin, length))
PASS(C_Logout, SESSION, (CK_SESSION_HANDLE session), (session))
PASS(C_CreateObject, SESSION,
     (CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *object),
     (session, template, count, object))
PASS(C_CopyObject, SESSION,
     (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG count,
      CK_OBJECT_HANDLE *copy),
     (session, object, template, count, copy))
PASS(C_DestroyObject, SESSION, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object), (session, object))
SHIM(C_GetAttributeValue, SESSION,
     (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG count),
     get_attributes(session, object, template, count))
PASS(C_SetAttributeValue, SESSION,
     (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG count),
     (session, object, template, count))
PASS(C_FindObjectsInit, SESSION, (CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count),
     (session, template, count))
SHIM(C_FindObjects, SESSION,
     (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max, CK_ULONG *count),
     find(session, objects, max, count))
PASS(C_FindObjectsFinal, SESSION, (CK_SESSION_HANDLE session), (session))
SHIM(C_SignInit, SESSION, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key),
     sign_init(session, mechanism, key))
SHIM(C_Sign, SESSION,
     (CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG length, CK_BYTE *signature, CK_ULONG *signature_length),
     sign(session, data, length, signature, signature_length))
PASS(C_DecryptInit, SESSION, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key),
     (session, mechanism, key))
PASS(C_Decrypt, SESSION,
     (CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_length, CK_BYTE *out, CK_ULONG *out_length),
     (session, in, in_length, out, out_length))
PASS(C_DeriveKey, SESSION,
     (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base, CK_ATTRIBUTE *template, CK_ULONG count,
      CK_OBJECT_HANDLE *key),
     (session, mechanism, base, template, count, key))
PASS(C_GenerateKey, SESSION,
     (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *template, CK_ULONG count,
      CK_OBJECT_HANDLE *key),
     (session, mechanism, template, count, key))
SHIM(C_GenerateKeyPair, SESSION,
     (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public, CK_ULONG public_count,
      CK_ATTRIBUTE *private, CK_ULONG private_count, CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key),
     generate_pair(session, mechanism, public, public_count, private, private_count, public_key, private_key))

static CK_FUNCTION_LIST list;

/* Once: it may be asked for while other threads use it. */
static void fill_list(void)
{
    attach();
    list = *real; /* the calls that are not counted are passed on as they are */
    if (getenv("KN_SHIM_VERSION"))
        list.version = (CK_VERSION){(CK_BYTE)atoi(getenv("KN_SHIM_VERSION")), 0};
#define SHIM_SET(name, kind) list.name = my_##name;
    SHIM_CALLS(SHIM_SET)
#undef SHIM_SET
    list.C_GetFunctionList = C_GetFunctionList;
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret_list)
{
    (void)pthread_once(&once, fill_list);
    *ret_list = &list;
    return CKR_OK;
}
