// hatchway key, as its user has it.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, it } from "vitest";
import { connect } from "#client/connect";
import { call } from "#test/kit/http";
import { Session } from "#test/kit/session";

describe("hatchway key", () => {
  it("opens a store by a credential, a passphrase or age when the key file is lost", async ({ expect }) => {
    await using session = await Session.start();
    const { folder, env } = session;
    await session.ok(["secret", "set", "db"], { stdin: "value" });
    const sealed = join(folder, "hatchway-key.cred");
    await session.ok(["key", "add-way", "systemd-credential", "--seal-to", sealed, "--with-key", "host"]);
    await session.ok(["key", "add-way", "passphrase", "--passphrase-file", "-"], { stdin: "correct horse\n" });
    const identity = join(folder, "identity.txt");
    execFileSync("age-keygen", ["-o", identity], { stdio: "ignore" });
    const recipient = execFileSync("age-keygen", ["-y", identity], { encoding: "utf8" }).trim();
    await session.ok(["key", "add-way", "age", "--recipient", recipient, "--identity", identity]);
    const status = await session.ok(["key", "status"]);
    for (const name of ["key-file", "systemd-credential", "passphrase", "age"]) expect(status).toContain(name);
    expect(await session.ok(["audit", "tail"])).not.toContain("horse");

    const credentials = join(folder, "credentials");
    mkdirSync(credentials, { mode: 0o700 });
    const key = execFileSync("systemd-creds", ["decrypt", "--name=hatchway-key", sealed, "-"]);
    writeFileSync(join(credentials, "hatchway-key"), key, { mode: 0o400 });
    await session.end("SIGTERM");
    rmSync(join(folder, "c/hatchway/root.key"));
    renameSync(identity, `${identity}.away`);

    await expect(session.serve()).rejects.toThrow(
      /none of the 4 ways opens the keyring .*: key-file \(there is no key/,
    );
    env["CREDENTIALS_DIRECTORY"] = credentials;
    await session.serve();
    await session.ok(["secret", "show", "db"]);
    await session.end("SIGTERM");

    rmSync(join(credentials, "hatchway-key"));
    writeFileSync(join(credentials, "hatchway-passphrase"), "correct horse", { mode: 0o400 });
    await session.serve();
    await session.ok(["key", "add-way", "key-file", "--name", "again", "--path", join(folder, "again.key")]);
    for (const name of ["key-file", "systemd-credential", "age", "passphrase"]) {
      await session.ok(["key", "remove-way", name]);
    }
    const last = await session.run(["key", "remove-way", "again"]);
    expect(last).toMatchObject({ code: 4, stderr: expect.stringContaining('"again" is the last way to the keys') });
    await session.end("SIGTERM");
    delete env["CREDENTIALS_DIRECTORY"];
    await session.serve();
    await session.ok(["secret", "show", "db"]);
  });

  it("makes the keys of a new store with the way that is asked for, and never over others", async ({ expect }) => {
    await using session = new Session();
    const { env, folder } = session;
    mkdirSync(join(folder, "credentials"), { mode: 0o700 });
    writeFileSync(join(folder, "credentials/hatchway-passphrase"), "correct horse", { mode: 0o400 });
    const init = ["key", "init", "passphrase", "--session", "--passphrase-file", "-"];
    expect((await session.run(init, { stdin: "short" })).code).toBe(2);
    await session.ok(init, { stdin: "correct horse" });
    expect((await session.run(init, { stdin: "correct horse" })).code).toBe(4);
    env["CREDENTIALS_DIRECTORY"] = join(folder, "credentials");
    await session.serve();
    await session.ok(["secret", "set", "db"], { stdin: "value" });
  });
});

describe("hatchway key add-way --with-key tpm2", () => {
  it("says what to do on a machine without a TPM2, and seals to it on one that has it", async ({ expect }) => {
    await using session = await Session.start();
    const has = spawnSync("systemd-creds", ["has-tpm2", "--quiet"]).status === 0;
    const sealed = join(session.folder, "hatchway-key.cred");
    const ran = await session.run(["key", "add-way", "systemd-credential", "--seal-to", sealed, "--with-key", "tpm2"]);
    const refused = {
      code: 9,
      stderr: expect.stringMatching(/^error: systemd-creds refused: .*\nhint: .*--with-key host/),
    };
    expect(ran).toMatchObject(has ? { code: 0 } : refused);
    expect(existsSync(sealed)).toBe(has);
    expect((await session.ok(["key", "status"])).includes("systemd-credential")).toBe(has);
  });
});

describe("a rewrap", () => {
  it("survives kill -9 at any moment, and loses nothing", async ({ expect }) => {
    await using session = await Session.start();
    const client = connect(`unix://${session.runtime}/hatchway.sock`, session.env);
    const names = Array.from({ length: 600 }, (_, number) => `s${number}`);
    const store = async (name: string): Promise<void> => {
      await client.putSecret(name, "set", Buffer.from(`value of ${name}`));
    };
    for (let at = 0; at < names.length; at += 50) await Promise.all(names.slice(at, at + 50).map(store));
    await session.ok(["vm", "create", "web", ...names.flatMap((name) => ["--secret", name])]);
    await session.ok(["key", "rotate"]);
    let kills = 0;
    for (let begun = false; ; begun = true) {
      const { state } = begun ? await client.rewrap() : await client.startRewrap();
      if (state !== "running") break;
      await sleep(5 * kills);
      await session.end("SIGKILL");
      kills += 1;
      await session.serve();
    }
    expect(kills).toBeGreaterThan(1);
    const { current, terms } = await client.keys();
    expect(current).toBe(2);
    expect(terms.find(({ term }) => term === 1)?.rows).toBe(0);
    await session.ok(["key", "retire", "1"]);
    await session.end("SIGTERM");
    await session.serve();
    expect(await session.ok(["audit", "verify"])).toContain("the audit trail holds");
    const { control_socket: control } = await client.vm("web");
    const bundle = (await call(control, "GET", "/bundle")).text;
    for (const name of names) expect(bundle.includes(`value of ${name}\0`), name).toBe(true);
  });
});
