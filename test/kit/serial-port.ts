import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/**
 * A virtio-serial port by unix sockets: for the host one stream that never ends; for the guest a device that one process
 * at a time has open, and that hands what the host wrote meanwhile to whoever opens it next.
 */
export class SerialPort {
  readonly hostEnd: Socket;
  readonly #servers: readonly Server[];
  readonly #guestEnd: Socket;
  #opener: Socket | undefined;
  #waiting: Buffer[];

  private constructor(servers: readonly Server[], hostEnd: Socket, guestEnd: Socket, stale: Uint8Array) {
    this.#servers = servers;
    this.hostEnd = hostEnd;
    this.#guestEnd = guestEnd;
    this.#waiting = [Buffer.from(stale)];
    guestEnd.on("data", (bytes: Buffer) => {
      if (this.#opener) this.#opener.write(bytes);
      else this.#waiting.push(bytes);
    });
  }

  /** `path` is the guest's device. */
  static async open(path: string, stale: Uint8Array): Promise<SerialPort> {
    const inner = createServer();
    inner.listen(`${path}.host`);
    await once(inner, "listening");
    const guestEnd = connect(`${path}.host`);
    const [hostEnd] = (await once(inner, "connection")) as [Socket];
    const device = createServer((opener) => port.#openedBy(opener));
    const port = new SerialPort([inner, device], hostEnd, guestEnd, stale);
    device.listen(path);
    await once(device, "listening");
    return port;
  }

  close(): void {
    for (const end of [this.#opener, this.#guestEnd, this.hostEnd, ...this.#servers]) {
      if (end && "destroy" in end) end.destroy();
      else end?.close();
    }
  }

  #openedBy(opener: Socket): void {
    this.#opener?.destroy();
    this.#opener = opener;
    for (const bytes of this.#waiting.splice(0)) opener.write(bytes);
    opener.on("data", (bytes: Buffer) => this.#guestEnd.write(bytes));
    // A guest that closes its device resets nothing at the host.
    opener.on("error", () => opener.destroy());
    opener.on("close", () => {
      if (this.#opener === opener) this.#opener = undefined;
    });
  }
}
