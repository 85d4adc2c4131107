// OpenSSH's own server and client, on a loopback port and with keys of a test's own; nothing of this machine's ssh is used.
import { execFileSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";

const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
const unpacked = join(cache, "hatchway/openssh-server");

/** Where the server runs: a mount namespace whose /etc/passwd has a user "sshd", and whose /run can be written. */
export interface SshdPlace {
  start(argv: readonly string[], env: Record<string, string>): ChildProcess;
}

export interface SshdOptions {
  /** A folder that both sides see: host key, configuration, `known_hosts`. */
  folder: string;
  /** AuthorizedKeysFile of sshd_config(5). */
  authorizedKeys: string;
  /** More lines of sshd_config(5). */
  config?: readonly string[];
}

export class Sshd implements AsyncDisposable {
  readonly port: number;
  /** Lines for who shall know this server. */
  readonly knownHosts: string;
  readonly #child: ChildProcess;
  #log = "";

  private constructor(child: ChildProcess, port: number, knownHosts: string) {
    this.#child = child;
    this.port = port;
    this.knownHosts = knownHosts;
    child.stderr?.on("data", (chunk: Buffer) => (this.#log += chunk.toString()));
  }

  static async start(place: SshdPlace, { folder, authorizedKeys, config: more = [] }: SshdOptions): Promise<Sshd> {
    const program = join(unpacked, "usr/sbin/sshd");
    if (!existsSync(program))
      throw new Error(`"${program}" does not exist: run scripts/fetch-unpacked openssh-server openssh-server libwrap0`);
    mkdirSync(folder, { recursive: true });
    const key = makeKey(join(folder, "host"));
    const port = await freePort();
    const config = [
      `Port ${port}`,
      "ListenAddress 127.0.0.1",
      `HostKey ${join(folder, "host")}`,
      "PidFile none",
      "UsePAM no",
      "AuthenticationMethods publickey",
      "PermitRootLogin prohibit-password",
      `AuthorizedKeysFile ${authorizedKeys}`,
      "LogLevel VERBOSE",
      ...more,
    ];
    writeFileSync(join(folder, "sshd_config"), config.map((line) => `${line}\n`).join(""));
    const script = `mkdir -p /run/sshd && exec ${program} -D -e -f ${join(folder, "sshd_config")}`;
    const child = place.start(["sh", "-c", script], { LD_LIBRARY_PATH: join(unpacked, "libraries") });
    const sshd = new Sshd(child, port, `[127.0.0.1]:${port} ${key}\n`);
    await sshd.#listening();
    return sshd;
  }

  /** What it has logged. */
  get log(): string {
    return this.#log;
  }

  /** Ends the connections that there are; new ones can be made. */
  hangUp(): void {
    const pid = this.#child.pid ?? 0;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    for (const child of children.split(" ").filter(Boolean)) process.kill(Number(child), "SIGTERM");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, "exit");
    this.#child.kill();
    await exit;
  }

  async #listening(): Promise<void> {
    while (!this.#log.includes("Server listening")) {
      if (this.#child.exitCode !== null) throw new Error(`sshd ended: ${this.#log}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** Makes a key pair, PATH and PATH.pub; gives the public one without its comment. */
export function makeKey(path: string): string {
  for (const stale of [path, `${path}.pub`]) rmSync(stale, { force: true });
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path]);
  return readFileSync(`${path}.pub`, "utf8").trim();
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
