import { mkdir } from "node:fs/promises";
import type { Server } from "node:http";
import { dirname, join } from "node:path";
import { runnerApp, runnerCaller } from "#admin/runner";
import { serveApi } from "#admin/serve";
import type { Accept, ChannelKind, Listener, LiveChannel } from "#channel";
import { bindForRunner, closeFolder, closeServer, openFolder } from "#channel/folder";
import { ssh } from "#channel/ssh";
import { virtioSerial } from "#channel/virtio-serial";
import type { Machines } from "#machines";
import type { Vault } from "#vault";
import type { Vm } from "#vm";
import { ConsoleLog } from "#vmm/console";

export interface EndpointParts {
  /** Hybrid vsock: in the VM's folder, or where its VMM already looks for it. */
  vsock: LiveChannel;
  vault: Vault;
  machines: Machines;
  accept: Accept;
  report: (line: string) => void;
}

/**
 * All sockets of one VM, in a folder of its own:
 *
 *   control.sock   the runner's: status, arguments, bundle
 *   vsock_5107     hybrid vsock, whose path is `vsock`
 *   serial.sock    virtio-serial
 *   ssh.sock       what `hatchway fetch` joins a guest to that comes by ssh
 *   console.sock   the serial console, logged in console.log
 *   qmp.sock, shell.sock   QEMU's own
 */
export class Endpoint {
  readonly directory: string;
  readonly channels: { kind: ChannelKind; path: string }[];
  readonly console: ConsoleLog;
  readonly #closers: (() => Promise<void>)[];

  private constructor(directory: string, listeners: Listener[], console: ConsoleLog, closers: (() => Promise<void>)[]) {
    this.directory = directory;
    this.channels = listeners.map(({ kind, path }) => ({ kind, path }));
    this.console = console;
    this.#closers = closers;
  }

  /** Binds all of them while the runner is locked out, then lets him in. Nothing stays bound if one fails. */
  static async open(directory: string, vm: Vm, parts: EndpointParts): Promise<Endpoint> {
    const { id, runner } = vm;
    await mkdir(dirname(directory), { recursive: true });
    await closeFolder(directory);
    const closers: (() => Promise<void>)[] = [];
    try {
      const listeners: Listener[] = [];
      for (const channel of [parts.vsock, virtioSerial, ssh]) {
        const listener = await channel.listen({ id, runner, directory }, parts.accept);
        closers.push(() => listener.close());
        listeners.push(listener);
      }
      const socket = join(directory, "console.sock");
      const console = await ConsoleLog.listen({ socket, log: join(directory, "console.log"), runner });
      closers.push(() => console.close());
      closers.push(await serveRunner(join(directory, "control.sock"), vm, parts));
      await openFolder(directory, runner);
      return new Endpoint(directory, listeners, console, closers);
    } catch (error) {
      for (const close of closers) await close();
      throw error;
    }
  }

  get controlSocket(): string {
    return join(this.directory, "control.sock");
  }

  async close(): Promise<void> {
    for (const close of this.#closers) await close();
  }
}

async function serveRunner(path: string, { id, name, runner }: Vm, parts: EndpointParts): Promise<() => Promise<void>> {
  const { vault, machines, report } = parts;
  const app = runnerApp({ vault, machines, vm: { id, name }, report });
  const api: Server = serveApi(app, runnerCaller(id, runner.uid), report);
  // It is fed by the socket that is the runner's; its time limits are looked after from "listening" on.
  api.emit("listening");
  const control = await bindForRunner(path, runner, (socket) => api.emit("connection", socket));
  return async () => {
    api.closeAllConnections();
    api.close();
    await closeServer(control);
  };
}
