// The few calls of the C library that Node does not have. Layouts are those of glibc on 64-bit Linux; both
// architectures that Hatchway runs on share them.
import koffi from "koffi";

const libc = koffi.load("libc.so.6");

/** SOL_SOCKET and SO_PEERCRED of socket(7) and unix(7), on x86-64 and arm64. */
export const SOL_SOCKET = 1;
export const SO_PEERCRED = 17;

/** `struct passwd` of getpwnam(3), as far as it is read. */
export interface Passwd {
  pw_name: string;
  pw_uid: number;
  pw_gid: number;
}

koffi.struct("passwd", {
  pw_name: "char *",
  pw_passwd: "char *",
  pw_uid: "uint32_t",
  pw_gid: "uint32_t",
  pw_gecos: "char *",
  pw_dir: "char *",
  pw_shell: "char *",
});

type Getsockopt = (fd: number, level: number, option: number, value: Uint8Array, length: Uint32Array) => number;
export const getsockopt: Getsockopt = libc.func(
  "int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)",
);

type Getpw<Key> = (key: Key, entry: Partial<Passwd>, room: Uint8Array, size: number, found: unknown[]) => number;
/** A call that koffi makes on a thread of its own, its result handed to a callback. */
type Threaded<Call extends (...parameters: never[]) => number> = {
  async(...parameters: [...Parameters<Call>, (error: Error | null, result: number) => void]): void;
};
const tail = "_Out_ passwd *entry, _Out_ uint8_t *room, size_t size, _Out_ void **found)";
export const getpwnam_r: Threaded<Getpw<string>> = libc.func(`int getpwnam_r(const char *name, ${tail}`);
export const getpwuid_r: Threaded<Getpw<number>> = libc.func(`int getpwuid_r(uint32_t uid, ${tail}`);

/** `errno` after the call before, as text. */
export function lastError(): string {
  const number = koffi.errno();
  const name = Object.entries(koffi.os.errno).find(([, value]) => value === number)?.[0];
  return name ?? `errno ${number}`;
}
