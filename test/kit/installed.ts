// What a guest has of a bundle, a line for each value: as the vectors say, and as a script in the guest finds it.
import type { BundleCase, ExpectedFile } from "#test/kit/bundle-cases";
import { caseBundle } from "#test/kit/case-bundle";

/** Sorted. A value that is both a file and a variable has a copy for that. */
export function installedLines(vector: BundleCase): string[] {
  const { entries } = caseBundle(vector).manifest;
  const files = vector.files ?? [];
  const copies = entries.flatMap(({ file, env }, at) => {
    const value = files[at];
    if (!file || env === undefined || !value) return [];
    return [{ ...value, path: `.hatchway/values/${env}`, mode: "0600", uid: 0, gid: 0 }];
  });
  return [...files, ...copies].map(valueLine).toSorted();
}

/** `./path mode uid gid size sha256` */
export function valueLine({ path, mode, uid, gid, size, sha256 }: ExpectedFile): string {
  return `./${path} ${mode.replace(/^0+/, "")} ${uid} ${gid} ${size} ${sha256}`;
}

/** A script that prints those lines of a folder, but for the files that only the agent makes, and the manifest. */
export function lookAt(folder: string): string {
  const values =
    "find . -type f ! -path ./.hatchway/manifest.json ! -path ./.hatchway/refused.json ! -path './.hatchway/env/*'";
  return [
    `cd ${folder}`,
    `${values} -exec stat -c '%n %a %u %g %s' {} + >/tmp/look`,
    `${values} -exec sha256sum {} + | awk 'NR == FNR { digest[$2] = $1; next } { print $0, digest[$1] }' - /tmp/look | sort; cd /`,
  ].join("\n");
}
