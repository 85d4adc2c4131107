import { HatchwayError } from "#error";
import { getpwnam_r, getpwuid_r, type Passwd } from "#host/libc";

/** A user of this host, as its user database (nsswitch.conf(5)) has it. */
export interface HostUser {
  name: string;
  uid: number;
  /** Of the primary group. */
  gid: number;
}

/** Bytes for the strings of one entry; an entry that is longer is refused with ERANGE. */
const ROOM = 16_384;

/**
 * Looks a user up by name or uid; undefined when there is none. Asked on a thread of its own, since the database may
 * be across a network. Throws HatchwayError "unavailable" when it cannot be asked.
 */
export function hostUser(key: string | number): Promise<HostUser | undefined> {
  return new Promise((resolve, reject) => {
    const entry: Partial<Passwd> = {};
    const found: unknown[] = [null];
    const done = (error: Error | null, status: number): void => {
      if (error !== null || status !== 0) {
        const why = error === null ? `error ${status}` : error.message;
        reject(new HatchwayError("unavailable", `cannot look up user "${key}": ${why}`, { cause: error }));
      } else if (found[0] === null) resolve(undefined);
      else resolve({ name: entry.pw_name ?? "", uid: entry.pw_uid ?? 0, gid: entry.pw_gid ?? 0 });
    };
    const room = Buffer.alloc(ROOM);
    if (typeof key === "string") getpwnam_r.async(key, entry, room, ROOM, found, done);
    else getpwuid_r.async(key, entry, room, ROOM, found, done);
  });
}
