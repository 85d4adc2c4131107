// A plain share of the host's, as protocol/share.ts draws it: which set it shows now.
import { revisionOfLink, linkTo, SHARED_CURRENT, SHARED_SETS } from "#protocol/share";
import { reading } from "./reading.ts";
import { RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, type Fd, type Sys } from "./sys.ts";
import { isType, S_IFLNK, statOrNone } from "./tree.ts";

/** The revision that is shown; undefined for a folder without sets, which is itself one. Throws ProtocolError. */
export function shownRevision(sys: Sys, share: Fd): string | undefined {
  const stat = reading("the share", () => statOrNone(sys, share, SHARED_CURRENT));
  if (!stat || !isType(stat, S_IFLNK)) return undefined;
  return revisionOfLink(reading("the share", () => sys.readlinkat(share, SHARED_CURRENT)));
}

/** The folder of a revision; AgentError "host-gone" where the host has replaced it meanwhile. */
export function openRevision(sys: Sys, share: Fd, revision: string): Fd {
  const flags = sys.O_RDONLY | sys.O_DIRECTORY | sys.O_NOFOLLOW;
  const resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH | RESOLVE_NO_XDEV;
  return reading(`set "${revision}" of the share`, () => sys.openat2(share, linkTo(revision), flags, 0, resolve));
}

/** What must be root's alone to write, in a share that is not mounted read-only. */
export function partsOf(revision: string | undefined): string[] {
  const set = revision === undefined ? "" : `${linkTo(revision)}/`;
  const above = revision === undefined ? [] : [SHARED_SETS, linkTo(revision)];
  return [".", ...above, `${set}.hatchway`, `${set}.hatchway/manifest.json`];
}
