#include "kn_cmd_doctor_net.h"

#include "../prov_tls.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MQTT_PORT       8883
#define DEFAULT_LIMIT_S 30
#define REFUSAL_MS      1000 /* how long a server may take to refuse a certificate: in TLS 1.3 it does so after the handshake */

/* False: nothing can be connected to. */
static bool check_name(kn_checks *checks, const prov_endpoint *endpoint)
{
    char host[sizeof endpoint->host];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL, *one;
    char text[64] = "?";
    unsigned count = 0;
    (void)snprintf(host, sizeof host, "%s", endpoint->host);
    if (*host == '[') { /* an IPv6 address in its brackets */
        memmove(host, host + 1, strlen(host));
        host[strcspn(host, "]")] = '\0';
    }
    if (strcasecmp(host, "localhost") == 0) { /* RFC 6761, 6.3: no question for a resolver, nor does libcurl ask one */
        kn_check_ok(checks, "DNS", "localhost is this machine");
        return true;
    }
    int rc = getaddrinfo(host, NULL, &hints, &found);
    if (rc) {
        kn_check_fail(checks, "DNS", "check the name, the network and /etc/resolv.conf", "%s: %s", host, gai_strerror(rc));
        return false;
    }
    for (one = found; one; one = one->ai_next)
        count++;
    (void)getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST);
    freeaddrinfo(found);
    kn_check_ok(checks, "DNS", "%s is %s%s", host, text, count > 1 ? " and others" : "");
    return true;
}

static void fail_net(kn_checks *checks, const char *what, kn_prov_code code, const prov_error *error)
{
    const kn_prov_error_row *row = kn_prov_error_of(code);
    kn_check_fail(checks, what, row->remedy, "%s: %s", row->sentence, error->detail);
}

/* A server that does not like the certificate says so in an alert, which comes with the first byte that is read. */
static void wait_for_refusal(kn_checks *checks, prov_stream *stream, bool with_certificate)
{
    prov_error error = {.detail = ""};
    uint8_t byte;
    size_t size;
    const prov_limits limits = prov_limits_start(REFUSAL_MS, REFUSAL_MS, NULL);
    const prov_deadline deadline = prov_deadline_of_step(&limits, "a refusal");
    kn_prov_code code = prov_stream_recv(stream, &byte, 1, &deadline, &size, &error);
    if (code == KN_PROV_OK || code == KN_PROV_E_TIMEOUT)
        kn_check_ok(checks, "TLS", "%s, %s", prov_tls_description(stream),
                    with_certificate ? "with the device's certificate" : "without a device certificate");
    else
        fail_net(checks, "TLS", code, &error);
}

static void check_tls(kn_checks *checks, const kn_cmd_args *args, const prov_endpoint *endpoint, unsigned limit_s,
                      const char *chain_pem, const char *key_pem)
{
    prov_error error = {.detail = ""};
    prov_stream *stream = NULL;
    const prov_limits limits = prov_limits_start(limit_s * 1000, limit_s * 1000, NULL);
    const prov_deadline deadline = prov_deadline_of_step(&limits, "the TLS connection");
    const prov_tls_config config = {.endpoint = endpoint,
                                    .ca_file = args->value[KN_OPT_CA],
                                    .certificate_pem = chain_pem,
                                    .key_pem = key_pem,
                                    .proxy = args->value[KN_OPT_PROXY]};
    kn_prov_code code = prov_tls_open(&config, &deadline, &stream, &error);
    if (code)
        fail_net(checks, "TLS", code, &error);
    else
        wait_for_refusal(checks, stream, chain_pem != NULL);
    prov_stream_close(&stream);
}

void kn_cmd_doctor_net(kn_checks *checks, const kn_cmd_args *args, const char *chain_pem, const char *key_pem)
{
    const char *where = args->value[KN_OPT_ENDPOINT] ? args->value[KN_OPT_ENDPOINT] : KN_PROV_DEFAULT_ENDPOINT;
    unsigned limit_s = DEFAULT_LIMIT_S;
    prov_endpoint endpoint;
    prov_error error = {.detail = ""};
    kn_prov_code code = prov_endpoint_parse(where, MQTT_PORT, &endpoint, &error);
    if (code) {
        fail_net(checks, "endpoint", code, &error);
        return;
    }
    (void)kn_cmd_number(args, KN_OPT_TIMEOUT, 1, 86400, &limit_s); /* run() has refused a wrong one */
    bool proxied = args->value[KN_OPT_PROXY] && *args->value[KN_OPT_PROXY];
    if (proxied)
        kn_check_skip(checks, "DNS", "the proxy resolves the name");
    if (proxied || check_name(checks, &endpoint))
        check_tls(checks, args, &endpoint, limit_s, chain_pem, key_pem);
    else
        kn_check_skip(checks, "TLS", "not looked at: the name of the service is not known");
}
