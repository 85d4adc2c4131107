// What vm explain says: which ways fit, why not, and which one is taken. docs/channels.md says the same of each way.
import { readFileSync } from "node:fs";
import { test } from "vitest";
import { explain, type Explained, type Situation } from "#channel/explain";
import { WAYS, wayRow } from "#channel/ways";
import type { ManifestEntry } from "#protocol/manifest";
import { VMMS } from "#wiring";
import { WIRERS } from "#vmm/wirers";

const small: Partial<ManifestEntry>[] = [{ name: "db", size: 13 }];

function situation(entries: Partial<ManifestEntry>[], change: Partial<Situation> = {}): Situation {
  const all = entries.map(({ name = "n", size = 1, ...rest }): ManifestEntry => {
    return { name, version: 1, size, file: { path: name, mode: "0400", user: 0, group: 0 }, ...rest };
  });
  return {
    manifest: { format: 1, vm: "v", revision: "e.1.1", mountRoot: "/run/hatchway/secrets", entries: all },
    wirer: WIRERS.qemu,
    isLaunched: false,
    servesNetwork: true,
    qemu: { major: 7, minor: 2, patch: 22 },
    guest: { reader: "agent", memoryMiB: 256, allowReserved: false },
    systemd: undefined,
    cid: undefined,
    ...change,
  };
}

const systemd: Partial<Situation> = { guest: { reader: "systemd", memoryMiB: 256, allowReserved: false } };

function of(name: string, all: readonly Explained[]): Explained | undefined {
  return all.find(({ way }) => way.name === name);
}

function why(name: string, described: Situation): string {
  return of(name, explain(described))?.unfit?.reason ?? "fits";
}

test.for([
  ["qemu", "virtio-serial"],
  ["firecracker", "vsock"],
  ["cloud-hypervisor", "vsock"],
  ["libvirt", "virtio-serial"],
  ["vmspawn", "virtio-serial"],
  ["microvm.nix", "virtio-serial"],
] as const)("for %s the way that is taken is %s", ([vmm, name], { expect }) => {
  const chosen = explain(situation(small, { wirer: WIRERS[vmm] })).filter(({ isChosen }) => isChosen);
  expect(chosen.map(({ way }) => way.name)).toEqual([name]);
});

test("each VMM has a verdict on every way, and whoever refuses says a way out", ({ expect }) => {
  for (const vmm of VMMS) {
    const all = explain(situation(small, { wirer: WIRERS[vmm] }));
    expect(all.map(({ way }) => way)).toEqual(WAYS);
    for (const { way, unfit } of all) {
      expect(unfit === undefined || (unfit.reason !== "" && unfit.instead !== "")).toBe(true);
      if (!way.built) expect(unfit?.reason).toBe("not in this version");
    }
  }
});

test("a name of 29 characters is too long for fw_cfg, and not for smbios", ({ expect }) => {
  const long = situation([{ name: "n".repeat(29) }], systemd);
  expect(why("fw-cfg", long)).toContain("has a name of 29 characters, and fw_cfg has room for 28");
  expect(why("smbios", long)).toBe("fits");
  expect(of("fw-cfg", explain(long))?.measures).toContainEqual({ what: "characters of a name", size: 29, limit: 28 });
  expect(why("fw-cfg", situation([{ name: "n".repeat(28) }], systemd))).toBe("fits");
});

test("what is too much for SMBIOS is said with its size and its limit", ({ expect }) => {
  const large = situation([{ name: "db", size: 70_000 }], systemd);
  expect(why("smbios", large)).toMatch(/^70\d{3} bytes of SMBIOS strings, and there is room for 65215$/);
  expect(of("smbios", explain(large))?.unfit?.instead).toContain("use fw-cfg");
  expect(why("fw-cfg", large)).toBe("fits");
  expect(why("fw-cfg", situation([{ size: 1_048_577 }], systemd))).toContain("at most 1048576 can be given");
});

test("fw_cfg has 16 free slots where a VMM gives QEMU no more", ({ expect }) => {
  const many = Array.from({ length: 17 }, (_, at) => ({ name: `n${at}` }));
  expect(why("fw-cfg", situation(many, { ...systemd, wirer: WIRERS.libvirt }))).toContain("has 16 free slots");
  expect(why("fw-cfg", situation(many.slice(1), { ...systemd, wirer: WIRERS.libvirt }))).toBe("fits");
  expect(why("fw-cfg", situation(many, { wirer: WIRERS.libvirt }))).toBe("fits");
  expect(why("fw-cfg", situation(many, systemd))).toBe("fits");
});

test("a name that systemd acts on is refused where systemd would get it", ({ expect }) => {
  const reserved: Partial<ManifestEntry>[] = [{ name: "ssh.authorized_keys.root" }];
  expect(why("fw-cfg", situation(reserved, systemd))).toContain("systemd itself acts on, as root");
  expect(why("fw-cfg", situation(reserved))).toBe("fits");
});

test("versions count: QEMU's for smbios, systemd's for both", ({ expect }) => {
  expect(why("smbios", situation(small, { qemu: { major: 7, minor: 2, patch: 9 } }))).toContain(
    "QEMU 7.2.9 reads past",
  );
  expect(why("smbios", situation(small, { ...systemd, systemd: 251 }))).toContain("from version 252 on");
  expect(why("fw-cfg", situation(small, { ...systemd, systemd: 251 }))).toBe("fits");
});

test("tcp fits where the daemon serves a network, and the VMM brings the certificate", ({ expect }) => {
  expect(why("tcp", situation(small))).toBe("fits");
  expect(why("tcp", situation(small, { isLaunched: true }))).toBe("fits");
  expect(why("tcp", situation(small, { servesNetwork: false }))).toBe("the daemon serves no guests over a network");
  expect(why("tcp", situation(small, { wirer: WIRERS.firecracker }))).toContain("brings no file of a firmware");
});

test("what is lost is said of this bundle", ({ expect }) => {
  const rich: Partial<ManifestEntry>[] = [
    { file: { path: "a", mode: "0640", user: "app", group: 0 }, env: "A" },
    { name: "b", onChange: { reload: "nginx" } },
  ];
  const lost = (name: string, change: Partial<Situation>): readonly string[] =>
    of(name, explain(situation(rich, change)))?.lost ?? [];
  expect(lost("virtio-serial", {})).toEqual([]);
  expect(lost("fw-cfg", {})).toEqual(["changes"]);
  expect(lost("fw-cfg", systemd)).toEqual(["owners", "modes", "paths", "variables", "reactions", "changes"]);
  expect(lost("disk", {})).toEqual(["owners", "variables", "reactions", "changes"]);
});

test("docs/channels.md says of each way what vm explain says", ({ expect }) => {
  const lines = readFileSync(new URL("../../docs/channels.md", import.meta.url), "utf8").split("\n");
  for (const way of WAYS) expect(lines).toContain(wayRow(way));
});

test("the kernel's vsock fits a VM that has a CID", ({ expect }) => {
  expect(why("af-vsock", situation(small))).toBe("the VM has no CID");
  expect(why("af-vsock", situation(small, { cid: 7 }))).toBe("fits");
  expect(why("af-vsock", situation(small, { cid: 7, wirer: WIRERS.firecracker }))).toContain("firecracker");
});
