/* leave-root: root becomes another user for good, and executes a program.

     leave-root PROGRAM ...            as the service user
     leave-root --bind PROGRAM ...     as the service user, who may still bind ports below 1024
     leave-root --owner PROGRAM ...    as the owner of the working directory, or as the service user
                                       if that is root
     leave-root --running PROGRAM ...  as the user of the server that runs in this container; as
                                       --owner if none runs
     leave-root --keep PROGRAM ...     as the same user, with the same capabilities

   A process that is not root keeps its user and its groups. USER, LOGNAME and HOME fit the user, unless
   the container sets them to something that does. The program has no capabilities, or that
   for ports only, and no later program gets any (no_new_privs, empty bounding set). If this fails,
   the program does not run: exit code 77. RUN_AS_ROOT=1 keeps the user root.

   Static, because it is faster, and because root's dynamic linker would obey LD_PRELOAD. */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SERVICE_USER "www-data"
#define IMAGE_FOLDER "/run/docker-flask"
#define VOLUME "/data"
#define BIND_PORTS (1U << CAP_NET_BIND_SERVICE)

enum option { NONE, BIND, OWNER, RUNNING, KEEP };
enum { USAGE = 64, NOT_PERMITTED = 77 }; /* EX_USAGE and EX_NOPERM in sysexits.h */

/* The three sets of this process; each is in two parts, for capabilities below 32 and above. */
typedef struct __user_cap_data_struct capabilities[_LINUX_CAPABILITY_U32S_3];

static struct __user_cap_header_struct version = {.version = _LINUX_CAPABILITY_VERSION_3};

static void fail(int code, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("docker-flask: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(code);
}

static void read_capabilities(capabilities sets)
{
    if (syscall(SYS_capget, &version, sets))
        fail(NOT_PERMITTED, "can't read the capabilities: %s", strerror(errno));
}

static void write_capabilities(capabilities sets)
{
    if (syscall(SYS_capset, &version, sets))
        fail(NOT_PERMITTED, "can't give up the capabilities: %s", strerror(errno));
}

static int has(capabilities sets, unsigned capability)
{
    return sets[capability / 32].effective >> capability % 32 & 1;
}

/* The same words as in docker_flask/privileges.py. */
static int stays_root(void)
{
    static const char *const words[] = {"1", "on", "true", "yes"};
    const char *value = getenv("RUN_AS_ROOT");

    for (unsigned i = 0; value && i < sizeof words / sizeof *words; i++)
        if (!strcasecmp(value, words[i]))
            return 1;
    return 0;
}

/* Engines let everybody bind every port of a container, if it has a network of its own. */
static int ports_are_reserved(void)
{
    FILE *file = fopen("/proc/sys/net/ipv4/ip_unprivileged_port_start", "re");
    int first = 1024;

    if (file) {
        if (fscanf(file, "%d", &first) != 1)
            first = 1024;
        fclose(file);
    }
    return first > 1;
}

/* Reads the file itself: other sources of users would need dynamic libraries. */
static void find_service_user(uid_t *uid, gid_t *gid)
{
    FILE *file = fopen("/etc/passwd", "re");
    struct passwd *entry;

    while (file && (entry = fgetpwent(file)))
        if (!strcmp(entry->pw_name, SERVICE_USER) && entry->pw_uid) {
            *uid = entry->pw_uid;
            *gid = entry->pw_gid;
            return;
        }
    fail(NOT_PERMITTED, "can't leave root: /etc/passwd has no user " SERVICE_USER);
}

static void find_owner(uid_t *uid, gid_t *gid)
{
    struct stat folder;

    if (!stat(".", &folder) && folder.st_uid) {
        *uid = folder.st_uid;
        *gid = folder.st_gid ? folder.st_gid : folder.st_uid; /* not root's group, either */
    } else
        find_service_user(uid, gid);
}

/* Process 1 has this user, except under `docker run --init`. There, the folder for sockets is the
   server's, with the names of paths.py. The image's folder belongs to the service user in any case;
   root without the capability DAC_READ_SEARCH can't look into it. */
static void find_running(uid_t *uid, gid_t *gid)
{
    static const char *const places[] = {"/tmp", "/dev/shm", "/data"};
    static const char *const marks[] = {"control.sock", "debug"};
    char boot[7] = "", path[128];
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    struct stat status;

    if (!stat("/proc/1", &status) && status.st_uid) {
        *uid = status.st_uid;
        *gid = status.st_gid ? status.st_gid : status.st_uid;
        return;
    }
    for (unsigned i = 0; i < sizeof marks / sizeof *marks; i++) {
        snprintf(path, sizeof path, IMAGE_FOLDER "/%s", marks[i]);
        if (!lstat(path, &status) || errno == EACCES) {
            find_service_user(uid, gid);
            return;
        }
    }
    if (file) {
        (void)!fgets(boot, sizeof boot, file);
        fclose(file);
    }
    if (!stat("/proc/self/ns/mnt", &status)) {
        unsigned long number = status.st_ino;

        for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
            snprintf(path, sizeof path, "%s/docker-flask-%s-%lx", places[i], boot, number);
            if (!lstat(path, &status) && S_ISDIR(status.st_mode) && status.st_uid) {
                *uid = status.st_uid;
                *gid = status.st_gid ? status.st_gid : status.st_uid;
                return;
            }
        }
    }
    find_owner(uid, gid);
}

/* The new user writes to the log, and programs open /dev/stdout again. */
static void give_streams(uid_t uid, gid_t gid)
{
    struct stat stream;

    for (int descriptor = 1; descriptor <= 2; descriptor++)
        if (!fstat(descriptor, &stream) && (S_ISFIFO(stream.st_mode) || isatty(descriptor)))
            (void)!fchown(descriptor, uid, gid); /* production's log does without */
}

static void check_may_leave(capabilities sets, uid_t uid, gid_t gid)
{
    int uids = has(sets, CAP_SETUID), gids = has(sets, CAP_SETGID);

    if (!uids || !gids)
        fail(NOT_PERMITTED,
             "can't leave root, because the container has no capability %s%s%s; add%s%s, or start "
             "the container as an unprivileged user: --user %u:%u (to stay root: RUN_AS_ROOT=1)",
             uids ? "" : "SETUID", uids || gids ? "" : " and no capability ", gids ? "" : "SETGID",
             uids ? "" : " --cap-add SETUID", gids ? "" : " --cap-add SETGID", uid, gid);
}

/* The groups of `docker run --group-add` stay. */
static void become(uid_t uid, gid_t gid)
{
    gid_t groups[NGROUPS_MAX];
    uid_t real, effective, saved;
    gid_t real_group, effective_group, saved_group;
    int count = getgroups(NGROUPS_MAX, groups), kept = 0;

    for (int i = 0; i < count; i++)
        if (groups[i])
            groups[kept++] = groups[i];
    if (count < 0 || setgroups(kept, groups) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
        fail(NOT_PERMITTED,
             "can't become uid %u, gid %u: %s; start the container as an unprivileged user: --user "
             "(to stay root: RUN_AS_ROOT=1)",
             uid, gid, strerror(errno));
    if (getresuid(&real, &effective, &saved) || real != uid || effective != uid || saved != uid
        || getresgid(&real_group, &effective_group, &saved_group) || real_group != gid
        || effective_group != gid || saved_group != gid || getgroups(0, NULL) != kept)
        fail(NOT_PERMITTED, "still root after leaving root; start the container with --user");
}

/* Programs ask for their user's name and home, which a uid without an entry in /etc/passwd lacks. */
static void name_user(void)
{
    static const char *const names[] = {"USER", "LOGNAME"};
    const char *home = getenv("HOME");
    FILE *file = fopen("/etc/passwd", "re");
    struct passwd *entry = NULL;
    uid_t uid = geteuid();
    char name[32];

    while (file && (entry = fgetpwent(file)) && entry->pw_uid != uid)
        ;
    snprintf(name, sizeof name, "uid%u", uid);
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);

        if (!value || !*value || (uid && !strcmp(value, "root")))
            setenv(names[i], entry ? entry->pw_name : name, 1);
    }
    if (file)
        fclose(file);
    /* The engine sets root's home, or / for a uid without an entry. Some applications keep their data at
       home, so home is in the volume. */
    if (!home || access(home, W_OK | X_OK))
        setenv("HOME", access(VOLUME, W_OK | X_OK) ? "/tmp" : VOLUME, 1);
}

/* keep: a capability below 32, as a bit, or 0. */
static void keep_only(capabilities sets, unsigned keep)
{
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
        unsigned kept = i ? 0 : keep;

        sets[i].effective = sets[i].permitted = sets[i].inheritable = kept;
    }
    write_capabilities(sets);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (keep)
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0);
}

/* Removes the option from the arguments. The first line of a script passes all its words as one. */
static enum option take_option(char ***arguments)
{
    static const char *const names[] = {"", "--bind", "--owner", "--running", "--keep"};
    char *first = **arguments;

    for (enum option option = BIND; first && option <= KEEP; option++) {
        size_t length = strlen(names[option]);

        if (strncmp(first, names[option], length))
            continue;
        if (first[length] == ' ')
            **arguments = first + length + 1;
        else if (!first[length])
            ++*arguments;
        else
            continue;
        return option;
    }
    return NONE;
}

static void leave_root(enum option option)
{
    static void (*const finders[])(uid_t *, gid_t *) = {find_service_user, find_service_user,
                                                        find_owner, find_running};
    capabilities sets;
    unsigned keep = 0;
    uid_t uid;
    gid_t gid;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        fail(NOT_PERMITTED, "can't set no_new_privs: %s", strerror(errno));
    read_capabilities(sets);
    if (option == BIND && ports_are_reserved())
        keep = BIND_PORTS;
    keep &= sets[0].permitted;
    if (keep && sets[0].inheritable != keep) {
        sets[0].inheritable |= keep; /* while it is in the bounding set */
        write_capabilities(sets);
    }
    if (has(sets, CAP_SETPCAP))
        for (int i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++)
            prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
    if (!geteuid() && !stays_root()) {
        finders[option](&uid, &gid);
        check_may_leave(sets, uid, gid);
        give_streams(uid, gid);
        prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
        become(uid, gid);
    }
    keep_only(sets, keep);
}

int main(int, char **argv)
{
    enum option option;

    argv++;
    option = take_option(&argv);
    if (!argv[0])
        fail(USAGE, "usage: leave-root [--bind | --owner | --running | --keep] PROGRAM [ARGUMENT...]");
    if (option != KEEP)
        leave_root(option);
    name_user();
    execv(argv[0], argv);
    fail(errno == ENOENT ? 127 : 126, "%s: %s", argv[0], strerror(errno));
}
