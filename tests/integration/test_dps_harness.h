/* Runs the real keynym-dps and talks to it over TLS with bytes of its own: nothing of the server's code is
 * used. Everything has a deadline; every process that is started is ended. */
#ifndef TEST_DPS_HARNESS_H
#define TEST_DPS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <openssl/ssl.h>

#include "unit/test_dps_pki.h"

enum { DEADLINE_MS = 30000, OUTPUT_MAX = 64 * 1024 };

typedef struct server {
    char dir[64]; /* made by the test */
    const char *bind; /* the address that it listens on; NULL: 127.0.0.1 */
    char ca[96];
    char scope[16];
    pid_t pid;
    int out;        /* its stdout */
    int port;       /* MQTT */
    int https_port; /* 0: not served */
    int amqp_port;
} server;

/* @args: further arguments, NULL-terminated, at most 12; may be NULL. Waits until it listens. */
void server_start(server *s, const char *const *args);
/* Returns the exit code, or minus the signal that ended it. */
int server_stop(server *s, int signal_number);

/* Runs "keynym-dps" with these arguments to its end. @ret_out (OUTPUT_MAX bytes, may be NULL) gets stdout. */
int run_program(char *ret_out, const char *first, ...) __attribute__((sentinel));

typedef struct client {
    SSL_CTX *ctx;
    SSL *ssl;
    int fd;
    bool ws;           /* what is sent and read travels in WebSocket frames */
    size_t frame_left; /* of the frame that is being read */
} client;

int tcp_connect(int port);
/* @version: TLS1_2_VERSION or TLS1_3_VERSION, 0 for any. @leaf and @issuer (sent along) may be NULL. False
 * when the handshake failed. */
/* Connects to s->port: copy the server and set it for another one. */
bool client_try(client *c, const server *s, int version, const test_cert *leaf, const test_cert *issuer);
void client_open(client *c, const server *s, int version, const test_cert *leaf, const test_cert *issuer);
void client_close(client *c);
/* Asks for a WebSocket with that subprotocol; from then on @c speaks frames. */
void client_upgrade(client *c, const char *subprotocol);
void client_send(client *c, const void *bytes, size_t n);
/* At least one byte, at most @cap; 0 when the peer has closed. */
size_t client_read_some(client *c, uint8_t *out, size_t cap);
void client_read(client *c, uint8_t *out, size_t n);
void client_expect(client *c, const void *bytes, size_t n);
/* Reads until the peer closes, or @cap - 1 bytes; returns how many. */
size_t client_read_all(client *c, char *out, size_t cap);
/* The peer closes without another byte. */
void client_expect_end(client *c);

/* MQTT packets, written by hand. */
typedef struct packet {
    uint8_t bytes[8192];
    size_t n;
} packet;

void packet_text(packet *p, const char *text); /* two bytes of length, then the text */
void packet_finish(packet *p, uint8_t first);  /* puts the fixed header in front */
packet connect_packet(const char *scope, const char *id, const char *query, unsigned keepalive_s);
packet publish_packet(uint8_t first, unsigned packet_id, const char *topic, const char *body);

/* CONNECT and SUBSCRIBE with their answers. */
void client_hello(client *c, const server *s, const char *id);

typedef struct message {
    int status;
    char topic[512];
    char body[4096];
} message;

/* The next PUBLISH of the server. */
void client_message(client *c, message *ret);
/* Registers with QoS 1 and $rid=@rid; checks PUBACK. */
void client_register(client *c, const char *rid, const char *body, message *ret);
void client_poll(client *c, const char *rid, const char *operation_id, message *ret);
void operation_of(const message *m, char ret_id[128]);
/* Registers and polls until it is assigned. */
void client_provision(client *c, const char *id, char ret_operation[128]);

#endif
