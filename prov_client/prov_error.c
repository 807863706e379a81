#include "prov_error.h"

#include <stdarg.h>
#include <stdio.h>

#define ROW(id, what, next) [id] = {.code = id, .name = #id, .sentence = what, .remedy = next}

const kn_prov_error_row kn_prov_errors[] = {
    ROW(KN_PROV_OK, "no error", "nothing to do"),
    ROW(KN_PROV_E_ARGUMENT, "the request is not valid", "correct the value that the message names"),
    ROW(KN_PROV_E_MEMORY, "out of memory", "free memory on the device and try again"),
    ROW(KN_PROV_E_CANCELLED, "cancelled", "start the registration again when wanted"),
    ROW(KN_PROV_E_TIMEOUT, "time-out",
        "check the network and that the service answers; allow more time if the service asked for it"),
    ROW(KN_PROV_E_IDENTITY, "the HSM library gave no identity",
        "check the key and certificate settings of the HSM library, and its log"),
    ROW(KN_PROV_E_KEY, "the private key cannot be used",
        "check that the alias is right, its provider is available to OpenSSL and the PIN source is readable"),
    ROW(KN_PROV_E_CERTIFICATE, "the device certificate cannot be used",
        "check that it is a PEM chain, the device's certificate first"),
    ROW(KN_PROV_E_KEY_MISMATCH, "the certificate does not match the key",
        "use the certificate that was issued for this key, or the key that the certificate names"),
    ROW(KN_PROV_E_CA_FILE, "the CA file cannot be used",
        "check that the file is readable and holds the service's root certificates as PEM"),
    ROW(KN_PROV_E_RESOLVE, "the service's host name cannot be resolved",
        "check the spelling of the endpoint and the device's DNS"),
    ROW(KN_PROV_E_UNREACHABLE, "the service cannot be reached",
        "check that host and port are right and that no firewall blocks the port"),
    ROW(KN_PROV_E_PROXY, "the proxy refused or failed",
        "check --proxy and --proxy-auth (in a program: the request's proxy, proxy_user and proxy_password), or the variables https_proxy, all_proxy and no_proxy"),
    ROW(KN_PROV_E_TLS, "the TLS connection failed",
        "read the detail; common causes: a server that refuses the certificate, a key that cannot sign, versions that do not meet"),
    ROW(KN_PROV_E_TLS_VERSION, "the service and the device have no TLS version in common",
        "let the service speak TLS 1.2 or 1.3; if it does, look for a proxy in between, and at MinProtocol and MaxProtocol in openssl.cnf"),
    ROW(KN_PROV_E_SERVER_UNTRUSTED, "the service's certificate is not trusted",
        "name the right root certificates as CA file, and check the device's clock"),
    ROW(KN_PROV_E_SERVER_NAME, "the service's certificate is for another host name",
        "use the host name that the certificate holds; if it should have been right, someone is in between"),
    ROW(KN_PROV_E_CERTIFICATE_REFUSED, "the service refused the device's certificate",
        "check the certificate's dates and that its issuer is known to the service"),
    ROW(KN_PROV_E_CLOSED, "the service closed the connection",
        "try again; if it stays, check the ID scope and the enrollment of this device"),
    ROW(KN_PROV_E_PROTOCOL, "the service does not follow the protocol",
        "check that the endpoint is a Device Provisioning Service and the port fits the transport"),
    ROW(KN_PROV_E_CONNECT_REFUSED, "the service refused the connection",
        "check the ID scope, the registration ID and the enrollment of this device"),
    ROW(KN_PROV_E_RESPONSE, "the service's answer cannot be understood",
        "check that the endpoint is a Device Provisioning Service; report the detail"),
    ROW(KN_PROV_E_UNAUTHORIZED, "the service does not accept this device's identity",
        "check that its certificate or its CA is enrolled, and that the ID scope is right"),
    ROW(KN_PROV_E_NOT_ENROLLED, "the device is not enrolled",
        "create an individual enrollment or an enrollment group for it, and check the ID scope"),
    ROW(KN_PROV_E_DISABLED, "the enrollment of this device is disabled", "enable it at the service"),
    ROW(KN_PROV_E_NO_HUB, "the service has no IoT hub for this device",
        "link an IoT hub to the service and check the allocation policy"),
    ROW(KN_PROV_E_FAILED, "the service could not assign the device",
        "look up the service's error code and tracking id"),
    ROW(KN_PROV_E_REFUSED, "the service refused the request",
        "look up the service's error code and tracking id"),
    ROW(KN_PROV_E_THROTTLED, "the service is throttling", "try again later, with devices spread in time"),
    ROW(KN_PROV_E_SERVICE, "the service failed", "try again later; report the tracking id if it stays"),
};
const size_t kn_prov_errors_count = sizeof kn_prov_errors / sizeof kn_prov_errors[0];

const kn_prov_error_row *kn_prov_error_of(kn_prov_code code)
{
    size_t index = (size_t)code;

    return &kn_prov_errors[index < kn_prov_errors_count ? index : KN_PROV_E_ARGUMENT];
}

const char *kn_prov_status_name(kn_prov_status status)
{
    switch (status) {
    case KN_PROV_STATUS_CONNECTED:
        return "PROV_DEVICE_REG_STATUS_CONNECTED";
    case KN_PROV_STATUS_REGISTERING:
        return "PROV_DEVICE_REG_STATUS_REGISTERING";
    case KN_PROV_STATUS_ASSIGNING:
        return "PROV_DEVICE_REG_STATUS_ASSIGNING";
    case KN_PROV_STATUS_ASSIGNED:
        return "PROV_DEVICE_REG_STATUS_ASSIGNED";
    case KN_PROV_STATUS_ERROR:
        return "PROV_DEVICE_REG_STATUS_ERROR";
    }
    return "PROV_DEVICE_REG_STATUS_ERROR";
}

void prov_text_make_printable(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p; p++) {
        if (*p < 0x20 || *p == 0x7f)
            *p = '?';
        else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) /* U+0080..U+009F, e.g. CSI */
            p[0] = p[1] = '?';
    }
}

kn_prov_code prov_fail(prov_error *error, kn_prov_code code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(error->detail, sizeof error->detail, format, args);
    va_end(args);
    prov_text_make_printable(error->detail);
    return code;
}
