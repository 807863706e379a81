/* Files that are made or replaced in one step.
 *
 * Units: none. Ownership: all borrowed. Errors: false, errno, and what did not work. Threads: any number at
 * once; of two that replace one file, one wins. Spec: rename(2) of POSIX.1-2008, renameat2(2) of Linux; the new content and the
 * directory are synchronised, so that after a crash or a power cut there is the old content or the new.
 */
#ifndef PROV_FILE_H
#define PROV_FILE_H

#include <stdbool.h>

/* Replaces or makes the file, mode 0600. After a failure the old content is there, and no other file; only
 * when the directory could not be synchronised the new one may be. @ret_what: "cannot write", and so on. */
bool prov_file_replace(const char *path, const char *text, const char **ret_what);

/* As prov_file_replace(), but where there is anything of that name, it is left alone: false, and errno is EEXIST. */
bool prov_file_create(const char *path, const char *text, const char **ret_what);

/* Removes the file for good. One that does not exist is a success. */
bool prov_file_remove(const char *path, const char **ret_what);

#endif
