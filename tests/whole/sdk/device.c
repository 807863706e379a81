/* device ADDRESS CA: one TLS connection. Without arguments: only the symbols. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>

int initialize_hsm_system(void);
void deinitialize_hsm_system(void);
int use_identity(SSL_CTX *ctx);

int main(int argc, char **argv)
{
    char line[8] = "";
    if (initialize_hsm_system())
        return 1;
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    int good = argc < 3;
    if (!good && SSL_CTX_load_verify_file(ctx, argv[2]) && use_identity(ctx)) {
        BIO *bio = BIO_new_ssl_connect(ctx);
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
        good = BIO_set_conn_hostname(bio, argv[1]) && BIO_do_handshake(bio) > 0 && BIO_write(bio, "hello\n", 6) == 6 &&
               BIO_read(bio, line, sizeof line) == 6 && line[0] == 'o';
        BIO_free_all(bio);
    }
    if (!good)
        ERR_print_errors_fp(stderr);
    SSL_CTX_free(ctx);
    deinitialize_hsm_system();
    puts(good ? "linked and connected" : "failed");
    return !good;
}
