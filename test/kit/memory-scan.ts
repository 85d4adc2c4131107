// Looks for bytes in the memory of another process, by proc_pid_maps(5) and proc_pid_mem(5).
import { closeSync, openSync, readFileSync, readSync } from "node:fs";

const CHUNK = 4_194_304;

/** How often each of `needles` is in what `pid` can write to: its heaps, stacks and buffers. */
export function copiesInMemory(pid: number, needles: readonly Buffer[]): number[] {
  const counts = needles.map(() => 0);
  const overlap = Math.max(...needles.map(({ length }) => length)) - 1;
  const memory = openSync(`/proc/${pid}/mem`, "r");
  const buffer = Buffer.alloc(CHUNK + overlap);
  try {
    for (const { start, end } of writable(pid)) {
      for (let at = start; at < end; at += BigInt(CHUNK)) {
        const size = Number(end - at < BigInt(buffer.length) ? end - at : BigInt(buffer.length));
        const bytes = buffer.subarray(0, readAt(memory, buffer, size, at));
        for (const [index, needle] of needles.entries()) counts[index] = (counts[index] ?? 0) + count(bytes, needle);
      }
    }
  } finally {
    closeSync(memory);
    buffer.fill(0);
  }
  return counts;
}

/** Those that begin in the chunk: what begins in the overlap is the next chunk's. */
function count(bytes: Buffer, needle: Buffer): number {
  let found = 0;
  for (let at = bytes.indexOf(needle); at >= 0 && at < CHUNK; at = bytes.indexOf(needle, at + 1)) found++;
  return found;
}

/** A part that was unmapped meanwhile, or that the kernel keeps for itself, has nothing to read. */
function readAt(memory: number, into: Buffer, size: number, at: bigint): number {
  try {
    return readSync(memory, into, 0, size, at);
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "EIO" || error.code === "EFAULT")) return 0;
    throw error;
  }
}

function writable(pid: number): { start: bigint; end: bigint }[] {
  return readFileSync(`/proc/${pid}/maps`, "latin1")
    .split("\n")
    .flatMap((line) => {
      const parts = /^([0-9a-f]+)-([0-9a-f]+) .w/.exec(line);
      return parts ? [{ start: BigInt(`0x${parts[1]}`), end: BigInt(`0x${parts[2]}`) }] : [];
    });
}
