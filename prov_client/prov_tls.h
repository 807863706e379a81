/* The one TLS path of the client: a libcurl CONNECT_ONLY stream, through a proxy if there is one.
 *
 * Units: milliseconds. Ownership: the configuration is borrowed until prov_tls_open() returns; the stream is
 *   closed with prov_stream_close().
 * Errors: KN_PROV_E_RESOLVE, UNREACHABLE, PROXY, TLS, TLS_VERSION, SERVER_UNTRUSTED, SERVER_NAME,
 *   CERTIFICATE_REFUSED, CA_FILE, KEY, CERTIFICATE, KEY_MISMATCH, CLOSED, TIMEOUT, CANCELLED; the detail has OpenSSL's words.
 * Threads: one stream, one thread; many streams at once.
 * Spec: TLS 1.2 (RFC 5246) and 1.3 (RFC 8446); server identity as in RFC 6125. Chain and host name are
 *   always verified. No ALPN is offered: MQTT and AMQP have none on these ports.
 *
 * The key is decoded in OpenSSL's default library context, as the Azure IoT C SDK does, so the provider of an
 * alias must be available there. Nothing ever prompts for a passphrase.
 */
#ifndef PROV_TLS_H
#define PROV_TLS_H

#include "prov_names.h"
#include "prov_stream.h"

typedef struct prov_tls_config {
    const prov_endpoint *endpoint;
    const char *ca_file;         /* exactly these roots; NULL: libcurl's system store */
    const char *certificate_pem; /* chain, leaf first; NULL: no client certificate */
    const char *key_pem;
    const char *proxy;      /* URL without a password; "": none; NULL: that of the environment, if any */
    const char *proxy_user; /* NULL: none, or that of the URL */
    const char *proxy_password;
} prov_tls_config;

KN_PROV_MUST_CHECK kn_prov_code prov_tls_open(const prov_tls_config *config, const prov_deadline *deadline,
                                              prov_stream **ret_stream, prov_error *error);

/* "TLSv1.3, TLS_AES_256_GCM_SHA384" of a stream that prov_tls_open() returned; lives as long as the stream.
 */
const char *prov_tls_description(const prov_stream *stream);

#endif
