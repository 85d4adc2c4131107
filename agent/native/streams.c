// Waiting, signals and sockets. Every stream is non-blocking; to wait is sys.poll's work alone.
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "sys.h"

#define ASKED_TO_STOP 1
#define ASKED_TO_SYNC 2

// vsock(7); musl has no header for it.
#define FAMILY_VSOCK 40
struct vsock_address {
  sa_family_t family;
  uint16_t reserved;
  uint32_t port;
  uint32_t cid;
  uint8_t flags;
  uint8_t zero[3];
};
_Static_assert(sizeof(struct vsock_address) == sizeof(struct sockaddr), "struct sockaddr_vm is as long as sockaddr");

// Written by the handler only, which runs only within ppoll: nothing else sees it half changed.
static volatile sig_atomic_t taken;
static bool catching;

static void on_signal(int number) { taken |= number == SIGHUP ? ASKED_TO_SYNC : ASKED_TO_STOP; }

static const int caught[] = {SIGTERM, SIGINT, SIGHUP};

SYS_CALL(sys_catch_signals) {
  sigset_t blocked;
  sigemptyset(&blocked);
  for (size_t at = 0; at < COUNT(caught); at++) sigaddset(&blocked, caught[at]);
  if (sigprocmask(SIG_BLOCK, &blocked, NULL) < 0) return sys_result(ctx, -1);
  struct sigaction action = {.sa_handler = on_signal};
  for (size_t at = 0; at < COUNT(caught); at++) {
    if (sigaction(caught[at], &action, NULL) < 0) return sys_result(ctx, -1);
  }
  catching = true;
  return sys_result(ctx, 0);
}

SYS_CALL(sys_take_signals) {
  int bits = taken;
  taken = 0;
  return JS_NewInt32(ctx, bits);
}

void sys_reset_signals(void) {
  signal(SIGPIPE, SIG_DFL);
  signal(SIGIO, SIG_DFL);
  for (size_t at = 0; catching && at < COUNT(caught); at++) signal(caught[at], SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

int sys_wait_all(struct pollfd *fds, nfds_t count, int timeout_ms) {
  if (taken) return -EINTR;
  struct timespec limit = {.tv_sec = timeout_ms / 1000, .tv_nsec = (long)(timeout_ms % 1000) * 1000000};
  sigset_t none;
  sigemptyset(&none);
  int ready = ppoll(fds, count, timeout_ms < 0 ? NULL : &limit, catching ? &none : NULL);
  if (ready < 0) return errno != EINTR || taken ? -errno : 0;
  return ready;
}

int sys_wait(int fd, short events, int timeout_ms) {
  struct pollfd one = {.fd = fd, .events = events};
  int ready = sys_wait_all(&one, 1, timeout_ms);
  return ready > 0 ? one.revents : ready;
}

SYS_CALL(sys_poll) {
  int fd, events, timeout;
  if (!sys_int(ctx, argv[0], -1, INT_MAX, &fd) || !sys_int(ctx, argv[1], 0, SHRT_MAX, &events) ||
      !sys_int(ctx, argv[2], 0, INT_MAX, &timeout)) {
    return JS_EXCEPTION;
  }
  return JS_NewInt32(ctx, sys_wait(fd, (short)events, timeout));
}

// Connects within the time; the socket stays non-blocking. The descriptor or -errno.
static int connect_within(int family, const void *address, socklen_t length, int timeout_ms) {
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  int fault = 0;
  if (connect(fd, address, length) < 0 && (fault = errno) == EINPROGRESS) {
    int ready = sys_wait(fd, POLLOUT, timeout_ms);
    socklen_t size = sizeof fault;
    if (ready < 0) fault = -ready;
    else if (ready == 0) fault = ETIMEDOUT;
    else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &fault, &size) < 0) fault = errno;
  }
  if (fault == 0) return fd;
  close(fd);
  return -fault;
}

socklen_t sys_unix_address(const char *name, struct sockaddr_un *address) {
  size_t length = strlen(name);
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  if (length == 0 || length >= sizeof address->sun_path) return 0;
  memcpy(address->sun_path, name, length);
  size_t head = offsetof(struct sockaddr_un, sun_path);
  if (name[0] != '@') return (socklen_t)(head + length + 1);
  address->sun_path[0] = 0;
  return (socklen_t)(head + length);
}

SYS_CALL(sys_connect_unix) {
  int timeout;
  if (!sys_int(ctx, argv[1], 0, INT_MAX, &timeout)) return JS_EXCEPTION;
  const char *path = sys_text(ctx, argv[0]);
  if (!path) return JS_EXCEPTION;
  struct sockaddr_un address;
  socklen_t length = sys_unix_address(path, &address);
  JS_FreeCString(ctx, path);
  return JS_NewInt32(ctx, length ? connect_within(AF_UNIX, &address, length, timeout) : -ENAMETOOLONG);
}

SYS_CALL(sys_connect_vsock) {
  int64_t cid, port;
  int timeout;
  if (!sys_integer(ctx, argv[0], 0, UINT32_MAX, &cid) || !sys_integer(ctx, argv[1], 0, UINT32_MAX, &port) ||
      !sys_int(ctx, argv[2], 0, INT_MAX, &timeout)) {
    return JS_EXCEPTION;
  }
  // On a machine whose vsock belongs to something else, tests and builds forbid it.
  const char *forbidden = getenv("HATCHWAY_NO_AF_VSOCK");
  if (forbidden && !strcmp(forbidden, "1")) return JS_NewInt32(ctx, -EPERM);
  struct vsock_address address = {.family = FAMILY_VSOCK, .port = (uint32_t)port, .cid = (uint32_t)cid};
  return JS_NewInt32(ctx, connect_within(FAMILY_VSOCK, &address, sizeof address, timeout));
}

// Names are looked up by /etc/hosts and /etc/resolv.conf; resolv.conf(5) says how long that may take, 10 s at most.
SYS_CALL(sys_connect_tcp) {
  int port, timeout;
  if (!sys_int(ctx, argv[1], 1, 65535, &port) || !sys_int(ctx, argv[2], 0, INT_MAX, &timeout)) return JS_EXCEPTION;
  const char *host = sys_text(ctx, argv[0]);
  if (!host) return JS_EXCEPTION;
  char service[6];
  snprintf(service, sizeof service, "%d", port);
  const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
  struct addrinfo *found;
  int result = getaddrinfo(host, service, &wanted, &found);
  JS_FreeCString(ctx, host);
  if (result) return JS_NewInt32(ctx, result == EAI_SYSTEM ? -errno : result == EAI_MEMORY ? -ENOMEM : -EHOSTUNREACH);
  // The next address is tried where one is refused or not reached; not where the time is over.
  for (const struct addrinfo *at = found; at; at = at->ai_next) {
    result = connect_within(at->ai_family, at->ai_addr, at->ai_addrlen, timeout);
    if (result >= 0 || result == -EINTR || result == -ETIMEDOUT) break;
  }
  freeaddrinfo(found);
  return JS_NewInt32(ctx, result);
}

SYS_CALL(sys_datagram) {
  uint8_t *bytes;
  size_t size;
  if (!sys_bytes(ctx, argv[1], &bytes, &size)) return JS_EXCEPTION;
  const char *name = sys_text(ctx, argv[0]);
  if (!name) return JS_EXCEPTION;
  struct sockaddr_un address;
  socklen_t length = sys_unix_address(name, &address);
  JS_FreeCString(ctx, name);
  if (!length) return JS_NewInt32(ctx, -ENAMETOOLONG);
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return sys_result(ctx, fd);
  ssize_t sent = sendto(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)&address, length);
  JSValue result = sys_result(ctx, sent);
  close(fd);
  return result;
}

SYS_CALL(sys_monotonic) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return JS_NewFloat64(ctx, (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6);
}
