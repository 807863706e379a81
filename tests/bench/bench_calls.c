/* Calls of PKCS#11, counted: for loading a key, for a signature, for a TLS handshake; and the first signature in a forked
 * child. Counts are exact, so this is also an ordinary test. */
#include "bench_stats.h"
#include "prov.h"

#include "kn_alias.h"
#include "p11_shim.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SIGNATURES 100
#define HANDSHAKES 20
#define CHILDREN   15
#define LOAD_MOST  12

static shim *s;
static bool good = true;

static void need(bool condition, const char *what)
{
    if (condition)
        return;
    (void)fprintf(stderr, "bench_calls: %s: %s\n", what, kn_err_detail());
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* @divisor things were done since the last time. */
static void counted(const char *what, unsigned divisor, unsigned most)
{
    unsigned calls = shim_total(s);
    printf("| %s | %.2f | <= %u |\n", what, (double)calls / divisor, most);
    if (calls > most * divisor) {
        (void)fprintf(stderr, "bench_calls: %s: %u calls for %u, at most %u each are allowed\n", what, calls, divisor, most);
        good = false;
    }
    shim_reset_calls(s);
}

static const char *uri(void)
{
    static char text[512];
    (void)snprintf(text, sizeof text, "pkcs11:token=%s;object=%s?pin-source=%s&module-path=%s", prov_token->label,
                   kn_algs[0].group, prov_token->pin_file, shim_module);
    return text;
}

static char *alias(bool with_public)
{
    EVP_PKEY *software = prov_software_public(&kn_algs[0]);
    unsigned char *der = NULL;
    int length = i2d_PUBKEY(software, &der);
    kn_public public;
    kn_alias *a = NULL;
    char *pem = NULL;
    need(length > 0 && !kn_failed(kn_public_from_spki(der, (size_t)length, &public)), "the public key");
    need(!kn_failed(kn_alias_new(uri(), with_public ? &public : NULL, &a)) && !kn_failed(kn_alias_to_pem(a, &pem)), "an alias");
    kn_alias_free(&a);
    OPENSSL_free(der);
    EVP_PKEY_free(software);
    return pem;
}

static void sign(const prov *p, EVP_PKEY *pkey)
{
    static const unsigned char text[64] = {1};
    unsigned char signature[256];
    size_t length = sizeof signature;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    need(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", p->libctx, NULL, pkey, NULL) == 1 &&
             EVP_DigestSign(ctx, signature, &length, text, sizeof text) == 1,
         "EVP_DigestSign");
    EVP_MD_CTX_free(ctx);
}

static void loads(void)
{
    static const char *const names[] = {"calls to load a key by URI", "calls to load an alias without public key",
                                        "calls to load an alias with its public key"};
    for (int way = 0; way < 3; way++) {
        prov p; /* a new one: nothing is known of the token */
        prov_open(&p, PROV_DEFAULT_FIRST);
        char *pem = way ? alias(way == 2) : NULL;
        shim_reset_calls(s);
        EVP_PKEY *pkey = way ? prov_read_key_text(&p, pem) : prov_load(&p, uri());
        need(pkey != NULL, names[way]);
        counted(names[way], 1, way == 2 ? 0 : LOAD_MOST);
        EVP_PKEY_free(pkey);
        prov_close(&p);
        free(pem);
    }
}

static void signatures(const prov *p, EVP_PKEY *pkey)
{
    sign(p, pkey);
    shim_reset_calls(s);
    for (int i = 0; i < SIGNATURES; i++)
        sign(p, pkey);
    counted("calls per signature", SIGNATURES, 2);
}

static void handshakes(const prov *p, EVP_PKEY *pkey, int version, bool server)
{
    char what[96];
    const char *of = version == TLS1_3_VERSION ? "1.3" : "1.2";
    SSL_CTX *ours = prov_ssl_ctx(p->libctx, server ? TLS_server_method() : TLS_client_method(), version);
    SSL_CTX *other = prov_ssl_ctx(NULL, server ? TLS_client_method() : TLS_server_method(), version);
    X509 *cert = prov_certificate(p, prov_file(&kn_algs[0], "crt"));
    prov_use_software(other, &kn_algs[0]);
    shim_reset_calls(s);
    need(SSL_CTX_use_PrivateKey(ours, pkey) && SSL_CTX_use_certificate(ours, cert) && SSL_CTX_check_private_key(ours),
         "SSL_CTX");
    (void)snprintf(what, sizeof what, "calls to set up an SSL_CTX, %s", server ? "server" : "client");
    counted(what, 1, 0);
    SSL_CTX_set_session_cache_mode(ours, SSL_SESS_CACHE_OFF);
    need(prov_handshake(server ? other : ours, server ? ours : other), "a handshake");
    shim_reset_calls(s);
    for (int i = 0; i < HANDSHAKES; i++)
        need(prov_handshake(server ? other : ours, server ? ours : other), "a handshake");
    (void)snprintf(what, sizeof what, "calls per TLS %s handshake, %s", of, server ? "server" : "client");
    counted(what, HANDSHAKES, 2);
    X509_free(cert);
    SSL_CTX_free(ours);
    SSL_CTX_free(other);
}

static double now_ms(void)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec * 1e3 + (double)at.tv_nsec / 1e6;
}

/* What the module needs for C_Initialize in the child is part of it; SoftHSM reads every object file there. */
static void children(const prov *p, EVP_PKEY *pkey)
{
    bench_values values = {.count = 0};
    for (int i = 0; i < CHILDREN; i++) {
        int pipe_of[2], status;
        double took = -1;
        need(pipe(pipe_of) == 0, "a pipe");
        pid_t child = fork();
        if (child == 0) {
            double from = now_ms();
            sign(p, pkey);
            took = now_ms() - from;
            _exit(write(pipe_of[1], &took, sizeof took) == sizeof took ? 0 : 1);
        }
        need(child > 0 && waitpid(child, &status, 0) == child && status == 0 &&
                 read(pipe_of[0], &took, sizeof took) == sizeof took,
             "a child's signature");
        (void)close(pipe_of[0]);
        (void)close(pipe_of[1]);
        bench_add(&values, took);
    }
    bench_row("first signature in a forked child, ms", &values, 2, "<= 5");
    if (bench_sum_up(&values).min > 50) { /* another process may have the processor */
        (void)fprintf(stderr, "bench_calls: the first signature in a child takes too long\n");
        good = false;
    }
}

int main(void)
{
    prov p;
    (void)prov_group_setup(NULL);
    s = shim_new(prov_token);
    if (!getenv("NOLOADS")) loads();
    prov_open(&p, PROV_DEFAULT_FIRST);
    char *pem = alias(true);
    EVP_PKEY *pkey = prov_read_key_text(&p, pem);
    need(pkey != NULL, "an alias");
    if (!getenv("NOSIG")) signatures(&p, pkey);
    for (int server = 0; server < 2; server++) {
        handshakes(&p, pkey, TLS1_3_VERSION, server);
        handshakes(&p, pkey, TLS1_2_VERSION, server);
    }
#ifndef __SANITIZE_THREAD__ /* which does not follow a lock into the child */
    children(&p, pkey);
#endif
    EVP_PKEY_free(pkey);
    prov_close(&p);
    free(pem);
    shim_free(&s);
    (void)prov_group_teardown(NULL);
    return good ? 0 : 1;
}
