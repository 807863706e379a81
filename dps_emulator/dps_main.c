#include <sys/stat.h>

#include <openssl/crypto.h>

#include "dps_cmd.h"

int main(int argc, char **argv)
{
    umask(077); /* the state folder holds private keys */
    /* OPENSSL_CONF is often exported for the device under test: its provider, and its token, are not the
     * server's. */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    return dps_cmd_main(argc, argv);
}
