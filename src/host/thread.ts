// What the threads beside the main one have in common.
import { dirname, extname, join } from "node:path";

/**
 * The program of a thread, which lies beside the file that starts it and is of its kind: src/store/sqlite-worker.ts when
 * Node runs the sources, dist/sqlite-worker.cjs (or .js) in a build. `file` is the caller's own, import.meta.filename.
 */
export function threadFile(file: string, name: string): string {
  return join(dirname(file), `${name}${extname(file)}`);
}

/** Milliseconds after which what looks at a whole store or trail begins, so that the start comes first. */
export const AFTER_START = 2_000;
