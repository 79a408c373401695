/* Counts the file operations below one folder, and kills the process at the n-th.
 *
 * Preloaded into a real rank, so that Python, torch's C++ writer and DeepSpeed all pass through it.
 * shim_arm(folder, n, side, trace, rank): side 0 kills before the operation, 2 after half of a write; a
 * side of 1 would be before the next. Each operation is a line of the trace, which all ranks share: rank,
 * number, name, path, and for a rename the new path. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long kill_at = -1, count;
static int side, trace = -1, rank;

void shim_arm(const char *path, long at, int which, int fd, int who) {
    snprintf(folder, sizeof folder, "%s", path);
    kill_at = at, side = which, trace = fd, rank = who, count = 0;
}

static int below(const char *path) { return folder[0] && !strncmp(path, folder, strlen(folder)); }

static const char *of_fd(int fd, char *into) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, into, PATH_MAX - 1);
    into[n < 0 ? 0 : n] = 0;
    return into;
}

static const char *of_at(int dir, const char *path, char *into) {
    if (path[0] == '/' || dir == AT_FDCWD) return path;
    char base[PATH_MAX];
    snprintf(into, PATH_MAX, "%.2000s/%.2000s", of_fd(dir, base), path);
    return into;
}

static void die(void) { syscall(SYS_kill, syscall(SYS_getpid), SIGKILL); for (;;) pause(); }

/* The number of an operation that counts, else 0. */
static long before(const char *name, const char *path, const char *to) {
    if (!below(path)) return 0;
    long n = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    char line[2 * PATH_MAX];
    int length = snprintf(line, sizeof line, "%d\t%ld\t%s\t%s\t%s\n", rank, n, name, path, to ? to : "");
    if (trace >= 0) syscall(SYS_write, trace, line, length);
    if (n == kill_at && side == 0) die();
    return n;
}

static void after(long n) { if (n && n == kill_at && side != 0) die(); }

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name);

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t)
    char path[PATH_MAX];
    long n = folder[0] && fd > 2 ? before("write", of_fd(fd, path), 0) : 0;
    if (n && n == kill_at && side == 2) { real(fd, data, size / 2); die(); }
    ssize_t result = real(fd, data, size);
    after(n);
    return result;
}

ssize_t writev(int fd, const struct iovec *parts, int many) {
    REAL(ssize_t, "writev", int, const struct iovec *, int)
    char path[PATH_MAX];
    long n = folder[0] && fd > 2 ? before("write", of_fd(fd, path), 0) : 0;
    if (n && n == kill_at && side == 2) { real(fd, parts, 1); die(); }
    ssize_t result = real(fd, parts, many);
    after(n);
    return result;
}

#define PWRITE(name, offset) \
    ssize_t name(int fd, const void *data, size_t size, offset at) { \
        REAL(ssize_t, #name, int, const void *, size_t, offset) \
        char path[PATH_MAX]; \
        long n = folder[0] ? before("write", of_fd(fd, path), 0) : 0; \
        if (n && n == kill_at && side == 2) { real(fd, data, size / 2, at); die(); } \
        ssize_t result = real(fd, data, size, at); \
        after(n); \
        return result; \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define SYNC(name) \
    int name(int fd) { \
        REAL(int, #name, int) \
        char path[PATH_MAX]; \
        long n = folder[0] ? before("fsync", of_fd(fd, path), 0) : 0; \
        int result = real(fd); \
        after(n); \
        return result; \
    }
SYNC(fsync)
SYNC(fdatasync)

#define TRUNCATE(name, offset) \
    int name(int fd, offset size) { \
        REAL(int, #name, int, offset) \
        char path[PATH_MAX]; \
        long n = folder[0] ? before("truncate", of_fd(fd, path), 0) : 0; \
        int result = real(fd, size); \
        after(n); \
        return result; \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *)
    long n = before("rename", from, to);
    int result = real(from, to);
    after(n);
    return result;
}

int renameat(int a, const char *from, int b, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *)
    char x[PATH_MAX], y[PATH_MAX];
    long n = before("rename", of_at(a, from, x), of_at(b, to, y));
    int result = real(a, from, b, to);
    after(n);
    return result;
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t)
    long n = before("mkdir", path, 0);
    int result = real(path, mode);
    after(n);
    return result;
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *)
    long n = before("unlink", path, 0);
    int result = real(path);
    after(n);
    return result;
}

int rmdir(const char *path) {
    REAL(int, "rmdir", const char *)
    long n = before("rmdir", path, 0);
    int result = real(path);
    after(n);
    return result;
}

int unlinkat(int dir, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int)
    char whole[PATH_MAX];
    long n = before(flags & AT_REMOVEDIR ? "rmdir" : "unlink", of_at(dir, path, whole), 0);
    int result = real(dir, path, flags);
    after(n);
    return result;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, #name, const char *, int, ...) \
        va_list rest; va_start(rest, flags); int mode = va_arg(rest, int); va_end(rest); \
        long n = flags & O_CREAT ? before("create", path, 0) : 0; \
        int result = real(path, flags, mode); \
        after(n); \
        return result; \
    }
OPEN(open)
OPEN(open64)

#define FOPEN(name) \
    FILE *name(const char *path, const char *mode) { \
        REAL(FILE *, #name, const char *, const char *) \
        long n = strchr(mode, 'w') ? before("create", path, 0) : 0; \
        FILE *result = real(path, mode); \
        after(n); \
        return result; \
    }
FOPEN(fopen)
FOPEN(fopen64)
