// The grammars of everything that is named across the wall between host and guest. One place, shared by the CLI, the
// daemon and the agent: a name is accepted as it stands or refused, never normalised.
//
// Each `…Problem` function returns undefined for a good value, else what is wrong, worded to follow the quoted value.

/** Bytes of one value, at most (1 MiB). */
export const MAX_VALUE_SIZE = 1_048_576;
/** Entries of one bundle, at most. */
export const MAX_ENTRIES = 4_096;
/** Bytes of all values of one bundle, at most (64 MiB). */
export const MAX_BUNDLE_SIZE = 67_108_864;
/** The largest uid or gid: seven octal digits, which is what a ustar header holds. */
export const MAX_ID = 2_097_151;
/** Where secrets appear in a guest when a manifest does not say otherwise. */
export const DEFAULT_MOUNT_ROOT = "/run/hatchway/secrets";
/** The folder of a set that belongs to the protocol; no secret's path may start with it. */
export const RESERVED_FOLDER = ".hatchway";

const SECRET_NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/;
const VM_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const COMPONENT = /^[A-Za-z0-9._-]{1,100}$/;
const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,99}$/;
/** 31, since ustar's uname and gname are 32 bytes that end in NUL. */
const USER_NAME = /^[a-z_][a-z0-9_-]{0,30}$/;
const MODE = /^0[0-7]{3}$/;
const REVISION = /^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$/;

export function secretNameProblem(name: string): string | undefined {
  if (SECRET_NAME.test(name)) return undefined;
  return "is not a secret name: 1 to 100 of A-Z a-z 0-9 . _ -, the first a letter, digit or _";
}

export function vmNameProblem(name: string): string | undefined {
  if (VM_NAME.test(name)) return undefined;
  return "is not a vm name: 1 to 63 of A-Z a-z 0-9 . _ -, the first a letter or digit";
}

/** A revision is opaque to the guest; only its alphabet and length (96) are fixed. */
export function revisionProblem(revision: string): string | undefined {
  return REVISION.test(revision) ? undefined : "is not a revision";
}

/**
 * A relative path under the mount root: 1 to 8 components of `[A-Za-z0-9._-]`, 150 bytes in all, so that any path
 * splits into ustar's prefix (155) and name (100).
 */
export function pathProblem(path: string): string | undefined {
  if (path.length > 150) return `is ${path.length} bytes long: a path has at most 150`;
  const components = path.split("/");
  if (components.length > 8) return `has ${components.length} components: a path has at most 8`;
  for (const component of components) {
    if (component === "." || component === "..") return `has the component "${component}"`;
    if (!COMPONENT.test(component)) return "is not a path: components of A-Z a-z 0-9 . _ - joined by single slashes";
  }
  if (components[0] === RESERVED_FOLDER) return `is under ${RESERVED_FOLDER}, which belongs to hatchway`;
  return undefined;
}

/** An absolute guest path that shall become a symlink. */
export function linkProblem(link: string): string | undefined {
  if (!link.startsWith("/")) return "is not absolute";
  if (link === "/run/hatchway" || link.startsWith("/run/hatchway/")) return "is under /run/hatchway, hatchway's own";
  return pathProblem(link.slice(1));
}

/**
 * Variables that would make a loader, shell or interpreter run or read something else: those that glibc drops for a
 * set-uid program (ld.so(8), "secure-execution mode"), those of shells (bash(1)) and interpreters, and systemd's own
 * (systemd.exec(5)).
 */
const REFUSED_ENV_PREFIX = /^(?:LD|GLIBC|MALLOC)_/;
const REFUSED_ENV = new Set(
  [
    "PATH IFS ENV BASH_ENV SHELLOPTS BASHOPTS PS4 CDPATH GLOBIGNORE PROMPT_COMMAND",
    "HOME SHELL USER LOGNAME TMPDIR TERM LANG",
    "PYTHONPATH PYTHONHOME PYTHONSTARTUP PERL5LIB PERL5OPT PERLLIB RUBYLIB RUBYOPT",
    "NODE_OPTIONS NODE_PATH JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS CLASSPATH",
    "PYTHONINSPECT PYTHONBREAKPOINT PYTHONUSERBASE PERL5DB PERLIO_DEBUG LUA_INIT LUA_PATH LUA_CPATH PHPRC",
    "PHP_INI_SCAN_DIR DOTNET_STARTUP_HOOKS OPENSSL_CONF OPENSSL_MODULES OPENSSL_ENGINES",
    "GCONV_PATH GETCONF_DIR LOCPATH NLSPATH NIS_PATH TZDIR TERMINFO HOSTALIASES LOCALDOMAIN RES_OPTIONS",
    "RESOLV_HOST_CONF GIT_SSH GIT_SSH_COMMAND GIT_EXEC_PATH GIT_ASKPASS SSH_ASKPASS EDITOR VISUAL PAGER LESSOPEN",
    "NOTIFY_SOCKET LISTEN_FDS LISTEN_PID LISTEN_FDNAMES WATCHDOG_PID WATCHDOG_USEC CREDENTIALS_DIRECTORY",
    "INVOCATION_ID MAINPID",
  ].flatMap((line) => line.split(" ")),
);

export function envNameProblem(name: string): string | undefined {
  if (!ENV_NAME.test(name)) return "is not an environment variable's name: letters, digits and _, no digit first";
  if (REFUSED_ENV_PREFIX.test(name) || REFUSED_ENV.has(name)) {
    return "would change how programs are loaded or run";
  }
  return undefined;
}

/** A mode is a string of four octal digits, so that `0400` never turns into a decimal number on its way. */
export function modeProblem(mode: string): string | undefined {
  return MODE.test(mode) ? undefined : 'is not a mode: four octal digits from "0000" to "0777"';
}

export function idProblem(id: number): string | undefined {
  return Number.isInteger(id) && id >= 0 && id <= MAX_ID ? undefined : `is not a uid or gid: 0 to ${MAX_ID}`;
}

export function userNameProblem(name: string): string | undefined {
  return USER_NAME.test(name) ? undefined : "is not a user name: 1 to 31 of a-z 0-9 _ -, the first a letter or _";
}
