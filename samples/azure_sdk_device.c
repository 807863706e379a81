/* A device of the Azure IoT C SDK whose private key stays in a token. Only the lines that are marked are about Keynym, and
 * without them /etc/keynym/keynym.cnf says who the device is.
 *
 *     azure_sdk_device ID-SCOPE KEY-URI PIN-FILE
 */
#include <azure_c_shared_utility/threadapi.h>
#include <azure_prov_client/prov_device_ll_client.h>
#include <azure_prov_client/prov_security_factory.h>
#include <azure_prov_client/prov_transport_mqtt_client.h>
#include <iothub.h>
#include <keynym/keynym_hsm.h> /* Keynym */
#include <stdio.h>

static void registered(PROV_DEVICE_RESULT result, const char *hub, const char *device, void *done)
{
    if (result == PROV_DEVICE_RESULT_OK)
        printf("device %s belongs to %s\n", device, hub);
    else
        fprintf(stderr, "not registered (%d): %s\n", (int)result, keynym_hsm_last_error()); /* Keynym */
    *(int *)done = result == PROV_DEVICE_RESULT_OK ? 1 : -1;
}

int main(int argc, char **argv)
{
    keynym_hsm_config who = KEYNYM_HSM_CONFIG_INIT; /* Keynym, and the next three lines */
    int done = 0;
    if (argc != 4)
        return 2;
    who.key = argv[2];
    who.pin_source = argv[3];
    if (keynym_hsm_configure(NULL, &who) || IoTHub_Init() || prov_dev_security_init(SECURE_DEVICE_TYPE_X509))
        return 1;
    PROV_DEVICE_LL_HANDLE client =
        Prov_Device_LL_Create("global.azure-devices-provisioning.net", argv[1], Prov_Device_MQTT_Protocol);
    if (client && Prov_Device_LL_Register_Device(client, registered, &done, NULL, NULL) == PROV_DEVICE_RESULT_OK)
        for (; !done; ThreadAPI_Sleep(10))
            Prov_Device_LL_DoWork(client);
    Prov_Device_LL_Destroy(client);
    prov_dev_security_deinit();
    IoTHub_Deinit();
    return done == 1 ? 0 : 1;
}
