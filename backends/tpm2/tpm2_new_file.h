/* A file that comes to be whole or not at all, and replaces none: it has no name until it is finished, so that neither a failure nor
 * kill -9 leaves anything behind. Where the file system has no such files (O_TMPFILE: NFS, FUSE), it has its name from the start,
 * and only a failure takes it away.
 *
 * Units: none. Ownership: tpm2_new_file_close() releases; the path is borrowed until then. Errors: KN_E_EXISTS, KN_E_IO, with the
 * path. Threads: one at a time for one object. Spec: open(2), linkat(2).
 */
#ifndef KN_TPM2_NEW_FILE_H
#define KN_TPM2_NEW_FILE_H

#include "kn_err.h"

#include <stdbool.h>

typedef struct tpm2_new_file {
    const char *path;
    int fd; /* to write and read; mode 0600 */
    bool named, kept;
} tpm2_new_file;

KN_MUST_CHECK kn_err tpm2_new_file_open(const char *path, tpm2_new_file *ret_file);

/* Gives it its name, unless somebody else was faster, and makes both last through a power cut. */
KN_MUST_CHECK kn_err tpm2_new_file_keep(tpm2_new_file *file);

void tpm2_new_file_close(tpm2_new_file *file);

#endif
