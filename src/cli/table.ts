/** A column is as wide as `width` says or as its longest cell needs; a gap of one space or `gap` follows it. */
export interface Column {
  title: string;
  width?: number;
}

/** Slicer's `secret list -v`, byte for byte: `%-25s %-10s %-12s %-8s %s`. A longer cell still ends in a space. */
export const SECRET_COLUMNS: readonly Column[] = [
  { title: "NAME", width: 25 },
  { title: "SIZE", width: 10 },
  { title: "PERMISSIONS", width: 12 },
  { title: "UID", width: 8 },
  { title: "GID", width: 0 },
];

/** A header, a rule of dashes under each title, and the rows. No line ends in spaces; no newline ends the last. */
export function formatTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map(({ title, width }, index) => width ?? widest(title, rows, index) + 1);
  const lines = [columns.map(({ title }) => title), columns.map(({ title }) => "-".repeat(title.length)), ...rows];
  return lines.map((cells) => formatLine(cells, widths)).join("\n");
}

/** Names and what they are, aligned: for what `show` prints. Rows without a value are left out. */
export function formatFields(fields: readonly (readonly [name: string, value: string | undefined])[]): string {
  const given = fields.filter((field): field is readonly [string, string] => field[1] !== undefined);
  const width = Math.max(0, ...given.map(([name]) => name.length)) + 2;
  const indent = `\n${" ".repeat(width)}`;
  return given.map(([name, value]) => name.padEnd(width) + value.replaceAll("\n", indent)).join("\n");
}

function widest(title: string, rows: readonly (readonly string[])[], index: number): number {
  return rows.reduce((width, row) => Math.max(width, row[index]?.length ?? 0), title.length);
}

function formatLine(cells: readonly string[], widths: readonly number[]): string {
  return cells
    .map((cell, index) => cell.padEnd(widths[index] ?? 0))
    .join(" ")
    .trimEnd();
}
