// What every live channel does, whatever carries it: `describeChannel` runs it against a real daemon's socket.
import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, onTestFinished, test } from "vitest";
import type { VmBody } from "#api-vm";
import { RUNNER_A, RUNNER_B, TestDaemon } from "#test/kit/daemon";
import { readBundle } from "#test/kit/bundle";
import { GuestConnection, type GuestAnswer } from "#test/kit/guest-connection";
import { COMPILED, ended, type Ended } from "#test/kit/guest-namespace";

export interface ChannelCase {
  /** Of the daemon, in whose folder it may put what belongs to that. */
  config?: (folder: string) => Promise<string>;
  /** Whether the place itself proves that the guest's root asks, so that no claim is needed. */
  rootOnly: boolean;
  /** The socket that the VMM brings the guest's connections to, or the file by which the guest gets to the host. */
  socket(vm: VmBody, daemon: TestDaemon): string | Promise<string>;
  open(socket: string): Promise<GuestConnection>;
  /** What the agent is told of it. */
  source(socket: string): string[];
}

export const KEY: string = "5a".repeat(32);
export const BINARY: Buffer = Buffer.from(Array.from({ length: 70_000 }, (_, at) => (at * 31) & 0xff));

/** Claims where it must, and gives the headers that later requests carry. */
export async function claimed(
  channel: ChannelCase,
  connection: GuestConnection,
  key: string = KEY,
): Promise<Record<string, string>> {
  if (channel.rootOnly) return {};
  const answer = await connection.ask("POST /v1/claim", {}, JSON.stringify({ key }));
  if (answer?.status !== 200) throw new Error(`the claim was answered ${answer?.status}`);
  return { authorization: `Hatchway ${key}` };
}

export function namesOf(answer: GuestAnswer | undefined): { has: string[]; brings: string[]; revision: string } {
  if (answer?.status !== 200) throw new Error(`the bundle was answered ${answer?.status}`);
  const { manifest, values, error } = readBundle([answer.body]);
  if (error !== undefined || !manifest) throw new Error("the bundle is not whole", { cause: error });
  return {
    has: manifest.entries.map(({ name }) => name),
    brings: values.map(({ path }) => path),
    revision: manifest.revision,
  };
}

/** Answers but for what may differ between any two: the time. */
function shown(answer: GuestAnswer | undefined): string {
  return answer?.raw.toString("latin1").replace(/^date: .*$/im, "date") ?? "closed";
}

export function describeChannel(name: string, channel: ChannelCase): void {
  describe(name, () => {
    let daemon: TestDaemon;
    let a: string;
    let b: string;

    beforeEach(async () => {
      daemon = await TestDaemon.open("system", channel.config);
      onTestFinished(() => daemon[Symbol.asyncDispose]());
      await daemon.secret("db", "the password");
      await daemon.secret("binary", BINARY, "?permissions=0440&uid=1000&gid=1001");
      await daemon.secret("foreign", "of b alone");
      a = await channel.socket(await daemon.vm("a", RUNNER_A, "db", "binary"), daemon);
      b = await channel.socket(await daemon.vm("b", RUNNER_B, "foreign"), daemon);
    });

    async function open(socket: string = a): Promise<GuestConnection> {
      const connection = await channel.open(socket);
      onTestFinished(() => connection.close());
      return connection;
    }

    /** An open conversation of a process that may fetch. */
    async function trusted(
      socket: string = a,
    ): Promise<(line: string, body?: string) => Promise<GuestAnswer | undefined>> {
      const connection = await open(socket);
      const headers = await claimed(channel, connection);
      return (line, body) => connection.ask(line, headers, body);
    }

    test("a bundle is the same bytes here as on the control socket", async ({ expect }) => {
      const ask = await trusted();
      const answer = await ask("GET /v1/bundle");
      const control = await daemon.ask("GET", "/bundle", undefined, join(daemon.directory("a"), "control.sock"));
      expect(answer?.headers.get("content-type")).toBe("application/x-tar");
      expect(control.status).toBe(200);
      expect(answer?.body.equals(control.body)).toBe(true);
      expect(namesOf(answer)).toMatchObject({ has: ["binary", "db"], brings: ["binary", "db"] });
      expect((await ask("GET /v1/manifest"))?.body.toString()).toContain('"vm":"a"');
      expect((await ask("GET /v1/secrets/binary"))?.body.equals(BINARY)).toBe(true);
    });

    test("only what changed comes along, and 304 when nothing did", async ({ expect }) => {
      const ask = await trusted();
      const { revision } = namesOf(await ask("GET /v1/bundle?wait=0"));
      const same = await ask(`GET /v1/bundle?have=${revision}&wait=0`);
      expect([same?.status, same?.body.length]).toEqual([304, 0]);
      expect((await ask(`GET /v1/bundle?have=${revision}&wait=1`))?.status).toBe(304);
      const waiting = ask(`GET /v1/bundle?have=${revision}&wait=60`);
      await daemon.secret("foreign", "nothing to a");
      await daemon.secret("db", "another");
      expect(namesOf(await waiting)).toMatchObject({ has: ["binary", "db"], brings: ["db"] });
      expect(namesOf(await ask("GET /v1/bundle?have=nonsense"))).toMatchObject({ brings: ["binary", "db"] });
    });

    test("attach, detach and remove wake who waits", async ({ expect }) => {
      const ask = await trusted();
      let { revision } = namesOf(await ask("GET /v1/bundle"));
      const after = async (act: Promise<unknown>): Promise<string[]> => {
        const answer = ask(`GET /v1/bundle?have=${revision}&wait=60`);
        await act;
        const next = namesOf(await answer);
        revision = next.revision;
        return next.has;
      };
      expect(await after(daemon.tell("PUT", "/vms/a/secrets/foreign", {}))).toEqual(["binary", "db", "foreign"]);
      expect(await after(daemon.tell("DELETE", "/vms/a/secrets/foreign"))).toEqual(["binary", "db"]);
      expect(await after(daemon.tell("DELETE", "/secrets/db"))).toEqual(["binary"]);
    });

    test(channel.rootOnly ? "no claim is needed" : "nothing is told before the claim", async ({ expect }) => {
      const connection = await open();
      for (const line of ["GET /v1/bundle", "GET /v1/manifest", "GET /v1/secrets/db", "GET /v1/nothing", "GET /"]) {
        const answer = await connection.ask(line);
        if (!channel.rootOnly) {
          expect([answer?.status, answer?.body.toString()]).toEqual([
            401,
            '{"error":"claim first","code":"unauthenticated"}\n',
          ]);
        } else expect([200, 404]).toContain(answer?.status);
      }
    });

    test("a second key is refused, and seen by the host", async ({ expect }) => {
      const connection = await open();
      const claim = (key: string): Promise<GuestAnswer | undefined> =>
        connection.ask("POST /v1/claim", {}, JSON.stringify({ key }));
      expect((await claim(KEY))?.status).toBe(200);
      expect((await claim(KEY))?.status).toBe(200);
      expect((await claim("00".repeat(32)))?.status).toBe(409);
      expect((await daemon.show("a")).convergence.alarms).toMatchObject([{ what: "second claim", count: 1 }]);
      if (channel.rootOnly) return;
      const wrong = await connection.ask("GET /v1/bundle", { authorization: `Hatchway ${"00".repeat(32)}` });
      expect(wrong?.status).toBe(401);
    });

    test("a receipt is shown to the host, unless it cannot be true", async ({ expect }) => {
      const ask = await trusted();
      const { revision } = namesOf(await ask("GET /v1/bundle"));
      const receipt = JSON.stringify({ outcome: "applied", refused: [], mount: "tmpfs", agent: "0.1.0", boot: "x" });
      expect((await ask(`POST /v1/receipts/${revision.replace(/\.1$/, ".9")}`, receipt))?.status).toBe(400);
      expect((await daemon.show("a")).convergence).toMatchObject({ in_sync: false });
      expect((await ask(`POST /v1/receipts/${revision}`, receipt))?.status).toBe(204);
      expect((await daemon.show("a")).convergence).toMatchObject({ in_sync: true, applied: 1, mount: "tmpfs" });
      expect((await ask(`POST /v1/receipts/${revision}`, "{}"))?.status).toBe(400);
      expect((await ask(`POST /v1/receipts/${revision}`, receipt + " ".repeat(4096)))?.status).toBe(413);
    });

    test("a secret has HEAD and an ETag that is no hash of it", async ({ expect }) => {
      const ask = await trusted();
      const head = await ask("HEAD /v1/secrets/db");
      expect([head?.status, head?.headers.get("content-length")]).toEqual([200, "12"]);
      const etag = head?.headers.get("etag") ?? "";
      const connection = await open();
      const headers = await claimed(channel, connection);
      const cached = await connection.ask("GET /v1/secrets/db", { ...headers, "if-none-match": etag });
      expect([cached?.status, cached?.body.length]).toEqual([304, 0]);
      const audit = await readFile(join(daemon.places.state, "audit.jsonl"), "utf8");
      expect(audit).not.toContain("secret.disclose");
      const got = await connection.ask("GET /v1/secrets/db", { ...headers, "if-none-match": '"other"' });
      expect([got?.status, got?.body.toString()]).toEqual([200, "the password"]);
    });

    test("another vm's secret and one that there is not are the same bytes", async ({ expect }) => {
      const paths = ["/v1/secrets/NAME", "/v1/receipts/NAME", "/v1/bundle?have=NAME", "/v1/NAME", "/v1/secrets/NAME/x"];
      for (const method of ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]) {
        for (const path of paths) {
          const answers: string[] = [];
          for (const secret of ["foreign", "nothing"]) {
            const connection = await open();
            const headers = await claimed(channel, connection);
            const body = method === "POST" ? "{}" : "";
            answers.push(shown(await connection.ask(`${method} ${path.replace("NAME", secret)}`, headers, body)));
            connection.close();
          }
          expect(answers[0], `${method} ${path}`).toBe(answers[1]);
          expect(answers[0]).not.toContain("of b alone");
        }
      }
    });

    test("two vms never see each other, whatever they carry", async ({ expect }) => {
      const [one, two] = [await trusted(a), await trusted(b)];
      expect(namesOf(await one("GET /v1/bundle")).has).toEqual(["binary", "db"]);
      const ofB = namesOf(await two("GET /v1/bundle"));
      expect(ofB.has).toEqual(["foreign"]);
      expect((await one("GET /v1/secrets/foreign"))?.status).toBe(404);
      await daemon.secret("db", "newer");
      expect(namesOf(await one(`GET /v1/bundle?have=${ofB.revision}`)).brings).toEqual(["db"]);
      const audit = await readFile(join(daemon.places.state, "audit.jsonl"), "utf8");
      expect(audit.split("\n").some((line) => line.includes('"vm":"a"') && line.includes("foreign"))).toBe(false);
    });

    test("a restart of the host's side loses nothing", async ({ expect }) => {
      const before = await trusted();
      const { revision } = namesOf(await before("GET /v1/bundle"));
      await daemon.stop();
      await daemon.start();
      const connection = await open();
      const headers = channel.rootOnly ? {} : { authorization: `Hatchway ${KEY}` };
      expect((await connection.ask(`GET /v1/bundle?have=${revision}&wait=0`, headers))?.status).toBe(304);
      await daemon.secret("db", "newer");
      const next = namesOf(await connection.ask(`GET /v1/bundle?have=${revision}&wait=60`, headers));
      expect(next.brings).toEqual(["db"]);
    });

    test("the compiled agent installs all of it, exactly", async ({ expect }) => {
      const root = await mkdtemp("/dev/shm/hw-agent-");
      onTestFinished(() => rm(root, { recursive: true }));
      const sync = (): Promise<Ended> => {
        const from = channel.source(a);
        const argv = [...COMPILED.command, "secrets", "sync", ...from, "--root", root, "--no-mount"];
        return ended(spawn(argv[0] ?? "", argv.slice(1), { stdio: ["ignore", "pipe", "pipe"] }));
      };
      expect(await sync()).toMatchObject({ code: 0, stderr: "" });
      expect((await readdir(join(root, "secrets"))).filter((one) => !one.startsWith("."))).toEqual(["binary", "db"]);
      expect((await readFile(join(root, "secrets/binary"))).equals(BINARY)).toBe(true);
      expect(await readFile(join(root, "secrets/db"), "utf8")).toBe("the password");
      const { mode, uid, gid } = await stat(join(root, "secrets/binary"));
      expect([mode & 0o7777, uid, gid]).toEqual([0o440, 1000, 1001]);
      expect((await daemon.show("a")).convergence).toMatchObject({
        in_sync: true,
        applied: 1,
        refused: [],
        alarms: [],
      });
      await daemon.secret("db", "changed");
      expect(await sync()).toMatchObject({ code: 0 });
      expect(await readFile(join(root, "secrets/db"), "utf8")).toBe("changed");
      expect((await daemon.show("a")).convergence).toMatchObject({ in_sync: true, applied: 2 });
    });

    test.for(HOSTILE)("%s", async ([, request, expected], { expect }) => {
      const connection = await open();
      const headers = await claimed(channel, connection);
      const authorization = headers["authorization"] ?? "none";
      connection.send(request.replaceAll("AUTH", authorization));
      const answer = await connection.answer();
      expect(answer?.status).toBe(expected);
      if (expected !== 200) expect(answer?.raw.toString("latin1")).not.toContain("password");
      const still = await trusted();
      expect((await still("GET /v1/secrets/db"))?.status).toBe(200);
    });

    test("what comes while an answer is still out ends the conversation", async ({ expect }) => {
      const connection = await open();
      const { authorization } = await claimed(channel, connection);
      const one = `GET /v1/secrets/binary HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\n\r\n`;
      connection.send(one.repeat(400));
      // A serial port stays open: there it is only the session that ends.
      const received = channel.rootOnly ? await connection.quiet() : await connection.closed();
      expect(received.length).toBeLessThanOrEqual(BINARY.length + 1_000);
      const still = await trusted();
      expect((await still("GET /v1/secrets/db"))?.status).toBe(200);
    });
  });
}

const get = (target: string, more: string = ""): string =>
  `GET ${target} HTTP/1.1\r\nhost: x\r\nauthorization: AUTH\r\n${more}\r\n`;

/** Name, request, status. */
const HOSTILE: readonly [string, string, number][] = [
  ["a path with a dot-dot is not normalised", get("/v1/secrets/../secrets/db"), 404],
  ["a path that leads back to a secret is not normalised", get("/v1/x/../secrets/db"), 404],
  ["an encoded dot is not decoded", get("/v1/secrets/%2e%2e/secrets/db"), 404],
  ["an encoded name is not decoded", get("/v1/secrets/%64%62"), 404],
  ["an encoded slash is not decoded", get("/v1%2fsecrets%2fdb"), 404],
  ["an absolute form is no path", get("http://hatchway/v1/secrets/db"), 404],
  ["doubled slashes are not folded", get("/v1//secrets/db"), 404],
  ["a slash in front is not folded", get("//v1/secrets/db"), 404],
  ["a slash at the end is not dropped", get("/v1/secrets/db/"), 404],
  ["upper case is another path", get("/V1/SECRETS/db"), 404],
  ["a backslash is no slash", get("/v1\\secrets\\db"), 404],
  ["a fragment is not dropped", get("/v1/secrets/db#x"), 404],
  ["a query where there is none is refused", get("/v1/secrets/db?x=1"), 404],
  ["an empty query is nothing", get("/v1/secrets/db?"), 200],
  ["an unknown query is refused", get("/v1/bundle?want=all"), 400],
  ["a query that is there twice is refused", get("/v1/bundle?wait=0&wait=1"), 400],
  ["a wait that is too long is refused", get("/v1/bundle?wait=61"), 400],
  ["a wait that is no number is refused", get("/v1/bundle?wait=-1"), 400],
  ["a have that is encoded is refused", get("/v1/bundle?have=%00"), 400],
  ["a name with a NUL, encoded, is refused", get("/v1/secrets/db%00"), 404],
  ["a Host that is there twice is refused", get("/v1/secrets/db", "host: y\r\n"), 400],
  ["a claim that is there twice is refused", get("/v1/secrets/db", "authorization: AUTH\r\n"), 400],
  ["no Host is refused", "GET /v1/secrets/db HTTP/1.1\r\nauthorization: AUTH\r\n\r\n", 400],
  ["a chunked body is refused", get("/v1/bundle", "transfer-encoding: chunked\r\n") + "0\r\n\r\n", 400],
  ["a body where there is none is refused", get("/v1/bundle", "content-length: 2\r\n") + "{}", 400],
  [
    "a length and a transfer encoding are refused",
    get("/v1/bundle", "content-length: 4\r\ntransfer-encoding: chunked\r\n") + "0\r\n\r\n",
    400,
  ],
  ["two lengths are refused", get("/v1/bundle", "content-length: 0\r\ncontent-length: 1\r\n"), 400],
  ["a length that is no number is refused", get("/v1/bundle", "content-length: 0x1\r\n"), 400],
  ["a line that ends in LF alone is refused", "GET /v1/secrets/db HTTP/1.1\nhost: x\nauthorization: AUTH\n\n", 400],
  ["a folded header is refused", get("/v1/secrets/db", "x: y\r\n z\r\n"), 400],
  ["a space before a colon is refused", get("/v1/secrets/db", "x : y\r\n"), 400],
  ["a header that is too large is refused", get("/v1/secrets/db", `x: ${"y".repeat(5_000)}\r\n`), 431],
  ["a path that is too long is refused", get(`/v1/secrets/${"y".repeat(5_000)}`), 431],
  ["an unknown method is refused", get("/v1/secrets/db").replace("GET", "GETS"), 400],
  ["what is no HTTP is refused", "\u0016\u0003\u0001 hello\r\n\r\n", 400],
];
