import { closeSync, writeSync } from "node:fs";
import koffi from "koffi";
import { HatchwayError } from "#error";
import { lastError } from "#host/libc";

const libc = koffi.load("libc.so.6");

type MemfdCreate = (name: string, flags: number) => number;
const memfdCreate: MemfdCreate = libc.func("int memfd_create(const char *name, unsigned int flags)");
type Fcntl = (fd: number, command: number, argument: number) => number;
const fcntl: Fcntl = libc.func("int fcntl(int fd, int command, int argument)");

/** memfd_create(2): gone from a program that is run, unless it is handed on; may be sealed. */
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
/** fcntl(2): from now on neither its seals, its size nor its bytes change. */
const F_ADD_SEALS = 1033;
const SEALS = 1 | 2 | 4 | 8;

/**
 * A file in memory that has no name on any file system, with these bytes for good: its descriptor, which the caller
 * closes. The bytes stay in the kernel until the last descriptor of it is closed. Throws HatchwayError "unavailable".
 */
export function memoryFile(name: string, bytes: Uint8Array): number {
  const fd = memfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) throw new HatchwayError("unavailable", `cannot make a file in memory: ${lastError()}`);
  try {
    for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, at);
    if (fcntl(fd, F_ADD_SEALS, SEALS) !== 0) {
      throw new HatchwayError("unavailable", `cannot seal a file in memory: ${lastError()}`);
    }
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
