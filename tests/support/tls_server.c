#include "tls_server.h"

#include "prov.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_TRIES 3000 /* of 10 ms */

static pid_t server;

static void write_credentials(const char *key_path, const char *cert_path)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    FILE *file = fopen(key_path, "w");
    assert_non_null(key);
    assert_true(file && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) && !fclose(file));
    prov_issue(key, "server", -3600, 86400, cert_path);
    EVP_PKEY_free(key);
}

static int port_in(const char *path)
{
    char line[256];
    int port = 0;
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "ACCEPT 127.0.0.1:%d", &port) == 1)
            break;
    if (file)
        (void)fclose(file);
    return port;
}

int tls_server_start(void)
{
    char key[128], cert[128], ca[128], out[128];
    int port = 0;
    (void)snprintf(key, sizeof key, "%s", test_token_path(prov_token, "server.key"));
    (void)snprintf(cert, sizeof cert, "%s", test_token_path(prov_token, "server.crt"));
    (void)snprintf(ca, sizeof ca, "%s", test_token_path(prov_token, "ca.crt"));
    (void)snprintf(out, sizeof out, "%s", test_token_path(prov_token, "server.out"));
    write_credentials(key, cert);
    const char *const argv[] = {"openssl", "s_server", "-accept", "127.0.0.1:0", "-key", key, "-cert", cert, "-CAfile", ca,
                    "-Verify", "1", "-verify_return_error", "-rev", NULL};
    server = fork();
    assert_true(server >= 0);
    if (server == 0) { /* it ends with this process, also when a test fails */
        int in = open("/dev/null", O_RDONLY), log = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (prctl(PR_SET_PDEATHSIG, SIGTERM) || dup2(in, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
            _exit(126);
        (void)execvp("openssl", (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    for (int i = 0; i < START_TRIES && !(port = port_in(out)); i++)
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    if (!port)
        fail_msg("openssl s_server did not start: %s", prov_read(out));
    return port;
}

void tls_server_stop(void)
{
    (void)kill(server, SIGTERM);
    (void)waitpid(server, NULL, 0);
}

bool tls_server_serves(SSL_CTX *client, int port)
{
    char where[32], line[8] = "";
    (void)snprintf(where, sizeof where, "127.0.0.1:%d", port);
    SSL *ssl = SSL_new(client);
    BIO *bio = BIO_new_connect(where);
    assert_true(ssl && bio && BIO_do_connect(bio) == 1);
    SSL_set_bio(ssl, bio, bio);
    bool good = SSL_connect(ssl) == 1 && SSL_write(ssl, "hello\n", 6) == 6 && SSL_read(ssl, line, sizeof line) == 6 &&
                !memcmp(line, "olleh\n", 6);
    if (good)
        (void)SSL_shutdown(ssl);
    SSL_free(ssl);
    return good;
}
