// What a folder that the host shares with a guest holds, and how it changes under readers that may have it open. Sealed it
// is one file, which is replaced by rename(2):
//
//   bundle.age                  the bundle's tar, an age file
//
// Plain it is folders of files, and a link that is replaced by rename(2):
//
//   current -> sets/REVISION    the set in force
//   sets/REVISION/              its files, as an image has them: PATH …, .hatchway/manifest.json
//
// The folder of a revision is made whole before the link shows it, never changes, and none is ever made in its place. So who
// follows the link once and reads on from there reads one set, even where a server goes by paths as 9p's may, or a client
// remembers for a while what was where. The set before stays for a short while and goes then: it is missing, not mixed.
import { ProtocolError } from "./error.ts";

export const SHARED_SEALED = "bundle.age";
export const SHARED_CURRENT = "current";
export const SHARED_SETS = "sets";

/** The revision that the link shows. Throws ProtocolError for a link that no host makes. */
export function revisionOfLink(target: string): string {
  const [, revision] = /^sets\/([0-9A-Za-z][0-9A-Za-z.]{0,99})$/.exec(target) ?? [];
  if (revision === undefined) throw new ProtocolError(`share: "current" leads elsewhere than to a set`);
  return revision;
}

export function linkTo(revision: string): string {
  return `${SHARED_SETS}/${revision}`;
}
