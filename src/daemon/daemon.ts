import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { adminApp } from "#admin/app";
import { serveApi, unixCaller } from "#admin/serve";
import type { TokenFile } from "#admin/tokens";
import type { StatusBody } from "#api";
import type { Caller } from "#caller";
import { closeAdmin, listenAdmin, refuseSecond } from "#daemon/admin-socket";
import { readConfig, secretsFolder, type Config } from "#daemon/config";
import { NumberedGroups } from "#daemon/host-groups";
import { GuestIdentities } from "#daemon/guest-identities";
import type { ListenAddress } from "#daemon/listen";
import { Network } from "#daemon/network";
import { waySources } from "#daemon/places";
import { DaemonLog } from "#daemon/log";
import { HostMachines } from "#daemon/machines";
import { Delivery } from "#delivery";
import { DirectoryStore, refuseFolder } from "#directory/store";
import { HatchwayError, toHatchwayError } from "#error";
import { GuestServer } from "#guest/server";
import { Journal } from "#host/journal";
import { ownUid, privateDirectory } from "#host/files";
import type { Mirror } from "#mirror";
import type { Places } from "#places";
import { checkSocketPath } from "#socket-path";
import { openSqliteStore } from "#store/sqlite";
import type { Store } from "#store";
import type { Vault } from "#vault";
import type { Sealing } from "#sealing";
import { SealableVault, type SealableOptions } from "#vault/sealable";
import type { TrailHead } from "#vault/trail-heads";
import { VERSION } from "#version";
import { isSynced } from "#vm";

export interface DaemonOptions {
  mode: "system" | "session";
  places: Places;
  /** It is of a process that has other work, and stays that process's: its umask is left alone. */
  isEmbedded?: boolean;
  /** Write the log to stderr as well. */
  echo: boolean;
  /** Asks for the passphrase where no other way leads to the keys. */
  askPassphrase?: (label: string) => Promise<Buffer>;
  /** Start with the keys sealed. */
  sealed?: boolean;
  /** A descriptor that listens at the admin socket already. */
  adminSocket?: number;
  /** Besides what the configuration says. */
  listen?: readonly ListenAddress[];
  tokens?: readonly TokenFile[];
  /** journald's socket, if it is not where it usually is. */
  journal?: string;
  /** Called when the daemon cannot go on: a disk that failed, for one. It should then end. */
  onFatal: (error: HatchwayError) => void;
}

/**
 * The daemon: everything is put together here and nowhere else. One of a state directory at a time; the VMs that it
 * started go on when it ends, and the next one finds them.
 */
export class Daemon {
  readonly #closers: (() => Promise<void> | void)[] = [];
  readonly log: DaemonLog;
  #network: Network | undefined;
  /** Whether it started with its keys sealed. */
  isSealed = false;

  private constructor(log: DaemonLog) {
    this.log = log;
  }

  /** Resolves once it serves; throws HatchwayError, with nothing left open, if it cannot. */
  static async start(options: DaemonOptions): Promise<Daemon> {
    // Whatever this process or a VMM of its makes is for its user alone, unless it says otherwise.
    if (options.isEmbedded !== true) process.umask(0o077);
    const { state } = options.places;
    await privateDirectory(state);
    const daemon = new Daemon(new DaemonLog(join(state, "daemon.log"), options.echo));
    try {
      await daemon.#open(options);
      return daemon;
    } catch (error) {
      await daemon.close();
      throw error;
    }
  }

  /** Reads again the files of tokens, certificates and revocation lists; the log has what came of it. */
  async reload(): Promise<void> {
    await this.#network?.reload();
  }

  /** Finishes what is under way and lets go of everything; running VMs go on. */
  async close(): Promise<void> {
    for (const close of this.#closers.splice(0).toReversed()) await close();
    await this.log.close();
  }

  async #open(options: DaemonOptions): Promise<void> {
    const { mode, places, onFatal, listen = [], tokens = [] } = options;
    const kind = options.isEmbedded === true ? "embedded" : mode;
    const { log } = this;
    const config = await readConfig(places.config);
    checkSocketPath(places.socket, "choose a shorter XDG_RUNTIME_DIR");
    const store = await openSqliteStore(join(places.state, "store.db"), { create: true, onFatal });
    const journal = Journal.open(options.journal);
    this.#closers.push(() => journal?.[Symbol.dispose]());
    const folder = directoryOf(config, places, log);
    const opened = Promise.withResolvers<HostMachines>();
    const sealing = await openVaultOver(store, options, config, journal, folder?.mirror, {
      report: (line) => log.write(line),
      unsealed: async () => {
        const started = await opened.promise;
        await openSecrets(vault, folder).catch((thrown: unknown) => {
          // With its keys open it would not have started.
          onFatal(toHatchwayError(thrown));
          throw thrown;
        });
        await started.open();
      },
    });
    const { vault } = sealing;
    this.#closers.push(() => vault.close());
    if (folder) this.#closers.push(() => folder.close());
    if (!sealing.isSealed) await openSecrets(vault, folder);

    const self: Caller = { kind: "embedded", uid: ownUid(), purpose: `${kind} daemon` };
    const delivery = new Delivery(vault);
    this.#closers.push(() => delivery.close());
    const guests = new GuestServer({ vault, delivery, report: (error) => log.report(error) });
    this.#closers.push(() => guests.close());

    const identities = new GuestIdentities(places.config);
    await openRuntime(mode, places.runtime);
    const machines = new HostMachines({
      vault,
      delivery,
      mode,
      runtime: places.runtime,
      self,
      accept: (stream, identity) => guests.accept(stream, identity),
      ...(config.localVsock !== undefined && { localVsock: config.localVsock }),
      identities,
      disconnect: (vmId) => guests.disconnect(vmId),
      log,
    });
    this.#closers.push(() => machines.close());
    if (options.adminSocket === undefined) await refuseSecond(places.socket);
    if (!sealing.isSealed) await machines.open();
    opened.resolve(machines);

    const hostGroups = new NumberedGroups({
      vault,
      machines,
      groups: config.hostGroups,
      self,
      ownRunner: mode === "session" ? { uid: ownUid(), gid: process.getegid?.() ?? 0 } : undefined,
    });
    const startedAt = new Date().toISOString();
    const status = (caller: Caller): Promise<StatusBody> =>
      statusOf({ kind, places, startedAt, store, folder, vault, sealing, machines, caller });
    const app = adminApp({ vault, sealing, machines, hostGroups, status, log, attachDefault: config.attach });
    const admin = serveApi(app, unixCaller, (line) => log.write(line));
    await listenAdmin(admin, mode, places.socket, options.adminSocket);
    this.#closers.push(() => closeAdmin(admin));
    const network = await Network.listen({
      api: app,
      vault,
      addresses: [...config.listen, ...listen],
      tokens: [...config.tokens, ...tokens],
      guestAddresses: config.guestListen,
      admit: (vmId, stream) => machines.admit(vmId, stream),
      report: (line) => log.write(line),
    });
    this.#network = network;
    identities.served(network.guests);
    for (const { server, address } of network.listeners) {
      this.#closers.push(() => closeAdmin(server));
      log.write(`hatchway serves on ${address}`);
    }
    for (const listener of network.guests) {
      this.#closers.push(() => listener.close());
      log.write(`guests are served on ${listener.address}`);
    }
    this.#closers.push(() => network[Symbol.dispose]());
    const lid = sealing.isSealed ? "; its keys are sealed, open them with: hatchway key unseal" : "";
    log.write(`hatchway ${VERSION} serves ${kind} on ${places.socket}, pid ${process.pid}${lid}`);
    this.isSealed = sealing.isSealed;
  }
}

async function openVaultOver(
  store: Store,
  { mode, places, askPassphrase, sealed = false, onFatal }: DaemonOptions,
  { roles, audit }: Config,
  journal: Journal | undefined,
  mirror: Mirror | undefined,
  lid: Pick<SealableOptions, "report" | "unsealed">,
): Promise<SealableVault> {
  const files = {
    ...waySources(places),
    ...(askPassphrase && { askPassphrase }),
    keyring: join(places.state, "keyring.json"),
    audit: join(places.state, "audit.jsonl"),
  };
  try {
    const who = mode === "system" ? { mode } : { mode, uid: ownUid() };
    const options = {
      ...lid,
      sealed,
      vault: {
        durableReads: audit === "durable",
        onFatal,
        ...(mirror && { mirror }),
        onHead: (head: TrailHead) => void journal?.send(headEntry(head)),
      },
    };
    return await SealableVault.open(store, files, { ...who, ...(roles && { roles }) }, options);
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** How far trail and store have come, as fields of an entry of journald: docs/operations.md says what they are for. */
function headEntry({ seq, mac, epoch, revision }: TrailHead): Record<string, string> {
  return {
    MESSAGE: `audit trail at line ${seq}, store at revision ${revision}`,
    PRIORITY: "6",
    SYSLOG_IDENTIFIER: "hatchway",
    HATCHWAY_AUDIT_SEQ: String(seq),
    HATCHWAY_AUDIT_MAC: mac,
    HATCHWAY_STORE_EPOCH: epoch,
    HATCHWAY_STORE_REVISION: String(revision),
  };
}

/** Throws unless the newest versions are where the configuration says. */
async function openSecrets(vault: Vault, folder: DirectoryStore | undefined): Promise<void> {
  await (folder ? folder.open(vault) : refuseFolder(vault));
}

/** The folder of plain secrets, where the configuration wants one. */
function directoryOf(config: Config, places: Places, log: DaemonLog): DirectoryStore | undefined {
  return config.store.kind === "directory" ? new DirectoryStore(secretsFolder(config, places), log) : undefined;
}

/** The folder of all sockets: others may pass through it to a VM's own folder, in system mode, and see nothing. */
async function openRuntime(mode: "system" | "session", runtime: string): Promise<void> {
  const passable = mode === "system" ? 0o711 : 0o700;
  await privateDirectory(runtime, passable);
  await mkdir(join(runtime, "vm"), { recursive: true });
  await chmod(join(runtime, "vm"), passable);
}

interface StatusParts {
  kind: StatusBody["mode"];
  places: Places;
  startedAt: string;
  store: Store;
  folder: DirectoryStore | undefined;
  vault: Vault;
  sealing: Sealing;
  machines: HostMachines;
  caller: Caller;
}

async function statusOf(parts: StatusParts): Promise<StatusBody> {
  const { kind, places, startedAt, store, folder, vault, sealing, caller } = parts;
  const kept = { epoch: (await store.epoch()).toString("hex"), revision: await store.revision() };
  return {
    version: VERSION,
    pid: process.pid,
    mode: kind,
    state: places.state,
    socket: places.socket,
    started_at: startedAt,
    store: folder
      ? { kind: "directory", ...kept, ...(!sealing.isSealed && (await folder.status(vault, caller))) }
      : { kind: "sqlite", ...kept },
    sealed: sealing.isSealed,
    ...(!sealing.isSealed && (await contentsOf(parts))),
  };
}

/** What only the keys tell. */
async function contentsOf({ vault, machines, caller }: StatusParts): Promise<Pick<StatusBody, "secrets" | "vms">> {
  const views = await machines.views(caller);
  return {
    secrets: (await vault.secrets(caller)).length,
    vms: views.map(({ vm, machine, convergence }) => ({
      name: vm.name,
      state: machine.state,
      wanted: convergence.wanted,
      ...(convergence.applied && { applied: convergence.applied.counter }),
      in_sync: isSynced(convergence),
      ...(convergence.lastContact !== undefined && { last_contact: new Date(convergence.lastContact).toISOString() }),
    })),
  };
}
