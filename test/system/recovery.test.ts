// docs/recovery.md, done as it stands there: stock tools, and no Hatchway.
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { describe, it } from "vitest";
import { Session } from "#test/kit/session";

const document = readFileSync(new URL("../../docs/recovery.md", import.meta.url), "utf8");

function block(name: string): string {
  const [, body] = new RegExp(`^\`\`\`${name}\n([^]*?)^\`\`\`$`, "m").exec(document) ?? [];
  if (body === undefined) throw new Error(`docs/recovery.md has no block ${name}`);
  return body;
}

/** Stores some secrets under two terms, and backs the keys up; what was stored, by the file that it is recovered to. */
async function filled(session: Session, identity: string): Promise<Map<string, Buffer>> {
  const values = new Map<string, Buffer>([
    ["text", Buffer.from("line one\nline two\n")],
    ["empty", Buffer.alloc(0)],
    ["binary", randomBytes(10_000)],
    ["turned", Buffer.from("new")],
    ["turned@1", Buffer.from("old")],
    ["later", Buffer.from("under term 2")],
  ]);
  for (const name of ["text", "empty", "binary", "turned@1", "turned"]) {
    const [secret = ""] = name.split("@");
    await session.ok(["secret", "set", secret, "--allow-empty"], { stdin: values.get(name) ?? "" });
  }
  await session.ok(["key", "rotate"]);
  await session.ok(["secret", "set", "later"], { stdin: values.get("later") ?? "" });
  execFileSync("age-keygen", ["-o", identity], { stdio: "ignore" });
  const recipient = execFileSync("age-keygen", ["-y", identity], { encoding: "utf8" }).trim();
  const output = join(session.folder, "keys.age");
  await session.ok(["key", "backup", "--recipient", recipient, "--output", output]);
  return values;
}

describe("docs/recovery.md", () => {
  it("gets every secret back with age, sqlite3 and node alone", async ({ expect }) => {
    await using session = await Session.start();
    const { folder, state } = session;
    const values = await filled(session, join(folder, "identity.txt"));
    await session.end("SIGKILL");
    const desk = join(folder, "desk");
    mkdirSync(desk, { mode: 0o700 });
    for (const file of ["store.db", "store.db-wal"]) {
      if (existsSync(join(state, file))) copyFileSync(join(state, file), join(desk, file));
    }
    for (const file of ["keys.age", "identity.txt"]) copyFileSync(join(folder, file), join(desk, file));
    writeFileSync(join(desk, "recover.js"), block("js recover"));
    const env = { PATH: `${dirname(process.execPath)}:/usr/bin:/bin` };
    execFileSync("sh", ["-euc", block("sh recovery")], { cwd: desk, env });
    expect(readdirSync(join(desk, "recovered")).toSorted()).toEqual([...values.keys()].toSorted());
    for (const [name, value] of values)
      expect(readFileSync(join(desk, "recovered", name)).equals(value), name).toBe(true);
  });

  it("gets every version of every secret back from a backup, with age and tar alone", async ({ expect }) => {
    await using session = await Session.start();
    const identity = join(session.folder, "identity.txt");
    const values = await filled(session, identity);
    const recipient = execFileSync("age-keygen", ["-y", identity], { encoding: "utf8" }).trim();
    const desk = join(session.folder, "desk");
    mkdirSync(desk, { mode: 0o700 });
    await session.ok(["backup", join(desk, "today.age"), "--recipient", recipient]);
    copyFileSync(identity, join(desk, "identity.txt"));
    execFileSync("sh", ["-euc", block("sh backup")], { cwd: desk, env: { PATH: "/usr/bin:/bin" } });
    for (const [name, value] of values) {
      const [secret = "", old] = name.split("@");
      const versions = readdirSync(join(desk, "recovered/values", secret)).toSorted((a, b) => Number(b) - Number(a));
      const recovered = readFileSync(join(desk, "recovered/values", secret, old ?? versions[0] ?? ""));
      expect(recovered.equals(value), name).toBe(true);
    }
    expect(statSync(join(desk, "recovered/values/text/1")).mode & 0o777).toBe(0o600);
  });

  it("makes the keyring again, so that the store opens by another key file", async ({ expect }) => {
    await using session = await Session.start();
    const { folder, state } = session;
    const identity = join(folder, "identity.txt");
    await filled(session, identity);
    const backup = join(folder, "keys.age");
    expect(statSync(backup).mode & 0o777).toBe(0o600);
    const restore = ["key", "restore", backup, "--identity", identity, "--session"];
    expect((await session.run(restore)).code).toBe(4);
    const again = await session.run(["key", "backup", "--recipient", "age1qqq", "--output", `${backup}2`]);
    expect(again.code).toBe(2);
    const trail = await session.ok(["audit", "export", "--op", "key.backup"]);
    expect(
      trail
        .trim()
        .split("\n")
        .map((line) => (JSON.parse(line) as { outcome?: string }).outcome),
    ).toEqual([undefined, "ok", undefined, "invalid"]);
    await session.end("SIGTERM");
    rmSync(join(state, "keyring.json"));
    rmSync(join(folder, "c/hatchway/root.key"));
    await expect(session.serve()).rejects.toThrow(/there is no keyring/);
    const other = join(folder, "other.txt");
    execFileSync("age-keygen", ["-o", other], { stdio: "ignore" });
    const wrong = await session.run(["key", "restore", backup, "--identity", other, "--session"]);
    expect(wrong).toMatchObject({ code: 8, stderr: expect.stringContaining("does not open what is sealed to it") });
    await session.ok(restore);
    await session.serve();
    expect((await session.secret("turned")).version).toBe(2);
    expect(await session.ok(["audit", "verify"])).toContain("the audit trail holds");
  });
});
