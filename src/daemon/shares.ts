// The shares of the VMs that Hatchway starts: made at each start, kept as the VM is to have them, taken away at its end.
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { BundleTar } from "#bundle/tar";
import type { Caller } from "#caller";
import { firmwareWord } from "#channel/firmware-word";
import { HatchwayError, toHatchwayError } from "#error";
import { isErrno, writeDurably } from "#host/files";
import { removeTree } from "#host/remove-tree";
import { generateAgeKey } from "#keygen/age-identity";
import { Mutex } from "#mutex";
import { openPlainShare, openSealedShare, type Share } from "#share/folder";
import { ageSeal } from "#vault/age";
import type { Vault } from "#vault";
import { valueBuffer } from "#value-buffer";
import type { ShareOptions, Vm } from "#vm";
import type { BootSecrets, MachineShare, ProcessIdentity } from "#vmm";
import { signalProcess } from "#vmm/process";
import { serveByVirtiofs } from "#vmm/virtiofsd";

export interface SharesParts {
  vault: Vault;
  /** The daemon's folder on tmpfs. */
  runtime: string;
  self: Caller;
  log: { write(line: string): void; report(error: unknown): void };
}

interface Kept {
  vm: Vm;
  folder: string;
  share: Share;
  /** Whom it is sealed to. */
  recipient: string | undefined;
  /** What serves it to a machine that may not have started. */
  server: ProcessIdentity | undefined;
  retry: NodeJS.Timeout | undefined;
  /** The last failure that was told. */
  problem: string | undefined;
}

/** How soon a change that could not be written is tried again: milliseconds. */
const RETRY = 5_000;

export class Shares {
  readonly #parts: SharesParts;
  readonly #kept = new Map<string, Kept>();
  readonly #writing = new Mutex();
  readonly #unwatch: () => void;

  constructor(parts: SharesParts) {
    this.#parts = parts;
    this.#unwatch = parts.vault.watch((vmId) => {
      for (const id of vmId === undefined ? [...this.#kept.keys()] : [vmId]) void this.#follow(id);
    });
  }

  /** Makes the share of a VM that is about to start, and gives what its machine is to have. `close` takes all of it back. */
  async open(vm: Vm, options: ShareOptions, directory: string): Promise<BootSecrets> {
    const { by, form } = options;
    await this.close(vm.id);
    const folder = join(directory, "share");
    await removeTree(folder);
    const key = form === "sealed" ? generateAgeKey() : undefined;
    try {
      if (key) await this.#writeRecipient(vm.id, key.recipient);
      const kept = await this.#keep(vm, options, folder, key?.recipient);
      await this.#writing.run(vm.id, () => this.#write(kept));
      const share = await this.#serve(kept, by, join(directory, "share.sock"));
      return { share, ...(key && { firmware: [firmwareWord("fw-cfg", "key", key.identity)] }) };
    } catch (error) {
      await this.close(vm.id);
      throw error;
    } finally {
      key?.identity.fill(0);
    }
  }

  /** Goes on with the share of a VM that an earlier daemon has started. */
  async resume(vm: Vm, options: ShareOptions, directory: string): Promise<void> {
    if (this.#kept.has(vm.id)) return;
    const recipient = options.form === "sealed" ? await this.#readRecipient(vm.id) : undefined;
    await this.#keep(vm, options, join(directory, "share"), recipient);
    await this.#follow(vm.id);
  }

  /** Takes the share of a VM away, now that its machine has ended, or has not started. */
  async close(vmId: string): Promise<void> {
    const kept = this.#kept.get(vmId);
    this.#kept.delete(vmId);
    clearTimeout(kept?.retry);
    await this.#writing.run(vmId, async () => {
      if (!kept) return;
      await kept.share[Symbol.asyncDispose]();
      if (kept.server) signalProcess(kept.server, "SIGTERM");
      await removeTree(kept.folder);
      await rm(this.#recipientFile(vmId), { force: true });
    });
  }

  /** Lets go of all of them; what the guests see stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#unwatch();
    const all = [...this.#kept.entries()];
    this.#kept.clear();
    for (const [vmId, { share, retry }] of all) {
      clearTimeout(retry);
      await this.#writing.run(vmId, () => share[Symbol.asyncDispose]());
    }
  }

  async #serve(kept: Kept, by: ShareOptions["by"], socket: string): Promise<MachineShare> {
    const folder = kept.share.exported;
    if (by === "9p") return { by, folder };
    kept.server = await serveByVirtiofs(folder, socket, kept.vm.runner);
    return { by, socket };
  }

  async #keep(vm: Vm, { by, form }: ShareOptions, folder: string, recipient: string | undefined): Promise<Kept> {
    const share = form === "sealed" ? await openSealedShare(folder) : await openPlainShare(folder, by, vm.runner.gid);
    const kept = { vm, folder, share, recipient, server: undefined, retry: undefined, problem: undefined };
    this.#kept.set(vm.id, kept);
    return kept;
  }

  /** Brings a share up to date; what fails is told once, and tried again. */
  #follow(vmId: string): Promise<void> {
    return this.#writing.run(vmId, async () => {
      const kept = this.#kept.get(vmId);
      if (!kept) return;
      clearTimeout(kept.retry);
      try {
        await this.#write(kept);
        kept.problem = undefined;
      } catch (thrown) {
        const { code, message } = toHatchwayError(thrown);
        // It is being removed: its machine ends next.
        if (code === "not-found") return;
        kept.retry = setTimeout(() => void this.#follow(vmId), RETRY).unref();
        if (kept.problem === message) return;
        kept.problem = message;
        this.#parts.log.write(`the share of vm "${kept.vm.name}" is not up to date: ${message}`);
        if (code === "internal") this.#parts.log.report(thrown);
      }
    });
  }

  async #write({ vm, share, recipient }: Kept): Promise<void> {
    const bundle = await this.#parts.vault.resolve(this.#parts.self, vm.id);
    const tar = new BundleTar(bundle, bundle.manifest.entries);
    await share.replace(async (take) => {
      if (recipient === undefined) await tar.writeTo(async (bytes) => take(bytes));
      else take(await sealTar(tar, recipient));
      return true;
    });
  }

  async #writeRecipient(vmId: string, recipient: string): Promise<void> {
    await mkdir(join(this.#parts.runtime, "shares"), { recursive: true, mode: 0o700 });
    await writeDurably(this.#recipientFile(vmId), Buffer.from(recipient));
  }

  async #readRecipient(vmId: string): Promise<string> {
    try {
      return await readFile(this.#recipientFile(vmId), "latin1");
    } catch (cause) {
      if (!isErrno(cause, "ENOENT")) throw cause;
      throw new HatchwayError("unavailable", "it is not known whom the share is sealed to", { cause });
    }
  }

  /** Only the daemon's user can write there. */
  #recipientFile(vmId: string): string {
    return join(this.#parts.runtime, "shares", vmId);
  }
}

async function sealTar(tar: BundleTar, recipient: string): Promise<Buffer> {
  const plaintext = valueBuffer(tar.size);
  try {
    let at = 0;
    await tar.writeTo(async (bytes) => {
      plaintext.set(bytes, at);
      at += bytes.length;
    });
    return await ageSeal(recipient, plaintext);
  } finally {
    plaintext.fill(0);
  }
}
