#ifndef SHAPE_PROV_TRANSPORT_MQTT_CLIENT_H
#define SHAPE_PROV_TRANSPORT_MQTT_CLIENT_H
const void *Prov_Device_MQTT_Protocol(void);
#endif
