// The program: one QuickJS runtime that runs the agent's own bytecode, without eval and without a module loader.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys.h"

// What JavaScript may use in all: a manifest of 4,096 entries takes some 12 MB.
#define MEMORY_LIMIT (64u << 20)
#define STACK_LIMIT (512u << 10)

extern const uint32_t agent_bytecode_size;
extern const uint8_t agent_bytecode[];

#define FUNCTION(name, count, call) JS_CFUNC_DEF(name, count, call)
#define CONSTANT(name) JS_PROP_INT32_DEF(#name, name, 0)

static const JSCFunctionListEntry exports[] = {
    FUNCTION("openat", 4, sys_openat),
    FUNCTION("openat2", 5, sys_openat2),
    FUNCTION("read", 2, sys_read),
    FUNCTION("write", 2, sys_write),
    FUNCTION("close", 1, sys_close),
    FUNCTION("fstat", 1, sys_fstat),
    FUNCTION("fstatat", 2, sys_fstatat),
    FUNCTION("readdir", 1, sys_readdir),
    FUNCTION("readlinkat", 2, sys_readlinkat),
    FUNCTION("mkdirat", 3, sys_mkdirat),
    FUNCTION("linkat", 4, sys_linkat),
    FUNCTION("symlinkat", 3, sys_symlinkat),
    FUNCTION("unlinkat", 3, sys_unlinkat),
    FUNCTION("renameat", 5, sys_renameat),
    FUNCTION("fchown", 3, sys_fchown),
    FUNCTION("fchmod", 2, sys_fchmod),
    FUNCTION("futimens", 2, sys_futimens),
    FUNCTION("flock", 1, sys_flock),
    FUNCTION("lease", 1, sys_lease),
    FUNCTION("mount", 4, sys_mount),
    FUNCTION("mountPrivate", 2, sys_mount_private),
    FUNCTION("getrandom", 1, sys_getrandom),
    FUNCTION("wipe", 1, sys_wipe),
    FUNCTION("poll", 3, sys_poll),
    FUNCTION("connectUnix", 2, sys_connect_unix),
    FUNCTION("connectVsock", 3, sys_connect_vsock),
    FUNCTION("connectTcp", 3, sys_connect_tcp),
    FUNCTION("tlsOpen", 4, sys_tls_open),
    FUNCTION("tlsHandshake", 0, sys_tls_handshake),
    FUNCTION("tlsRead", 1, sys_tls_read),
    FUNCTION("tlsWrite", 1, sys_tls_write),
    FUNCTION("tlsProblem", 0, sys_tls_problem),
    FUNCTION("tlsClose", 0, sys_tls_close),
    FUNCTION("datagram", 2, sys_datagram),
    FUNCTION("listenUnix", 1, sys_listen_unix),
    FUNCTION("accept", 1, sys_accept),
    FUNCTION("peer", 1, sys_peer),
    FUNCTION("peerName", 1, sys_peer_name),
    FUNCTION("watch", 1, sys_watch),
    FUNCTION("awaitAny", 1, sys_await_any),
    FUNCTION("run", 3, sys_run),
    FUNCTION("spawn", 2, sys_spawn),
    FUNCTION("execve", 3, sys_execve),
    FUNCTION("kill", 2, sys_kill),
    FUNCTION("getpid", 0, sys_getpid),
    FUNCTION("geteuid", 0, sys_geteuid),
    FUNCTION("args", 0, sys_args),
    FUNCTION("environment", 0, sys_environment),
    FUNCTION("catchSignals", 0, sys_catch_signals),
    FUNCTION("takeSignals", 0, sys_take_signals),
    FUNCTION("monotonic", 0, sys_monotonic),
    FUNCTION("exit", 1, sys_exit),
    CONSTANT(O_RDONLY),
    CONSTANT(O_WRONLY),
    CONSTANT(O_RDWR),
    CONSTANT(O_CREAT),
    CONSTANT(O_EXCL),
    CONSTANT(O_TRUNC),
    CONSTANT(O_NONBLOCK),
    CONSTANT(O_NOFOLLOW),
    CONSTANT(O_DIRECTORY),
    CONSTANT(O_PATH),
};

static int fill_module(JSContext *ctx, JSModuleDef *module) {
  return JS_SetModuleExportList(ctx, module, exports, COUNT(exports));
}

static JSContext *new_context(JSRuntime *runtime) {
  JSContext *ctx = JS_NewContextRaw(runtime);
  if (!ctx) return NULL;
  JS_AddIntrinsicBaseObjects(ctx);
  JS_AddIntrinsicDate(ctx);
  JS_AddIntrinsicRegExp(ctx);
  JS_AddIntrinsicJSON(ctx);
  JS_AddIntrinsicMapSet(ctx);
  JS_AddIntrinsicTypedArrays(ctx);
  JS_AddIntrinsicPromise(ctx);
  JSModuleDef *module = JS_NewCModule(ctx, "sys", fill_module);
  if (!module || JS_AddModuleExportList(ctx, module, exports, COUNT(exports)) < 0) return NULL;
  return ctx;
}

static int report(JSContext *ctx, JSValue error) {
  const char *text = JS_ToCString(ctx, error);
  fprintf(stderr, "error: the agent broke: %s\n", text ? text : "unknown");
  return 70; // EX_SOFTWARE
}

// Descriptors 0 to 2 exist, so that a file opened later never becomes what messages are written to.
static void hold_standard_streams(void) {
  for (;;) {
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    if (fd > 2) {
      close(fd);
      return;
    }
    fcntl(fd, F_SETFD, 0);
  }
}

int main(int argc, char **argv) {
  // No core file and no tracer but root: values pass through this memory.
  prctl(PR_SET_DUMPABLE, 0);
  hold_standard_streams();
  // A lost reader is an error of write; a lease that someone breaks is only a question that was answered.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGIO, SIG_IGN);
  sys_set_args(argc, argv);

  JSRuntime *runtime = JS_NewRuntime();
  if (!runtime) return 70;
  JS_SetMemoryLimit(runtime, MEMORY_LIMIT);
  JS_SetMaxStackSize(runtime, STACK_LIMIT);
  JSContext *ctx = new_context(runtime);
  if (!ctx) return 70;

  JSValue module = JS_ReadObject(ctx, agent_bytecode, agent_bytecode_size, JS_READ_OBJ_BYTECODE);
  if (JS_IsException(module) || JS_ResolveModule(ctx, module) < 0) return report(ctx, JS_GetException(ctx));
  JSValue done = JS_EvalFunction(ctx, module);
  if (JS_IsException(done)) return report(ctx, JS_GetException(ctx));
  if (JS_PromiseState(ctx, done) == JS_PROMISE_REJECTED) return report(ctx, JS_PromiseResult(ctx, done));
  return 70; // The agent ends by sys.exit.
}
