#include "p11_shim.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static CK_FUNCTION_LIST *real;
static shim *state;
static pthread_once_t once = PTHREAD_ONCE_INIT;

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
}

/* Counts the call. True, with the value in @ret_rv, when it is to fail. */
static bool begin(shim_call call, CK_RV *ret_rv)
{
    atomic_fetch_add(&state->calls[call], 1);
    unsigned times = atomic_load(&state->fail_times[call]);
    while (times)
        if (atomic_compare_exchange_weak(&state->fail_times[call], &times, times - 1)) {
            *ret_rv = atomic_load(&state->fail_rv[call]);
            return true;
        }
    return false;
}

#define PASS(call, parameters, arguments)                                                                    \
    static CK_RV my_##call parameters                                                                        \
    {                                                                                                        \
        CK_RV rv;                                                                                            \
        return begin(SHIM_##call, &rv) ? rv : real->call arguments;                                          \
    }

PASS(C_Initialize, (void *args), (args))
PASS(C_GetInfo, (CK_INFO * info), (info))
PASS(C_GetSlotList, (CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *count), (present, slots, count))
PASS(C_GetSlotInfo, (CK_SLOT_ID slot, CK_SLOT_INFO *info), (slot, info))
PASS(C_GetSessionInfo, (CK_SESSION_HANDLE session, CK_SESSION_INFO *info), (session, info))
PASS(C_Login, (CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG length),
     (session, user, pin, length))
PASS(C_Logout, (CK_SESSION_HANDLE session), (session))
PASS(C_CreateObject, (CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *object),
     (session, template, count, object))
PASS(C_DestroyObject, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object), (session, object))
PASS(C_FindObjectsInit, (CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count),
     (session, template, count))
PASS(C_FindObjects, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max, CK_ULONG *count),
     (session, objects, max, count))
PASS(C_FindObjectsFinal, (CK_SESSION_HANDLE session), (session))

static CK_RV my_C_Finalize(void *reserved)
{
    CK_RV rv;
    if (begin(SHIM_C_Finalize, &rv))
        return rv;
    atomic_store(&state->sessions, 0);
    return real->C_Finalize(reserved);
}

static CK_RV my_C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    CK_RV rv;
    if (begin(SHIM_C_GetTokenInfo, &rv))
        return rv;
    rv = real->C_GetTokenInfo(slot, info);
    if (rv == CKR_OK) {
        info->flags |= atomic_load(&state->token_flags);
        if (atomic_load(&state->told_session_count))
            info->ulMaxSessionCount = atomic_load(&state->told_session_count);
    }
    return rv;
}

static CK_RV my_C_OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify,
                              CK_SESSION_HANDLE *session)
{
    CK_RV rv;
    if (begin(SHIM_C_OpenSession, &rv))
        return rv;
    unsigned cap = atomic_load(&state->session_cap);
    if (atomic_fetch_add(&state->sessions, 1) >= cap && cap)
        rv = CKR_SESSION_COUNT;
    else
        rv = real->C_OpenSession(slot, flags, application, notify, session);
    if (rv != CKR_OK)
        atomic_fetch_sub(&state->sessions, 1);
    return rv;
}

static CK_RV my_C_CloseSession(CK_SESSION_HANDLE session)
{
    CK_RV rv;
    if (begin(SHIM_C_CloseSession, &rv))
        return rv;
    rv = real->C_CloseSession(session);
    if (rv == CKR_OK)
        atomic_fetch_sub(&state->sessions, 1);
    return rv;
}

static CK_RV my_C_CloseAllSessions(CK_SLOT_ID slot)
{
    CK_RV rv;
    if (begin(SHIM_C_CloseAllSessions, &rv))
        return rv;
    atomic_store(&state->sessions, 0);
    return real->C_CloseAllSessions(slot);
}

static CK_RV my_C_GetAttributeValue(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template,
                                    CK_ULONG count)
{
    CK_RV rv;
    if (begin(SHIM_C_GetAttributeValue, &rv))
        return rv;
    rv = real->C_GetAttributeValue(session, object, template, count);
    for (CK_ULONG i = 0; rv == CKR_OK && i < count && atomic_load(&state->says_extractable); i++)
        if (template[i].type == CKA_EXTRACTABLE && template[i].pValue)
            *(CK_BBOOL *)template[i].pValue = CK_TRUE;
    return rv;
}

static CK_RV my_C_SignInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    CK_RV rv;
    if (begin(SHIM_C_SignInit, &rv))
        return rv;
    if (atomic_load(&state->forks)) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        if (child < 0 || waitpid(child, NULL, 0) != child)
            return CKR_GENERAL_ERROR;
    }
    return real->C_SignInit(session, mechanism, key);
}

static CK_RV my_C_Sign(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG length, CK_BYTE *signature,
                       CK_ULONG *signature_length)
{
    CK_RV rv;
    if (begin(SHIM_C_Sign, &rv))
        return rv;
    rv = real->C_Sign(session, data, length, signature, signature_length);
    if (rv == CKR_OK && atomic_load(&state->long_signature))
        memset(signature, 0xff, *signature_length);
    return rv;
}

static CK_RV my_C_GenerateKeyPair(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public,
                                  CK_ULONG public_count, CK_ATTRIBUTE *private, CK_ULONG private_count,
                                  CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key)
{
    CK_RV rv;
    if (begin(SHIM_C_GenerateKeyPair, &rv))
        return rv;
    for (CK_ULONG i = 0; i < private_count && atomic_load(&state->refuses_extractable); i++)
        if (private[i].type == CKA_EXTRACTABLE)
            return CKR_ATTRIBUTE_VALUE_INVALID;
    return real->C_GenerateKeyPair(session, mechanism, public, public_count, private, private_count, public_key,
                                   private_key);
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret_list)
{
    static CK_FUNCTION_LIST list;
    (void)pthread_once(&once, attach);
    list = *real; /* the calls that are not counted are passed on as they are */
#define SHIM_SET(name) list.name = my_##name;
    SHIM_CALLS(SHIM_SET)
#undef SHIM_SET
    list.C_GetFunctionList = C_GetFunctionList;
    *ret_list = &list;
    return CKR_OK;
}
