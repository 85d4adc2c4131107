// A domain of the stock libvirt: adopted while it runs, and known at its start by the hook.
import { afterAll, beforeAll, describe, it } from "vitest";
import { runInGuest } from "#client/guest-shell";
import { domainXml, startLibvirt } from "#test/kit/libvirt";
import { R1, SystemHost } from "#test/kit/system-host";
import { until } from "#test/kit/until";

const SHELL = "/run/r1/shell.sock";
const VALUE = "canary-of-libvirt";

describe("a domain of libvirt's", () => {
  let host: SystemHost;
  beforeAll(async () => {
    host = await SystemHost.start();
    await host.root(`mkdir -m 700 /run/r1 && chown ${R1.uid}:${R1.gid} /run/r1`);
    // libvirtd looks for hooks when it starts.
    await host.ok(["libvirt-hook", "install"]);
    await startLibvirt(host, R1);
    await host.ok(["secret", "create", "db", "--mode", "0440"], VALUE);
  }, 180_000);
  afterAll(async () => {
    for (const name of ["web", "next"]) await host.root(`virsh -c qemu:///system destroy ${name} || true`);
    await host[Symbol.asyncDispose]();
  });

  /** Root's shell in the guest. */
  const guest = async (script: string): Promise<string> => {
    const ran = await runInGuest(host.path(SHELL), ["sh", "-c", script], { timeoutMs: 90_000 });
    if (ran.code !== 0) throw new Error(`"${script}" ended with ${ran.code}: ${ran.output.toString()}`);
    return ran.output.toString();
  };
  const virsh = (words: string): Promise<string> => host.root(`virsh -c qemu:///system ${words}`);
  const create = async (xml: string): Promise<void> => {
    await host.root(`cat >/run/domain.xml <<'END'\n${xml}\nEND\nvirsh -c qemu:///system create /run/domain.xml`);
  };

  it("that runs is adopted: it gets a port, and its guest its secrets", async ({ expect }) => {
    await create(domainXml("web", SHELL, "hatchway.agent=off"));
    const said = await host.ok(["vm", "adopt", "web-1", "--libvirt", "web", "--secret", "db"]);
    const pid = (await host.root("cat /run/libvirt/qemu/web.pid")).trim();
    expect(said).toContain(`adopted vm "web-1" by libvirt's domain "web": process ${pid} of r1`);
    const sync = "until hatchway-agent sync --from virtio-serial:org.hatchway.0 >/dev/null 2>&1; do sleep 0.1; done";
    expect(await guest(`${sync}; cat /run/hatchway/secrets/db`)).toBe(VALUE);
    expect((await host.vm("web-1")).convergence).toMatchObject({ in_sync: true });
  });

  it("is another generation when libvirt says that its guest was rebooted, and stopped when it is gone", async ({
    expect,
  }) => {
    const { generation } = (await host.vm("web-1")).convergence;
    await virsh("reset web");
    await until("the boot is seen", async () => (await host.vm("web-1")).convergence.generation > generation);
    await virsh("destroy web");
    await until("its end is seen", async () => (await host.vm("web-1")).state === "stopped");
    expect((await host.vm("web-1")).reason).toMatch(/ended|does not run/);
    await host.ok(["vm", "remove", "web-1"]);
  });

  it("is known by the hook from its start on, and one that is nobody's VM starts too", async ({ expect }) => {
    await host.ok(["vm", "create", "next", "--external", "--runner", "r1", "--secret", "db"]);
    const channel = await host.ok(["vm", "args", "next", "--vmm", "libvirt"]);
    await create(domainXml("next", SHELL, "", channel));
    const pid = Number(await host.root("cat /run/libvirt/qemu/next.pid"));
    // Nothing was waited for: libvirt's start has come back after its hook.
    expect(await host.vm("next")).toMatchObject({ state: "running", pid });
    await host.ok(["vm", "status", "next", "--wait", "--timeout", "90s"]);
    expect(await guest("cat /run/hatchway/secrets/db")).toBe(VALUE);
    await virsh("destroy next");
    await until("its end is seen", async () => (await host.vm("next")).state === "stopped");
    for (const words of [
      "other prepare begin -",
      "other started begin -",
      "next stopped end -",
      "a/b started begin -",
    ]) {
      expect(await host.root(`echo '<domain/>' | /etc/libvirt/hooks/qemu.d/hatchway ${words} 2>&1`)).toBe("");
    }
  });
});
