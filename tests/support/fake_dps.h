/* A Device Provisioning Service that does as it is told, for tests of the client: a TLS server thread with a
 * scripted MQTT conversation. It shares no code with the client.
 *
 * Units: milliseconds, seconds for retry-after. Ownership: scripts are borrowed until fake_dps_stop();
 *   fake_pki_free() and fake_dps_stop() release everything. Errors: a set-up that fails ends the test
 * program. Threads: one server thread per fake_dps; read `seen` after fake_dps_wait() or fake_dps_stop().
 * Spec: MQTT 3.1.1; DPS over MQTT.
 */
#ifndef FAKE_DPS_H
#define FAKE_DPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum fake_server_cert {
    FAKE_CERT_GOOD, /* for "localhost" */
    FAKE_CERT_WRONG_NAME,
    FAKE_CERT_EXPIRED,
    FAKE_CERT_FROM_OTHER_CA,
    FAKE_CERT_NOT_YET_VALID,
    FAKE_CERT_SELF_SIGNED,
    FAKE_CERTS,
} fake_server_cert;

/* Certificates made for this run. All PEM. The files are in a directory of their own under /tmp. */
typedef struct fake_pki {
    char *ca_cert;
    char *other_ca_cert;
    char *server_cert[FAKE_CERTS];
    char *server_key;
    char *device_cert; /* leaf and its intermediate */
    char *device_key;
    char *other_key;
    struct x509_st *intermediate; /* the issuer of the device's certificate, and its key */
    struct evp_pkey_st *intermediate_key;
    char directory[64];
    char ca_file[96];
    char other_ca_file[96];
} fake_pki;

#define FAKE_DEVICE_NAME "device-7"

fake_pki *fake_pki_new(void);
/* Another device: a chain as device_cert, and a key. free() both. */
void fake_pki_device(const fake_pki *pki, const char *name, char **ret_cert, char **ret_key);
void fake_pki_free(fake_pki *pki);
/* The path of a new file in the directory of @pki with @text in it; free() it. */
char *fake_pki_file(const fake_pki *pki, const char *name, const char *text);

typedef enum fake_phase {
    FAKE_NEVER,
    FAKE_AT_ACCEPT,
    FAKE_AFTER_TLS,
    FAKE_AFTER_CONNECT,
    FAKE_AFTER_CONNACK,
    FAKE_AFTER_SUBSCRIBE,
    FAKE_AFTER_SUBACK,
    FAKE_AFTER_REQUEST, /* the first request has come */
    FAKE_AFTER_PUBACK,  /* it was acknowledged */
    FAKE_AFTER_REPLY,   /* it was answered */
    FAKE_PHASES,
} fake_phase;

typedef struct fake_reply {
    int status;
    const char *body;
    const char *retry_after; /* text behind "&retry-after="; NULL: none */
    const char *topic;       /* instead of the right one */
    int rid_offset;          /* added to the request id */
    bool no_puback;
    const uint8_t *raw; /* instead of the whole answer */
    size_t raw_size;
    int qos2; /* send the PUBLISH with QoS 2 */
} fake_reply;

typedef struct fake_script {
    int tls_version; /* TLS1_2_VERSION, ...: this one only; 0: any */
    fake_server_cert certificate;
    bool refuse_device; /* fail the verification of the device's certificate */
    fake_phase drop_at;
    fake_phase stall_at;
    uint8_t connack;
    uint8_t suback;
    const uint8_t *connack_raw; /* instead of CONNACK */
    size_t connack_raw_size;
    const fake_reply *replies; /* one per request; when they are used up the connection is dropped */
    size_t replies_count;
    size_t chunk; /* bytes per TLS record; 0: as many as there are */
} fake_script;

#define FAKE_REQUESTS_MAX 16

typedef struct fake_seen {
    unsigned connections; /* that have ended */
    char tls_version[16];
    char server_name[128]; /* SNI */
    char device_subject[256];
    bool alpn;
    char client_id[256];
    char user_name[512];
    uint8_t connect_flags;
    uint16_t keep_alive;
    char filter[128];
    uint8_t filter_qos;
    unsigned requests; /* of the last connection, as all that follow */
    char topics[FAKE_REQUESTS_MAX][512];
    char bodies[FAKE_REQUESTS_MAX][2048];
    uint8_t qos[FAKE_REQUESTS_MAX];
    int64_t times_ms[FAKE_REQUESTS_MAX];
    unsigned pubacks;
    bool disconnect;
} fake_seen;

typedef struct fake_dps fake_dps;

fake_dps *fake_dps_start(const fake_pki *pki, const fake_script *script);
uint16_t fake_dps_port(const fake_dps *dps);
const char *fake_dps_endpoint(const fake_dps *dps); /* "localhost:PORT" */
/* Waits until @connections have ended, at most 10 s. */
void fake_dps_wait(fake_dps *dps, unsigned connections);
const fake_seen *fake_dps_seen(const fake_dps *dps);
void fake_dps_stop(fake_dps *dps);

#endif
