// pki init, server, client, guest, list, renew, revoke: on the files of an authority's folder, without a daemon.
import { dirname, join, resolve } from "node:path";
import type { Command } from "commander";
import { HatchwayError } from "#error";
import { sessionPlaces, systemPlaces } from "#places";
import { collect, examples, group, leaf, type Run } from "./command.ts";
import { readPlace } from "./place-flags.ts";
import { formatSpan, parseCount } from "./quantity.ts";
import type { Bearer } from "#pki/issued";
import type { Session } from "./session.ts";
import { formatFields, formatTable } from "./table.ts";

interface FolderFlags {
  session?: true;
  system?: true;
  dir?: string;
}

interface IssueFlags extends FolderFlags {
  days?: string;
  name?: string[];
}

interface GuestFlags extends IssueFlags {
  host?: string;
  id?: string;
}

interface RenewFlags extends FolderFlags {
  all?: true;
  authority?: true;
  before?: string;
  days?: string;
}

export function addPkiCommands(run: Run, program: Command): void {
  const pki = group(
    program,
    "pki",
    "init, server, client, guest, list, renew, revoke",
    "A small certificate authority: for the daemon's TLS, for its clients, and for guests that come over a network.",
  );
  if (!run.words.includes("pki")) return;
  leaf(run, pki, "init", "make an authority", defineInit, initAuthority);
  leaf(run, pki, "server [name]", "issue the daemon's certificate", defineServer, issueServer);
  leaf(
    run,
    pki,
    "client <name>",
    "issue the certificate of who administrates over a network",
    defineClient,
    issueClient,
  );
  leaf(run, pki, "guest <vm>", "issue a VM's certificate", defineGuest, issueGuest);
  leaf(run, pki, "list", "list what was issued", folderFlags, listIssued);
  leaf(run, pki, "renew [names...]", "put new keys and certificates in the place of old ones", defineRenew, renew);
  leaf(run, pki, "revoke <names...>", "take certificates back before they end", defineRevoke, revoke);
}

function folderFlags(command: Command): Command {
  return command
    .optionsGroup("Which authority:")
    .option("--dir <folder>", "the one in that folder")
    .option("--session", "your own (the default, but for root)")
    .option("--system", "the machine's, /etc/hatchway/pki (the default for root)");
}

function daysFlag(command: Command, otherwise: string): Command {
  return command.option("--days <n>", `how long it is good (${otherwise})`);
}

function defineInit(command: Command): Command {
  return folderFlags(daysFlag(command, "3650")).description(
    "Makes an authority: its key, its certificate and an empty revocation list, in a folder that only you can read. " +
      "Who has its key can make certificates that open the daemon.",
  );
}

function defineServer(command: Command): Command {
  return folderFlags(
    daysFlag(
      command.requiredOption("--name <host>", "a name or an address that clients call it by (repeatable)", collect),
      "365",
    ),
  )
    .description(
      "Issues the certificate of a daemon's listener. NAME is what to call it here; the first host when absent.",
    )
    .addHelpText("after", examples("hatchway pki server --name vault.example.org --name 192.0.2.7"));
}

function defineClient(command: Command): Command {
  return folderFlags(daysFlag(command, "365"))
    .description("Issues a client's certificate. NAME is who asks, for roles and in the audit trail.")
    .addHelpText("after", examples("hatchway pki client ci"));
}

function defineGuest(command: Command): Command {
  return folderFlags(daysFlag(command, "365"))
    .option("--host <host:port>", "where its agent finds the daemon, at the head of the file")
    .option("--id <id>", "the vm's id, as vm show --json says it (asked of the daemon)")
    .description(
      "Issues the certificate by which a VM's agent shows over a network which VM it is. Its file has the key and the " +
        "authority too: it is all that goes into the guest, as /etc/hatchway/tls.pem, root's and 0600. It is of that VM " +
        "alone, not of a later one with its name, and opens nothing of the admin API.",
    )
    .addHelpText("after", examples("hatchway pki guest web-1 --host 192.0.2.7:5107"));
}

function defineRenew(command: Command): Command {
  return folderFlags(daysFlag(command, "365; of an authority 3650"))
    .option("--all", "all that end soon")
    .option("--before <days>", "only what ends within so many days (with --all: 30d)")
    .option("--authority", "the authority's own certificate, for the same key")
    .description(
      "Makes a new key and certificate for each NAME (KIND/NAME where two kinds have it) and puts them in the old ones' " +
        "place in one step. The old ones stay good until they end. A daemon takes the new files by itself.",
    )
    .addHelpText(
      "after",
      examples("hatchway pki renew --all", "hatchway pki renew ci", "hatchway pki renew server/db"),
    );
}

function defineRevoke(command: Command): Command {
  return folderFlags(command)
    .description(
      "Revokes all certificates of each NAME that are still good, writes the revocation list, and removes their file. A " +
        "daemon that is told of the list (revoked, in config.yaml) ends their connections at once.",
    )
    .addHelpText("after", examples("hatchway pki revoke ci"));
}

function folderOf(flags: FolderFlags): string {
  if (flags.dir !== undefined) return resolve(flags.dir);
  const { mode } = readPlace(flags);
  const places = mode === "system" ? systemPlaces() : sessionPlaces(process.env, process.getuid?.() ?? 0);
  return join(dirname(places.config), "pki");
}

function daysOf({ days }: { days?: string }): number | undefined {
  if (days === undefined) return undefined;
  const count = parseCount("--days", days, 1);
  if (count <= 36_500) return count;
  throw new HatchwayError("invalid", `--days "${days}" is above 36500`);
}

async function initAuthority(session: Session, _operands: readonly string[], flags: IssueFlags): Promise<undefined> {
  const { Authority, AUTHORITY_DAYS } = await import("#pki/authority");
  await using authority = await Authority.create(folderOf(flags), daysOf(flags) ?? AUTHORITY_DAYS);
  const { folder, certificate } = authority;
  const made = {
    certificate: join(folder, "ca.crt"),
    key: join(folder, "ca.key"),
    revocations: join(folder, "crl.pem"),
    not_after: certificate.validToDate.toISOString(),
  };
  session.report(made, () =>
    formatFields([
      ["authority", made.certificate],
      ["key", `${made.key}, which must stay secret`],
      ["revoked", made.revocations],
      ["ends", made.not_after],
    ]),
  );
}

type Kind = "server" | "client" | "guest";

async function issueServer(session: Session, [given]: readonly string[], flags: IssueFlags): Promise<undefined> {
  const { hostProblem } = await import("#keygen/certificate");
  const hosts = flags.name ?? [];
  for (const host of hosts) {
    const problem = hostProblem(host);
    if (problem !== undefined) throw new HatchwayError("invalid", `--name "${host.slice(0, 80)}" ${problem}`);
  }
  const name = given ?? hosts[0] ?? "";
  if (given === undefined && !/^[A-Za-z0-9.-]+$/.test(name)) {
    throw new HatchwayError("invalid", `"${name}" cannot be a file's name: say what to call the certificate`, {
      hint: `hatchway pki server NAME --name '${name}'`,
    });
  }
  return issue(session, { kind: "server", name, hosts }, flags);
}

function issueClient(session: Session, [name = ""]: readonly string[], flags: IssueFlags): Promise<undefined> {
  return issue(session, { kind: "client", name }, flags);
}

async function issueGuest(session: Session, [vm = ""]: readonly string[], flags: GuestFlags): Promise<undefined> {
  const { bearerProblem, hostAndPortProblem } = await import("#pki/issued");
  const { host } = flags;
  const problem = bearerProblem("guest", vm);
  if (problem !== undefined) throw new HatchwayError("invalid", `"${vm.slice(0, 80)}" ${problem}`);
  const hostProblem = host === undefined ? undefined : hostAndPortProblem(host);
  if (hostProblem !== undefined) throw new HatchwayError("invalid", `--host "${host?.slice(0, 80)}" ${hostProblem}`);
  const vmId = flags.id ?? (await session.client.vm(vm)).id;
  return issue(session, { kind: "guest", name: vm, vmId, ...(host !== undefined && { host }) }, flags);
}

async function issue(session: Session, bearer: Bearer, flags: IssueFlags): Promise<undefined> {
  const { Authority, pemFile } = await import("#pki/authority");
  await using authority = await Authority.open(folderOf(flags));
  const issued = await authority.issue(bearer, daysOf(flags));
  const { kind, name, serial, notAfter } = issued;
  const made = {
    kind,
    name,
    file: pemFile(authority.folder, issued),
    authority: join(authority.folder, "ca.crt"),
    serial,
    not_after: new Date(notAfter).toISOString(),
  };
  session.report(made, () =>
    formatFields([
      [kind, name],
      ["file", `${made.file} (${kind === "guest" ? "certificate, key and authority" : "certificate and key"})`],
      ["authority", made.authority],
      ["serial", serial],
      ["ends", made.not_after],
    ]),
  );
}

async function listIssued(session: Session, _operands: readonly string[], flags: FolderFlags): Promise<undefined> {
  const [{ readAuthority, readRegister }, { stateOf }] = await Promise.all([
    import("#pki/authority"),
    import("#pki/issued"),
  ]);
  const folder = folderOf(flags);
  const [authority, register] = await Promise.all([readAuthority(folder), readRegister(folder)]);
  const now = Date.now();
  const end = authority.validToDate;
  const rows = [
    {
      name: authority.subject.replace(/^CN=/, ""),
      kind: "authority",
      serial: authority.serialNumber,
      not_after: end.toISOString(),
      state: end.getTime() <= now ? "expired" : "valid",
    },
    ...register.certificates.map((one) => ({
      name: one.name,
      kind: one.kind,
      serial: one.serial,
      not_after: new Date(one.notAfter).toISOString(),
      state: stateOf(one, register, now),
      ...(one.hosts && { hosts: one.hosts }),
    })),
  ];
  session.report(rows, () => {
    const columns = ["NAME", "KIND", "SERIAL", "NOT AFTER", "STATE"].map((title) => ({ title }));
    const left = (row: (typeof rows)[number]): string =>
      row.state === "valid" ? `valid, ${formatSpan(Date.parse(row.not_after) - now)} left` : row.state;
    return formatTable(
      columns,
      rows.map((row) => [row.name, row.kind, row.serial, `${row.not_after.slice(0, 19)}Z`, left(row)]),
    );
  });
}

const RENEW_BEFORE = 30;

async function renew(session: Session, names: readonly string[], flags: RenewFlags): Promise<undefined> {
  const ways = [names.length > 0, flags.all === true, flags.authority === true].filter(Boolean).length;
  if (ways !== 1) throw new HatchwayError("invalid", "one of NAME, --all and --authority is to say what is renewed");
  const { Authority, AUTHORITY_DAYS, DAY } = await import("#pki/authority");
  const { newest } = await import("#pki/issued");
  const days = daysOf(flags);
  const before = beforeOf(flags);
  await using authority = await Authority.open(folderOf(flags));
  if (flags.authority === true) {
    await authority.renewItself(days ?? AUTHORITY_DAYS);
    session.report({ renewed: "authority" }, () => `renewed the authority; give everybody ${authority.folder}/ca.crt`);
    return;
  }
  const { certificates } = authority.register;
  const living = certificates.filter((one) => newest(certificates, one) === one && one.revokedAt === undefined);
  const chosen = flags.all === true ? living : names.map((name) => find(certificates, name));
  const limit = before === undefined ? Infinity : Date.now() + before * DAY;
  const renewed = [];
  for (const one of chosen.filter(({ notAfter }) => notAfter <= limit)) renewed.push(await authority.renew(one, days));
  const shown = renewed.map(({ kind, name, serial, notAfter }) => {
    return { kind, name, serial, not_after: new Date(notAfter).toISOString() };
  });
  session.report(shown, () =>
    shown.length === 0
      ? `nothing of that ends within ${before} days`
      : shown.map((one) => `renewed ${one.kind}/${one.name}, serial ${one.serial}, ends ${one.not_after}`).join("\n"),
  );
}

function beforeOf({ all, before }: RenewFlags): number | undefined {
  if (before === undefined) return all === true ? RENEW_BEFORE : undefined;
  return parseCount("--before", before.replace(/d$/, ""), 1);
}

async function revoke(session: Session, names: readonly string[], flags: FolderFlags): Promise<undefined> {
  const { Authority } = await import("#pki/authority");
  await using authority = await Authority.open(folderOf(flags));
  const found = names.map((name) => find(authority.register.certificates, name));
  const revoked: { kind: Kind; name: string; count: number }[] = [];
  for (const { kind, name } of found) {
    const count = await authority.revoke({ kind, name });
    revoked.push({ kind, name, count });
  }
  const list = join(authority.folder, "crl.pem");
  session.report({ revoked, revocations: list }, () => {
    const lines = revoked.map(({ kind, name, count }) =>
      count === 0 ? `nothing of ${kind}/${name} is good any more` : `revoked ${kind}/${name}`,
    );
    return [...lines, `the list is ${list}`].join("\n");
  });
}

/** The newest of `KIND/NAME`, or of `NAME` where one kind alone has it. Throws "not-found", "invalid". */
function find<One extends { kind: Kind; name: string }>(certificates: readonly One[], text: string): One {
  const [, kind, bare] = /^(server|client|guest)\/(.+)$/s.exec(text) ?? [];
  const fitting = certificates.filter(
    (one) => one.name === (bare ?? text) && (kind === undefined || one.kind === kind),
  );
  const last = fitting.at(-1);
  if (!last) {
    throw new HatchwayError("not-found", `no certificate "${text}" was issued`, { hint: "see: hatchway pki list" });
  }
  const other = fitting.find((one) => one.kind !== last.kind);
  if (!other) return last;
  throw new HatchwayError("invalid", `"${text}" is a ${other.kind} and a ${last.kind}`, {
    hint: `write it as ${other.kind}/${text} or ${last.kind}/${text}`,
  });
}
