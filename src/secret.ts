import type { About } from "#about";
import type { OnChange } from "#protocol/manifest";

/**
 * How a secret appears in a guest. On a secret it is the default; a grant may differ in any field. At least one of
 * `file` and `env` holds.
 */
export interface Delivery {
  /** Whether it becomes a file. */
  file: boolean;
  /** The variable that carries it, if any. */
  env?: string;
  /** Path under the mount root; the secret's name when absent. */
  path?: string;
  /** Four octal digits. */
  mode: string;
  /** A number, or a user name of the guest. */
  user: number | string;
  group: number | string;
  /** An absolute guest path that becomes a symlink to the file. */
  link?: string;
  onChange?: OnChange;
}

export const defaultDelivery: Readonly<Delivery> = { file: true, mode: "0600", user: 0, group: 0 };

/** What a change of a delivery says: an absent key leaves it, null takes an optional one away. */
export type DeliveryChange = {
  [Key in keyof Delivery]?: Delivery[Key] | (undefined extends Delivery[Key] ? null : never);
};

/** A version of a secret's value that is kept. */
export interface SecretVersion {
  version: number;
  /** Bytes. */
  size: number;
  /** When it came, in milliseconds since 1970. */
  at: number;
  /** Whether it is the newest. */
  current: boolean;
  /** Names of the VMs that keep it, sorted. */
  pinnedBy: string[];
}

/** A secret as everybody may see it who may see it at all: there is no value in it. */
export interface Secret extends About {
  /** 128 random bits in hex; a name that is used again gets another id. */
  id: string;
  name: string;
  /** Of the value, from 1; a change of metadata alone does not count. */
  version: number;
  /** Bytes of the value. */
  size: number;
  delivery: Delivery;
  /** Milliseconds since 1970. */
  createdAt: number;
  /** Of the value or the metadata, in milliseconds since 1970. */
  modifiedAt: number;
}
