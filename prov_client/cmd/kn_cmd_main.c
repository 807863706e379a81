#include "kn_cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* Neither a crash nor a debugger of the same user may write out what passes through memory: PINs do. */
static int forbid_dumps(void)
{
    static const struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};

    return setrlimit(RLIMIT_CORE, &none) == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
    if (forbid_dumps() != 0) {
        perror("keynym: cannot turn core dumps off");
        return KN_EXIT_FAILURE;
    }
    /* tpm2-tss and tpm2-pkcs11 log each try at a TPM that is not there; what matters is in our own messages */
    (void)setenv("TSS2_LOG", "all+NONE", 0);
    (void)setenv("TPM2_PKCS11_LOG_LEVEL", "0", 0);
    return (int)kn_cmd_main(kn_cmds, argc, argv);
}
