// Durations, sizes and counts as people write and read them.
import { HatchwayError } from "#error";

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
/** A day: what waits longer is a mistake. */
const MAX_DURATION = 86_400_000;

/** `10s`, `500ms`, `2m`, `1h`, or seconds; in milliseconds. Throws "invalid". */
export function parseDuration(flag: string, text: string): number {
  const match = /^([0-9]{1,8})(ms|s|m|h)?$/.exec(text);
  const duration = Number(match?.[1]) * (UNITS[match?.[2] ?? "s"] ?? Number.NaN);
  if (duration > 0 && duration <= MAX_DURATION) return duration;
  throw new HatchwayError("invalid", `${flag} "${text}" is not a duration of 1ms to 24h`, {
    hint: "write it as 500ms, 10s, 2m or 1h",
  });
}

/** MiB: `512`, `512M`, `2G`. Throws "invalid". */
export function parseMemory(flag: string, text: string): number {
  const match = /^([0-9]{1,7})(M|MiB|G|GiB)?$/i.exec(text);
  const mib = Number(match?.[1]) * (/^g/i.test(match?.[2] ?? "") ? 1024 : 1);
  if (mib > 0) return mib;
  throw new HatchwayError("invalid", `${flag} "${text}" is not an amount of memory`, {
    hint: "write it in MiB, as 256, or as 2G",
  });
}

export function parseCount(flag: string, text: string, least: number): number {
  const count = /^[0-9]{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (count >= least) return count;
  throw new HatchwayError("invalid", `${flag} "${text}" is not a whole number of at least ${least}`);
}

export function formatBytes(size: number): string {
  return plural(size, "byte");
}

export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

const STEPS = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "m"],
  [1000, "s"],
] as const;

/** A span in its largest unit: `3s`, `12m`, `5h`, `9d`. A span that a skewed clock made negative is `0s`. */
export function formatSpan(milliseconds: number): string {
  for (const [length, unit] of STEPS) {
    if (milliseconds >= length) return `${Math.floor(milliseconds / length)}${unit}`;
  }
  return "0s";
}

/** How long ago an RFC 3339 time was, as `3s ago`; undefined stands for `never`. */
export function formatAge(time: string | undefined, now: number = Date.now()): string {
  return time === undefined ? "never" : `${formatSpan(now - Date.parse(time))} ago`;
}
