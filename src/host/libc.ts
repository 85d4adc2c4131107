// The few calls of the C library that Node does not have. Layouts are those of glibc on 64-bit Linux; both
// architectures that Hatchway runs on share them.
import koffi from "koffi";

const libc = koffi.load("libc.so.6");

/** SOL_SOCKET and SO_PEERCRED of socket(7) and unix(7), on x86-64 and arm64. */
export const SOL_SOCKET = 1;
export const SO_PEERCRED = 17;

type Getsockopt = (fd: number, level: number, option: number, value: Uint8Array, length: Uint32Array) => number;
export const getsockopt: Getsockopt = libc.func(
  "int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)",
);

/** `errno` after the call before, as text. */
export function lastError(): string {
  const number = koffi.errno();
  const name = Object.entries(koffi.os.errno).find(([, value]) => value === number)?.[0];
  return name ?? `errno ${number}`;
}
