// Runs a parser over mutated inputs, for as long as it is told: by default a number of them that takes no time, with
// FUZZ_SECONDS=600 ten minutes each.
import { isDeepStrictEqual } from "node:util";
import { describe, test } from "vitest";
import { AgentError } from "#agent/error";
import { HatchwayError } from "#error";
import { ProtocolError } from "#protocol/error";
import { mutated } from "#test/kit/mutate";

const SECONDS = Number(process.env["FUZZ_SECONDS"] ?? 0);
/** The first input's number; a run goes on from it. */
const FIRST = Number(process.env["FUZZ_FIRST"] ?? 0);

export interface Target {
  name: string;
  seeds: readonly Buffer[];
  words?: readonly string[];
  /** Inputs of a run that nobody asked to be longer. */
  inputs?: number;
  /** Reads an input; throws what a parser may throw, or an error that says what is wrong. */
  read: (input: Buffer) => void | Promise<void>;
}

/** Milliseconds that a test of a target may take. */
export const FUZZ_TIMEOUT: number = 120_000 + SECONDS * 2_000;

/** How many inputs were read. Throws at the first that made anything but a refusal. */
export async function fuzz({ name, seeds, words = [], inputs = 1_000, read }: Target): Promise<number> {
  const end = Date.now() + SECONDS * 1_000;
  let at = FIRST;
  while (at < FIRST + inputs || Date.now() < end) {
    const input = mutated(at, seeds, words);
    try {
      await read(input);
    } catch (cause) {
      if (!isRefusal(cause)) {
        throw new Error(
          `${name}: input ${at} (FUZZ_FIRST=${at}) is no refusal: ${input.toString("base64").slice(0, 4_000)}`,
          {
            cause,
          },
        );
      }
    }
    at++;
    // A run of synchronous parsers still lets timers and signals through.
    if (at % 1_000 === 0) await new Promise(setImmediate);
  }
  if (SECONDS > 0) console.log(`${name}: ${at - FIRST} inputs in ${SECONDS} s`);
  return at - FIRST;
}

/** A test for each parser. */
export function fuzzAll(targets: readonly Target[]): void {
  describe.for(targets.map((target) => [target.name, target] as const))("%s", ([, target]) => {
    test(
      "that is nearly right is refused in order, or read as others read it",
      { timeout: FUZZ_TIMEOUT },
      async ({ expect }) => {
        expect(await fuzz(target)).toBeGreaterThan(0);
      },
    );
  });
}

/** For what was taken: throws where it was read as something else. */
export function same(what: string, ours: unknown, theirs: unknown): void {
  if (!isDeepStrictEqual(ours, theirs)) throw new Error(`${what} is read differently`);
}

function isRefusal(thrown: unknown): boolean {
  if (thrown instanceof AgentError) return true;
  return thrown instanceof ProtocolError || (thrown instanceof HatchwayError && thrown.code !== "internal");
}
