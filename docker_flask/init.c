/* init: process 1 of a container that runs a command.

     init [--grace SECONDS] [--health] -- COMMAND [ARGUMENT...]

   Starts the command as its child, passes signals on to it, reaps orphans, and ends with the exit code
   of the command, or with 128 and the number of the signal that ended it. As process 1 itself, a
   command would get no signal that it has no handler for, and nobody would reap orphans.

   --grace: kills everything if the command has not ended so many seconds after TERM or INT; exit code 75.
   --health: while this program runs, `docker-flask health` finds a socket (docker_flask/health.py).

   Static, because it runs as long as the command, and takes 0.1 MB this way. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { USAGE = 64, CUT = 75, NOT_EXECUTABLE = 126, NOT_FOUND = 127, BY_SIGNAL = 128 };

/* Each of these is about this process itself. */
static const int own[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS};

static pid_t child;

/* The name is that of paths.container() in docker_flask/paths.py. Any user can connect to an abstract
   socket, and it needs no folder. The socket is of datagrams, so that nobody has to accept. */
static void be_found(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat container;
    char boot[7] = "";
    int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    int length;

    if (file < 0 || read(file, boot, 6) != 6 || stat("/proc/self/ns/mnt", &container))
        return; /* the container counts as unhealthy, and the command runs */
    close(file);
    length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "docker-flask-%s-%lx", boot,
                      (unsigned long)container.st_ino);
    (void)!bind(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), (struct sockaddr *)&address,
                offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

static int not_run(const char *name, int why)
{
    if (why != ENOENT)
        fprintf(stderr, "docker-flask: can't run \"%s\": %s%s\n", name, strerror(why),
                why == EACCES ? "; a command is a file with the permission to execute it (chmod +x)"
                              : "");
    else if (strchr(name, '/') && !access(name, F_OK))
        fprintf(stderr,
                "docker-flask: can't run \"%s\": its first line names a program that does not exist; "
                "a line that ends as in Windows does, too\n",
                name);
    else if (!strcmp(name, "debug"))
        fprintf(stderr, "docker-flask: \"debug\" is no command; for debug mode use -d debug\n");
    else
        fprintf(stderr,
                "docker-flask: \"%s\" is no command: there is no such program in this image; -h lists "
                "the modes and the image's own commands%s\n",
                name, strchr(name, ' ') ? "; give each word as an argument of its own" : "");
    return why == ENOENT ? NOT_FOUND : NOT_EXECUTABLE;
}

/* In a process group of its own, so that Ctrl-C reaches the command once. */
static void become(char **command)
{
    sigset_t none;
    int in_terminal = tcgetpgrp(STDIN_FILENO) == getpgrp();

    setpgid(0, 0);
    if (in_terminal)
        tcsetpgrp(STDIN_FILENO, getpid()); /* while SIGTTOU is blocked */
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL); /* Python ignores some, and a command inherits that */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execvp(command[0], command);
    _exit(not_run(command[0], errno));
}

/* The command's exit code, -1 while it runs. */
static int reap(void)
{
    int status, code = -1;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
        if (pid != child)
            continue;
        if (WIFEXITED(status))
            code = WEXITSTATUS(status);
        else if (WIFSIGNALED(status))
            code = BY_SIGNAL + WTERMSIG(status);
        else if (WSTOPSIG(status) == SIGTSTP)
            kill(-child, SIGCONT); /* Ctrl-Z, where no shell would continue the command */
    }
    return code;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

/* The next of these signals; 0 if there is none until `end`, which is 0 for no end. */
static int next(const sigset_t *signals, double end)
{
    double left = end - now() > 0 ? end - now() : 0;
    struct timespec time = {(time_t)left, (long)((left - (time_t)left) * 1e9)};
    int number;

    do
        number = sigtimedwait(signals, NULL, end ? &time : NULL);
    while (number < 0 && errno == EINTR);
    return number > 0 ? number : 0;
}

int main(int, char **argv)
{
    sigset_t signals;
    const char *grace = NULL;
    double end = 0;
    int code, number;

    for (argv++; *argv && strcmp(*argv, "--"); argv++)
        if (!strcmp(*argv, "--health"))
            be_found();
        else if (!strcmp(*argv, "--grace") && argv[1])
            grace = *++argv;
        else
            break;
    if (!argv[0] || strcmp(*argv++, "--") || !argv[0]) {
        fputs("docker-flask: usage: init [--grace SECONDS] [--health] -- COMMAND [ARGUMENT...]\n", stderr);
        return USAGE;
    }

    sigfillset(&signals);
    for (unsigned i = 0; i < sizeof own / sizeof *own; i++)
        sigdelset(&signals, own[i]);
    sigprocmask(SIG_SETMASK, &signals, NULL);
    signal(SIGCHLD, SIG_DFL); /* if it was ignored, nobody could wait for the command */
    if (getpid() != 1)
        prctl(PR_SET_CHILD_SUBREAPER, 1); /* under `docker run --init`, and in `docker exec` */

    child = fork();
    if (!child)
        become(argv);
    if (child < 0)
        return not_run(argv[0], errno);

    while ((number = next(&signals, end)))
        if (number == SIGCHLD) {
            if ((code = reap()) >= 0)
                return code;
        } else if (number != SIGTTIN && number != SIGTTOU) { /* those are of the terminal, for init */
            kill(child, number);
            if (grace && !end && (number == SIGTERM || number == SIGINT))
                end = now() + atof(grace);
        }
    fprintf(stderr,
            "docker-flask: killing \"%s\", which has not ended within GRACEFUL_TIMEOUT=%s seconds after "
            "the stop signal; raise GRACEFUL_TIMEOUT and docker stop -t\n",
            argv[0], grace);
    kill(-child, SIGKILL); /* when process 1 ends, the kernel kills all others, too */
    return CUT;
}
