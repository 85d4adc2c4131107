import type { Server, Socket } from "node:net";
import { GUEST_PORT } from "#channel";
import { closeServer } from "#channel/folder";
import { HatchwayError } from "#error";
import { CID_LOCAL, FIRST_GUEST_CID, listenVsock, peerCid } from "#host/vsock";
import { Mutex } from "#mutex";
import type { Vm } from "#vm";

export interface KernelVsockParts {
  /** The VM that this host itself is taken for, where the configuration names one. */
  local: string | undefined;
  /** The process that has the VM, if it is seen and lives at this moment. */
  processOf: (vm: Vm) => number | undefined;
  /** Serves a stream that process `pid` has brought. */
  accept: (vm: Vm, stream: Socket, pid: number) => void;
  report: (line: string) => void;
}

/** What was refused is said once for each reason; a guest can ask for ever. */
const MOST_SAID = 100;

/**
 * AF_VSOCK of the host's kernel: all guests call one port, and the kernel says which CID calls. It is open while a VM with a
 * CID is known. A call is served only while the process is seen that has the VM: a CID is free again when its VMM ends, and
 * the next one to take it is another guest.
 */
export class KernelVsock {
  readonly #parts: KernelVsockParts;
  readonly #vms = new Map<number, Vm>();
  readonly #open = new Map<string, Set<Socket>>();
  readonly #said = new Set<string>();
  readonly #opening = new Mutex();
  #server: Server | undefined;
  /** Why there is none, where there should be. */
  #problem: HatchwayError | undefined;

  constructor(parts: KernelVsockParts) {
    this.#parts = parts;
  }

  /** Serves a VM that has a CID from now on, if the port can be had: `problem` says why not. Of any other it does nothing. */
  async add(vm: Vm): Promise<void> {
    const cids = [
      ...(vm.cid !== undefined && vm.cid >= FIRST_GUEST_CID ? [vm.cid] : []),
      ...(vm.name === this.#parts.local ? [CID_LOCAL] : []),
    ];
    if (cids.length === 0) return;
    for (const cid of cids) this.#vms.set(cid, vm);
    await this.#opening.run("", () => this.#listen());
  }

  /** Why a VM that has a CID is not served by it. */
  problem({ id }: Vm): HatchwayError | undefined {
    const isKnown = this.#vms.values().some((vm) => vm.id === id);
    return isKnown && !this.#server ? this.#problem : undefined;
  }

  async #listen(): Promise<void> {
    if (this.#server) return;
    try {
      this.#server = await listenVsock(GUEST_PORT, (peer) => this.#answer(peer));
    } catch (error) {
      if (!(error instanceof HatchwayError)) throw error;
      // The VM has its other ways all the same.
      this.#problem = error;
      this.#parts.report(`no vm is served by its CID: ${error.message}`);
    }
  }

  async remove(vm: Vm): Promise<void> {
    for (const [cid, { id }] of this.#vms) if (id === vm.id) this.#vms.delete(cid);
    for (const peer of this.#open.get(vm.id) ?? []) peer.destroy();
    if (this.#vms.size === 0) await this.close();
  }

  async close(): Promise<void> {
    await this.#opening.run("", async () => {
      const server = this.#server;
      this.#server = undefined;
      for (const peers of this.#open.values()) for (const peer of peers) peer.destroy();
      if (server) await closeServer(server);
    });
  }

  #answer(peer: Socket): void {
    peer.on("error", () => peer.destroy());
    const cid = peerCid(peer);
    const vm = this.#vms.get(cid);
    const pid = vm && this.#parts.processOf(vm);
    if (!vm || pid === undefined) {
      this.#refuse(peer, cid, vm ? `no process is seen that has vm "${vm.name}"` : "it is no vm's");
      return;
    }
    const peers = this.#open.get(vm.id) ?? new Set();
    this.#open.set(vm.id, peers.add(peer));
    peer.once("close", () => {
      peers.delete(peer);
      if (peers.size === 0) this.#open.delete(vm.id);
    });
    this.#parts.accept(vm, peer, pid);
  }

  /** Before a byte is read. */
  #refuse(peer: Socket, cid: number, why: string): void {
    peer.destroy();
    const line = `refused a call from CID ${cid}: ${why}`;
    if (this.#said.has(line) || this.#said.size >= MOST_SAID) return;
    this.#said.add(line);
    this.#parts.report(line);
  }
}
