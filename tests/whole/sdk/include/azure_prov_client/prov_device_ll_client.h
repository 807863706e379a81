#ifndef SHAPE_PROV_DEVICE_LL_CLIENT_H
#define SHAPE_PROV_DEVICE_LL_CLIENT_H
typedef struct shape_prov_client *PROV_DEVICE_LL_HANDLE;
typedef enum { PROV_DEVICE_RESULT_OK } PROV_DEVICE_RESULT;
typedef enum { PROV_DEVICE_REG_STATUS_CONNECTED } PROV_DEVICE_REG_STATUS;
typedef const void *(*PROV_DEVICE_TRANSPORT_PROVIDER_FUNCTION)(void);
typedef void (*PROV_DEVICE_CLIENT_REGISTER_DEVICE_CALLBACK)(PROV_DEVICE_RESULT result, const char *hub, const char *device,
                                                            void *context);
typedef void (*PROV_DEVICE_CLIENT_REGISTER_STATUS_CALLBACK)(PROV_DEVICE_REG_STATUS status, void *context);
PROV_DEVICE_LL_HANDLE Prov_Device_LL_Create(const char *uri, const char *id_scope,
                                            PROV_DEVICE_TRANSPORT_PROVIDER_FUNCTION protocol);
PROV_DEVICE_RESULT Prov_Device_LL_Register_Device(PROV_DEVICE_LL_HANDLE handle,
                                                  PROV_DEVICE_CLIENT_REGISTER_DEVICE_CALLBACK registered, void *context,
                                                  PROV_DEVICE_CLIENT_REGISTER_STATUS_CALLBACK status,
                                                  void *status_context);
void Prov_Device_LL_DoWork(PROV_DEVICE_LL_HANDLE handle);
void Prov_Device_LL_Destroy(PROV_DEVICE_LL_HANDLE handle);
#endif
