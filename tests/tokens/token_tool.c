/* What the matrix of tokens needs and the product does not do: keys without a proof, and deleting.
 *
 * token_tool MODULE TOKEN PIN-FILE generate EC|RSA|ED25519|EC-DERIVE|RSA-DECRYPT LABEL
 * token_tool MODULE TOKEN PIN-FILE delete LABEL     (every object of that label)
 *
 * KN_TOOL_RESERVED: the parameters that NSS takes in C_Initialize. Says on standard error what failed; exit status 1.
 */
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static CK_FUNCTION_LIST *fn;
static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

static void must(CK_RV rv, const char *call)
{
    if (rv == CKR_OK)
        return;
    (void)fprintf(stderr, "%s: 0x%lx\n", call, rv);
    exit(1);
}

static CK_FUNCTION_LIST *load(const char *path)
{
    CK_FUNCTION_LIST *list = NULL;
    CK_C_GetFunctionList get = NULL;
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module)
        *(void **)&get = dlsym(module, "C_GetFunctionList");
    if (!get || get(&list) != CKR_OK) {
        (void)fprintf(stderr, "%s: %s\n", path, dlerror());
        exit(1);
    }
    return list;
}

static CK_SLOT_ID slot_of(const char *label)
{
    CK_SLOT_ID slots[64];
    CK_ULONG count = 64;
    must(fn->C_GetSlotList(CK_TRUE, slots, &count), "C_GetSlotList");
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        size_t length = strlen(label);
        if (fn->C_GetTokenInfo(slots[i], &info) == CKR_OK && !memcmp(info.label, label, length) &&
            (length == sizeof info.label || info.label[length] == ' '))
            return slots[i];
    }
    (void)fprintf(stderr, "token '%s' is not there\n", label);
    exit(1);
}

static void log_in(CK_SESSION_HANDLE session, const char *pin_file)
{
    char pin[256] = "";
    FILE *file = fopen(pin_file, "r");
    if (!file || !fgets(pin, sizeof pin, file)) {
        perror(pin_file);
        exit(1);
    }
    (void)fclose(file);
    pin[strcspn(pin, "\n")] = '\0';
    CK_RV rv = fn->C_Login(session, CKU_USER, (CK_UTF8CHAR *)pin, strlen(pin));
    if (rv != CKR_USER_ALREADY_LOGGED_IN)
        must(rv, "C_Login");
}

static CK_ATTRIBUTE attribute(CK_ATTRIBUTE_TYPE type, void *value, size_t length)
{
    return (CK_ATTRIBUTE){type, value, length};
}

static void generate(CK_SESSION_HANDLE session, const char *kind, char *label)
{
    static CK_BYTE p256[] = {6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}, ed25519[] = {6, 3, 0x2b, 0x65, 0x70}, f4[] = {1, 0, 1};
    static CK_ULONG bits = 2048;
    CK_MECHANISM mechanism = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
    CK_ULONG public_count = 5;
    CK_ATTRIBUTE public[8] = {
        attribute(CKA_TOKEN, &yes, sizeof yes),       attribute(CKA_PRIVATE, &no, sizeof no),
        attribute(CKA_VERIFY, &yes, sizeof yes),      attribute(CKA_LABEL, label, strlen(label)),
        attribute(CKA_ID, label, strlen(label)),
    };
    CK_ATTRIBUTE_TYPE use = strstr(kind, "DERIVE") ? CKA_DERIVE : strstr(kind, "DECRYPT") ? CKA_DECRYPT : CKA_SIGN;
    CK_ATTRIBUTE private[] = {
        attribute(CKA_TOKEN, &yes, sizeof yes),     attribute(CKA_PRIVATE, &yes, sizeof yes),
        attribute(CKA_SENSITIVE, &yes, sizeof yes), attribute(use, &yes, sizeof yes),
        attribute(CKA_LABEL, label, strlen(label)), attribute(CKA_ID, label, strlen(label)),
    };
    if (!strncmp(kind, "RSA", 3)) {
        mechanism.mechanism = CKM_RSA_PKCS_KEY_PAIR_GEN;
        public[public_count++] = attribute(CKA_MODULUS_BITS, &bits, sizeof bits);
        public[public_count++] = attribute(CKA_PUBLIC_EXPONENT, f4, sizeof f4);
    } else if (!strncmp(kind, "EC", 2)) {
        public[public_count++] = attribute(CKA_EC_PARAMS, p256, sizeof p256);
    } else {
        mechanism.mechanism = CKM_EC_EDWARDS_KEY_PAIR_GEN;
        public[public_count++] = attribute(CKA_EC_PARAMS, ed25519, sizeof ed25519);
    }
    CK_OBJECT_HANDLE public_key, private_key;
    must(fn->C_GenerateKeyPair(session, &mechanism, public, public_count, private, sizeof private / sizeof *private,
                               &public_key, &private_key),
         "C_GenerateKeyPair");
}

static void delete(CK_SESSION_HANDLE session, char *label)
{
    CK_ATTRIBUTE template = attribute(CKA_LABEL, label, strlen(label));
    CK_OBJECT_HANDLE objects[32];
    CK_ULONG count = 0;
    must(fn->C_FindObjectsInit(session, &template, 1), "C_FindObjectsInit");
    must(fn->C_FindObjects(session, objects, 32, &count), "C_FindObjects");
    must(fn->C_FindObjectsFinal(session), "C_FindObjectsFinal");
    if (count == 0)
        must(CKR_OBJECT_HANDLE_INVALID, "nothing to delete");
    for (CK_ULONG i = 0; i < count; i++)
        must(fn->C_DestroyObject(session, objects[i]), "C_DestroyObject");
}

int main(int argc, char **argv)
{
    CK_SESSION_HANDLE session;
    char *reserved = getenv("KN_TOOL_RESERVED");
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK, .pReserved = reserved && *reserved ? reserved : NULL};
    bool generates = argc == 7 && !strcmp(argv[4], "generate");
    if (!generates && !(argc == 6 && !strcmp(argv[4], "delete")))
        return 2;
    fn = load(argv[1]);
    must(fn->C_Initialize(&args), "C_Initialize");
    must(fn->C_OpenSession(slot_of(argv[2]), CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session), "C_OpenSession");
    log_in(session, argv[3]);
    if (generates)
        generate(session, argv[5], argv[6]);
    else
        delete(session, argv[5]);
    (void)fn->C_CloseSession(session);
    (void)fn->C_Finalize(NULL);
    return 0;
}
