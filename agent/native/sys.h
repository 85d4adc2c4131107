// The agent's system calls, as a QuickJS module named "sys" (declared in ../platform/sys.d.ts).
//
// Contract of every call: arguments are checked for type and range before the kernel sees them (a fault is a
// JavaScript RangeError or TypeError: a bug of ours); a call that the kernel refuses returns -errno and never throws.
// Bytes go in and out of Uint8Arrays only; nothing that may hold a value becomes a JavaScript string.
#ifndef HATCHWAY_SYS_H
#define HATCHWAY_SYS_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "quickjs.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

// One argument each; false means that an exception is pending.
bool sys_integer(JSContext *ctx, JSValueConst value, int64_t low, int64_t high, int64_t *out);
bool sys_int(JSContext *ctx, JSValueConst value, int low, int high, int *out);
// A string without NUL, to be freed by JS_FreeCString; NULL means that an exception is pending.
const char *sys_text(JSContext *ctx, JSValueConst value);
// A view into the Uint8Array, valid until JavaScript runs again.
bool sys_bytes(JSContext *ctx, JSValueConst value, uint8_t **bytes, size_t *length);
// A NULL-terminated vector from an array of at most 4,096 Uint8Arrays without NUL; wiped and freed by sys_free_vector.
char **sys_vector(JSContext *ctx, JSValueConst value);
void sys_free_vector(char **vector);

// `result` or, when it is negative, -errno.
JSValue sys_result(JSContext *ctx, int64_t result);
JSValue sys_new_bytes(JSContext *ctx, const void *bytes, size_t length);

// SIGTERM, SIGINT and SIGHUP are blocked but within sys_wait once the program has asked to catch them.
// Waits for events on one descriptor (-1: only for time): events, 0 at the time-out, -EINTR when a signal is to be taken.
int sys_wait(int fd, short events, int timeout_ms);
// Waits for any of several, for ever when the time is negative: how many are ready, 0 at the time-out (or early), -EINTR.
int sys_wait_all(struct pollfd *fds, nfds_t count, int timeout_ms);
// A path, or with a leading "@" an abstract name (unix(7)). The address's length, 0 when it does not fit.
socklen_t sys_unix_address(const char *name, struct sockaddr_un *address);
// What a new program must not inherit: blocked and ignored signals.
void sys_reset_signals(void);

#define SYS_CALL(name) JSValue name(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
SYS_CALL(sys_openat);
SYS_CALL(sys_openat2);
SYS_CALL(sys_read);
SYS_CALL(sys_write);
SYS_CALL(sys_close);
SYS_CALL(sys_fstat);
SYS_CALL(sys_fstatat);
SYS_CALL(sys_readdir);
SYS_CALL(sys_readlinkat);
SYS_CALL(sys_mkdirat);
SYS_CALL(sys_linkat);
SYS_CALL(sys_symlinkat);
SYS_CALL(sys_unlinkat);
SYS_CALL(sys_renameat);
SYS_CALL(sys_fchown);
SYS_CALL(sys_fchmod);
SYS_CALL(sys_futimens);
SYS_CALL(sys_flock);
SYS_CALL(sys_lease);
SYS_CALL(sys_mount);
SYS_CALL(sys_mount_private);
SYS_CALL(sys_getrandom);
SYS_CALL(sys_wipe);
SYS_CALL(sys_poll);
SYS_CALL(sys_connect_unix);
SYS_CALL(sys_connect_vsock);
SYS_CALL(sys_connect_tcp);
SYS_CALL(sys_tls_open);
SYS_CALL(sys_tls_handshake);
SYS_CALL(sys_tls_read);
SYS_CALL(sys_tls_write);
SYS_CALL(sys_tls_problem);
SYS_CALL(sys_tls_close);
SYS_CALL(sys_datagram);
SYS_CALL(sys_listen_unix);
SYS_CALL(sys_accept);
SYS_CALL(sys_peer);
SYS_CALL(sys_peer_name);
SYS_CALL(sys_watch);
SYS_CALL(sys_await_any);
SYS_CALL(sys_run);
SYS_CALL(sys_spawn);
SYS_CALL(sys_execve);
SYS_CALL(sys_kill);
SYS_CALL(sys_getpid);
SYS_CALL(sys_geteuid);
SYS_CALL(sys_args);
SYS_CALL(sys_environment);
SYS_CALL(sys_catch_signals);
SYS_CALL(sys_take_signals);
SYS_CALL(sys_monotonic);
SYS_CALL(sys_exit);

void sys_set_args(int argc, char **argv);

#endif
