// The sweep of system calls that fail, or are a process's last.
import { shuffled } from "#test/kit/seeded";

/** How many occurrences of each call are tried, with each fault; without it, a sample of all that. */
const SWEEP = process.env["HATCHWAY_FAULT_SWEEP"];
const OCCURRENCES = Number(SWEEP ?? 8);

const CALLS = ["openat", "write", "pwrite64", "fdatasync", "fsync", "rename", "unlink"];
const FAULTS = ["error=EIO", "error=ENOSPC", "signal=SIGKILL"];

export interface FaultCase {
  /** The call and its fault, without the occurrence. */
  kind: string;
  occurrence: number;
  /** As strace(1) is told. */
  what: string;
}

const every: FaultCase[] = CALLS.flatMap((call) =>
  FAULTS.flatMap((fault) =>
    Array.from({ length: OCCURRENCES }, (_, at) => {
      const kind = `${call}:${fault}`;
      return { kind, occurrence: at + 1, what: `${kind}:when=${at + 1}` };
    }),
  ),
);

export interface Sweep {
  /** For the test's title. */
  label: string;
  cases: readonly FaultCase[];
  /**
   * Told how many calls a case hit. A call that no operation makes as often is not tried more often: `isSpent` says so
   * of the cases after it.
   */
  tried: (one: FaultCase, hits: number) => void;
  isSpent: (one: FaultCase) => boolean;
}

/** All cases where that is asked for, else as many as `sample`, the same each time. */
export function faultSweep(sample: number, seed: string): Sweep {
  const spent = new Set<string>();
  const isWhole = SWEEP !== undefined;
  const cases = isWhole ? every : shuffled(every, seed).slice(0, sample);
  return {
    label: isWhole ? `all ${every.length}` : `a sample of ${cases.length}`,
    cases,
    tried: ({ kind, occurrence, what }, hits) => {
      if (!isWhole) return;
      if (hits === 0) spent.add(kind);
      if (occurrence % 10 === 0) console.log(`${what}: ${hits} hits`);
    },
    isSpent: ({ kind }) => spent.has(kind),
  };
}
