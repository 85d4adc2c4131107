// `hatchway-agent credentials` without systemd: whom it refuses, and when it does not start. That systemd is served is
// shown in test/vm/systemd.test.ts.
import { once } from "node:events";
import { statSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "vitest";
import { askCredential, REFUSED_BYTES } from "#test/kit/ask-credential";
import { COMPILED, ended, GuestNamespace, ON_NODE, type Ended } from "#test/kit/guest-namespace";
import { file, HostPeer } from "#test/kit/host-peer";

const POLICY = "/run/policy";
const SOCKET = "/run/hatchway/credentials.sock";
const NAME = "d2f60f82/unit/web.service/key";

describe.each([COMPILED, ON_NODE])("hatchway-agent credentials, $name", ({ command }) => {
  let guest: GuestNamespace;
  let host: HostPeer;

  beforeEach(async () => {
    guest = await GuestNamespace.open();
    host = new HostPeer();
    await host.listen(join(guest.outside, "api"));
    host.set(file("key", "canary"));
    guest.shell(`echo 'allow web.service key' >${POLICY}`);
  });

  afterEach(async () => {
    await host.close();
    await guest.close();
  });

  const sync = (): Promise<Ended> => guest.run([...command, "sync", "--from", `unix:${join(guest.outside, "api")}`]);
  const serve = [...command, "credentials", "--policy", POLICY];

  it("refuses every process that is not systemd for the unit, and says why", async ({ expect }) => {
    await sync();
    const server = guest.start(serve);
    const output = ended(server);
    await once(server.stderr ?? server, "data");
    expect(statSync(guest.path(SOCKET)).mode & 0o777).toBe(0o600);

    for (const name of [NAME, "", "x/unit/web.service/key"]) {
      const { stdout } = await guest.run(askCredential(name));
      expect(stdout.length).toBe(REFUSED_BYTES);
      expect(stdout).not.toContain("canary");
    }
    const user = await guest.run(["setpriv", "--reuid", "1000", "--clear-groups", ...askCredential(NAME)]);
    expect(user).toEqual({ code: 13, stdout: "", stderr: "connect: Permission denied\n" });

    const second = await guest.run(serve);
    expect(second.stderr).toBe("error: another hatchway-agent serves credentials here already\n");
    server.kill("SIGTERM");
    const { code, stderr } = await output;
    expect(code).toBe(0);
    expect(stderr).toMatch(/refused credential: process \d+ asks for "web.service" and belongs to /);
    expect(stderr.match(/does not ask as systemd does/g)).toHaveLength(2);
    expect(() => statSync(guest.path(SOCKET))).toThrow("ENOENT");
  });

  it("takes the place of one that was killed, and of nothing that is no socket", async ({ expect }) => {
    await sync();
    const killed = guest.start(serve);
    await once(killed.stderr ?? killed, "data");
    killed.kill("SIGKILL");
    await once(killed, "exit");
    const again = guest.start(serve);
    await once(again.stderr ?? again, "data");
    expect((await guest.run(askCredential(NAME))).stdout.length).toBe(REFUSED_BYTES);
    again.kill("SIGTERM");
    await once(again, "exit");
    guest.shell(`echo mine >${SOCKET}`);
    expect((await guest.run(serve)).stderr).toBe(`error: "${SOCKET}" is there, and is no socket\n`);
  });

  it("does not start where others have a say, or nothing is", async ({ expect }) => {
    const problem = async (...flags: string[]): Promise<string> => (await guest.run([...serve, ...flags])).stderr;
    expect(await problem()).toContain("no hatchway-agent has run here yet");
    await sync();
    guest.shell(
      `chmod 0666 ${POLICY}; mkdir -m 1777 /run/open; ln -s policy /run/linked; echo 'allow web.service' >/run/bad`,
    );
    expect(await problem()).toBe(`error: policy "${POLICY}": it must be a file that only root can write\n`);
    guest.shell(`chmod 0644 ${POLICY}`);
    expect(await problem("--policy", "/run/linked")).toContain("a symlink is in the way");
    expect(await problem("--policy", "/run/none")).toContain("no such file");
    expect(await problem("--policy", "/run/bad")).toContain("line 1: no credential is named");
    expect(await problem("--socket", "/run/open/sock")).toContain("must be root's, and not writable by others");
  });
});
