/* Loaded into nginx (LD_PRELOAD): for TERM and INT, its answer is to drop the requests that it holds.
   Only the supervisor ends it, with QUIT, after the last answer; what others send, as
   `kill -TERM -1` does, is ignored. nginx has no setting for that:
   https://nginx.org/en/docs/control.html */
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

/* A root that nginx runs as is one that may change neither users nor files' owners (--cap-drop ALL):
   it must not try, as it does for any root, and dies of. */
uid_t geteuid(void)
{
    uid_t user = getuid();

    return user ? user : 1;
}
