// The command line, parsed into what is to be done.
import { AgentError } from "./error.ts";
import { INITS, type Init } from "./inits.ts";
import { DEFAULT_POLICY, isUnit, parseCredential } from "./policy.ts";
import { DEFAULT_ROOT } from "./root.ts";
import { DEFAULT_SSH_KEYS } from "./ssh.ts";
import type { UnitsPlace } from "./units.ts";

export interface Place {
  /** --from; undefined: found out. */
  from?: string;
  /** --tls: the file of what this guest shows by TLS; undefined: where it usually is. */
  tls?: string;
  /** --key-file: what opens a sealed source. */
  keyFile?: string;
  root: string;
  mount: boolean;
  /** For ssh: the folder of the key, and of what is known of hosts. */
  sshKeys: string;
}

export type Command =
  | ({ kind: "sync" | "run" } & Place)
  /** `first` is the index of the command's name among the arguments. */
  | ({ kind: "exec"; first: number } & Place)
  | { kind: "credentials"; root: string; socket: string; policy: string }
  | ({ kind: "units" } & UnitsPlace)
  | { kind: "init"; init: Init; from?: string }
  | { kind: "status" | "doctor"; root: string; json: boolean }
  | { kind: "version" }
  | { kind: "help"; text: string };

const DEFAULT_SOCKET = `${DEFAULT_ROOT}/credentials.sock`;

const OVERVIEW = `hatchway-agent: brings this VM's secrets from its host to /run/hatchway/secrets

usage:
  hatchway-agent [secrets] sync    fetch once
  hatchway-agent run               fetch, and follow changes
  hatchway-agent exec -- CMD...    become CMD, with the secrets that are variables in its environment
  hatchway-agent credentials       serve systemd's LoadCredential= from what is in force
  hatchway-agent units             print what makes a unit of systemd use that, or an init run the agent
  hatchway-agent status [--json]   what is in force, and how the last attempt went
  hatchway-agent doctor [--json]   what this guest has for the agent, and what is amiss
  hatchway-agent version

Each has --help.
`;

const PLACE_HELP = `
  --from SOURCE   virtio-serial:NAME, vsock:CID:PORT, tls:HOST:PORT, unix:PATH, fw-cfg, smbios, serial:NAME or
                  label:NAME (a disk), dir:PATH, file:PATH, or ssh:USER@HOST[:PORT]; without it the first that there is
                  of the virtio-serial port org.hatchway.0, the host that a TLS file names, vsock:2:5107, fw-cfg, smbios
                  and a read-only disk HATCHWAY
  --key-file FILE the age key of a sealed source, root's alone (else the firmware has it)
  --tls FILE      what this guest shows by TLS, root's alone: its certificate and key, and the host's authority (else the
                  firmware has it, or /etc/hatchway/tls.pem)
  --root DIR      where secrets are kept, an absolute path (default ${DEFAULT_ROOT})
  --no-mount      use the tmpfs that DIR lies on instead of mounting one there, as in a container
  --ssh-keys DIR  for ssh: the folder with "key" and "known_hosts" (default ${DEFAULT_SSH_KEYS})
`;

const VERBS = ["sync", "run", "exec", "credentials", "units", "status", "doctor", "version"] as const;
type Verb = (typeof VERBS)[number];

const HELP: Record<Verb, string> = {
  sync: `usage: hatchway-agent [secrets] sync [--from SOURCE] [FLAGS] [--root DIR] [--no-mount]

Fetches what the host has for this VM and prints one line. When "hatchway-agent run" is alive, that one does it.
Exit code: 0 in force, 1 not, 2 wrong usage.
${PLACE_HELP}`,
  run: `usage: hatchway-agent run [--from SOURCE] [FLAGS] [--root DIR] [--no-mount]

Keeps this VM's secrets as the host has them, until SIGTERM. SIGHUP asks the host at once. Tells systemd when the first
set is in force (Type=notify). While the host is gone the last set stays.
${PLACE_HELP}`,
  exec: `usage: hatchway-agent exec [--from SOURCE] [FLAGS] [--root DIR] [--no-mount] -- CMD [ARGUMENT...]

Becomes CMD with the secrets that are variables in its environment, fetching first when there is no set yet.
Exit code: CMD's own; 127 not found, 126 cannot be run, 1 no secrets.
${PLACE_HELP}`,
  credentials: `usage: hatchway-agent credentials [--socket PATH] [--policy FILE] [--root DIR]

Serves units that have LoadCredential=ID:${DEFAULT_SOCKET}, until SIGTERM. Only systemd gets an answer, for a unit
that it starts, and only what the policy allows that unit; any other start fails. The policy is a file that only root can
write, read anew each time, with lines such as
  allow web.service tls.key password=db-password
  on-change web.service restart
where "password" is a credential, "db-password" a secret, and the unit is restarted, or reloaded, after a change.

  --socket PATH   default ${DEFAULT_SOCKET}; its folder must be root's
  --policy FILE   default ${DEFAULT_POLICY}
  --root DIR      where secrets are kept (default ${DEFAULT_ROOT})
`,
  units: `usage: hatchway-agent units --unit UNIT --credential ID[=SECRET]... [--socket PATH] [--policy FILE]
       hatchway-agent units --init ${INITS.join("|")} [--from SOURCE]

Prints the drop-in that makes UNIT load credentials from "hatchway-agent credentials", and the line for its policy; or
what makes this guest's init run the agent: a unit for /etc/systemd/system/hatchway-agent.service, or a script for
/etc/init.d/hatchway-agent.
`,
  status: `usage: hatchway-agent status [--json] [--root DIR]

Prints source, revision, when it was applied, whether the host answers, and what was refused.
`,
  doctor: `usage: hatchway-agent doctor [--json] [--root DIR]

Looks at each way to a host, at what would keep the secrets, and at the agent that runs, and changes nothing. Below what
is amiss is what mends it. Exit code: 0, or 1 where something fails.
`,
  version: "usage: hatchway-agent version\n",
};

/** Throws AgentError "usage". */
export function parseUsage(args: readonly string[]): Command {
  const start = args[0] === "secrets" ? 1 : 0;
  const verb = args[start];
  if (verb === undefined || verb === "help" || verb === "--help" || verb === "-h")
    return { kind: "help", text: OVERVIEW };
  if (start === 1 && verb !== "sync")
    throw new AgentError("usage", `unknown command "secrets ${verb}" (there is: sync)`);
  if (verb === "--version") return { kind: "version" };
  if (!isVerb(verb)) throw new AgentError("usage", `unknown command "${verb}" (there are: ${VERBS.join(", ")})`);
  const flags = parseFlags(args, start + 1, FLAGS[verb]);
  if (flags.help) return { kind: "help", text: HELP[verb] };
  if (verb !== "exec" && flags.next < args.length) {
    throw new AgentError("usage", `unexpected argument "${args[flags.next] ?? ""}"`);
  }
  const { root, json, mount, next, from, keyFile, tls, socket, policy, sshKeys } = flags;
  if (verb === "version") return { kind: verb };
  if (verb === "status" || verb === "doctor") return { kind: verb, root, json };
  if (verb === "credentials") return { kind: verb, root, socket, policy };
  if (verb === "units" && flags.init !== undefined) return readInit(flags.init, flags);
  if (verb === "units") return { kind: verb, socket, policy, ...readUnit(flags) };
  const place: Place = {
    root,
    mount,
    sshKeys,
    ...(from !== undefined && { from }),
    ...(keyFile !== undefined && { keyFile }),
    ...(tls !== undefined && { tls }),
  };
  if (verb !== "exec") return { kind: verb, ...place };
  if (next >= args.length) throw new AgentError("usage", "exec needs a command: hatchway-agent exec -- CMD");
  return { kind: verb, first: next, ...place };
}

function isVerb(word: string): word is Verb {
  return VERBS.some((verb) => verb === word);
}

function readInit(word: string, { unit, from }: Flags): Command {
  const init = INITS.find((one) => one === word);
  if (!init) throw new AgentError("usage", `--init "${word}" is none of ${INITS.join(", ")}`);
  if (unit !== undefined) throw new AgentError("usage", "--init is for the agent itself, and --unit for another unit");
  return { kind: "init", init, ...(from !== undefined && { from }) };
}

function readUnit({ unit, credentials }: Flags): Pick<UnitsPlace, "unit" | "credentials"> {
  if (unit === undefined) throw new AgentError("usage", "units needs --unit UNIT, or --init");
  if (!isUnit(unit)) throw new AgentError("usage", `"${unit}" should be a service, socket, mount or swap unit`);
  if (credentials.length === 0) throw new AgentError("usage", "units needs --credential ID=SECRET");
  for (const word of credentials) {
    const parsed = parseCredential(word);
    if (typeof parsed === "string") throw new AgentError("usage", `--credential: ${parsed}`);
  }
  return { unit, credentials };
}

const FLAGS: Record<Verb, readonly string[]> = {
  sync: ["--from", "--key-file", "--tls", "--ssh-keys", "--root", "--no-mount"],
  run: ["--from", "--key-file", "--tls", "--ssh-keys", "--root", "--no-mount"],
  exec: ["--from", "--key-file", "--tls", "--ssh-keys", "--root", "--no-mount"],
  credentials: ["--socket", "--policy", "--root"],
  units: ["--unit", "--credential", "--socket", "--policy", "--init", "--from"],
  status: ["--root", "--json"],
  doctor: ["--root", "--json"],
  version: [],
};

interface Flags {
  from?: string;
  keyFile?: string;
  tls?: string;
  root: string;
  socket: string;
  policy: string;
  sshKeys: string;
  unit?: string;
  init?: string;
  credentials: string[];
  mount: boolean;
  json: boolean;
  help: boolean;
  /** Index of the first argument that is no flag. */
  next: number;
}

function parseFlags(args: readonly string[], start: number, known: readonly string[]): Flags {
  const flags: Flags = {
    root: DEFAULT_ROOT,
    socket: DEFAULT_SOCKET,
    policy: DEFAULT_POLICY,
    sshKeys: DEFAULT_SSH_KEYS,
    credentials: [],
    mount: true,
    json: false,
    help: false,
    next: args.length,
  };
  for (let at = start; at < args.length; at++) {
    const word = args[at] ?? "";
    if (!word.startsWith("-") || word === "--") {
      flags.next = word === "--" ? at + 1 : at;
      break;
    }
    const equals = word.indexOf("=");
    const name = equals < 0 ? word : word.slice(0, equals);
    if (word === "--help" || word === "-h") flags.help = true;
    else if (!known.includes(name)) throw new AgentError("usage", `unknown flag "${name}"`);
    else if (word === "--no-mount") flags.mount = false;
    else if (word === "--json") flags.json = true;
    else if (name === "--no-mount" || name === "--json") throw new AgentError("usage", `flag "${name}" takes no value`);
    else {
      const value = equals < 0 ? args[++at] : word.slice(equals + 1);
      if (value === undefined || value === "") throw new AgentError("usage", `flag "${name}" needs a value`);
      if (name === "--from") flags.from = value;
      else if (name === "--init") flags.init = value;
      else if (name === "--key-file") flags.keyFile = absolute(name, value);
      else if (name === "--tls") flags.tls = absolute(name, value);
      else if (name === "--unit") flags.unit = value;
      else if (name === "--credential") flags.credentials.push(value);
      else if (name === "--socket") flags.socket = absolute(name, value);
      else if (name === "--ssh-keys") flags.sshKeys = absolute(name, value);
      else if (name === "--policy") flags.policy = absolute(name, value);
      else flags.root = absolute(name, value);
    }
  }
  return flags;
}

function absolute(flag: string, path: string): string {
  if (/^\/[\u0021-\u007e]+$/.test(path) && !path.split("/").includes("..")) return path;
  throw new AgentError("usage", `${flag} "${path}" should be an absolute path`);
}
