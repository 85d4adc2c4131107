// A real vault over a real store, in a folder of its own that is gone when the test is over.
import { cp, mkdtemp, readFile, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Caller } from "#caller";
import type { Mirror } from "#mirror";
import type { DeliveryChange } from "#secret";
import { openMemoryStore, type Faults } from "#store/memory";
import { openSqliteStore } from "#store/sqlite";
import type { Store } from "#store";
import type { SecretPut, Vault } from "#vault";
import type { AuditLine } from "#vault/audit";
import type { Policy } from "#vault/authorise";
import { openVault, type VaultOptions, type VaultPlaces } from "#vault/open";
import type { Vm } from "#vm";

/** Of the session's own user, or root: may do anything that the policy leaves to him. */
export const admin: Caller = { kind: "unix", uid: 1000, gid: 1000, pid: 42 };

export interface TestVaultOptions {
  /** Memory when absent; `sqlite` outlives `reopen`. */
  store?: "memory" | "sqlite";
  faults?: Faults;
  policy?: Policy;
  vault?: VaultOptions;
  /** Stands between the vault and its store with the tree. */
  around?: (store: Store) => Store;
  /** Stands between the tree and the store under it. */
  below?: (store: Store) => Store;
  mirror?: Mirror;
}

export class TestVault {
  readonly folder: string;
  readonly places: VaultPlaces;
  readonly #options: TestVaultOptions;
  #vault: Vault | undefined;
  #store: Store | undefined;

  private constructor(folder: string, options: TestVaultOptions) {
    this.folder = folder;
    this.places = {
      keyFile: join(folder, "config/root.key"),
      keyring: join(folder, "state/keyring.json"),
      audit: join(folder, "state/audit.jsonl"),
    };
    this.#options = options;
  }

  static async open(options: TestVaultOptions = {}): Promise<TestVault> {
    const made = new TestVault(await mkdtemp(join(tmpdir(), "hatchway-vault-")), options);
    await made.start();
    return made;
  }

  get vault(): Vault {
    if (!this.#vault) throw new Error("the vault is not open");
    return this.#vault;
  }

  get store(): Store {
    if (!this.#store) throw new Error("the vault is not open");
    return this.#store;
  }

  get storeFile(): string {
    return join(this.folder, "state/store.db");
  }

  /** Opens the vault; throws as it does. */
  async start(): Promise<void> {
    const { store: kind, faults, around, below, mirror, policy = { mode: "session", uid: 1000 } } = this.#options;
    const store =
      kind === "sqlite"
        ? await openSqliteStore(this.storeFile, { create: true })
        : openMemoryStore(faults ? { faults } : {});
    this.#store = below ? below(store) : store;
    try {
      this.#vault = await openVault(this.#store, this.places, policy, {
        ...this.#options.vault,
        ...(around && { around }),
        ...(mirror && { mirror }),
      });
    } catch (error) {
      await this.#store.close();
      throw error;
    }
  }

  async stop(): Promise<void> {
    const open = this.#vault;
    this.#vault = undefined;
    await open?.close();
  }

  /** Ends it as kill -9 would: the files are those of this moment, and nothing is written after. */
  async crash(): Promise<void> {
    const moment = `${this.folder}.crashed`;
    await cp(this.folder, moment, { recursive: true, preserveTimestamps: true });
    await this.stop();
    await rm(this.folder, { recursive: true });
    await rename(moment, this.folder);
  }

  set(name: string, value: string | Buffer, delivery: DeliveryChange = {}): Promise<SecretPut> {
    return this.vault.putSecret(admin, name, "set", { value: Buffer.from(value), delivery });
  }

  vm(name: string, ...secrets: string[]): Promise<Vm> {
    const grants = secrets.map((secret) => ({ secret, change: {} }));
    return this.vault.createVm(admin, { name, runner: { uid: 1000, gid: 1000 }, grants });
  }

  /** The value of one entry of a VM's bundle, as text; undefined where the VM does not have it. */
  async seen(vmId: string, name: string): Promise<string | undefined> {
    const bundle = await this.vault.resolve(guest(vmId), vmId);
    const entry = bundle.manifest.entries.find((candidate) => candidate.name === name);
    if (!entry) return undefined;
    const open = await bundle.disclose([entry]);
    return (await open(entry)).toString();
  }

  async audit(): Promise<AuditLine[]> {
    return auditLines(await readFile(this.places.audit, "utf8"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.folder, { recursive: true });
  }
}

export function auditLines(text: string): AuditLine[] {
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as AuditLine);
}

/** A guest's process that may fetch. */
export function guest(vmId: string): Caller & { kind: "vm" } {
  return { kind: "vm", vmId, channel: "vsock", proven: true };
}

/** The code with which `promise` is refused; "done" if it is not. */
export async function refusal(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "done";
  } catch (error) {
    if (error instanceof Error && "code" in error) return String(error.code);
    throw error;
  }
}
