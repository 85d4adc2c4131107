// Two VMs of one host. The root of one is hostile: what can he have of the other, or do to it?
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, it } from "vitest";
import { Session } from "#test/kit/session";

const PORT = "/dev/vport0p1";
const ROOT = "/run/hatchway/secrets";
/** The shell ends what it started in the background, unless that is in a session of its own by then. */
const AGENT =
  "setsid hatchway-agent run --from virtio-serial:org.hatchway.0 </dev/null >/tmp/agent.log 2>&1 & sleep 0.5";

const nonce = (): string => randomBytes(16).toString("hex");
const opening = (word: string): string => `\0${word}\n`;

function request(line: string, body?: string): string {
  const length = body === undefined ? "" : `Content-Length: ${body.length}\r\n`;
  return `${line} HTTP/1.1\r\nHost: hatchway\r\n${length}\r\n${body ?? ""}`;
}

interface Answer {
  status: string;
  /** The whole of it but its date. */
  bytes: string;
}

/** The guest's root, with a shell and the port's device. */
class HostileRoot {
  readonly #session: Session;
  readonly #vm: string;

  constructor(session: Session, vm: string) {
    this.#session = session;
    this.#vm = vm;
  }

  /** Asks one thing after the other, each in a session of its own; each is answered, or is not within some seconds. */
  async ask(requests: readonly string[], seconds = 5): Promise<Answer[]> {
    const openings = requests.map(() => opening(nonce()));
    const asked = requests.map((text, at) => Buffer.from(`${openings[at]}${text}`, "latin1").toString("base64"));
    const base64 = await this.#session.guest(
      this.#vm,
      `exec 2>/dev/null 3<>${PORT}; cat <&3 >/tmp/said & reader=$!; answers=0; turn=0
for one in ${asked.join(" ")}; do
  echo $one | base64 -d >&3; answers=$((answers + 1))
  until [ $(grep -ao 'HTTP/1.1 [0-9]' /tmp/said | wc -l) -ge $answers ] || [ $turn -ge ${seconds * 10} ]; do
    turn=$((turn + 1)); sleep 0.1
  done
done
sleep 0.2; kill $reader; base64 </tmp/said`,
    );
    let said = Buffer.from(base64, "base64").toString("latin1");
    // What comes before is of somebody who had the port before.
    return openings.map((words, at) => {
      const begin = said.indexOf(words);
      if (begin < 0) throw new Error(`the host did not take up session ${at}`);
      said = said.slice(begin + words.length);
      const next = openings[at + 1];
      const end = next === undefined ? -1 : said.indexOf(next);
      const answer = end < 0 ? said : said.slice(0, end);
      return { status: answer.slice(9, 12), bytes: answer.replace(/^date:.*\r\n/im, "") };
    });
  }
}

describe("two VMs", () => {
  let session: Session;
  let root: HostileRoot;

  beforeAll(async () => {
    session = await Session.start();
    for (const name of ["only-a", "only-b", "common"]) {
      await session.ok(["secret", "create", name], { stdin: `value of ${name}` });
    }
    const wait = ["--wait", "--timeout", "90s"];
    await Promise.all([
      // Its root has the port to himself; the agent comes when it is let.
      session.ok(["vm", "launch", "a", "--secrets", "only-a,common:for/a", "--append", "hatchway.agent=off"]),
      session.ok(["vm", "launch", "b", "--secrets", "only-b,common:for/b", ...wait]),
    ]);
    root = new HostileRoot(session, "a");
    await session.guest("a", AGENT);
    await session.synced("a");
    await session.guest("a", "killall hatchway-agent; sleep 0.5");
  });
  afterAll(() => session[Symbol.asyncDispose]());

  it("each has its own and the common one where it wants it", async ({ expect }) => {
    const list = `cd ${ROOT} && find . -type f ! -path './.hatchway/*' | sort | xargs -n1 sh -c 'echo "$0 $(cat $0)"'`;
    expect(await session.guest("a", list)).toBe("./for/a value of common\n./only-a value of only-a\n");
    expect(await session.guest("b", list)).toBe("./for/b value of common\n./only-b value of only-b\n");
  });

  it("the root of one cannot tell a secret of the other from one that does not exist", async ({ expect }) => {
    const methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"];
    const paths = ["/v1/secrets/only-b", "/v1/secrets/only-x"];
    const asked = methods.flatMap((method) =>
      paths.map((path) => request(`${method} ${path}`, method === "POST" ? "" : undefined)),
    );
    const answers = await root.ask(asked);
    methods.forEach((method, at) => {
      const [foreign, nothing] = answers.slice(2 * at);
      expect(foreign?.bytes, method).toBe(nothing?.bytes);
      expect(foreign?.status, method).toBe("404");
    });
  });

  it("no path, name or host of a request leads out of the VM", async ({ expect }) => {
    const lines = [
      "GET /v1/secrets/../secrets/only-b",
      "GET /v1/secrets/only-b%00",
      "GET /v1/secrets/%6fnly-b",
      "GET /v1/../vms/b",
      "GET /secrets/only-b",
      "GET /vms",
      "GET http://b/v1/bundle",
      "GET //b/v1/bundle",
      "GET /v1/bundle?vm=b",
      "GET /v1/bundle/b",
      "GET /v1/manifest?vm=b",
      "PUT /vms/a/secrets/only-b",
    ];
    const answers = await root.ask(lines.map((line) => request(line)));
    for (const { status, bytes } of answers) {
      expect(status).toMatch(/^40[04]$/);
      expect(bytes).not.toMatch(/only-b|for\/b/);
    }
    const [own] = await root.ask(["GET /v1/manifest HTTP/1.1\r\nHost: b\r\nX-Forwarded-For: b\r\n\r\n"]);
    expect(own?.bytes).toContain("only-a");
    expect(own?.bytes).not.toMatch(/only-b|for\/b/);
  });

  it("the other's revision opens nothing, and no receipt for it counts", async ({ expect }) => {
    // Another counter than that of the first, whose revisions would otherwise look the same.
    await session.ok(["secret", "update", "only-b", "--wait"], { stdin: "value of only-b, newer" });
    const revisionOf = (vm: string) =>
      session.guest(vm, 'hatchway-agent status --json | grep -o \'"revision":"[^"]*\'');
    const [ofA, ofB] = (await Promise.all(["a", "b"].map(revisionOf))).map((text) => text.trim().split('"').at(-1));
    if (ofA === undefined || ofB === undefined) throw new Error("an agent has no revision");
    const [bundle] = await root.ask([request(`GET /v1/bundle?have=${ofB}&wait=0`)]);
    expect(bundle?.bytes).toContain("value of only-a");
    expect(bundle?.bytes).not.toMatch(/only-b|for\/b/);
    const before = (await session.vm("b")).convergence;
    const receipt = JSON.stringify({ outcome: "failed", refused: [], mount: "x", agent: "x", boot: "x" });
    const ahead = ofA.replace(/\d+$/, "999");
    const [foreign, invented] = await root.ask([
      request(`POST /v1/receipts/${ofB.replace(/\d+$/, "999")}`, receipt),
      request(`POST /v1/receipts/${ahead}`, receipt),
    ]);
    expect(foreign?.bytes).toBe(invented?.bytes);
    expect(foreign?.status).toBe("400");
    expect((await session.vm("b")).convergence).toEqual(before);
    const { convergence } = await session.vm("a");
    expect(convergence.alarms.map(({ what }) => what)).toContain("receipt for a revision that was not disclosed");
    expect((await session.vm("a")).convergence.agent).not.toBe("x");
  });

  it("nothing of the one moves when the other's secrets change", async ({ expect }) => {
    const [before] = await root.ask([request("GET /v1/manifest")]);
    const wanted = (await session.vm("a")).convergence.wanted;
    await session.ok(["secret", "update", "only-b", "--wait"], { stdin: "changed" });
    await session.ok(["secret", "create", "late-b"], { stdin: "late" });
    await session.ok(["vm", "attach", "b", "late-b"]);
    await session.synced("b");
    await session.ok(["vm", "detach", "b", "late-b"]);
    const [after] = await root.ask([request("GET /v1/manifest")]);
    expect(after?.bytes).toBe(before?.bytes);
    expect((await session.vm("a")).convergence.wanted).toBe(wanted);
  });

  it("a question that waits is not woken by the other's change", async ({ expect }) => {
    const [manifest] = await root.ask([request("GET /v1/manifest")]);
    const revision = /"revision":"([^"]+)"/.exec(manifest?.bytes ?? "")?.[1] ?? "";
    const waiting = root.ask([request(`GET /v1/bundle?have=${revision}&wait=5`)], 3);
    await session.ok(["secret", "update", "only-b", "--wait"], { stdin: "changed again" });
    const [answer] = await waiting;
    expect(answer?.bytes).toBe("");
  });

  const mebibyte = "dd if=/dev/zero bs=64k count=16 2>/dev/null";
  for (const [what, script] of Object.entries({
    "random bytes": `head -c 1048576 /dev/urandom`,
    "a mebibyte without a newline": `${mebibyte} | tr '\\0' 'A'`,
    "a mebibyte of NULs": mebibyte,
    "a header without end": `printf '\\000${nonce()}\\nGET /v1/bundle HTTP/1.1\\r\\nX: '; ${mebibyte} | tr '\\0' 'A'`,
    "a body that is never sent": `printf '\\000${nonce()}\\nPOST /v1/claim HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 4096\\r\\n\\r\\n{'`,
    "half an opening": `printf '\\000${nonce().slice(0, 20)}'`,
    "one opening again and again": `n=${nonce()}; for i in $(seq 2000); do printf '\\0%s\\n' $n; done`,
    "half a request in each of many sessions": `for i in $(seq 500); do printf '\\0%s\\nGET /v1/bun' ${nonce()}; done`,
    "many requests whose answers are not read": `printf '\\000${nonce()}\\n'; for i in $(seq 500); do printf 'GET /v1/bundle HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n'; done`,
  })) {
    it(`${what}: the other VM and the host do not notice, and the port serves again`, async ({ expect }) => {
      // The device is closed while bytes are still under way in both directions.
      const hostile = session.tryGuest("a", `(${script}) | timeout 5 dd of=${PORT} bs=64k 2>/dev/null; exit 0`);
      await session.ok(["secret", "update", "only-b", "--wait", "--timeout", "5s"], { stdin: `during ${what}` });
      expect((await hostile).code).toBe(0);
      expect(await session.guest("b", `cat ${ROOT}/only-b`)).toBe(`during ${what}`);
      const [answer] = await root.ask([request("GET /v1/secrets/only-a")]);
      expect(answer?.bytes).toContain("value of only-a");
    });
  }

  it("after all that the agent converges again", async ({ expect }) => {
    // A session that ends in the middle of its answer.
    await session.guest(
      "a",
      `exec 3<>${PORT}; printf '\\000${nonce()}\\nGET /v1/bundle HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n' >&3; head -c 100 <&3`,
    );
    await session.guest("a", AGENT);
    await session.ok(["secret", "update", "common"], { stdin: "common again" });
    for (const vm of ["a", "b"]) {
      await session.synced(vm);
      expect(await session.guest(vm, `cat ${ROOT}/for/${vm}`)).toBe("common again");
    }
  });
});
