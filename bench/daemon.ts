// The daemon that is measured: the bundle that ships, on places of its own.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { dirname, join } from "node:path";
import { DaemonProcess, endOf, type Serving } from "#test/kit/daemon-process";
import { request } from "./programs.ts";

/** What a guest proves itself with. */
export const KEY: string = "ab".repeat(32);

let bundled = false;

export class BenchDaemon extends DaemonProcess {
  #serving: Serving | undefined;

  /** `config` is what config.yaml says. */
  static async open(config: string = ""): Promise<BenchDaemon> {
    if (!bundled) execFileSync(process.execPath, ["scripts/bundle.ts"], { cwd: join(import.meta.dirname, "..") });
    bundled = true;
    const daemon = new BenchDaemon();
    delete daemon.env["HATCHWAY_FROM_SOURCE"];
    mkdirSync(dirname(daemon.keyFile), { recursive: true, mode: 0o700 });
    writeFileSync(join(dirname(daemon.keyFile), "config.yaml"), config, { mode: 0o600 });
    await daemon.start();
    return daemon;
  }

  async start(): Promise<void> {
    this.#serving = await this.serve();
  }

  async stop(): Promise<void> {
    if (this.#serving) await endOf(this.#serving, "SIGTERM");
    this.#serving = undefined;
  }

  get pid(): number {
    if (!this.#serving) throw new Error("the daemon does not run");
    return this.#serving.pid;
  }

  get admin(): string {
    return join(this.runtime, "hatchway.sock");
  }

  guest(vm: string): string {
    return join(this.runtime, "vm", vm, "vsock_5107");
  }

  secret(name: string, value: string): Promise<string> {
    return this.tell("PUT", `/secrets/${name}/value`, value);
  }

  vm(name: string, secrets: readonly string[]): Promise<string> {
    return this.tell("POST", "/vms", JSON.stringify({ name, secrets }));
  }

  /** A request to the admin API; gives the answer's body, and throws what is no success. */
  tell(method: string, path: string, body: string = ""): Promise<string> {
    return new Promise((resolve, reject) => {
      const headers = { "content-length": Buffer.byteLength(body) };
      const asked = httpRequest({ socketPath: this.admin, method, path, headers, agent: false }, (response) => {
        let text = "";
        response.on("data", (part: Buffer) => {
          text += part.toString();
        });
        response.once("end", () => {
          if ((response.statusCode ?? 0) < 300) resolve(text);
          else reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`));
        });
      });
      asked.once("error", reject);
      asked.end(body);
    });
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await super[Symbol.asyncDispose]();
  }
}

/** A guest's claim, and then its request, for bench/native/load.c. */
export function claimed(line: string): string {
  const claim = request("POST /v1/claim", {}, JSON.stringify({ key: KEY }));
  return `${claim}\0${request(line, { authorization: `Hatchway ${KEY}` })}`;
}
