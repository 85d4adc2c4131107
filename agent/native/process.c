// Other programs, and this one.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sys.h"

static int own_argc;
static char **own_argv;
extern char **environ;

void sys_set_args(int argc, char **argv) {
  own_argc = argc;
  own_argv = argv;
}

static JSValue byte_strings(JSContext *ctx, char **from, uint32_t count) {
  JSValue list = JS_NewArray(ctx);
  for (uint32_t at = 0; at < count; at++) {
    JSValue bytes = sys_new_bytes(ctx, from[at], strlen(from[at]));
    if (JS_IsException(bytes) || JS_SetPropertyUint32(ctx, list, at, bytes) < 0) return JS_EXCEPTION;
  }
  return list;
}

SYS_CALL(sys_args) { return byte_strings(ctx, own_argv + 1, own_argc > 0 ? (uint32_t)own_argc - 1 : 0); }

SYS_CALL(sys_environment) {
  uint32_t count = 0;
  while (environ && environ[count]) count++;
  return byte_strings(ctx, environ, count);
}

SYS_CALL(sys_getpid) { return JS_NewInt32(ctx, getpid()); }
SYS_CALL(sys_geteuid) { return JS_NewInt64(ctx, geteuid()); }

SYS_CALL(sys_kill) {
  int pid, number;
  if (!sys_int(ctx, argv[0], 1, INT_MAX, &pid) || !sys_int(ctx, argv[1], 0, 64, &number)) return JS_EXCEPTION;
  return sys_result(ctx, kill(pid, number));
}

SYS_CALL(sys_exit) {
  int code;
  if (!sys_int(ctx, argv[0], 0, 255, &code)) return JS_EXCEPTION;
  _exit(code);
}

SYS_CALL(sys_execve) {
  const char *path = sys_text(ctx, argv[0]);
  char **args = path ? sys_vector(ctx, argv[1]) : NULL;
  char **env = args ? sys_vector(ctx, argv[2]) : NULL;
  JSValue result = JS_EXCEPTION;
  if (env) {
    sys_reset_signals();
    result = sys_result(ctx, execve(path, args, env));
  }
  sys_free_vector(env);
  sys_free_vector(args);
  if (path) JS_FreeCString(ctx, path);
  return result;
}

// Every descriptor of ours is close-on-exec; closing is for those that we were started with.
static _Noreturn void execute(char **args, char **env) {
  syscall(SYS_close_range, 3u, ~0u, 0u);
  execve(args[0], args, env);
  _exit(errno == ENOENT ? 127 : 126);
}

static _Noreturn void become(char **args, char **env) {
  setpgid(0, 0);
  sys_reset_signals();
  int null = open("/dev/null", O_RDONLY);
  if (null >= 0) dup2(null, 0);
  // What it prints is for the log; our own output is an answer.
  dup2(2, 1);
  execute(args, env);
}

// Waits for the child, kills its process group when the time is up. 0–255, 256 + signal, or -errno.
static int await(pid_t pid, int timeout_ms) {
  int result = 0, status;
  int handle = (int)syscall(SYS_pidfd_open, pid, 0);
  struct pollfd one = {.fd = handle, .events = POLLIN};
  const struct timespec limit = {.tv_sec = timeout_ms / 1000, .tv_nsec = (long)(timeout_ms % 1000) * 1000000};
  int ready;
  do ready = handle < 0 ? -1 : ppoll(&one, 1, &limit, NULL);
  while (ready < 0 && errno == EINTR);
  if (ready < 0) result = -errno;
  if (ready == 0) result = -ETIMEDOUT;
  if (handle >= 0) close(handle);
  if (result < 0) kill(-pid, SIGKILL);
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return -errno;
  }
  if (result < 0) return result;
  return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}

SYS_CALL(sys_run) {
  int timeout;
  if (!sys_int(ctx, argv[2], 1, INT_MAX, &timeout)) return JS_EXCEPTION;
  char **args = sys_vector(ctx, argv[0]);
  char **env = args ? sys_vector(ctx, argv[1]) : NULL;
  JSValue result = JS_EXCEPTION;
  if (env && !args[0]) {
    result = JS_ThrowRangeError(ctx, "sys: no program to run");
  } else if (env) {
    pid_t pid = fork();
    if (pid == 0) become(args, env);
    if (pid > 0) setpgid(pid, pid); // Also here: whichever of the two comes first.
    result = JS_NewInt32(ctx, pid < 0 ? -errno : await(pid, timeout));
  }
  sys_free_vector(env);
  sys_free_vector(args);
  return result;
}

// The descriptor or -errno. The program is a grandchild, so that nobody has to wait for its end.
static int start(char **args, char **env) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return -errno;
  pid_t pid = fork();
  if (pid == 0) {
    if (fork() != 0) _exit(0);
    setsid();
    sys_reset_signals();
    dup2(ends[1], 0);
    dup2(ends[1], 1);
    execute(args, env);
  }
  int fault = pid < 0 ? errno : 0;
  while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
  close(ends[1]);
  if (fault == 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0) fault = errno;
  if (fault == 0) return ends[0];
  close(ends[0]);
  return -fault;
}

SYS_CALL(sys_spawn) {
  char **args = sys_vector(ctx, argv[0]);
  char **env = args ? sys_vector(ctx, argv[1]) : NULL;
  JSValue result = JS_EXCEPTION;
  if (env && !args[0]) result = JS_ThrowRangeError(ctx, "sys: no program to run");
  else if (env) result = JS_NewInt32(ctx, start(args, env));
  sys_free_vector(env);
  sys_free_vector(args);
  return result;
}
