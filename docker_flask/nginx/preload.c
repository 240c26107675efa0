/* A library for nginx (LD_PRELOAD).

   For TERM and INT, nginx drops its requests. So nginx ignores these signals, which others may send
   (`kill -TERM -1`): only the supervisor stops nginx, with QUIT, which waits for the last response.
   nginx has no setting for this: https://nginx.org/en/docs/control.html */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <unistd.h>

int sigaction(int number, const struct sigaction *action, struct sigaction *before)
{
    static int (*original)(int, const struct sigaction *, struct sigaction *);
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    if (!original)
        original = dlsym(RTLD_NEXT, "sigaction");
    return original(number, number == SIGTERM || number == SIGINT ? &ignore : action, before);
}

/* If nginx runs as root, that root can change neither users nor owners of files (--cap-drop ALL).
   nginx would try both and exit, so it must not know that it is root. */
uid_t geteuid(void)
{
    uid_t user = getuid();

    return user ? user : 1;
}
