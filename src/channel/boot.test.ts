// The boot channels: what they give a systemd guest and an agent, what they refuse, and what is lost on the way.
import { describe, test } from "vitest";
import type { BootChannel, BootGuest } from "#channel";
import { fwCfg } from "#channel/fw-cfg";
import { smbios } from "#channel/smbios";
import type { ManifestEntry } from "#protocol/manifest";
import { readBundle } from "#test/kit/bundle";
import { guest, refusal, TestVault } from "#test/kit/vault";
import type { Bundle } from "#bundle";

const systemd: BootGuest = { reader: "systemd", memoryMiB: 256, allowReserved: false };
const agent: BootGuest = { ...systemd, reader: "agent" };
const channels: BootChannel[] = [smbios, fwCfg];

function bundleOf(...entries: { name: string; content?: Buffer | string; file?: ManifestEntry["file"] }[]): Bundle {
  const contents = new Map(entries.map(({ name, content = "" }) => [name, Buffer.from(content as string)]));
  const all = entries.map(({ name, file = { path: name, mode: "0400", user: 0, group: 0 } }): ManifestEntry => {
    return { name, version: 1, size: contents.get(name)?.length ?? 0, file };
  });
  return {
    manifest: { format: 1, vm: "v", revision: "e.1.1", mountRoot: "/run/hatchway/secrets", entries: all },
    counter: 1,
    times: all.map(() => 0),
    changedSince: () => all,
    disclose:
      async () =>
      async ({ name }) =>
        Buffer.from(contents.get(name) ?? ""),
  };
}

function manySecrets(count: number): Bundle {
  return bundleOf(...Array.from({ length: count }, (_, at) => ({ name: `n${at}` })));
}

async function shown(channel: BootChannel, bundle: Bundle, to: BootGuest): Promise<string[]> {
  const { items } = await channel.compose(bundle, to);
  return items.map((item) => `${item.kind === "fw-cfg" ? `${item.name} ` : ""}${item.content.toString("latin1")}`);
}

describe("a systemd guest", () => {
  const bundle = bundleOf(
    { name: "db", content: "correct horse" },
    { name: "key", content: Buffer.from([0, 255, 10, 7]) },
    { name: "line", content: "a\n" },
    { name: "empty" },
  );

  test("gets a credential for each secret by smbios, in base64 where it is no plain text", async ({ expect }) => {
    expect(await shown(smbios, bundle, systemd)).toEqual([
      "io.systemd.credential:db=correct horse",
      `io.systemd.credential.binary:key=${Buffer.from([0, 255, 10, 7]).toString("base64")}`,
      `io.systemd.credential.binary:line=${Buffer.from("a\n").toString("base64")}`,
      "io.systemd.credential:empty=",
    ]);
    for (let size = 0; size < 70; size++) {
      const content = Buffer.alloc(size, 0x80);
      const [text = ""] = await shown(smbios, bundleOf({ name: "x", content }), systemd);
      expect(text.endsWith(`=${content.toString("base64")}`)).toBe(true);
    }
  });

  test("gets a credential for each secret by fw-cfg, as it is", async ({ expect }) => {
    expect(await shown(fwCfg, bundle, systemd)).toEqual([
      "opt/io.systemd.credentials/db correct horse",
      "opt/io.systemd.credentials/key \0ÿ\n\u0007",
      "opt/io.systemd.credentials/line a\n",
      "opt/io.systemd.credentials/empty ",
    ]);
  });

  test("is told what is lost, and only that", async ({ expect }) => {
    const owned = { path: "a/b", mode: "0640", user: "app", group: 0, link: "/etc/b" };
    for (const channel of channels) {
      expect((await channel.compose(bundle, systemd)).lost).toEqual(["changes"]);
      expect((await channel.compose(bundleOf({ name: "b", file: owned }), systemd)).lost).toEqual([
        "owners",
        "modes",
        "paths",
        "links",
        "changes",
      ]);
      expect((await channel.compose(bundleOf({ name: "b", file: owned }), agent)).lost).toEqual(["changes"]);
    }
  });

  test("gets no name that systemd acts on, unless it is allowed", async ({ expect }) => {
    const reserved = [
      "systemd.extra-unit.x",
      "passwd.hashed-password.root",
      "ssh.authorized_keys.root",
      "tmpfiles.extra",
    ];
    for (const channel of channels) {
      for (const name of [...reserved, "hatchway.bundle", "network.network.x", "sysctl.extra", "udev.rules.x"]) {
        const named = bundleOf({ name });
        expect(await refusal(channel.compose(named, systemd)), name).toBe("invalid");
        expect(await refusal(channel.compose(named, { ...systemd, allowReserved: true })), name).toBe("done");
        expect(await refusal(channel.compose(named, agent)), name).toBe("done");
      }
      for (const name of ["systemd", "sshd.key", "my.systemd.key"]) {
        expect(await refusal(channel.compose(bundleOf({ name }), systemd)), name).toBe("done");
      }
    }
  });
});

describe("an agent", () => {
  test("gets the whole bundle as one, which its reader takes", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "correct horse", { user: "postgres" });
    const { id } = await made.vm("web", "db");
    const bundle = await made.vault.resolve(guest(id), id);
    const [smbiosItem] = (await smbios.compose(bundle, agent)).items;
    const [fwCfgItem] = (await fwCfg.compose(bundle, agent)).items;
    expect(fwCfgItem).toMatchObject({ name: "opt/io.systemd.credentials/hatchway.bundle" });
    const [name = "", base64 = ""] = (smbiosItem?.content.toString() ?? "").split("=", 2);
    expect(name).toBe("io.systemd.credential.binary:hatchway.bundle");
    for (const tar of [fwCfgItem?.content ?? Buffer.alloc(0), Buffer.from(base64, "base64")]) {
      const read = readBundle([tar]);
      expect([read.error, read.manifest]).toEqual([undefined, bundle.manifest]);
      expect(read.values.map(({ content }) => Buffer.from(content).toString())).toEqual(["correct horse"]);
    }
  });
});

describe("a limit is said with the way out", () => {
  test.for([
    [
      fwCfg,
      "n".repeat(29),
      1,
      'has a name of 29 characters, and fw_cfg has room for 28 behind "opt/io.systemd.credentials/"',
    ],
    [smbios, "n", 65_216, "65241 bytes of SMBIOS strings, and there is room for 65215"],
    [fwCfg, "n", 1_048_577, "1048577 bytes of credentials, and at most 1048576 can be given"],
    [smbios, "n", 1_048_577, "1048577 bytes of credentials"],
  ] as const)("%# by %s", async ([channel, name, size, text], { expect }) => {
    const bundle = bundleOf({ name, content: Buffer.alloc(size, "x") });
    expect(() => channel.check(bundle.manifest, systemd)).toThrow(text);
    await expect(channel.compose(bundle, systemd)).rejects.toThrow(text);
  });

  test("up to it everything fits", async ({ expect }) => {
    const room = 65_215 - "io.systemd.credential:n=".length - 1;
    for (const [channel, name, size] of [
      [fwCfg, "n".repeat(28), 1_048_576],
      [smbios, "n", room],
    ] as const) {
      const bundle = bundleOf({ name, content: Buffer.alloc(size, "x") });
      expect(await refusal(channel.compose(bundle, systemd))).toBe("done");
    }
  });

  test("also of what only opening the value shows, and with room for the tables of much memory", async ({ expect }) => {
    const binary = bundleOf({ name: "n", content: Buffer.alloc(50_000) });
    smbios.check(binary.manifest, systemd);
    await expect(smbios.compose(binary, systemd)).rejects.toThrow("bytes of SMBIOS strings");
    const text = bundleOf({ name: "n", content: Buffer.alloc(65_000, "x") });
    smbios.check(text.manifest, systemd);
    expect(() => smbios.check(text.manifest, { ...systemd, memoryMiB: 1_048_576 })).toThrow("there is room for 59071");
  });

  test("of how many there are", ({ expect }) => {
    smbios.check(manySecrets(255).manifest, systemd);
    expect(() => smbios.check(manySecrets(256).manifest, systemd)).toThrow(
      "256 secrets, and SMBIOS has room for 255 strings",
    );
    fwCfg.check(manySecrets(512).manifest, systemd);
    expect(() => fwCfg.check(manySecrets(513).manifest, systemd)).toThrow("fw_cfg is given at most 512 files");
  });
});

test("nothing is left open but what is handed over", async ({ expect }) => {
  const held: Buffer[] = [];
  const watched = (bundle: Bundle, fails: boolean): Bundle => ({
    ...bundle,
    disclose: async (entries) => {
      const open = await bundle.disclose(entries);
      return async (entry) => {
        if (fails && held.length === 1) throw new Error("taken back");
        const value = await open(entry);
        held.push(value);
        return value;
      };
    },
  });
  const bundle = bundleOf({ name: "a", content: "one" }, { name: "b", content: "two" });
  for (const [channel, fails] of [
    [smbios, false],
    [smbios, true],
    [fwCfg, true],
  ] as const) {
    held.length = 0;
    await channel.compose(watched(bundle, fails), systemd).catch(() => undefined);
    expect(held.length).toBeGreaterThan(0);
    expect(held.every((value) => value.every((byte) => byte === 0))).toBe(true);
  }
});
