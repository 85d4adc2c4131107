// Mounting: a tmpfs at a path, and a disk at none.
#include <errno.h>
#include <limits.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys.h"

SYS_CALL(sys_mount) {
  int flags;
  if (!sys_int(ctx, argv[2], 0, INT_MAX, &flags)) return JS_EXCEPTION;
  const char *text[3] = {NULL};
  for (size_t at = 0; at < 3; at++) {
    text[at] = sys_text(ctx, argv[at < 2 ? at : 3]);
    if (!text[at]) break;
  }
  JSValue result = JS_EXCEPTION;
  if (text[2]) result = sys_result(ctx, mount("hatchway", text[1], text[0], (unsigned long)flags, text[2]));
  for (size_t at = 0; at < 3; at++) {
    if (text[at]) JS_FreeCString(ctx, text[at]);
  }
  return result;
}

// fsopen(2), fsconfig(2), fsmount(2), which musl does not have: since Linux 5.2, of the same numbers everywhere. glibc has
// them, and the names of what they take.
#define SYS_FSOPEN 430
#define SYS_FSCONFIG 431
#define SYS_FSMOUNT 432
#define SET_FLAG 0
#define SET_STRING 1
#define CMD_CREATE 6
#define CLOEXEC 1
#define ATTR_RDONLY 1
#define ATTR_NOSUID 2
#define ATTR_NODEV 4
#define ATTR_NOEXEC 8

static long mount_private(const char *type, const char *device) {
  int context = (int)syscall(SYS_FSOPEN, type, CLOEXEC);
  if (context < 0) return -1;
  long root = -1;
  if (syscall(SYS_FSCONFIG, context, SET_STRING, "source", device, 0) == 0 &&
      syscall(SYS_FSCONFIG, context, SET_FLAG, "ro", NULL, 0) == 0 &&
      syscall(SYS_FSCONFIG, context, CMD_CREATE, NULL, NULL, 0) == 0) {
    int attributes = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;
    root = syscall(SYS_FSMOUNT, context, CLOEXEC, attributes);
  }
  int error = errno;
  close(context);
  errno = error;
  return root;
}

SYS_CALL(sys_mount_private) {
  const char *type = sys_text(ctx, argv[0]);
  const char *device = type ? sys_text(ctx, argv[1]) : NULL;
  JSValue result = device ? sys_result(ctx, mount_private(type, device)) : JS_EXCEPTION;
  if (device) JS_FreeCString(ctx, device);
  if (type) JS_FreeCString(ctx, type);
  return result;
}
