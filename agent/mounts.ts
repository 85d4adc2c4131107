// What lies at a path, by /proc/self/mountinfo (proc_pid_mountinfo(5)).

export interface Mount {
  /** Where it is mounted. */
  point: string;
  type: string;
  /** The file system's own options. */
  options: readonly string[];
  /** Nobody can write there, by this mount or by its file system. */
  readOnly: boolean;
}

/** The mount that a canonical absolute path lies on: the longest mount point above it, of equal ones the last. */
export function mountOf(mountinfo: string, path: string): Mount | undefined {
  let found: Mount | undefined;
  for (const line of mountinfo.split("\n")) {
    const mount = parseLine(line);
    if (!mount || !isBelow(path, mount.point)) continue;
    if (!found || mount.point.length >= found.point.length) found = mount;
  }
  return found;
}

function parseLine(line: string): Mount | undefined {
  const [left = "", right] = line.split(" - ");
  const [point, flags = ""] = left.split(" ").slice(4);
  const [type, , options] = right?.split(" ") ?? [];
  if (point === undefined || type === undefined) return undefined;
  const all = options?.split(",") ?? [];
  return { point: unescape(point), type, options: all, readOnly: [...flags.split(","), ...all].includes("ro") };
}

/** The kernel writes space, tab, newline and backslash as three octal digits. */
function unescape(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

function isBelow(path: string, point: string): boolean {
  return path === point || point === "/" || path.startsWith(`${point}/`);
}

/** Whether /proc/swaps lists anything below its heading. */
export function hasSwap(swaps: string): boolean {
  return swaps.trim().split("\n").length > 1;
}
