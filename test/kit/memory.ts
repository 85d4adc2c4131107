import { open, readFile } from "node:fs/promises";
import { isErrno } from "#host/files";

const PIECE = 16_777_216;

/** How often each needle is in the writable memory of a process of ours (proc_pid_mem(5)), in the needles' order. */
export async function countInMemory(pid: number, needles: readonly (string | Buffer)[]): Promise<number[]> {
  const counts = needles.map(() => 0);
  await using memory = await open(`/proc/${pid}/mem`);
  const buffer = Buffer.alloc(PIECE);
  for (const line of (await readFile(`/proc/${pid}/maps`, "utf8")).split("\n")) {
    const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
    if (from === undefined || to === undefined) continue;
    const end = Number.parseInt(to, 16);
    for (let at = Number.parseInt(from, 16); at < end; at += PIECE) {
      const bytes = buffer.subarray(0, await readAt(memory, buffer, Math.min(PIECE, end - at), at));
      needles.forEach((needle, index) => {
        for (let found = bytes.indexOf(needle); found >= 0; found = bytes.indexOf(needle, found + 1)) {
          counts[index] = (counts[index] ?? 0) + 1;
        }
      });
    }
  }
  return counts;
}

async function readAt(
  memory: Awaited<ReturnType<typeof open>>,
  buffer: Buffer,
  length: number,
  at: number,
): Promise<number> {
  try {
    return (await memory.read(buffer, 0, length, at)).bytesRead;
  } catch (thrown) {
    // A mapping that went away since, or a device's.
    if (isErrno(thrown, "EIO") || isErrno(thrown, "EFAULT")) return 0;
    throw thrown;
  }
}
