/* Units:     lengths in bytes.
 * Ownership: the caller clears a returned blob.
 * Errors:    a dps_fail with the path and the next step.
 * Threads:   no shared state.
 * Spec:      files that a person names on the command line, and files that hold secrets. */
#ifndef DPS_FILE_H
#define DPS_FILE_H

#include "dps_blob.h"
#include "dps_fail.h"

/* A regular file of at most @max bytes. */
DPS_MUST_CHECK bool dps_file_read(const char *path, size_t max, dps_blob *ret_bytes, dps_fail *fail);
/* A file with base64 text, white space around it allowed. @min..@max: bytes that it stands for. */
DPS_MUST_CHECK bool dps_file_read_base64(const char *path, size_t min, size_t max, dps_blob *ret_bytes,
                                         dps_fail *fail);
/* A new file with mode 0600, "text" and a line feed; one that exists is refused. NULL @path: stdout. */
DPS_MUST_CHECK bool dps_file_write_secret(const char *path, const char *text, dps_fail *fail);

#endif
