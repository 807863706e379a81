/* The topics of DPS over MQTT.
 *
 * Units: bytes; retry-after in seconds. Ownership: inputs are borrowed, nothing is allocated.
 * Errors: KN_PROV_E_PROTOCOL naming the part of the topic. Threads: pure functions, no I/O.
 * Spec: DPS over MQTT: $dps/registrations/{PUT|GET}/... and
 *   $dps/registrations/res/{status}/?$rid={request id}[&retry-after={seconds}]
 */
#ifndef PROV_MQTT_TOPIC_H
#define PROV_MQTT_TOPIC_H

#include "prov_error.h"

#define PROV_MQTT_RESPONSE_FILTER "$dps/registrations/res/#"

typedef struct prov_mqtt_topic {
    int status; /* 100 to 599 */
    uint32_t request_id;
    uint32_t retry_after_s; /* 0: none */
} prov_mqtt_topic;

/* Strict: the prefix, a status of three digits, "$rid" exactly once and decimal, "retry-after" at most once
 * and decimal. Parameters with other names are passed over, so that the service may add some. */
KN_PROV_MUST_CHECK kn_prov_code prov_mqtt_topic_parse(const char *topic, size_t size,
                                                      prov_mqtt_topic *ret_topic, prov_error *error);

/* The length of the topic, 0 when @capacity does not hold it. */
size_t prov_mqtt_topic_of_register(uint32_t request_id, char *buffer, size_t capacity);
size_t prov_mqtt_topic_of_poll(uint32_t request_id, const char *operation_id, char *buffer, size_t capacity);

#endif
