// Mode and owner of a file, and what they mean for a secret: 1:1, as far as this process can make them.
import type { Delivery, DeliveryChange } from "#secret";

export interface Attributes {
  /** The lower nine bits. */
  mode: number;
  uid: number;
  gid: number;
}

/** Whom files are made by; `chowns`: he can give them to others. */
export interface Maker {
  uid: number;
  gid: number;
  chowns: boolean;
}

/**
 * Those of the file of a secret. A file that cannot be given to the secret's owner is its maker's: an owner that is a
 * user's name in the guest, or any where the maker is not root.
 */
export function attributesOf({ mode, user, group }: Delivery, maker: Maker): Attributes {
  return { mode: Number.parseInt(mode, 8), uid: shown(user, maker.uid, maker), gid: shown(group, maker.gid, maker) };
}

function shown(who: number | string, own: number, { chowns }: Maker): number {
  return typeof who === "number" && chowns ? who : own;
}

/** What a file says that its secret does not yet; undefined where they agree. */
export function changeOf(file: Attributes, delivery: Delivery | undefined, maker: Maker): DeliveryChange | undefined {
  const expected = delivery && attributesOf(delivery, maker);
  const change: DeliveryChange = {};
  if (file.mode !== expected?.mode) change.mode = `0${file.mode.toString(8).padStart(3, "0")}`;
  if (file.uid !== expected?.uid) change.user = file.uid;
  if (file.gid !== expected?.gid) change.group = file.gid;
  return Object.keys(change).length === 0 ? undefined : change;
}

/** What should be said of a mode that lets many read, or anybody but the owner write. */
export function looseness({ mode }: Attributes): string | undefined {
  const octal = `0${mode.toString(8).padStart(3, "0")}`;
  if ((mode & 0o004) !== 0) return `has mode ${octal}: every user of a guest that has it can read it`;
  if ((mode & ~0o640) !== 0 && (mode & 0o033) !== 0) return `has mode ${octal}, wider than 0640`;
  return undefined;
}
