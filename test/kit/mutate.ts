// Inputs for a parser that are nearly right: seeds, changed a few times each. What is made follows from the number that
// it begins with, so that an input that broke something can be made again.

/** A generator of numbers below 2^32 (Marsaglia's xorshift32). */
export class Rolls {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0 || 1;
  }

  below(limit: number): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state >>> 0;
    return this.#state % Math.max(1, limit);
  }

  pick<T>(all: readonly T[]): T {
    const one = all[this.below(all.length)];
    if (one === undefined) throw new RangeError("there is nothing to pick from");
    return one;
  }
}

const BYTES = [0x00, 0x01, 0x0a, 0x0d, 0x20, 0x22, 0x2f, 0x3a, 0x5c, 0x7b, 0x7d, 0x7f, 0x80, 0xc0, 0xff];
const NUMBERS = ["0", "-1", "1e999", "4294967296", "9007199254740993", "99999999999999999999", "0x1", "07", ""];
const MAX_SIZE = 65_536;

type Mutation = (input: Buffer, rolls: Rolls, seeds: readonly Buffer[], words: readonly string[]) => Buffer;

function splice(input: Buffer, at: number, remove: number, insert: Uint8Array): Buffer {
  return Buffer.concat([input.subarray(0, at), insert, input.subarray(at + remove)]);
}

const MUTATIONS: readonly Mutation[] = [
  (input, rolls) => {
    const at = rolls.below(input.length);
    return splice(input, at, 1, Buffer.from([(input[at] ?? 0) ^ (1 << rolls.below(8))]));
  },
  (input, rolls) => splice(input, rolls.below(input.length), 1, Buffer.from([rolls.pick(BYTES)])),
  (input, rolls) => splice(input, rolls.below(input.length), rolls.below(1 + (input.length >> 2)), Buffer.alloc(0)),
  (input, rolls) => {
    const from = rolls.below(input.length);
    const part = input.subarray(from, from + 1 + rolls.below(64));
    return splice(
      input,
      rolls.below(input.length),
      0,
      Buffer.concat(Array.from({ length: 1 + rolls.below(8) }, () => part)),
    );
  },
  (input, rolls) => input.subarray(0, rolls.below(input.length)),
  (input, rolls, seeds) => {
    const other = rolls.pick(seeds);
    return Buffer.concat([input.subarray(0, rolls.below(input.length)), other.subarray(rolls.below(other.length))]);
  },
  (input, rolls, _, words) =>
    splice(input, rolls.below(input.length), rolls.below(3), Buffer.from(rolls.pick([...words, ...NUMBERS]), "latin1")),
  (input, rolls) => {
    const numbers = Array.from(input.toString("latin1").matchAll(/[0-9]+/g));
    const found = numbers[rolls.below(numbers.length)];
    if (!found) return input;
    return splice(input, found.index, found[0].length, Buffer.from(rolls.pick(NUMBERS), "latin1"));
  },
];

/** An input that `seed` decides. `words` are pieces that mean something to the parser. */
export function mutated(seed: number, seeds: readonly Buffer[], words: readonly string[]): Buffer {
  const rolls = new Rolls(Math.imul(seed + 1, 0x9e3779b1));
  let input = rolls.pick(seeds);
  for (let left = 1 + rolls.below(6); left > 0; left--) input = rolls.pick(MUTATIONS)(input, rolls, seeds, words);
  return input.subarray(0, MAX_SIZE);
}
