/* A PKCS#11 module without a slot, for configurations that name several modules. */
#include <p11-kit/pkcs11.h>

static CK_RV empty_initialize(void *args)
{
    (void)args;
    return CKR_OK;
}

static CK_RV empty_get_info(CK_INFO *info)
{
    *info = (CK_INFO){.cryptokiVersion = {2, 40}};
    return CKR_OK;
}

static CK_RV empty_get_slot_list(CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *count)
{
    (void)present, (void)slots;
    *count = 0;
    return CKR_OK;
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret_list)
{
    static CK_FUNCTION_LIST list;
    list = (CK_FUNCTION_LIST){
        .version = {2, 40},
        .C_Initialize = empty_initialize,
        .C_Finalize = empty_initialize,
        .C_GetInfo = empty_get_info,
        .C_GetFunctionList = C_GetFunctionList,
        .C_GetSlotList = empty_get_slot_list,
    };
    *ret_list = &list;
    return CKR_OK;
}
