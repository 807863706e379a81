#include "swtpm.h"

#include "kn_check.h"

#include "tpm2/tpm2_conn.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

char swtpm_dir[] = "/tmp/kn-tpm2-XXXXXX";
char swtpm_tcti[300];
char swtpm_pin_path[64];
unsigned *swtpm_count;
uint32_t *swtpm_codes;

static pid_t pid;
static unsigned *fail_at, *fail_times;
static uint32_t *answer, *change_code;
static size_t *change_at, *change_size;

void swtpm_start(void)
{
    char state[64], server[96], control[96], path[64];
    struct stat found;
    (void)snprintf(path, sizeof path, "%s/s", swtpm_dir);
    (void)snprintf(state, sizeof state, "dir=%s", swtpm_dir);
    (void)snprintf(server, sizeof server, "type=unixio,path=%s", path);
    (void)snprintf(control, sizeof control, "type=unixio,path=%s.ctrl", path);
    (void)unlink(path);
    (void)fflush(NULL); /* or the child would write it, too */
    pid = fork();
    if (pid == 0) { /* it tells of each connection */
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* nor is it left when the test dies */
        if (!freopen("/dev/null", "w", stderr) || !freopen("/dev/null", "w", stdout))
            _exit(126);
        (void)execlp("swtpm", "swtpm", "socket", "--tpm2", "--tpmstate", state, "--server", server, "--ctrl", control, "--flags",
                     "not-need-init,startup-clear", (char *)NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    for (int i = 0; i < 2000 && stat(path, &found) != 0; i++)
        (void)usleep(10000);
    assert_int_equal(stat(path, &found), 0);
}

void swtpm_stop(void)
{
    pid_t ended = 0;
    assert_int_equal(kill(pid, SIGTERM), 0);
    for (int i = 0; i < 300 && ended == 0; i++) {
        ended = waitpid(pid, NULL, WNOHANG);
        if (ended == 0)
            (void)usleep(10000);
    }
    if (ended == 0) { /* swtpm 0.10.2 now and then goes on, busy and deaf */
        assert_int_equal(kill(pid, SIGKILL), 0);
        ended = waitpid(pid, NULL, 0);
    }
    assert_int_equal(ended, pid);
}

static void find(const char *name, void *ret_pointer)
{
    void *shim = dlopen(TCTI_SHIM, RTLD_NOW), *symbol = shim ? dlsym(shim, name) : NULL;
    assert_non_null(symbol);
    memcpy(ret_pointer, &symbol, sizeof symbol);
}

void swtpm_set_up(void)
{
    (void)setenv("TSS2_LOG", "all+NONE", 1);
    assert_non_null(mkdtemp(swtpm_dir));
    (void)snprintf(swtpm_pin_path, sizeof swtpm_pin_path, "%s/pin", swtpm_dir);
    (void)snprintf(swtpm_tcti, sizeof swtpm_tcti, "%s:swtpm:path=%s/s", TCTI_SHIM, swtpm_dir);
    find("tcti_shim_count", &swtpm_count);
    find("tcti_shim_codes", &swtpm_codes);
    find("tcti_shim_fail_at", &fail_at);
    find("tcti_shim_fail_times", &fail_times);
    find("tcti_shim_rc", &answer);
    find("tcti_shim_change_code", &change_code);
    find("tcti_shim_change_at", &change_at);
    find("tcti_shim_size", &change_size);
    swtpm_start();
}

void swtpm_tear_down(void)
{
    char command[64];
    swtpm_stop();
    (void)snprintf(command, sizeof command, "rm -rf %s", swtpm_dir);
    assert_int_equal(system(command), 0);
}

void swtpm_arm(unsigned at, unsigned times, uint32_t rc)
{
    *swtpm_count = 0;
    *fail_at = at;
    *fail_times = times;
    *answer = rc;
}

void swtpm_change(uint32_t code, size_t at)
{
    *change_code = code;
    *change_at = at;
}

size_t swtpm_changed_size(void)
{
    return *change_size;
}

void swtpm_tools(const char *commands)
{
    char command[900];
    (void)snprintf(command, sizeof command, "export TPM2TOOLS_TCTI=swtpm:path=%s/s; cd %s && { %s; }", swtpm_dir, swtpm_dir, commands);
    assert_int_equal(system(command), 0);
}

void swtpm_make_key(const char *handle, const char *alg, const char *attributes, const char *auth)
{
    char commands[700];
    (void)snprintf(commands, sizeof commands,
                   "tpm2_createprimary -Q -C o -G %s -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|%s' %s %s -c k.ctx && "
                   "tpm2_evictcontrol -Q -C o -c k.ctx %s && tpm2_flushcontext -t && rm k.ctx",
                   alg, attributes, *auth ? "-p" : "", auth, handle);
    swtpm_tools(commands);
}

void swtpm_write_pin(const char *pin)
{
    FILE *file = fopen(swtpm_pin_path, "w");
    assert_non_null(file);
    (void)fputs(pin, file);
    (void)fclose(file);
    assert_int_equal(chmod(swtpm_pin_path, 0600), 0);
}

static kn_err count_handles(tpm2_conn *conn, void *arg)
{
    static const UINT32 first[] = {0x80000000u, 0x02000000u} /* transient objects, loaded sessions */;
    kn_err err = kn_success();
    for (size_t i = 0; i < COUNT_OF(first) && !kn_failed(err); i++) {
        TPMS_CAPABILITY_DATA *data = NULL;
        TPMI_YES_NO more;
        TPM2_CALL(err, conn, Esys_GetCapability, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_HANDLES, first[i], 8, &more, &data);
        if (!kn_failed(err))
            *(unsigned *)arg += data->data.handles.count;
        conn->api->Esys_Free(data);
    }
    return err;
}

void swtpm_check_clean(void)
{
    unsigned taken = 0;
    assert_ok(tpm2_conn_run(swtpm_tcti, count_handles, &taken));
    assert_int_equal(taken, 0);
}

static kn_err read_counter(tpm2_conn *conn, void *arg)
{
    TPMI_YES_NO more = TPM2_NO;
    TPMS_CAPABILITY_DATA *data = NULL;
    kn_err err;
    TPM2_CALL(err, conn, Esys_GetCapability, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_TPM_PROPERTIES,
              TPM2_PT_LOCKOUT_COUNTER, 1, &more, &data);
    if (!kn_failed(err))
        *(unsigned *)arg = data->data.tpmProperties.tpmProperty[0].value;
    conn->api->Esys_Free(data);
    return err;
}

unsigned swtpm_tries_spent(void)
{
    unsigned n = 0;
    assert_ok(tpm2_conn_run(swtpm_tcti, read_counter, &n));
    return n;
}
