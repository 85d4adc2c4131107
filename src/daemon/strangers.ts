import type { Socket } from "node:net";

/** At a time, of one address and of all. Guests behind one address translation, such as QEMU's own, share one. */
export const MAX_OF_ADDRESS = 64;
export const MAX_STRANGERS = 512;

/**
 * Connections that have not yet shown whose they are. Of too many the oldest is ended, of the same address or of all:
 * a guest is known within milliseconds, so those that only wait make room for him and not he for them.
 */
export class Strangers {
  /** By address and port, which name one connection; the oldest comes first. */
  readonly #all = new Map<string, Socket>();
  readonly #byAddress = new Map<string, Map<string, Socket>>();

  add(socket: Socket): void {
    const { remoteAddress: address } = socket;
    // It has ended already.
    if (address === undefined) return;
    const key = keyOf(socket);
    const same = this.#byAddress.get(address) ?? new Map<string, Socket>();
    const [oldest] = this.#all.values();
    const [oldestSame] = same.values();
    if (same.size >= MAX_OF_ADDRESS && oldestSame) this.#end(oldestSame);
    else if (this.#all.size >= MAX_STRANGERS && oldest) this.#end(oldest);
    same.set(key, socket);
    this.#byAddress.set(address, same);
    this.#all.set(key, socket);
    socket.once("close", () => {
      // The port may be another connection's by now.
      if (this.#all.get(key) === socket) this.#forget(address, key);
    });
  }

  /** The connection with this one's addresses is known now. */
  remove(socket: Socket): void {
    if (socket.remoteAddress !== undefined) this.#forget(socket.remoteAddress, keyOf(socket));
  }

  #end(socket: Socket): void {
    this.remove(socket);
    socket.destroy();
  }

  #forget(address: string, key: string): void {
    this.#all.delete(key);
    const same = this.#byAddress.get(address);
    same?.delete(key);
    if (same?.size === 0) this.#byAddress.delete(address);
  }
}

function keyOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
