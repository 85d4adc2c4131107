// hatchway key, as its user has it.
import { execFileSync } from "node:child_process";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "vitest";
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
    await expect(session.serve()).rejects.toThrow(/there is no terminal to ask for the passphrase/);
    env["CREDENTIALS_DIRECTORY"] = join(folder, "credentials");
    await session.serve();
    await session.ok(["secret", "set", "db"], { stdin: "value" });
  });
});
