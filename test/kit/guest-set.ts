// What a real guest has in force, a line for each value, and what it is to have of a good vector.
import type { BundleCase, ExpectedFile } from "#test/kit/bundle-cases";
import { caseBundle } from "#test/kit/case-bundle";

/** Of a bundle, sorted: a value that is both a file and a variable has a copy for that. */
export function wanted(vector: BundleCase): string[] {
  const { entries } = caseBundle(vector).manifest;
  const files = vector.files ?? [];
  const copies = entries.flatMap(({ file, env }, at) => {
    const value = files[at];
    if (!file || env === undefined || !value) return [];
    return [{ ...value, path: `.hatchway/values/${env}`, mode: "0600", uid: 0, gid: 0 }];
  });
  return [...files, ...copies].map(line).toSorted();
}

function line({ path, mode, uid, gid, size, sha256 }: ExpectedFile): string {
  return `./${path} ${mode.replace(/^0+/, "")} ${uid} ${gid} ${size} ${sha256}`;
}

/** Says what is in force: path, mode, owner, size, digest. */
export const LOOK: string = [
  "cd /run/hatchway/secrets",
  "find . -type f ! -path './.hatchway/manifest.json' ! -path './.hatchway/refused.json' ! -path './.hatchway/env/*' |",
  "while read -r f; do echo $(stat -c '%n %a %u %g %s' $f) $(sha256sum <$f | cut -d' ' -f1); done | sort; cd /",
].join("\n");
