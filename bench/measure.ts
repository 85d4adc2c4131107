// What a benchmark is made of: parts that run alone by name, each with contestants that take turns for some rounds. What
// else the machine does meets all of them, so that the ratio of two in one round says more than either of them.

/** One turn's figures, by unit. */
export type Figures = Partial<Record<Unit, number>>;

export type Unit = "per second" | "p50 ms" | "p99 ms" | "max ms" | "ms" | "MB" | "cpu µs";

/** Where more is better; of the rest less is. */
export const RATES: ReadonlySet<Unit> = new Set(["per second"]);

export interface Contestant {
  what: string;
  /** One turn. Absent where it cannot run here; then `missing` says why. */
  turn?: () => Promise<Figures>;
  missing?: string;
  /** Others of the same part that its figures are shown as a multiple of. */
  against?: readonly string[];
  /** What the project asks of it. */
  bars?: Figures;
}

export interface Scale {
  /** What sizes are multiplied by: 1, or less for a quick look. */
  size: number;
}

export interface Part {
  name: string;
  /** What is set up, in one line. */
  about: string;
  /** Resolves once everything that takes part is ready. Disposing ends it all. */
  open(scale: Scale): Promise<Contest>;
}

export interface Contest extends AsyncDisposable {
  contestants: readonly Contestant[];
}

export interface Result {
  what: string;
  unit: Unit;
  median: number;
  least: number;
  most: number;
  /** By contestant: the median of the rounds' ratios, above 1 where ours is the better. */
  ratios: Record<string, number>;
  bar?: number;
  met?: boolean;
}

export interface Missing {
  what: string;
  missing: string;
}

/** Lets the contestants of a part take turns. `say` is told of each turn. */
export async function compete(
  contestants: readonly Contestant[],
  rounds: number,
  say: (what: string) => void,
): Promise<(Result | Missing)[]> {
  const turns = new Map<string, Figures[]>();
  for (let round = 0; round < rounds; round++) {
    for (const { what, turn } of contestants) {
      if (!turn) continue;
      say(`${what}, round ${round + 1} of ${rounds}`);
      turns.set(what, [...(turns.get(what) ?? []), await turn()]);
    }
  }
  return contestants.flatMap((contestant): (Result | Missing)[] => {
    const { what, missing = "did not run" } = contestant;
    const own = turns.get(what);
    if (!own) return [{ what, missing }];
    const units = Object.keys(own[0] ?? {}) as Unit[];
    return units.map((unit) => resultOf(contestant, unit, own, turns));
  });
}

function resultOf(
  { what, against = [], bars = {} }: Contestant,
  unit: Unit,
  own: readonly Figures[],
  turns: ReadonlyMap<string, readonly Figures[]>,
): Result {
  const figures = own.map((figure) => figure[unit] ?? Number.NaN);
  const ratios: Record<string, number> = {};
  for (const other of against) {
    const theirs = turns.get(other)?.map((figure) => figure[unit]) ?? [];
    const paired = figures.flatMap((figure, round) => {
      const their = theirs[round];
      return their === undefined ? [] : [RATES.has(unit) ? figure / their : their / figure];
    });
    if (paired.length > 0) ratios[other] = median(paired);
  }
  const middle = median(figures);
  const bar = bars[unit];
  return {
    what,
    unit,
    median: middle,
    least: Math.min(...figures),
    most: Math.max(...figures),
    ratios,
    ...(bar !== undefined && { bar, met: RATES.has(unit) ? middle >= bar : middle <= bar }),
  };
}

export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  const upper = sorted[half] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[half - 1] ?? Number.NaN)) / 2;
}
