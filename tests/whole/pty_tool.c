/* pty_tool COLUMNS COMMAND...: runs the command on a terminal of its own, that wide, and copies what it shows to standard output. With
 * PTY_OUT=FILE standard output of the command goes there, and only standard error is the terminal. A terminal has no echo and changes
 * no line ends here. The exit status is the command's, or 128 and the signal. */
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static pid_t child;

static void pass_on(int number)
{
    (void)kill(child, number);
}

static void run(char **command)
{
    const char *out = getenv("PTY_OUT");
    struct termios settings;

    if (tcgetattr(STDIN_FILENO, &settings) == 0) {
        cfmakeraw(&settings);
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &settings);
    }
    int fd = out ? open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600) : STDOUT_FILENO;
    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0)
        _exit(126);
    (void)execvp(command[0], command);
    _exit(127);
}

int main(int argc, char **argv)
{
    struct winsize size = {.ws_row = 25};
    char buffer[4096];
    int terminal, status = 0;
    ssize_t n;

    if (argc < 3) {
        (void)fprintf(stderr, "usage: pty_tool COLUMNS COMMAND...\n");
        return 2;
    }
    size.ws_col = (unsigned short)atoi(argv[1]);
    child = forkpty(&terminal, NULL, NULL, &size);
    if (child < 0) {
        perror("pty_tool");
        return 2;
    }
    if (child == 0)
        run(argv + 2);
    (void)signal(SIGINT, pass_on);
    (void)signal(SIGTERM, pass_on);
    while ((n = read(terminal, buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0 && write(STDOUT_FILENO, buffer, (size_t)n) != n)
            return 2;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
