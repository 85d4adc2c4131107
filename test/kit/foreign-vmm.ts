// A process that has a hybrid vsock as Firecracker has one: it listens on the socket, and brings its guest's connections to
// `PATH_5107`. It runs as whoever a test says, so that the daemon sees a process of that user's, and no other.
import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** Listens unless the path is empty; for each line of JSON, `{socket, request}`, says how the answer begins. */
const PROGRAM = `
const { createServer, connect } = require("node:net");
const path = process.argv[1];
if (path) createServer().listen(path, () => console.log("listening"));
else console.log("ready");
require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { socket, request } = JSON.parse(line);
  let said = "";
  const stream = connect(socket, () => stream.write(request));
  stream.on("data", (bytes) => (said += bytes));
  stream.on("error", ({ code }) => (said ||= code === "EPIPE" || code === "ECONNRESET" ? "" : code));
  stream.on("close", () => console.log(said.split("\\r\\n")[0] || "closed"));
});
`;

export class ForeignVmm implements AsyncDisposable {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** `path`: of its vsock; without it the process is nobody's VMM, and only calls. */
  static async start(uid: number, path = ""): Promise<ForeignVmm> {
    const child = spawn(process.execPath, ["-e", PROGRAM, path], { uid, gid: uid, stdio: "pipe", cwd: "/" });
    const vmm = new ForeignVmm(child);
    await vmm.#line();
    return vmm;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The first line of what is answered to a claim with that key; "closed" where the host hangs up. */
  claim(socket: string, key: string): Promise<string> {
    const body = JSON.stringify({ key });
    const head = `POST /v1/claim HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n`;
    this.#child.stdin.write(`${JSON.stringify({ socket, request: head + body })}\n`);
    return this.#line();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exit;
  }

  async #line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error("the process ended");
    return value;
  }
}
