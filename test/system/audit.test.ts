// hatchway audit, as its user has it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { join, resolve } from "node:path";
import { describe, it } from "vitest";
import { Session } from "#test/kit/session";

describe("hatchway audit", () => {
  it("shows, exports and verifies the trail; offline too", async ({ expect }) => {
    await using session = await Session.start();
    await session.ok(["secret", "set", "db"], { stdin: "canary-of-the-audit" });
    await session.ok(["vm", "create", "web", "--secret", "db"]);
    const tail = await session.ok(["audit", "tail", "-n", "2"]);
    expect(tail.split("\n")[1]).toMatch(/^\S+Z {2}unix:uid=\d+,gid=\d+,pid=\d+ {2}vm\.create {2}db {2}vm web {2}ok$/);
    const csv = await session.ok(["audit", "export", "--secret", "db", "--csv"]);
    expect(csv.split("\r\n")[0]).toBe("seq,time,phase,op,opId,caller,secret,version,vm,outcome,mac");
    expect(csv.split("\r\n")[2]).toMatch(/^2,[^,]+,outcome,secret\.set,[^,]+,"unix:[^"]+",db,1,,ok,[0-9a-f]{64}$/);
    const json = JSON.parse(await session.ok(["audit", "export", "--op", "vm.*", "--json"])) as { op: string }[];
    expect(json.map(({ op }) => op)).toEqual(["vm.create", "vm.create"]);
    expect(JSON.parse(await session.ok(["audit", "export", "--op", "no.such", "--json"]))).toEqual([]);
    expect(await session.ok(["audit", "verify"])).toMatch(
      /^the audit trail holds: \d+ lines in 1 file, from line 1 of/,
    );
    expect(tail + csv + JSON.stringify(json)).not.toContain("canary");
    expect((await session.run(["audit", "export", "--since", "yesterday"])).code).toBe(2);

    await session.end("SIGTERM");
    const offline = await session.run(["audit", "verify", "--session"]);
    expect(offline).toMatchObject({ code: 0, stderr: expect.stringContaining("only a running daemon knows") });
    const path = join(session.state, "audit.jsonl");
    const good = readFileSync(path, "utf8");
    writeFileSync(path, good.replace('"secret":"db"', '"secret":"dc"'));
    const bad = await session.run(["audit", "verify", "--session"]);
    expect(bad).toMatchObject({
      code: 8,
      stderr: `error: the audit trail "${path}" was edited: line 1 does not hold\n`,
    });
    expect((await session.run(["audit", "verify", path, "--session"])).code).toBe(8);
    writeFileSync(path, good);
  });

  it("follows the trail as lines come", async ({ expect }) => {
    await using session = await Session.start();
    const tail = spawn(resolve("bin/hatchway"), ["audit", "tail", "-f", "-n", "0", "--json"], { env: session.env });
    try {
      const lines = createInterface({ input: tail.stdout })[Symbol.asyncIterator]();
      // Its own request leaves no line, so what it is asked for first comes in time or is the next one.
      let written = 0;
      const writing = setInterval(() => void session.run(["secret", "set", `s${(written += 1)}`], { stdin: "x" }), 500);
      const line = await lines.next();
      clearInterval(writing);
      expect(JSON.parse(String(line.value))).toMatchObject({ op: "secret.set" });
    } finally {
      const ended = once(tail, "exit");
      tail.kill();
      await ended;
    }
  });
});
