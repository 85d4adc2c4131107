// What the agent does outside its own root: links, and actions on a change.
import { once } from "node:events";
import { existsSync, readFileSync, readlinkSync } from "node:fs";

import { beforeEach, describe, it } from "vitest";
import { guestAndHost } from "#test/kit/guest-and-host";
import { COMPILED, GuestNamespace, ON_NODE, type Ended } from "#test/kit/guest-namespace";
import { file, HostPeer, type Given } from "#test/kit/host-peer";

const SET = "/run/hatchway/secrets";

/** An entry for each pid file, whose change is signalled to the process that it names. */
function signalling(value: string, ...pidFiles: string[]): Given[] {
  return pidFiles.map((path) => file(path, value, { onChange: { signal: "HUP", pidFile: `/run/${path}` } }));
}

describe.each([COMPILED, ON_NODE])("effects of hatchway-agent, $name", ({ command }) => {
  let guest: GuestNamespace;
  let host: HostPeer;
  let from: string;

  beforeEach(async () => {
    const made = await guestAndHost();
    ({ guest, host, from } = made);
    return made.close;
  });

  const sync = (): Promise<Ended> => guest.run([...command, "sync", "--from", from]);
  const refusals = (): string[] =>
    (host.receipts.at(-1)?.refused ?? []).map(({ name, reason }) => `${name}: ${reason}`);

  it("a link leads into the set, follows it, and goes with its grant", async ({ expect }) => {
    guest.shell("mkdir -p /run/app/tls");
    host.mountRoot = "/run/secrets";
    host.set(file("key", "k", { link: "/run/app/tls/key.pem" }), file("other", "o", { link: "/run/app/other" }));
    await sync();
    expect(readlinkSync(guest.path("/run/app/tls/key.pem"))).toBe(`${SET}/key`);
    expect(readlinkSync(guest.path("/run/secrets"))).toBe(SET);
    expect(guest.shell("cat /run/app/tls/key.pem /run/secrets/other")).toBe("ko");

    host.mountRoot = SET;
    host.set(file("key", "k", { path: "moved", link: "/run/app/tls/key.pem" }), file("other", "o"));
    await sync();
    expect(readlinkSync(guest.path("/run/app/tls/key.pem"))).toBe(`${SET}/moved`);
    expect(guest.shell("ls -A /run/app /run/app/tls; test ! -L /run/secrets")).toBe(
      "/run/app:\ntls\n\n/run/app/tls:\nkey.pem\n",
    );
    expect(refusals()).toEqual([]);
  });

  it("a link is made only where nobody but root has a say, and replaces nothing foreign", async ({ expect }) => {
    guest.shell(`
      mkdir -p /run/safe /run/open /run/theirs/deep; chmod 1777 /run/open; chown 1000 /run/theirs
      ln -s /run/safe /run/symlink; echo precious > /run/safe/file; ln -s /etc/passwd /run/safe/passwd`);
    host.set(
      file("a", "a", { link: "/run/open/a" }),
      file("b", "b", { link: "/run/theirs/deep/b" }),
      file("c", "c", { link: "/run/symlink/c" }),
      file("d", "d", { link: "/run/safe/file" }),
      file("e", "e", { link: "/run/safe/passwd" }),
      file("f", "f", { link: "/run/missing/f" }),
      file("g", "g", { link: "/run/safe/good" }),
    );
    expect((await sync()).code).toBe(0);
    expect(refusals()).toEqual([
      `a: cannot link "/run/open/a": "/run/open" must be root's and not writable by others`,
      `b: cannot link "/run/theirs/deep/b": "/run/theirs" must be root's and not writable by others`,
      `c: cannot link "/run/symlink/c": "/run/symlink" is not a folder, or is a symlink`,
      `d: cannot link "/run/safe/file": something that is not hatchway's is there`,
      `e: cannot link "/run/safe/passwd": something that is not hatchway's is there`,
      `f: cannot link "/run/missing/f": "/run/missing" does not exist`,
    ]);
    expect(
      guest.shell("cat /run/safe/file /run/safe/good; readlink /run/safe/passwd; ls -A /run/open /run/theirs/deep"),
    ).toBe("precious\ng/etc/passwd\n/run/open:\n\n/run/theirs/deep:\n");
  });

  it("a folder swapped for a symlink under the agent never leads it astray", async ({ expect }) => {
    guest.shell("mkdir -p /run/swap/real /run/target; chmod 755 /run/target");
    // Root's own processes may race too: then the link lands where the folder is, or nowhere.
    const swapper = guest.start([
      "sh",
      "-c",
      "while :; do mv -T /run/swap/real /run/swap/was; ln -s /run/target /run/swap/real; rm /run/swap/real; mv -T /run/swap/was /run/swap/real; done",
    ]);
    for (let round = 0; round < 10; round++) {
      host.set(file("a", `${round}`, { link: `/run/swap/real/link-${round}` }));
      await sync();
    }
    swapper.kill("SIGKILL");
    await once(swapper, "exit");
    expect(guest.shell("ls -A /run/target")).toBe("");
  });

  it("an action runs once after a change, not at first, and its failure is reported", async ({ expect }) => {
    guest.shell(`printf '#!/bin/sh\\necho "$# $1 $(cat ${SET}/a)" >> /run/log\\n' > /run/hook; chmod 755 /run/hook`);
    const exec = { exec: ["/run/hook", "word"] };
    const on = (value: string): void =>
      host.set(
        file("a", value, { onChange: exec }),
        file("b", value, { onChange: exec }),
        file("c", value, { onChange: { exec: ["/bin/false"] } }),
        file("d", "same", { onChange: { exec: ["/bin/touch", "/run/never"] } }),
      );
    on("1");
    await sync();
    expect(existsSync(guest.path("/run/log"))).toBe(false);

    on("2");
    await sync();
    expect(readFileSync(guest.path("/run/log"), "utf8")).toBe("1 word 2\n");
    expect(existsSync(guest.path("/run/never"))).toBe(false);
    expect(refusals()).toEqual(['c: on change: "/bin/false" ended with exit code 1']);
  });

  it("a signal reaches the process of a pid file whose writer may send it", async ({ expect }) => {
    const waiter = guest.start(["sh", "-c", "trap 'echo hup; exit 0' HUP; echo up; while :; do sleep 0.02; done"]);
    let heard = "";
    waiter.stdout?.on("data", (chunk: Buffer) => (heard += chunk.toString()));
    await once(waiter.stdout ?? waiter, "data");
    guest.shell(`echo ${waiter.pid ?? 0} > /run/good.pid; cp /run/good.pid /run/bad.pid; chown 1000 /run/bad.pid
      ln -s good.pid /run/link.pid`);
    host.set(...signalling("1", "bad.pid", "link.pid", "good.pid"));
    await sync();
    host.set(...signalling("2", "bad.pid", "link.pid"));
    await sync();
    expect(refusals()).toEqual([
      `bad.pid: on change: "/run/bad.pid" belongs to uid 1000, process ${waiter.pid ?? 0} to uid 0`,
      "link.pid: on change: open /run/link.pid: a symlink is in the way",
    ]);
    expect(heard).toBe("up\n");
    host.set(...signalling("3", "good.pid"));
    const gone = once(waiter, "close");
    await sync();
    await gone;
    expect(heard).toBe("up\nhup\n");
  });
});
