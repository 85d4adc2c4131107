import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

/** The folder of package.json: above src/ from source, above dist/ as a bundle. */
export function packageRoot(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, "package.json")) && folder !== dirname(folder)) folder = dirname(folder);
  return folder;
}
