// The flags that say how a secret is delivered, as the API's `DeliveryBody`.
import type { DeliveryBody } from "#api";
import { HatchwayError } from "#error";
import { ProtocolError } from "#protocol/error";
import type { Json } from "#protocol/json";
import { parseOnChange as checkOnChange, type OnChange } from "#protocol/manifest";
import { envNameProblem, idProblem, linkProblem, modeProblem, pathProblem, userNameProblem } from "#protocol/names";
import type { Session } from "./session.ts";

export interface DeliveryFlags {
  permissions?: string;
  mode?: string;
  uid?: string;
  gid?: string;
  owner?: string;
  /** True: the variable has the secret's name; false: no variable, so a file. */
  env?: string | boolean;
  /** True: the file has the secret's name. */
  file?: string | true;
  link?: string;
  onChange?: string;
}

/**
 * What the flags ask for, with absent flags absent. `--env` alone means no file. Throws "invalid" with the flag and the rule that it breaks.
 */
export function parseDelivery(secret: string, flags: DeliveryFlags): DeliveryBody {
  const body: DeliveryBody = {};
  refuseFileFlagsForEnv(flags);
  const mode = parseMode(flags);
  if (mode !== undefined) body.permissions = mode;
  if (flags.uid !== undefined) body.uid = parseId("--uid", flags.uid);
  if (flags.gid !== undefined) body.gid = parseId("--gid", flags.gid);
  if (flags.owner !== undefined) setOwner(body, flags);
  if (flags.file !== undefined) setFile(body, flags);
  if (flags.env !== undefined) setEnv(body, secret, flags);
  if (flags.link !== undefined) setLink(body, "--link", flags.link);
  if (flags.onChange !== undefined) body.on_change = parseOnChange(flags.onChange);
  return body;
}

function refuseFileFlagsForEnv(flags: DeliveryFlags): void {
  if (flags.env === undefined || flags.env === false || flags.file !== undefined) return;
  for (const flag of ["permissions", "mode", "uid", "gid", "owner", "link"] as const) {
    if (flags[flag] === undefined) continue;
    throw new HatchwayError("invalid", `--${flag} is of a file, and --env alone makes none`, {
      hint: "for a file and a variable, pass --file as well",
    });
  }
}

function parseMode(flags: DeliveryFlags): string | undefined {
  const text = flags.permissions ?? flags.mode;
  if (text === undefined) return undefined;
  const flag = flags.permissions === undefined ? "--mode" : "--permissions";
  if (flags.mode !== undefined && flags.mode !== text) {
    throw new HatchwayError("invalid", "--permissions and --mode are two names of one thing, and differ");
  }
  const mode = /^[0-7]{3}$/.test(text) ? `0${text}` : text;
  refuse(flag, text, modeProblem(mode));
  return mode;
}

function parseId(flag: string, text: string): number {
  const id = /^[0-9]{1,10}$/.test(text) ? Number(text) : Number.NaN;
  refuse(flag, text, idProblem(id));
  return id;
}

/** `USER` or `USER:GROUP`, names that the guest resolves. */
function setOwner(body: DeliveryBody, flags: DeliveryFlags): void {
  const text = flags.owner ?? "";
  if (flags.uid !== undefined || (flags.gid !== undefined && text.includes(":"))) {
    throw new HatchwayError("invalid", "--owner and --uid or --gid both say whose the file is: one of them can");
  }
  const [user = "", group] = text.split(":", 2);
  if (/^[0-9]+$/.test(user)) {
    throw new HatchwayError("invalid", `--owner "${text}" is a number: it takes a user name of the guest`, {
      hint: "for numbers, use --uid and --gid",
    });
  }
  refuse("--owner", text, userNameProblem(user));
  body.owner = user;
  if (group === undefined) return;
  refuse("--owner", text, userNameProblem(group));
  body.group = group;
}

/** A relative path is under the mount root; an absolute one is a link to a file there. */
function setFile(body: DeliveryBody, flags: DeliveryFlags): void {
  body.file = true;
  if (typeof flags.file !== "string") return;
  if (!flags.file.startsWith("/")) {
    refuse("--file", flags.file, pathProblem(flags.file));
    body.path = flags.file;
    return;
  }
  if (flags.link !== undefined) {
    throw new HatchwayError("invalid", "--link and --file with an absolute path both name the link: one of them can");
  }
  setLink(body, "--file", flags.file);
}

function setEnv(body: DeliveryBody, secret: string, flags: DeliveryFlags): void {
  if (flags.env === false) {
    body.env = null;
    body.file = true;
    return;
  }
  const name = typeof flags.env === "string" ? flags.env : secret;
  const problem = envNameProblem(name);
  if (problem !== undefined) {
    const suggested = name.toUpperCase().replaceAll(/[^A-Z0-9_]/g, "_");
    const usable = envNameProblem(suggested) === undefined;
    throw new HatchwayError("invalid", `--env "${name}" ${problem}`, usable ? { hint: `try --env ${suggested}` } : {});
  }
  body.env = name;
  body.file = flags.file !== undefined;
}

function setLink(body: DeliveryBody, flag: string, link: string): void {
  refuse(flag, link, linkProblem(link));
  body.link = link;
}

const ON_CHANGE_HINT = "write reload:nginx.service, restart:UNIT, signal:HUP:/run/x.pid or exec:/path/to/command ARG…";

function parseOnChange(text: string): OnChange {
  const [kind, ...rest] = text.split(":");
  const argument = rest.join(":");
  const json: Json =
    kind === "signal"
      ? { signal: rest[0] ?? "", pidFile: rest.slice(1).join(":") }
      : { [kind ?? ""]: kind === "exec" ? argument.split(/\s+/).filter((word) => word !== "") : argument };
  try {
    return checkOnChange(json, `--on-change "${text}"`);
  } catch (cause) {
    if (!(cause instanceof ProtocolError)) throw cause;
    throw new HatchwayError("invalid", cause.message, { hint: ON_CHANGE_HINT, cause });
  }
}

function refuse(flag: string, text: string, problem: string | undefined): void {
  if (problem !== undefined) throw new HatchwayError("invalid", `${flag} "${text}" ${problem}`);
}

/** A mode wider than 0640 is the user's to choose, but seldom what he wants. */
export function warnOfWideMode(session: Session, { permissions }: DeliveryBody): void {
  if (permissions === undefined) return;
  const mode = Number.parseInt(permissions, 8);
  if ((mode & ~0o640) === 0) return;
  const consequence = (mode & 0o004) === 0 ? "" : ": every user of the guest can read it";
  session.warn(`mode ${permissions} is wider than 0640${consequence}`);
}
