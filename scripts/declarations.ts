// The types of `hatchway/client`, in dist/types: what tsc declares, its imports rewritten to lead from file to file,
// since the names with # are this package's own and lead to sources that do not ship.
import { execFile } from "node:child_process";
import { glob, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { promisify } from "node:util";

const root = resolve(import.meta.dirname, "..");
const types = join(root, "dist/types");

/** Where a specifier leads from a file, as a path that any resolver of modules takes. */
function specifier(from: string, to: string): string {
  if (!to.startsWith("#")) return to.replace(/\.ts$/, ".js");
  const name = to.slice(1);
  const target = /^(?:protocol|agent)\//.test(name) ? name : `src/${name}`;
  const path = relative(dirname(from), join(types, `${target}.js`));
  return path.startsWith(".") ? path : `./${path}`;
}

await rm(types, { recursive: true, force: true });
await promisify(execFile)(join(root, "node_modules/.bin/tsc"), ["-p", join(root, "src/client/tsconfig.json")]);
/** What the public declarations lead to; what else tsc has seen, the daemon of an embedded store for one, does not ship. */
const reached = new Set<string>();
async function rewrite(file: string): Promise<void> {
  if (reached.has(file)) return;
  reached.add(file);
  const text = await readFile(file, "utf8");
  const next: string[] = [];
  const written = text.replaceAll(/(from |import\()"([#.][^"]+)"/g, (_, word: string, to: string) => {
    const path = specifier(file, to);
    next.push(join(dirname(file), path.replace(/\.js$/, ".d.ts")));
    return `${word}"${path}"`;
  });
  await writeFile(file, written);
  for (const one of next) await rewrite(one);
}
await rewrite(join(types, "src/client/public.d.ts"));
for await (const name of glob("**/*.d.ts", { cwd: types })) {
  if (!reached.has(join(types, name))) await rm(join(types, name));
}
