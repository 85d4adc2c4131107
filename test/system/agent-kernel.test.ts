// A kernel or a sandbox that does not let the agent do what it is used to.
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "vitest";
import { readFileSync } from "node:fs";
import { COMPILED, GuestNamespace, ON_NODE } from "#test/kit/guest-namespace";
import { file, HostPeer } from "#test/kit/host-peer";

describe.each([COMPILED, ON_NODE])("a kernel, $name", ({ command }) => {
  let guest: GuestNamespace;
  let host: HostPeer;
  beforeEach(async () => {
    guest = await GuestNamespace.open();
    host = new HostPeer();
    await host.listen(join(guest.outside, "api"));
  });
  afterEach(async () => {
    await host.close();
    await guest.close();
  });

  it("that refuses renameat2 leaves the old set, and the host is told", async ({ expect }) => {
    const sync = [...command, "sync", "--from", `unix:${join(guest.outside, "api")}`];
    host.set(file("a", "old"));
    expect((await guest.run(sync)).code).toBe(0);
    host.set(file("a", "new"), file("b", "more"));
    const strace = ["strace", "-f", "-o", "/run/trace", "-e", "inject=renameat2:error=ENOSYS"];
    const { code, stderr } = await guest.run([...strace, ...sync]);
    expect([code, stderr]).toEqual([1, expect.stringContaining("rename")]);
    expect(readFileSync(guest.path("/run/hatchway/secrets/a"), "utf8")).toBe("old");
    expect((await host.receipt(({ revision }) => revision === host.revision)).outcome).toBe("failed");
    expect((await guest.run(sync)).code).toBe(0);
    expect(readFileSync(guest.path("/run/hatchway/secrets/a"), "utf8")).toBe("new");
  });
});
