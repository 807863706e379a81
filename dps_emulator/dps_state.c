#include "dps_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

bool dps_state_open(const char *dir, bool create, dps_state *ret_state, dps_fail *fail)
{
    struct stat st;
    if (dir[0] == '\0' || strlen(dir) > DPS_PATH_LEN - 64)
        return dps_fail_set(fail, DPS_EXIT_USAGE, "--dir is empty or too long; give the path of a folder");
    if (stat(dir, &st) != 0) {
        if (errno == ENOENT && !create)
            return dps_fail_set(
                fail, DPS_EXIT_NOT_FOUND,
                "there is no state folder \"%s\"; \"keynym-dps serve\" or \"group create\" makes it", dir);
        if (errno != ENOENT || mkdir(dir, 0700) != 0)
            return dps_fail_set(fail, DPS_EXIT_FAILED,
                                "cannot make the state folder \"%s\": %s; check that its parent exists", dir,
                                strerror(errno));
    } else if (!S_ISDIR(st.st_mode)) {
        return dps_fail_set(fail, DPS_EXIT_FAILED, "\"%s\" is not a folder; give another --dir", dir);
    }
    *ret_state = (dps_state){0};
    memcpy(ret_state->dir, dir, strlen(dir) + 1);
    return true;
}

bool dps_state_path(const dps_state *state, const char *name, char ret_path[DPS_PATH_LEN], dps_fail *fail)
{
    int n = snprintf(ret_path, DPS_PATH_LEN, "%s/%s", state->dir, name);
    if (n < 0 || n >= DPS_PATH_LEN)
        return dps_fail_set(fail, DPS_EXIT_USAGE, "the path of the state folder is too long");
    return true;
}

bool dps_state_lock(dps_state *state, dps_fail *fail)
{
    char path[DPS_PATH_LEN];
    if (!dps_state_path(state, "serve.lock", path, fail))
        return false;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return dps_fail_set(fail, DPS_EXIT_FAILED, "cannot write \"%s\": %s; check the rights of the folder",
                            path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return dps_fail_set(fail, DPS_EXIT_CONFLICT,
                            "another keynym-dps serves \"%s\"; stop it or give another --dir", state->dir);
    }
    state->lock_fd = fd;
    return true;
}

void dps_state_close(dps_state *state)
{
    if (state->lock_fd > 0)
        close(state->lock_fd);
    *state = (dps_state){0};
}

bool dps_state_open_store(const char *dir, bool create, dps_store **ret_store, dps_fail *fail)
{
    dps_state state;
    char path[DPS_PATH_LEN];
    if (!dps_state_open(dir, create, &state, fail))
        return false;
    bool ok = dps_state_path(&state, DPS_DATABASE_NAME, path, fail);
    if (ok && !create && access(path, F_OK) != 0)
        ok = dps_fail_set(fail, DPS_EXIT_NOT_FOUND,
                          "there is no database in \"%s\"; \"keynym-dps serve\" or \"group create\" makes it",
                          dir);
    if (ok)
        ok = dps_store_open(path, create, ret_store, fail);
    dps_state_close(&state);
    return ok;
}
