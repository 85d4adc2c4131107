// Which unit may have which secret as a credential: a file of root's, ASCII, one rule a line. Who is not in it gets nothing.
//
//   # a comment
//   allow web.service tls.key password=db-password    credential "tls.key" is the secret "tls.key", "password" is "db-password"
//   allow worker@.service token                       every instance that has no line of its own
//   on-change web.service reload                      systemctl try-reload-or-restart, once a value of these is another
//   on-change worker@.service restart                 systemctl try-restart
import { secretNameProblem } from "#protocol/names";
import { AgentError, reason } from "./error.ts";
import { HERE, RESOLVE_NO_SYMLINKS, type Sys } from "./sys.ts";
import { decodeUtf8 } from "./text.ts";
import { isType, readAll, S_IFREG, using } from "./tree.ts";

export const DEFAULT_POLICY = "/etc/hatchway/credentials.policy";
const MOST = 262_144;

/** What systemd loads credentials for; instances have something between "@" and the last dot. */
const UNIT = /^[A-Za-z0-9:_.\\-]{1,200}(@[A-Za-z0-9:_.\\-]*)?\.(?:service|socket|mount|swap)$/;
/** A credential's name, of those that systemd takes (systemd.exec(5)). */
const CREDENTIAL = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/;

export type UnitAction = "reload" | "restart";

/** A unit's line or lines. */
export interface UnitRules {
  /** The secret of each credential. */
  secrets: ReadonlyMap<string, string>;
  onChange?: UnitAction;
}

export type Policy = ReadonlyMap<string, UnitRules>;

/** Throws AgentError "machine": what is not understood allows nothing. */
export function parsePolicy(text: string): Policy {
  const rules = new Map<string, { secrets: Map<string, string>; onChange?: UnitAction }>();
  for (const [index, line] of text.split("\n").entries()) {
    const refuse = (what: string): never => {
      throw new AgentError("machine", `line ${index + 1}: ${what}`);
    };
    if (!/^[\t\u0020-\u007e]*$/.test(line)) refuse("it should be printable ASCII");
    const [verb, unit, ...words] = line.split(/[\t ]+/).filter((word) => word !== "");
    if (verb === undefined || verb.startsWith("#")) continue;
    if (verb !== "allow" && verb !== "on-change") refuse(`"${verb}" is neither "allow" nor "on-change"`);
    if (unit === undefined || !isUnit(unit)) {
      refuse(`"${unit ?? ""}" should be a service, socket, mount or swap unit`);
      continue;
    }
    if (words.length === 0) refuse(verb === "allow" ? "no credential is named" : 'it should say "reload" or "restart"');
    const rule = rules.get(unit) ?? { secrets: new Map<string, string>() };
    if (verb === "allow") for (const word of words) allow(rule.secrets, word, refuse);
    else rule.onChange = actionOf(words, rule, refuse);
    rules.set(unit, rule);
  }
  return rules;
}

export function isUnit(name: string): boolean {
  return UNIT.test(name);
}

/** `ID` or `ID=SECRET`, of a credential and a secret; or what is wrong with it. */
export function parseCredential(word: string): { credential: string; secret: string } | string {
  const equals = word.indexOf("=");
  const credential = equals < 0 ? word : word.slice(0, equals);
  const secret = equals < 0 ? word : word.slice(equals + 1);
  if (!CREDENTIAL.test(credential)) return `"${credential}" is no name of a credential`;
  const problem = secretNameProblem(secret);
  return problem === undefined ? { credential, secret } : `"${secret}" ${problem}`;
}

function allow(secrets: Map<string, string>, word: string, refuse: (what: string) => never): void {
  const parsed = parseCredential(word);
  if (typeof parsed === "string") return refuse(parsed);
  if (secrets.has(parsed.credential)) refuse(`"${parsed.credential}" is there twice`);
  secrets.set(parsed.credential, parsed.secret);
}

function actionOf(words: readonly string[], rule: UnitRules, refuse: (what: string) => never): UnitAction {
  const [action] = words;
  if (words.length !== 1 || (action !== "reload" && action !== "restart")) {
    return refuse('it should say "reload" or "restart"');
  }
  if (rule.secrets.size === 0) refuse("the unit should be allowed something before it");
  if (rule.onChange !== undefined) refuse("the unit has such a line already");
  return action;
}

/** What a unit may have: by its own rules, else by its template's. */
export function rulesOf(policy: Policy, unit: string): UnitRules | undefined {
  return policy.get(unit) ?? policy.get(unit.replace(/@[^@]*(\.[a-z]+)$/, "@$1"));
}

/**
 * Reads the policy as it is now. Whoever can write it chooses who has what: it must be a file that only root can write,
 * and no part of its path a symlink. Throws AgentError "machine".
 */
export function readPolicy(sys: Sys, path: string): Policy {
  try {
    return using(sys, sys.openat2(HERE, path, sys.O_RDONLY | sys.O_NONBLOCK, 0, RESOLVE_NO_SYMLINKS), (fd) => {
      const { uid, mode } = sys.fstat(fd);
      if (!isType(sys.fstat(fd), S_IFREG)) throw new AgentError("machine", "it is not a file");
      if (uid !== 0 || (mode & 0o022) !== 0)
        throw new AgentError("machine", "it must be a file that only root can write");
      return parsePolicy(decodeUtf8(readAll(sys, fd, MOST, path)));
    });
  } catch (cause) {
    throw new AgentError("machine", `policy "${path}": ${reason(cause)}`, { cause });
  }
}
