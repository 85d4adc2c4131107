// A real daemon in this process, on places of its own with short paths, gone when the test is over.
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { dirname, join } from "node:path";
import type { VmBody } from "#api-vm";
import { Daemon } from "#daemon/daemon";
import type { HatchwayError } from "#error";
import type { Places } from "#places";

/** Users that every Debian has (daemon, bin, nobody): two run VMs, the third has nothing to do with any. */
export const RUNNER_A = 1;
export const RUNNER_B = 2;
export const STRANGER = 65_534;

export interface Answered {
  status: number;
  body: Buffer;
}

export class TestDaemon {
  readonly folder: string;
  readonly mode: "session" | "system";
  readonly places: Places;
  /** What the daemon said it cannot go on for. */
  fatal: HatchwayError | undefined;
  #daemon: Daemon | undefined;

  private constructor(folder: string, mode: "session" | "system") {
    this.folder = folder;
    this.mode = mode;
    this.places = {
      state: join(folder, "state"),
      config: join(folder, "config/config.yaml"),
      runtime: join(folder, "run"),
      socket: join(folder, "run/hatchway.sock"),
    };
  }

  /** `system` by default: others may pass to the sockets, as in /run, and each VM has a runner of its own. */
  static async open(
    mode: "session" | "system" = "system",
    config?: string | ((folder: string) => Promise<string>),
  ): Promise<TestDaemon> {
    const folder = await mkdtemp("/tmp/hw-");
    await chmod(folder, 0o711);
    const made = new TestDaemon(folder, mode);
    if (config !== undefined) await made.configure(typeof config === "string" ? config : await config(folder));
    await made.start();
    return made;
  }

  /** Writes the configuration, which the next start reads. */
  async configure(config: string): Promise<void> {
    await mkdir(dirname(this.places.config), { recursive: true, mode: 0o700 });
    await writeFile(this.places.config, config, { mode: 0o600 });
  }

  async start(): Promise<void> {
    const onFatal = (error: HatchwayError): void => {
      this.fatal = error;
    };
    this.#daemon = await Daemon.start({ mode: this.mode, places: this.places, echo: false, onFatal });
  }

  async stop(): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = undefined;
    await daemon?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.folder, { recursive: true });
  }

  log(lines: number = 1000): Promise<string> {
    if (!this.#daemon) throw new Error("the daemon does not run");
    return this.#daemon.log.tail(lines);
  }

  /** The folder of a VM's sockets. */
  directory(vm: string): string {
    return join(this.places.runtime, "vm", vm);
  }

  /** A request to the admin API, or to another socket. */
  ask(method: string, path: string, body?: Buffer, socketPath: string = this.places.socket): Promise<Answered> {
    const headers = body === undefined ? {} : { "content-length": body.length };
    return new Promise((resolve, reject) => {
      const asked = request({ socketPath, method, path, headers, agent: false }, (response) => {
        const parts: Buffer[] = [];
        response.on("data", (part: Buffer) => parts.push(part));
        response.once("error", reject);
        response.once("end", () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts) }));
      });
      asked.once("error", reject);
      asked.end(body);
    });
  }

  /** As `ask`, with JSON, and a refusal is thrown. */
  async tell(method: string, path: string, json?: object): Promise<unknown> {
    const { status, body } = await this.ask(method, path, json && Buffer.from(JSON.stringify(json)));
    const text = body.toString();
    if (status >= 300) throw new Error(`${method} ${path}: ${status} ${text}`);
    return text === "" ? undefined : (JSON.parse(text) as unknown);
  }

  async secret(name: string, value: string | Buffer, query: string = ""): Promise<void> {
    const { status, body } = await this.ask("PUT", `/secrets/${name}/value${query}`, Buffer.from(value));
    if (status >= 300) throw new Error(`secret ${name}: ${status} ${body.toString()}`);
  }

  async vm(name: string, runner: number, ...secrets: string[]): Promise<VmBody> {
    return (await this.tell("POST", "/vms", { name, runner, secrets })) as VmBody;
  }

  async show(name: string): Promise<VmBody> {
    return (await this.tell("GET", `/vms/${name}`)) as VmBody;
  }
}
