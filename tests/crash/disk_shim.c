/* What a process asks of its disk, recorded, and made to fail on demand: a library for LD_PRELOAD.

   DISK_SHIM_ROOT     only files below this folder are recorded and made to fail; IP sockets are recorded always
   DISK_SHIM_LOG      where the calls are recorded, appended to; absent: nothing is recorded
   DISK_SHIM_CONTROL  a file of struct control, mapped, through which a test steers a running process

   Each call is recorded twice: before it is made, with its data, and after, with its result. What a call wrote may
   be on the disk from its first record on; what it promised holds from its second. No lock is held across a call, so
   threads meet as they do without this library. Which file a descriptor is, the kernel is asked at each call.
   tests/crash/recording.py reads the log: the structs here and there have to agree. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { WRITE = 1, SYNC, TRUNCATE, ALLOCATE, CREATE, MAKE_FOLDER, RENAME, UNLINK, MAP_WRITABLE, SEND };
enum { META_BYTES = 8192 }; /* LMDB's two meta pages */
enum { SYNCED_WRITE = 1 }; /* flag: the descriptor is O_DSYNC, so the write is its own flush */

struct entry { /* followed by the path, then the data */
    uint32_t magic, kind, is_end, flags;
    uint64_t call;
    int64_t offset, result;
    uint32_t path_bytes, data_bytes;
};

struct fault { /* one kind of call that fails */
    _Atomic int64_t error;   /* errno; 0: none fails */
    _Atomic int64_t passes;  /* so many calls succeed first */
    _Atomic int64_t times;   /* then so many fail; -1: all */
    _Atomic int64_t effect;  /* how many bytes are written all the same; with -1 for `error` the call ends short */
    _Atomic int64_t met;     /* how many have failed */
};

struct control {
    struct fault write, sync;                 /* of the data file, its meta pages aside */
    struct fault meta;                        /* writes of those */
    struct fault journal_write, journal_sync;
    _Atomic int64_t file_bytes_max; /* as on a full disk: no file grows beyond; 0: no bound */
    _Atomic int64_t clock_step_ns;  /* what the clock of the day is off by */
};

static struct control no_control;
static struct control *control = &no_control;
static char root[PATH_MAX];
static size_t root_bytes;
static int log_fd = -1;
static _Atomic uint64_t calls;

/* A flush that fails is told once through each descriptor that was open then (errseq_t in Linux), and never again. */
enum { DESCRIPTORS = 4096 };
static _Atomic int flushes_failed[2], flushes_error, failures_told[DESCRIPTORS]; /* of the data file, of the journal */

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("DISK_SHIM_ROOT");
    if (path != NULL && realpath(path, root) != NULL) root_bytes = strlen(root);
    path = getenv("DISK_SHIM_LOG");
    if (path != NULL)
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    path = getenv("DISK_SHIM_CONTROL");
    int fd = path == NULL ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) return;
    void *mapped = (void *)syscall(SYS_mmap, NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED) control = mapped;
    syscall(SYS_close, fd);
}

/* ---- which file ---- */

static int is_in_root(const char *path) {
    return root_bytes && strncmp(path, root, root_bytes) == 0 && (path[root_bytes] == '/' || path[root_bytes] == 0);
}

static int path_of(int fd, char *path) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0;
}

static int is_file_of_ours(int fd, char *path) { return path_of(fd, path) && is_in_root(path); }

static int is_ip_socket(int fd) {
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    return getsockname(fd, (struct sockaddr *)&name, &length) == 0 &&
           (name.ss_family == AF_INET || name.ss_family == AF_INET6);
}

static void whole_path(int folder, const char *path, char *whole) {
    char parent[PATH_MAX];
    if (path[0] == '/' || folder != AT_FDCWD)
        snprintf(parent, sizeof parent, "%s", path);
    else if (getcwd(parent, sizeof parent) != NULL)
        snprintf(parent + strlen(parent), sizeof parent - strlen(parent), "/%s", path);
    char *name = strrchr(parent, '/');
    if (name == NULL) { whole[0] = 0; return; }
    *name++ = 0;
    if (realpath(parent, whole) == NULL) { whole[0] = 0; return; }
    strncat(whole, "/", PATH_MAX - strlen(whole) - 1);
    strncat(whole, name, PATH_MAX - strlen(whole) - 1);
}

/* ---- the log ---- */

static void record(struct entry entry, const char *path, const struct iovec *data, int count) {
    if (log_fd < 0) return;
    int error = errno;
    entry.magic = 0x4d494853;
    entry.path_bytes = (uint32_t)strlen(path);
    struct iovec pieces[IOV_MAX];
    pieces[0] = (struct iovec){&entry, sizeof entry};
    pieces[1] = (struct iovec){(void *)path, entry.path_bytes};
    int used = 2;
    for (int i = 0; i < count && used < IOV_MAX; i++) {
        pieces[used++] = data[i];
        entry.data_bytes += (uint32_t)data[i].iov_len;
    }
    ssize_t all = (ssize_t)(sizeof entry + entry.path_bytes + entry.data_bytes);
    if (count > IOV_MAX - 2 || syscall(SYS_writev, log_fd, pieces, used) != all) abort();
    errno = error;
}

static uint64_t record_begin(enum kind kind, int flags, int64_t offset, const char *path, const struct iovec *data,
                             int count) {
    uint64_t call = ++calls;
    record((struct entry){.kind = kind, .flags = (uint32_t)flags, .call = call, .offset = offset}, path, data, count);
    return call;
}

static void record_end(enum kind kind, uint64_t call, int64_t result) {
    record((struct entry){.kind = kind, .is_end = 1, .call = call, .result = result < 0 ? -errno : result}, "", NULL, 0);
}

/* ---- what fails ---- */

static int fails(struct fault *fault) {
    if (fault->error == 0 || fault->times == 0) return 0;
    if (fault->passes > 0) { fault->passes--; return 0; }
    if (fault->times > 0) fault->times--;
    return 1;
}

static int64_t room(int64_t offset, int64_t wanted) {
    int64_t most = control->file_bytes_max;
    if (most == 0 || offset + wanted <= most) return wanted;
    return offset < most ? most - offset : -1;
}

static ssize_t write_some(int fd, const struct iovec *data, int count, int64_t offset, int64_t wanted, int moves) {
    struct iovec part[IOV_MAX];
    int used = 0;
    for (int i = 0; i < count && wanted > 0; i++) {
        part[used] = data[i];
        if ((int64_t)part[used].iov_len > wanted) part[used].iov_len = (size_t)wanted;
        wanted -= (int64_t)part[used++].iov_len;
    }
    if (moves) return syscall(SYS_writev, fd, part, used);
    return syscall(SYS_pwritev, fd, part, used, offset, 0L);
}

static struct fault *write_fault(const char *path, int64_t offset) {
    const char *name = strrchr(path, '/');
    if (name == NULL) return NULL;
    if (strncmp(name, "/journal-", 9) == 0) return &control->journal_write;
    if (strcmp(name, "/data.mdb") != 0) return NULL;
    return offset < META_BYTES ? &control->meta : &control->write;
}

static ssize_t write_or_fail(int fd, const char *path, const struct iovec *data, int count, int64_t offset, int moves) {
    int64_t wanted = 0;
    for (int i = 0; i < count; i++) wanted += (int64_t)data[i].iov_len;
    struct fault *fault = write_fault(path, offset);
    if (fault != NULL && fails(fault)) {
        int64_t effect = fault->effect < wanted ? fault->effect : wanted;
        ssize_t written = effect > 0 ? write_some(fd, data, count, offset, effect, moves) : 0;
        fault->met++;
        if (fault->error < 0) return written;
        errno = (int)fault->error;
        return -1;
    }
    int64_t fitting = room(offset, wanted);
    if (fitting < 0) { errno = ENOSPC; return -1; }
    return write_some(fd, data, count, offset, fitting, moves);
}

/* ---- writes, to files and to clients ---- */

static ssize_t write_to_file(int fd, const char *path, const struct iovec *data, int count, int64_t offset) {
    int flags = fcntl(fd, F_GETFL) & O_DSYNC ? SYNCED_WRITE : 0;
    int moves = offset < 0;
    if (moves) offset = syscall(SYS_lseek, fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
    uint64_t call = record_begin(WRITE, flags, offset, path, data, count);
    ssize_t result = write_or_fail(fd, path, data, count, offset, moves);
    record_end(WRITE, call, result);
    return result;
}

static ssize_t send_recorded(int fd, struct msghdr *message, int flags) {
    char path[PATH_MAX];
    if (!is_ip_socket(fd) || !path_of(fd, path)) return syscall(SYS_sendmsg, fd, message, flags);
    uint64_t call = record_begin(SEND, 0, 0, path, message->msg_iov, (int)message->msg_iovlen);
    ssize_t result = syscall(SYS_sendmsg, fd, message, flags);
    record_end(SEND, call, result);
    return result;
}

ssize_t writev(int fd, const struct iovec *data, int count) {
    char path[PATH_MAX];
    if (is_file_of_ours(fd, path)) return write_to_file(fd, path, data, count, -1);
    if (strncmp(path, "socket:", 7) != 0 || !is_ip_socket(fd)) return syscall(SYS_writev, fd, data, count);
    struct msghdr message = {.msg_iov = (struct iovec *)data, .msg_iovlen = (size_t)count};
    return send_recorded(fd, &message, MSG_NOSIGNAL);
}

ssize_t write(int fd, const void *data, size_t bytes) {
    struct iovec piece = {(void *)data, bytes};
    return writev(fd, &piece, 1);
}

ssize_t pwritev(int fd, const struct iovec *data, int count, off_t offset) {
    char path[PATH_MAX];
    if (is_file_of_ours(fd, path)) return write_to_file(fd, path, data, count, offset);
    return syscall(SYS_pwritev, fd, data, count, offset, 0L);
}
ssize_t pwritev64(int fd, const struct iovec *data, int count, off64_t offset) {
    return pwritev(fd, data, count, offset);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset) {
    struct iovec piece = {(void *)data, bytes};
    return pwritev(fd, &piece, 1, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t offset) { return pwrite(fd, data, bytes, offset); }

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    return send_recorded(fd, (struct msghdr *)message, flags);
}

ssize_t sendto(int fd, const void *data, size_t bytes, int flags, const struct sockaddr *to, socklen_t to_bytes) {
    struct iovec piece = {(void *)data, bytes};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_name = (void *)to, .msg_namelen = to == NULL ? 0 : to_bytes};
    return send_recorded(fd, &message, flags);
}

ssize_t send(int fd, const void *data, size_t bytes, int flags) { return sendto(fd, data, bytes, flags, NULL, 0); }

/* ---- flushes ---- */

static int flush(int fd, long number) {
    char path[PATH_MAX];
    if (!is_file_of_ours(fd, path)) return (int)syscall(number, fd);
    uint64_t call = record_begin(SYNC, 0, 0, path, NULL, 0);
    const char *name = strrchr(path, '/');
    int result, is_journal = name != NULL && strncmp(name, "/journal-", 9) == 0;
    int can_fail = fd < DESCRIPTORS && (is_journal || (name != NULL && strcmp(name, "/data.mdb") == 0));
    struct fault *fault = is_journal ? &control->journal_sync : &control->sync;
    if (can_fail && fails(fault)) {
        fault->met++;
        flushes_error = (int)fault->error;
        flushes_failed[is_journal]++;
    }
    if (can_fail && failures_told[fd] < flushes_failed[is_journal]) {
        failures_told[fd] = flushes_failed[is_journal];
        errno = flushes_error;
        result = -1;
    } else
        result = (int)syscall(number, fd);
    record_end(SYNC, call, result);
    return result;
}

int fsync(int fd) { return flush(fd, SYS_fsync); }
int fdatasync(int fd) { return flush(fd, SYS_fdatasync); }

/* ---- sizes ---- */

int ftruncate(int fd, off_t bytes) {
    char path[PATH_MAX];
    if (!is_file_of_ours(fd, path)) return (int)syscall(SYS_ftruncate, fd, bytes);
    uint64_t call = record_begin(TRUNCATE, 0, bytes, path, NULL, 0);
    int result = (int)syscall(SYS_ftruncate, fd, bytes);
    record_end(TRUNCATE, call, result);
    return result;
}
int ftruncate64(int fd, off64_t bytes) { return ftruncate(fd, bytes); }

int fallocate(int fd, int mode, off_t offset, off_t bytes) {
    char path[PATH_MAX];
    if (!is_file_of_ours(fd, path)) return (int)syscall(SYS_fallocate, fd, mode, offset, bytes);
    if (mode != 0) abort(); /* tests/crash/disks.py knows nothing of it */
    uint64_t call = record_begin(ALLOCATE, mode, offset + bytes, path, NULL, 0);
    int result = (int)syscall(SYS_fallocate, fd, mode, offset, bytes);
    record_end(ALLOCATE, call, result);
    return result;
}
int fallocate64(int fd, int mode, off64_t offset, off64_t bytes) { return fallocate(fd, mode, offset, bytes); }

/* Recorded with the length that the file has then at least. */
int posix_fallocate(int fd, off_t offset, off_t bytes) {
    char path[PATH_MAX];
    if (!is_file_of_ours(fd, path)) return syscall(SYS_fallocate, fd, 0, offset, bytes) == 0 ? 0 : errno;
    if (room(offset, bytes) < bytes) return ENOSPC;
    uint64_t call = record_begin(ALLOCATE, 0, offset + bytes, path, NULL, 0);
    int result = (int)syscall(SYS_fallocate, fd, 0, offset, bytes);
    record_end(ALLOCATE, call, result);
    return result == 0 ? 0 : errno;
}
int posix_fallocate64(int fd, off64_t offset, off64_t bytes) { return posix_fallocate(fd, offset, bytes); }

/* What is written through a mapping is seen by nobody: it is told, so that a test can refuse it. */
void *mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset) {
    char path[PATH_MAX];
    if (fd >= 0 && flags & MAP_SHARED && protection & PROT_WRITE && is_file_of_ours(fd, path))
        record_end(MAP_WRITABLE, record_begin(MAP_WRITABLE, 0, offset, path, NULL, 0), 0);
    return (void *)syscall(SYS_mmap, address, bytes, protection, flags, fd, offset);
}
void *mmap64(void *address, size_t bytes, int protection, int flags, int fd, off64_t offset) {
    return mmap(address, bytes, protection, flags, fd, offset);
}

/* ---- names ---- */

static int open_file(int folder, const char *path, int flags, mode_t mode) {
    int fd = (int)syscall(SYS_openat, folder, path, flags, mode);
    if (fd >= 0 && fd < DESCRIPTORS) failures_told[fd] = flushes_failed[strstr(path, "/journal-") != NULL];
    return fd;
}

static int open_recorded(int folder, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    if (!(flags & O_CREAT)) return open_file(folder, path, flags, mode);
    whole_path(folder, path, whole);
    struct stat seen;
    if (!is_in_root(whole) || syscall(SYS_newfstatat, AT_FDCWD, whole, &seen, 0) == 0)
        return open_file(folder, path, flags, mode);
    uint64_t call = record_begin(CREATE, 0, 0, whole, NULL, 0);
    int result = open_file(folder, path, flags, mode);
    record_end(CREATE, call, result);
    return result;
}

#define MODE_OF(flags)                                                                                                 \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                             \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }

int open(const char *path, int flags, ...) { MODE_OF(flags) return open_recorded(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE_OF(flags) return open_recorded(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) {
    MODE_OF(flags) return open_recorded(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE_OF(flags) return open_recorded(folder, path, flags, mode);
}

static int change_name(enum kind kind, const char *path, const char *target, long number, mode_t mode) {
    char whole[PATH_MAX], other[PATH_MAX] = "";
    whole_path(AT_FDCWD, path, whole);
    if (target != NULL) whole_path(AT_FDCWD, target, other);
    struct iovec data = {other, strlen(other)};
    uint64_t call = is_in_root(whole) ? record_begin(kind, 0, 0, whole, &data, 1) : 0;
    int result = (int)(kind == MAKE_FOLDER ? syscall(number, AT_FDCWD, path, mode)
                       : kind == RENAME    ? syscall(number, AT_FDCWD, path, AT_FDCWD, target, 0)
                                           : syscall(number, AT_FDCWD, path, 0));
    if (call) record_end(kind, call, result);
    return result;
}

int mkdir(const char *path, mode_t mode) { return change_name(MAKE_FOLDER, path, NULL, SYS_mkdirat, mode); }
int rename(const char *path, const char *target) { return change_name(RENAME, path, target, SYS_renameat2, 0); }
int unlink(const char *path) { return change_name(UNLINK, path, NULL, SYS_unlinkat, 0); }

/* ---- the clock of the day ---- */

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    int64_t step = control->clock_step_ns;
    if (result != 0 || step == 0 || clock != CLOCK_REALTIME) return result;
    int64_t ns = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + step;
    now->tv_sec = ns / 1000000000;
    now->tv_nsec = ns % 1000000000;
    return 0;
}

time_t time(time_t *seconds) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (seconds != NULL) *seconds = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
