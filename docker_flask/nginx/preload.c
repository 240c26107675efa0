/* A library for nginx (LD_PRELOAD).

   For TERM and INT, nginx drops its requests. So nginx ignores these signals, which others may send
   (`kill -TERM -1`): only the supervisor stops nginx, with QUIT, which waits for the last response.
   nginx has no setting for this: https://nginx.org/en/docs/control.html */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
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

/* The body of a request that does not fit into memory: nginx writes it into a file in the folder
   `body`. The application may need as much room for its own copy, and others for theirs. So the
   bodies of a worker may take half of the room that the disk has, and at most the bytes in
   DOCKER_FLASK_BODIES; and a single body two thirds of that. A write beyond fails, and the client gets
   507. nginx has no setting for this. A worker of nginx has one thread. */
enum { FILES = 65536 };
enum { TRIM_SECONDS = 10 };
static size_t kept;
static off_t most, used;    /* bytes of all bodies, 0 for no limit but the disk */
static off_t sizes[FILES];  /* by descriptor: bytes of a body and 1; 0: not a body */

/* A large response, which a worker has written into a file in the folder `responses`
   (docker_flask/worker/large_response.py): nginx marks the file when it opens it, and removes it when
   it closes it. By descriptor: the path. */
static char *responses[FILES];

__attribute__((constructor)) static void read_limits(void)
{
    const char *text = getenv("DOCKER_FLASK_BODIES");

    most = text ? strtoll(text, NULL, 10) : 0;
    text = getenv("MALLOC_TRIM_THRESHOLD_");
    kept = text ? strtoul(text, NULL, 10) : 0;
}

static int is_body(int file)
{
    return file >= 0 && file < FILES && sizes[file];
}

/* True if the file may have this size. */
static int has_room(int file, off_t size)
{
    off_t room, grown = size + 1 - sizes[file];
    struct statvfs disk;

    if (grown <= 0)
        return 1;
    if (fstatvfs(file, &disk))
        return 0;
    room = ((off_t)disk.f_bavail * disk.f_frsize + used) / 2;
    if (most && most < room)
        room = most;
    if (used + grown > room || size > room / 3 * 2) {
        errno = EDQUOT;
        return 0;
    }
    used += grown;
    sizes[file] += grown;
    return 1;
}

int open64(const char *path, int flags, ...)
{
    static int (*original)(const char *, int, ...);
    va_list arguments;
    int file;

    if (!original)
        original = dlsym(RTLD_NEXT, "open64");
    va_start(arguments, flags);
    file = original(path, flags, va_arg(arguments, mode_t));
    va_end(arguments);
    if (file < 0 || file >= FILES)
        return file;
    if (flags & O_EXCL && strstr(path, "/body/"))
        sizes[file] = 1;
    if (!(flags & O_CREAT) && strstr(path, "/responses/") && !fchmod(file, S_IRUSR))
        responses[file] = strdup(path);
    return file;
}

ssize_t pwrite64(int file, const void *data, size_t length, off_t at)
{
    static ssize_t (*original)(int, const void *, size_t, off_t);

    if (!original)
        original = dlsym(RTLD_NEXT, "pwrite64");
    if (is_body(file) && !has_room(file, at + (off_t)length))
        return -1;
    return original(file, data, length, at);
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off_t at)
{
    static ssize_t (*original)(int, const struct iovec *, int, off_t);
    off_t end = at;

    if (!original)
        original = dlsym(RTLD_NEXT, "pwritev64");
    for (int i = 0; i < count; i++)
        end += (off_t)parts[i].iov_len;
    if (is_body(file) && !has_room(file, end))
        return -1;
    return original(file, parts, count, at);
}

int close(int file)
{
    static int (*original)(int);

    if (!original)
        original = dlsym(RTLD_NEXT, "close");
    if (is_body(file)) {
        used -= sizes[file] - 1;
        sizes[file] = 0;
    }
    if (file >= 0 && file < FILES && responses[file]) {
        unlink(responses[file]);
        free(responses[file]);
        responses[file] = NULL;
    }
    return original(file);
}

/* nginx frees the memory of its connections, but the C library keeps what others stand behind. So
   after some seconds with events, an nginx gives the kernel back what it has freed, except for the
   bytes that MALLOC_TRIM_THRESHOLD_ says. */
int epoll_wait(int queue, struct epoll_event *events, int most_events, int timeout)
{
    static int (*original)(int, struct epoll_event *, int, int);
    static time_t trimmed;
    static int used_memory;
    struct timespec now;
    int count;

    if (!original)
        original = dlsym(RTLD_NEXT, "epoll_wait");
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    if (used_memory && now.tv_sec - trimmed >= TRIM_SECONDS) {
        malloc_trim(kept);
        trimmed = now.tv_sec;
        used_memory = 0;
    }
    if (used_memory && (timeout < 0 || timeout > TRIM_SECONDS * 1000)) {
        count = original(queue, events, most_events, TRIM_SECONDS * 1000);
        if (count)
            return count;
        if (timeout > 0)
            timeout -= TRIM_SECONDS * 1000;
        malloc_trim(kept);
        used_memory = 0;
    }
    count = original(queue, events, most_events, timeout);
    used_memory |= count > 0;
    return count;
}
