// The other end of unix sockets: listening, and who called. And what wakes a server: several descriptors, a folder.
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "sys.h"

#define BACKLOG 64
#define MAX_WAITED 8

// Binds with mode 0600: between bind and a chmod others could connect.
SYS_CALL(sys_listen_unix) {
  const char *path = sys_text(ctx, argv[0]);
  if (!path) return JS_EXCEPTION;
  struct sockaddr_un address;
  socklen_t length = sys_unix_address(path, &address);
  JS_FreeCString(ctx, path);
  if (!length) return JS_NewInt32(ctx, -ENAMETOOLONG);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return sys_result(ctx, fd);
  mode_t before = umask(0177);
  int result = bind(fd, (const struct sockaddr *)&address, length);
  umask(before);
  if (result == 0) result = listen(fd, BACKLOG);
  if (result == 0) return JS_NewInt32(ctx, fd);
  JSValue refused = sys_result(ctx, result);
  close(fd);
  return refused;
}

SYS_CALL(sys_accept) {
  int listener, fd;
  if (!sys_int(ctx, argv[0], 0, INT_MAX, &listener)) return JS_EXCEPTION;
  do fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  while (fd < 0 && errno == EINTR);
  return sys_result(ctx, fd);
}

// SO_PEERCRED (unix(7)): [pid, uid], of the process that called connect, as they were then.
SYS_CALL(sys_peer) {
  int fd;
  struct ucred peer;
  socklen_t size = sizeof peer;
  if (!sys_int(ctx, argv[0], 0, INT_MAX, &fd)) return JS_EXCEPTION;
  int result = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
  if (result < 0) return sys_result(ctx, result);
  JSValue fields = JS_NewArray(ctx);
  if (JS_SetPropertyUint32(ctx, fields, 0, JS_NewInt32(ctx, peer.pid)) < 0 ||
      JS_SetPropertyUint32(ctx, fields, 1, JS_NewInt64(ctx, peer.uid)) < 0) {
    return JS_EXCEPTION;
  }
  return fields;
}

// getpeername(2): the address's bytes behind its family; none when the caller has bound no name.
SYS_CALL(sys_peer_name) {
  int fd;
  struct sockaddr_un address;
  socklen_t length = sizeof address;
  if (!sys_int(ctx, argv[0], 0, INT_MAX, &fd)) return JS_EXCEPTION;
  int result = getpeername(fd, (struct sockaddr *)&address, &length);
  if (result < 0) return sys_result(ctx, result);
  const size_t head = offsetof(struct sockaddr_un, sun_path);
  if (length > sizeof address) length = sizeof address;
  return sys_new_bytes(ctx, address.sun_path, length > head ? length - head : 0);
}

// A descriptor that becomes readable whenever a name of the folder is given to something else (inotify(7)).
SYS_CALL(sys_watch) {
  const char *path = sys_text(ctx, argv[0]);
  if (!path) return JS_EXCEPTION;
  int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  int result = fd < 0 ? fd : inotify_add_watch(fd, path, IN_MOVED_TO | IN_ONLYDIR | IN_DONT_FOLLOW);
  JSValue answer = sys_result(ctx, result < 0 ? result : fd);
  if (fd >= 0 && result < 0) close(fd);
  JS_FreeCString(ctx, path);
  return answer;
}

// Waits until one of the descriptors can be read: its index, or -EINTR when a signal is to be taken.
SYS_CALL(sys_await_any) {
  int64_t count;
  JSValue length = JS_GetPropertyStr(ctx, argv[0], "length");
  bool counted = sys_integer(ctx, length, 1, MAX_WAITED, &count);
  JS_FreeValue(ctx, length);
  if (!counted) return JS_EXCEPTION;
  struct pollfd fds[MAX_WAITED];
  for (uint32_t at = 0; at < count; at++) {
    JSValue item = JS_GetPropertyUint32(ctx, argv[0], at);
    fds[at].events = POLLIN;
    bool good = sys_int(ctx, item, 0, INT_MAX, &fds[at].fd);
    JS_FreeValue(ctx, item);
    if (!good) return JS_EXCEPTION;
  }
  int ready;
  do ready = sys_wait_all(fds, (nfds_t)count, -1);
  while (ready == 0);
  if (ready < 0) return JS_NewInt32(ctx, ready);
  int at = 0;
  while (at < count - 1 && fds[at].revents == 0) at++;
  return JS_NewInt32(ctx, at);
}
