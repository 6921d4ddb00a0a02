/* Makes one change of files below a folder go wrong, as a crash or a failing disk would; see forks.py.
 *
 * Preloaded, it stands before the C library's calls that change files. It does nothing until strike() is called. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SIGNAL, TEAR, ONCE, ON }; /* what happens: see forks.py */

static char under[4096], pattern[256];
static atomic_long counted;
static long at;
static int how, number, record = -1;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* From now on: at the `n`-th change below `folder` that is like `where`, `what` happens with signal or errno `value`.
 * A change is a line "call path", as fnmatch compares it, and is written into the file `log` if there is one. */
void strike(const char *folder, const char *where, long n, int what, int value, const char *log) {
    at = n, how = what, number = value, counted = 0;
    record = log ? REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
    snprintf(pattern, sizeof pattern, "%s", where);
    snprintf(under, sizeof under, "%s/", folder);
}

/* Writes the path of what is open as `fd`. */
static void path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    path[length < 0 ? 0 : length] = 0;
}

/* Counts one change of `path`; returns whether it is struck.
 * `grows`: it takes room on the disk, so that a full one goes on refusing it. */
static int struck(const char *call, const char *path, int grows) {
    char line[5000];
    if (!*under || strncmp(path, under, strlen(under)))
        return 0;
    int length = snprintf(line, sizeof line, "%s %s\n", call, path + strlen(under));
    if (record >= 0 && REAL(write)(record, line, length) != length)
        abort();
    line[length - 1] = 0;
    int like = fnmatch(pattern, line, 0) == 0;
    counted += like;
    return at && (how == ON ? counted >= at && grows : like && counted == at);
}

static int struck_at(const char *call, int folder, const char *name, int grows) {
    char path[8192] = "";
    if (*name != '/') {
        path_of(folder, path, 4000);
        if (folder == AT_FDCWD && !getcwd(path, 4000))
            return 0;
        strcat(path, "/");
    }
    strncat(path, name, 4000);
    return struck(call, path, grows);
}

static int struck_on(const char *call, int fd, int grows) {
    char path[4096];
    int before = errno;
    path_of(fd, path, sizeof path);
    errno = before;
    return struck(call, path, grows);
}

/* What comes of a change that is struck; returns whether it fails, with errno set. */
static int fails(void) {
    if (how == ONCE || how == ON)
        errno = number;
    else
        kill(getpid(), number);
    return how == ONCE || how == ON;
}

#define OPEN(name)                                                          \
    int name(const char *path, int flags, ...) {                            \
        va_list rest;                                                       \
        va_start(rest, flags);                                              \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0;   \
        va_end(rest);                                                       \
        if ((flags & O_CREAT) && struck_at("open", AT_FDCWD, path, 1) && fails()) \
            return -1;                                                      \
        return REAL(name)(path, flags, mode);                               \
    }
#define OPENAT(name)                                                        \
    int name(int folder, const char *path, int flags, ...) {                \
        va_list rest;                                                       \
        va_start(rest, flags);                                              \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0;   \
        va_end(rest);                                                       \
        if ((flags & O_CREAT) && struck_at("open", folder, path, 1) && fails()) \
            return -1;                                                      \
        return REAL(name)(folder, path, flags, mode);                       \
    }
#define WRITE(name, parameters, half, whole)                                \
    ssize_t name parameters {                                               \
        int met = struck_on("write", fd, size > 0);                         \
        if (met && how == TEAR)                                             \
            REAL(name) half;                                                \
        return met && fails() ? -1 : REAL(name) whole;                      \
    }
#define ON_FILE(name, grows, parameters, arguments)                         \
    int name parameters { return struck_on(#name, fd, grows) && fails() ? -1 : REAL(name) arguments; }
#define ON_PATH(name, grows, folder, path, parameters, arguments)           \
    int name parameters { return struck_at(#name, folder, path, grows) && fails() ? -1 : REAL(name) arguments; }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

#define BYTES const void *data, size_t size
WRITE(write, (int fd, BYTES), (fd, data, size / 2), (fd, data, size))
WRITE(pwrite, (int fd, BYTES, off_t to), (fd, data, size / 2, to), (fd, data, size, to))
WRITE(pwrite64, (int fd, BYTES, off64_t to), (fd, data, size / 2, to), (fd, data, size, to))
WRITE(writev, (int fd, const struct iovec *parts, int size), (fd, parts, size / 2), (fd, parts, size))

ON_FILE(fsync, 1, (int fd), (fd))
ON_FILE(fdatasync, 1, (int fd), (fd))
ON_FILE(ftruncate, 0, (int fd, off_t size), (fd, size))
ON_FILE(ftruncate64, 0, (int fd, off64_t size), (fd, size))

ON_PATH(rename, 1, AT_FDCWD, to, (const char *from, const char *to), (from, to))
ON_PATH(renameat, 1, b, to, (int a, const char *from, int b, const char *to), (a, from, b, to))
ON_PATH(renameat2, 1, b, to, (int a, const char *from, int b, const char *to, unsigned flags), (a, from, b, to, flags))
ON_PATH(mkdir, 1, AT_FDCWD, path, (const char *path, mode_t mode), (path, mode))
ON_PATH(mkdirat, 1, folder, path, (int folder, const char *path, mode_t mode), (folder, path, mode))
ON_PATH(symlink, 1, AT_FDCWD, path, (const char *to, const char *path), (to, path))
ON_PATH(symlinkat, 1, folder, path, (const char *to, int folder, const char *path), (to, folder, path))
ON_PATH(unlink, 0, AT_FDCWD, path, (const char *path), (path))
ON_PATH(unlinkat, 0, folder, path, (int folder, const char *path, int flags), (folder, path, flags))
ON_PATH(rmdir, 0, AT_FDCWD, path, (const char *path), (path))
