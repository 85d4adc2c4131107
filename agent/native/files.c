// Files and directories, by descriptor.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys.h"

#define MAX_IO (1u << 30)

// openat2(2)
struct open_how {
  uint64_t flags;
  uint64_t mode;
  uint64_t resolve;
};

static bool fd_of(JSContext *ctx, JSValueConst value, int *fd) { return sys_int(ctx, value, 0, INT_MAX, fd); }
static bool dir_of(JSContext *ctx, JSValueConst value, int *fd) { return sys_int(ctx, value, AT_FDCWD, INT_MAX, fd); }
static bool mode_of(JSContext *ctx, JSValueConst value, int *mode) { return sys_int(ctx, value, 0, 07777, mode); }

SYS_CALL(sys_openat) {
  int dir, flags, mode;
  if (!dir_of(ctx, argv[0], &dir) || !sys_int(ctx, argv[2], 0, INT_MAX, &flags) || !mode_of(ctx, argv[3], &mode)) {
    return JS_EXCEPTION;
  }
  const char *path = sys_text(ctx, argv[1]);
  if (!path) return JS_EXCEPTION;
  int fd;
  do fd = openat(dir, path, flags | O_CLOEXEC, (mode_t)mode);
  while (fd < 0 && errno == EINTR);
  JSValue result = sys_result(ctx, fd);
  JS_FreeCString(ctx, path);
  return result;
}

SYS_CALL(sys_openat2) {
  int dir, flags, mode;
  int64_t resolve;
  if (!dir_of(ctx, argv[0], &dir) || !sys_int(ctx, argv[2], 0, INT_MAX, &flags) || !mode_of(ctx, argv[3], &mode) ||
      !sys_integer(ctx, argv[4], 0, INT_MAX, &resolve)) {
    return JS_EXCEPTION;
  }
  const char *path = sys_text(ctx, argv[1]);
  if (!path) return JS_EXCEPTION;
  struct open_how how = {(uint64_t)(flags | O_CLOEXEC), (uint64_t)mode, (uint64_t)resolve};
  long fd;
  do fd = syscall(SYS_openat2, dir, path, &how, sizeof how);
  while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  JSValue result = sys_result(ctx, fd);
  JS_FreeCString(ctx, path);
  return result;
}

SYS_CALL(sys_read) {
  int fd;
  uint8_t *bytes;
  size_t length;
  if (!fd_of(ctx, argv[0], &fd) || !sys_bytes(ctx, argv[1], &bytes, &length)) return JS_EXCEPTION;
  ssize_t count;
  do count = read(fd, bytes, length < MAX_IO ? length : MAX_IO);
  while (count < 0 && errno == EINTR);
  return sys_result(ctx, count);
}

SYS_CALL(sys_write) {
  int fd;
  uint8_t *bytes;
  size_t length;
  if (!fd_of(ctx, argv[0], &fd) || !sys_bytes(ctx, argv[1], &bytes, &length)) return JS_EXCEPTION;
  ssize_t count;
  do count = write(fd, bytes, length < MAX_IO ? length : MAX_IO);
  while (count < 0 && errno == EINTR);
  return sys_result(ctx, count);
}

SYS_CALL(sys_close) {
  int fd;
  if (!fd_of(ctx, argv[0], &fd)) return JS_EXCEPTION;
  // Linux has freed the descriptor also when it says EINTR (close(2)).
  int result = close(fd);
  return sys_result(ctx, result < 0 && errno == EINTR ? 0 : result);
}

static JSValue stat_result(JSContext *ctx, int result, const struct stat *st) {
  if (result < 0) return sys_result(ctx, result);
  const int64_t fields[] = {st->st_mode, st->st_uid, st->st_gid, st->st_size, (int64_t)st->st_nlink, st->st_mtim.tv_sec,
                            (int64_t)st->st_ino};
  JSValue array = JS_NewArray(ctx);
  for (uint32_t at = 0; at < COUNT(fields); at++) {
    if (JS_SetPropertyUint32(ctx, array, at, JS_NewInt64(ctx, fields[at])) < 0) return JS_EXCEPTION;
  }
  return array;
}

SYS_CALL(sys_fstat) {
  int fd;
  struct stat st;
  if (!fd_of(ctx, argv[0], &fd)) return JS_EXCEPTION;
  return stat_result(ctx, fstat(fd, &st), &st);
}

SYS_CALL(sys_fstatat) {
  int dir;
  struct stat st;
  if (!dir_of(ctx, argv[0], &dir)) return JS_EXCEPTION;
  const char *path = sys_text(ctx, argv[1]);
  if (!path) return JS_EXCEPTION;
  int result = fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW);
  JS_FreeCString(ctx, path);
  return stat_result(ctx, result, &st);
}

SYS_CALL(sys_readdir) {
  int fd;
  if (!fd_of(ctx, argv[0], &fd)) return JS_EXCEPTION;
  // A descriptor of its own: fdopendir takes it, and its position is not shared.
  int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (own < 0) return sys_result(ctx, own);
  DIR *dir = fdopendir(own);
  if (!dir) {
    JSValue refused = sys_result(ctx, -1);
    close(own);
    return refused;
  }
  JSValue names = JS_NewArray(ctx);
  uint32_t count = 0;
  for (;;) {
    errno = 0;
    const struct dirent *entry = readdir(dir);
    if (!entry) break;
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    JS_SetPropertyUint32(ctx, names, count++, JS_NewString(ctx, entry->d_name));
  }
  if (errno != 0) {
    JS_FreeValue(ctx, names);
    names = sys_result(ctx, -1);
  }
  closedir(dir);
  return names;
}

SYS_CALL(sys_readlinkat) {
  int dir;
  char target[PATH_MAX];
  if (!dir_of(ctx, argv[0], &dir)) return JS_EXCEPTION;
  const char *path = sys_text(ctx, argv[1]);
  if (!path) return JS_EXCEPTION;
  ssize_t length = readlinkat(dir, path, target, sizeof target);
  JS_FreeCString(ctx, path);
  if (length < 0) return sys_result(ctx, length);
  return JS_NewStringLen(ctx, target, (size_t)length);
}

SYS_CALL(sys_mkdirat) {
  int dir, mode;
  if (!dir_of(ctx, argv[0], &dir) || !mode_of(ctx, argv[2], &mode)) return JS_EXCEPTION;
  const char *path = sys_text(ctx, argv[1]);
  if (!path) return JS_EXCEPTION;
  JSValue result = sys_result(ctx, mkdirat(dir, path, (mode_t)mode));
  JS_FreeCString(ctx, path);
  return result;
}

SYS_CALL(sys_unlinkat) {
  int dir, directory = JS_ToBool(ctx, argv[2]);
  if (!dir_of(ctx, argv[0], &dir)) return JS_EXCEPTION;
  const char *path = sys_text(ctx, argv[1]);
  if (!path) return JS_EXCEPTION;
  JSValue result = sys_result(ctx, unlinkat(dir, path, directory ? AT_REMOVEDIR : 0));
  JS_FreeCString(ctx, path);
  return result;
}

SYS_CALL(sys_symlinkat) {
  int dir;
  if (!dir_of(ctx, argv[1], &dir)) return JS_EXCEPTION;
  const char *target = sys_text(ctx, argv[0]);
  const char *path = target ? sys_text(ctx, argv[2]) : NULL;
  JSValue result = path ? sys_result(ctx, symlinkat(target, dir, path)) : JS_EXCEPTION;
  if (path) JS_FreeCString(ctx, path);
  if (target) JS_FreeCString(ctx, target);
  return result;
}

// The two calls that take two names: linkat(2), renameat2(2).
static JSValue two_names(JSContext *ctx, JSValueConst *argv, bool rename, int flags) {
  int from_dir, to_dir;
  if (!dir_of(ctx, argv[0], &from_dir) || !dir_of(ctx, argv[2], &to_dir)) return JS_EXCEPTION;
  const char *from = sys_text(ctx, argv[1]);
  const char *to = from ? sys_text(ctx, argv[3]) : NULL;
  JSValue result = JS_EXCEPTION;
  if (to) {
    long done = rename ? syscall(SYS_renameat2, from_dir, from, to_dir, to, flags) : linkat(from_dir, from, to_dir, to, 0);
    result = sys_result(ctx, done);
    JS_FreeCString(ctx, to);
  }
  if (from) JS_FreeCString(ctx, from);
  return result;
}

SYS_CALL(sys_linkat) { return two_names(ctx, argv, false, 0); }

SYS_CALL(sys_renameat) {
  int flags;
  if (!sys_int(ctx, argv[4], 0, 7, &flags)) return JS_EXCEPTION;
  return two_names(ctx, argv, true, flags);
}

SYS_CALL(sys_fchown) {
  int fd, uid, gid;
  if (!fd_of(ctx, argv[0], &fd) || !sys_int(ctx, argv[1], 0, INT_MAX, &uid) || !sys_int(ctx, argv[2], 0, INT_MAX, &gid)) {
    return JS_EXCEPTION;
  }
  return sys_result(ctx, fchown(fd, (uid_t)uid, (gid_t)gid));
}

SYS_CALL(sys_fchmod) {
  int fd, mode;
  if (!fd_of(ctx, argv[0], &fd) || !mode_of(ctx, argv[1], &mode)) return JS_EXCEPTION;
  return sys_result(ctx, fchmod(fd, (mode_t)mode));
}

SYS_CALL(sys_futimens) {
  int fd;
  int64_t seconds;
  if (!fd_of(ctx, argv[0], &fd) || !sys_integer(ctx, argv[1], 0, INT64_MAX, &seconds)) return JS_EXCEPTION;
  const struct timespec times[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
  return sys_result(ctx, futimens(fd, times));
}

SYS_CALL(sys_flock) {
  int fd;
  if (!fd_of(ctx, argv[0], &fd)) return JS_EXCEPTION;
  return sys_result(ctx, flock(fd, LOCK_EX | LOCK_NB));
}

// fcntl(2): a write lease is given only while no other open file description refers to the file.
SYS_CALL(sys_lease) {
  int fd;
  if (!fd_of(ctx, argv[0], &fd)) return JS_EXCEPTION;
  return sys_result(ctx, fcntl(fd, F_SETLEASE, F_WRLCK));
}

SYS_CALL(sys_getrandom) {
  uint8_t *bytes;
  size_t length;
  if (!sys_bytes(ctx, argv[0], &bytes, &length)) return JS_EXCEPTION;
  for (size_t done = 0; done < length;) {
    ssize_t count = getrandom(bytes + done, length - done, 0);
    if (count < 0 && errno != EINTR) return sys_result(ctx, count);
    if (count > 0) done += (size_t)count;
  }
  return sys_result(ctx, 0);
}

SYS_CALL(sys_wipe) {
  uint8_t *bytes;
  size_t length;
  if (!sys_bytes(ctx, argv[0], &bytes, &length)) return JS_EXCEPTION;
  explicit_bzero(bytes, length);
  return sys_result(ctx, 0);
}
