import { RATES, type Missing, type Result } from "./measure.ts";

/** Aligned columns: the first to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, at) => Math.max(...rows.map((row) => row[at]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join("  ");
  return rows.map((row) => `${line(row).trimEnd()}\n`).join("");
}

/** A part's results as text: a line for each figure, and below it how it compares. */
export function showResults(results: readonly (Result | Missing)[]): string {
  const rows = [["", "median", "least", "most", "", "bar", ""]];
  for (const result of results) {
    if ("missing" in result) {
      rows.push([result.what, result.missing]);
      continue;
    }
    const { what, unit, median, least, most, ratios, bar, met } = result;
    const sign = RATES.has(unit) ? "≥" : "≤";
    const bars = bar === undefined ? ["", ""] : [`${sign} ${figure(bar)}`, met === true ? "met" : "not met"];
    rows.push([what, figure(median), figure(least), figure(most), unit, ...bars]);
    for (const [other, ratio] of Object.entries(ratios)) rows.push([`  of ${other}`, `${figure(ratio)} ×`]);
  }
  return table(rows);
}

/** Three digits that count. */
function figure(number: number): string {
  if (!Number.isFinite(number)) return "?";
  if (number >= 100) return Math.round(number).toLocaleString("en");
  return number >= 10 ? number.toFixed(1) : number.toFixed(number >= 1 ? 2 : 3);
}
