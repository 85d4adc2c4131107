// What other VMMs are told, by the whole daemon and its command line; libvirt's own virsh reads its part.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import type { ArgumentsBody, ChannelsBody } from "#api-vm";
import { call } from "#test/kit/http";
import { Session } from "#test/kit/session";

let session: Session;
beforeAll(async () => {
  session = await Session.start();
  await session.ok(["secret", "create", "db", "--owner", "app"], { stdin: "canary-of-wiring" });
  await session.ok(["secret", "create", "TOKEN", "--env"], { stdin: "canary-of-wiring" });
  await session.ok(["vm", "create", "web", "--external", "--cid", "7", "--secret", "db", "--secret", "TOKEN"]);
  await session.ok(["vm", "create", "ours", "--secret", "db"]);
});
afterAll(() => session[Symbol.asyncDispose]());

/** A whole domain around what is to be in `<devices>`, or beside it. */
function domain(element: string): string {
  const [beside, inside] = element.startsWith("<sysinfo") ? [element, ""] : ["", element];
  return `<domain type='test'><name>web</name><memory unit='MiB'>256</memory>
    <os><type arch='x86_64' machine='q35'>hvm</type></os>${beside}<devices>${inside}</devices></domain>`;
}

describe("libvirt", () => {
  it("takes what it is told of each channel, by its own schema", async ({ expect }) => {
    const folder = join(session.folder, "x");
    mkdirSync(folder);
    const cases = [
      ["virtio-serial"],
      ["af-vsock"],
      ["fw-cfg", "--file", "/dev/shm/a&b'c.tar"],
      ["disk", "--file", "/dev/shm/d.erofs"],
      ["9p", "--file", "/dev/shm/web/files"],
      ["virtiofs", "--file", "/dev/shm/web/files"],
      ["tcp", "--file", "/etc/hatchway/pki/guest/web.pem"],
    ];
    const seen: Record<string, string> = {
      "virtio-serial": "org.hatchway.0",
      "fw-cfg": "a&amp;b",
      disk: "HATCHWAY",
      "af-vsock": "address='7'",
      tcp: "opt/org.hatchway/tls",
    };
    for (const [channel = "", ...more] of cases) {
      const xml = await session.ok(["vm", "args", "web", "--vmm", "libvirt", "--channel", channel, ...more]);
      const path = join(folder, `${channel}.xml`);
      writeFileSync(path, domain(xml));
      const virsh = ["-c", "test:///default", `define --validate ${path}; dumpxml web`];
      const said = execFileSync("virsh", virsh, { env: session.env, encoding: "utf8" });
      expect(said).toContain("Domain 'web' defined");
      expect(said).toContain(seen[channel] ?? "/dev/shm/web/files");
    }
  });

  it("is not told a credential for each of more secrets than QEMU has slots for", async ({ expect }) => {
    await session.ok(["vm", "create", "many", "--external", "--no-secrets"]);
    for (let at = 0; at < 17; at++) {
      await session.ok(["secret", "create", `n${at}`], { stdin: "x" });
      await session.ok(["vm", "attach", "many", `n${at}`]);
    }
    const flags = ["--channel", "fw-cfg", "--guest", "systemd", "--file", "/dev/shm/many"];
    const refused = await session.run(["vm", "args", "many", "--vmm", "libvirt", ...flags]);
    expect(refused).toMatchObject({ code: 2 });
    expect(refused.stderr).toContain("17 secrets, and QEMU as libvirt starts it has 16 free slots of fw_cfg");
    expect(await session.ok(["vm", "args", "many", "--vmm", "qemu", ...flags])).toContain("fw_cfg.x-file-slots=49");
  });
});

describe("vm args", () => {
  it("has on stdout what is to be pasted and nothing else, and no value anywhere", async ({ expect }) => {
    const { stdout, stderr } = await session.run(["vm", "args", "web", "--vmm", "firecracker"]);
    expect(JSON.parse(stdout)).toEqual({ guest_cid: 3, uds_path: join(session.runtime, "vm/web/vsock") });
    expect(stderr).toMatch(/^(?:# .*\n)+$/);
    expect(stderr).toContain("not run against the binary");
    const systemd = ["--channel", "fw-cfg", "--guest", "systemd", "--file", "/dev/shm/web"];
    const { stdout: words } = await session.run(["vm", "args", "web", ...systemd]);
    expect(words).toContain("name=opt/io.systemd.credentials/db,file=/dev/shm/web/db");
    expect(words).toContain("name=opt/io.systemd.credentials/TOKEN,file=/dev/shm/web/.hatchway/values/TOKEN");
    expect(stdout + stderr + words).not.toContain("canary");
  });

  it("is refused for a VM that Hatchway starts itself, whose sockets are its own QEMU's", async ({ expect }) => {
    const { code, stderr } = await session.run(["vm", "args", "ours"]);
    expect(code).toBe(2);
    expect(stderr).toContain('vm "ours" is Hatchway\'s own to start');
    expect(stderr).toContain("hint: for a VM that something else starts: hatchway vm create NAME --external");
  });

  it("is there for the runner at the VM's control socket, without an administrator", async ({ expect }) => {
    const { control_socket: control } = await session.vm("web");
    const told = await call(control, "GET", "/arguments?vmm=cloud-hypervisor");
    expect((JSON.parse(told.text) as ArgumentsBody).forms.map(({ name }) => name)).toEqual([
      "arguments",
      "api",
      "config",
    ]);
    const explained = await call(control, "GET", "/channels?vmm=cloud-hypervisor");
    expect((JSON.parse(explained.text) as ChannelsBody).channels.find(({ chosen }) => chosen)?.name).toBe("vsock");
    expect((await call(control, "GET", "/arguments?vmm=xen")).status).toBe(400);
  });
});

describe("vm explain", () => {
  it("shows the sizes, the losses and the choice, without a new revision or a line of disclosure", async ({
    expect,
  }) => {
    const before = (await session.vm("web")).convergence.wanted;
    const { channels } = JSON.parse(
      await session.ok(["vm", "explain", "web", "--guest", "systemd", "--json"]),
    ) as ChannelsBody;
    const chosen = channels.filter((one) => one.chosen);
    expect(chosen.map(({ name, lost }) => [name, lost])).toEqual([["virtio-serial", []]]);
    const fwCfg = channels.find(({ name }) => name === "fw-cfg");
    expect(fwCfg).toMatchObject({ fits: true, lost: ["owners", "modes", "variables", "changes"] });
    expect(fwCfg?.measures).toContainEqual({ what: "bytes", size: 32, limit: 1_048_576 });
    expect((await session.vm("web")).convergence.wanted).toBe(before);
    const text = await session.ok(["vm", "explain", "ours"]);
    expect(text).toMatch(/^virtio-serial +yes, chosen/m);
    expect(text).toMatch(/^vsock +no /m);
    expect(text).toMatch(/^disk +yes /m);
    expect(await session.ok(["audit", "tail", "--lines", "100"])).not.toMatch(/secret\.disclose|bundle\.export/);
  });
});
