import { execFile } from "node:child_process";
import { HatchwayError } from "#error";

/** A user of this host, as its user database (nsswitch.conf(5)) has it. */
export interface HostUser {
  name: string;
  uid: number;
  /** Of the primary group. */
  gid: number;
}

/** What getent(1) answers for a key that the database does not have. */
const NOT_FOUND = 2;
/** Milliseconds that an answer is good for. */
const FRESH = 10_000;

const known = new Map<string | number, { user: Promise<HostUser | undefined>; until: number }>();

/**
 * Looks a user up by name or uid; undefined when there is none. getent(1) asks, in a process of its own, since the
 * database may be across a network. Throws HatchwayError "unavailable" when it cannot be asked.
 */
export function hostUser(key: string | number): Promise<HostUser | undefined> {
  const now = performance.now();
  const before = known.get(key);
  if (before && before.until > now) return before.user;
  const user = ask(key);
  known.set(key, { user, until: now + FRESH });
  // A question that could not be asked is asked again.
  user.catch(() => known.delete(key));
  return user;
}

function ask(key: string | number): Promise<HostUser | undefined> {
  return new Promise((resolve, reject) => {
    execFile("getent", ["passwd", "--", String(key)], { timeout: 5_000 }, (error, stdout) => {
      if (error?.code === NOT_FOUND) return resolve(undefined);
      if (error) {
        return reject(new HatchwayError("unavailable", `cannot look up user "${key}"`, { cause: error }));
      }
      const [name = "", , uid, gid] = stdout.split(":");
      const user = { name, uid: Number(uid), gid: Number(gid) };
      // getent takes digits for a uid even where a name is meant.
      resolve(typeof key === "string" && name !== key ? undefined : user);
    });
  });
}
