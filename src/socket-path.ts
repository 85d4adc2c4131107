import { HatchwayError } from "#error";

/** Bytes of a unix socket's path, at most: sun_path of unix(7) without its NUL. */
const MAX_SOCKET_PATH = 107;

/** Throws HatchwayError "invalid" for a path that no unix socket can have; `hint` says how to get a shorter one. */
export function checkSocketPath(path: string, hint: string): void {
  const size = Buffer.byteLength(path);
  if (size <= MAX_SOCKET_PATH) return;
  throw new HatchwayError("invalid", `socket path "${path}" has ${size} bytes: at most ${MAX_SOCKET_PATH}`, { hint });
}
