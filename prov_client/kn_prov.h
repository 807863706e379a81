/* Registers a device with the Azure Device Provisioning Service (DPS) and learns its IoT hub.
 *
 * Units: times in milliseconds, sizes in bytes, text is NUL-terminated UTF-8.
 * Ownership: a request and all that it points to are borrowed until kn_prov_register() returns; a result
 *   belongs to the caller and is emptied with kn_prov_result_clear().
 * Errors: a kn_prov_code; kn_prov_error_of() is its row (name, sentence, remedy), the result carries the
 *   details. Nothing secret appears in either.
 * Threads: any number of registrations may run at once, each in its caller's thread; none is started here
 *   (libcurl resolves names in one of its own and joins it). A registration does not survive fork(). SIGPIPE
 *   is kept away from the process.
 * Spec: Azure DPS device API 2021-06-01; MQTT 3.1.1; the HSM interface of hsm_client_data.h.
 *
 * The identity comes only through the HSM interface, so any library made for the Azure IoT C SDK as its
 * "hsm_custom_lib" can be linked. That library is initialised here and never de-initialised, because its
 * initialisation is not counted: call hsm_client_x509_deinit() when nothing in the process uses it any more.
 *
 * TLS: version 1.2 or later, chain and host name are always verified and there is no way to turn that off.
 * @ca_file means exactly the certificates of that file; without it libcurl's system store is used. The
 * environment variables SSL_CERT_FILE, SSL_CERT_DIR and CURL_CA_BUNDLE change neither. Without a proxy in the
 * request the variables https_proxy, all_proxy and no_proxy are honoured.
 *
 *   state        | event                         | next        | status callback
 *   -------------+-------------------------------+-------------+----------------
 *   WAITING      | the pauses of spread_ms and   | CONNECTING  |
 *                |   retry_file are over         |             |
 *   WAITING      | a pause would outlast the     | failed      | ERROR
 *                |   overall limit, cancel       |             |
 *   CONNECTING   | TLS and protocol accepted     | REGISTERING | CONNECTED, then REGISTERING
 *   CONNECTING   | any failure                   | failed      | ERROR
 *   REGISTERING  | answer "assigning"            | ASSIGNING   | ASSIGNING
 *   REGISTERING  | answer "assigned"             | done        | ASSIGNED
 *   REGISTERING  | answer 429 or 5xx             | REGISTERING | (the request is sent again after a pause)
 *   ASSIGNING    | answer "assigning"            | ASSIGNING   | ASSIGNING
 *   ASSIGNING    | answer "assigned"             | done        | ASSIGNED
 *   ASSIGNING    | answer 429 or 5xx             | ASSIGNING   | (the status is asked again after a pause)
 *   either       | answer "failed", "disabled",  | failed      | ERROR
 *                | another 4xx, malformed answer |             |
 *   any          | connection lost, step or      | failed      | ERROR
 *                | overall time-out, cancel      |             |
 *
 * What @retry_file holds in each state is in prov_retry.h: back-off that doubles with every registration that
 * the service did not grant, up to 300 s and half of it at random, and honours the service's retry-after. A
 * file that is damaged or cannot be written stops nothing; the result's @warning names it.
 */
#ifndef KN_PROV_H
#define KN_PROV_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#ifndef KN_PROV_MUST_CHECK
#define KN_PROV_MUST_CHECK __attribute__((warn_unused_result))
#endif

#define KN_PROV_DEFAULT_ENDPOINT        "global.azure-devices-provisioning.net"
#define KN_PROV_DEFAULT_TRANSPORT       "mqtt"
#define KN_PROV_DEFAULT_ATTESTATION     "x509"
#define KN_PROV_DEFAULT_STEP_TIMEOUT_MS 30000U
#define KN_PROV_DEFAULT_TIMEOUT_MS      300000U
#define KN_PROV_PAYLOAD_MAX             65536U /* bytes of JSON text that the device may send along */

typedef enum kn_prov_code {
    KN_PROV_OK = 0,
    KN_PROV_E_ARGUMENT,
    KN_PROV_E_MEMORY,
    KN_PROV_E_CANCELLED,
    KN_PROV_E_TIMEOUT,
    KN_PROV_E_IDENTITY,
    KN_PROV_E_KEY,
    KN_PROV_E_CERTIFICATE,
    KN_PROV_E_KEY_MISMATCH,
    KN_PROV_E_CA_FILE,
    KN_PROV_E_RESOLVE,
    KN_PROV_E_UNREACHABLE,
    KN_PROV_E_PROXY,
    KN_PROV_E_TLS,
    KN_PROV_E_TLS_VERSION,
    KN_PROV_E_SERVER_UNTRUSTED,
    KN_PROV_E_SERVER_NAME,
    KN_PROV_E_CERTIFICATE_REFUSED,
    KN_PROV_E_CLOSED,
    KN_PROV_E_PROTOCOL,
    KN_PROV_E_CONNECT_REFUSED,
    KN_PROV_E_RESPONSE,
    KN_PROV_E_UNAUTHORIZED,
    KN_PROV_E_NOT_ENROLLED,
    KN_PROV_E_DISABLED,
    KN_PROV_E_NO_HUB,
    KN_PROV_E_FAILED,
    KN_PROV_E_REFUSED,
    KN_PROV_E_THROTTLED,
    KN_PROV_E_SERVICE,
} kn_prov_code;

typedef struct kn_prov_error_row {
    kn_prov_code code;
    const char *name;     /* "KN_PROV_E_TIMEOUT" */
    const char *sentence; /* what happened, without a full stop */
    const char *remedy;   /* the next step */
} kn_prov_error_row;

/* All rows in the order of kn_prov_code. */
extern const kn_prov_error_row kn_prov_errors[];
extern const size_t kn_prov_errors_count;

/* The row of @code; a value outside of the enum gives the row of KN_PROV_E_ARGUMENT. Never NULL. */
const kn_prov_error_row *kn_prov_error_of(kn_prov_code code);

/* The names are those of the Azure IoT C SDK, with its prefix PROV_DEVICE_REG_STATUS_. */
typedef enum kn_prov_status {
    KN_PROV_STATUS_CONNECTED,
    KN_PROV_STATUS_REGISTERING,
    KN_PROV_STATUS_ASSIGNING,
    KN_PROV_STATUS_ASSIGNED,
    KN_PROV_STATUS_ERROR,
} kn_prov_status;

/* "PROV_DEVICE_REG_STATUS_CONNECTED" and so on. Never NULL. */
const char *kn_prov_status_name(kn_prov_status status);

typedef void (*kn_prov_on_status)(kn_prov_status status, void *context);
typedef void (*kn_prov_on_trace)(const char *line, void *context); /* for people; the text is not stable */

/* Start from KN_PROV_REQUEST_INIT. NULL and 0 mean the default in brackets. */
typedef struct kn_prov_request {
    const char *endpoint;        /* "host", "host:port" or "[address]:port" [KN_PROV_DEFAULT_ENDPOINT] */
    const char *id_scope;        /* required, e.g. "0ne00012345" */
    const char *transport;       /* a name of kn_prov_transport_name() [KN_PROV_DEFAULT_TRANSPORT] */
    const char *attestation;     /* "x509", "symmetric-key" or "tpm" [KN_PROV_DEFAULT_ATTESTATION] */
    const char *ca_file;         /* PEM file, the only trusted roots [the system store] */
    const char *registration_id; /* [the certificate's common name; TPM: the digest of its endorsement key] */
    const char *payload;         /* JSON text for the service's allocation policy [none] */
    const char *proxy;           /* "http://host:port", "socks5h://host:port", "": none [the environment's] */
    const char *proxy_user;      /* [none, or that of the URL] */
    const char *proxy_password;
    const char *retry_file;      /* keeps the back-off through restarts and reboots [none] */
    uint32_t spread_ms;          /* connect after a random pause of up to this [0] */
    uint32_t step_timeout_ms;    /* the connection, and each exchange [KN_PROV_DEFAULT_STEP_TIMEOUT_MS] */
    uint32_t timeout_ms;         /* all of it, pauses included [KN_PROV_DEFAULT_TIMEOUT_MS] */
    kn_prov_on_status on_status; /* called in the caller's thread [none] */
    kn_prov_on_trace on_trace;   /* called in the caller's thread [none] */
    void *context;               /* for both callbacks */
    atomic_bool *cancel;         /* set it from any thread or signal handler to stop [none] */
} kn_prov_request;

#define KN_PROV_REQUEST_INIT                                                                                 \
    {                                                                                                        \
        .endpoint = NULL                                                                                     \
    }

/* Members that the service did not send, or that do not apply, are NULL or 0. */
typedef struct kn_prov_result {
    kn_prov_code code;
    char *registration_id;
    char *assigned_hub; /* host name, may carry ":port" */
    char *device_id;
    char *status;       /* the service's word: "assigned", "failed", ... */
    char *substatus;    /* "initialAssignment", ... */
    char *payload;      /* JSON text; numbers pass through a double */
    int service_status; /* status of the last answer as in HTTP: 200, 401, ... */
    long error_code;    /* the service's own code, e.g. 401002 */
    char *tracking_id;  /* what Azure support asks for */
    char *service_message;
    char *warning; /* NULL, or one line: the retry file could not be read or written, and was done without */
    char *message; /* after a failure: one line for people that names the cause; never empty */
} kn_prov_result;

#define KN_PROV_RESULT_INIT                                                                                  \
    {                                                                                                        \
        .code = KN_PROV_OK                                                                                   \
    }

/* Registers once and blocks until there is an outcome. Fills @ret_result in both cases; after a failure it
 * holds the error and whatever the service said. @ret_result must be KN_PROV_RESULT_INIT or cleared. */
KN_PROV_MUST_CHECK kn_prov_code kn_prov_register(const kn_prov_request *request, kn_prov_result *ret_result);

/* Releases the members and makes @result KN_PROV_RESULT_INIT again. Accepts NULL. */
void kn_prov_result_clear(kn_prov_result *result);

/* The names of the known transports: index 0, 1, ... until NULL. */
const char *kn_prov_transport_name(size_t index);

#endif
