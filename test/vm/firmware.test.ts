// The boot channels in real guests: what root finds in the firmware is what was composed, byte by byte.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, it } from "vitest";
import type { BootGuest } from "#channel";
import { fwCfg } from "#channel/fw-cfg";
import { smbios } from "#channel/smbios";
import { entryHeader } from "#protocol/bundle";
import { readBundle } from "#test/kit/bundle";
import { goodCases } from "#test/kit/bundle-cases";
import { caseBundle, imageOf, isWhole } from "#test/kit/case-bundle";
import { GuestMachine } from "#test/kit/guest";
import type { Bundle } from "#bundle";
import type { ManifestEntry } from "#protocol/manifest";

const agent: BootGuest = { reader: "agent", memoryMiB: 192, allowReserved: false };
const systemd: BootGuest = { ...agent, reader: "systemd" };
const FW_CFG = "/sys/firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials";
const OEM_STRINGS = "/sys/firmware/dmi/entries/11-0/raw";

const rich = goodCases()
  .filter(isWhole)
  .find(({ file }) => file === "good-block-sizes.tar");
if (!rich) throw new Error("there is no such vector");

/** More secrets than QEMU has slots for by itself, one as large as all of SMBIOS may be. */
function manySecrets(): Bundle {
  const entries = Array.from({ length: 40 }, (_, at): ManifestEntry => {
    const name = `secret-${at}`.padEnd(28, "x");
    return { name, version: 1, size: at * 37, file: { path: name, mode: "0400", user: 0, group: 0 } };
  });
  return {
    manifest: { format: 1, vm: "v", revision: "e.1.1", mountRoot: "/run/hatchway/secrets", entries },
    counter: 1,
    times: entries.map(() => 0),
    changedSince: () => entries,
    disclose:
      async () =>
      async ({ name, size }) =>
        Buffer.alloc(
          size,
          createHash(name.length % 2 === 0 ? "sha256" : "sha1")
            .update(name)
            .digest(),
        ),
  };
}

/** The strings of a table of type 11, behind its five bytes (DSP0134, 7.12). */
function strings(table: Buffer): string[] {
  return table.subarray(5, -2).toString("latin1").split("\0");
}

/** The agent takes the bundle from there, and a second time finds that it has it. */
async function expectInstalled(guest: GuestMachine, source: string, bundle: Bundle): Promise<void> {
  const { entries, revision } = bundle.manifest;
  const script = [
    "rm -rf /run/hatchway/secrets",
    `hatchway-agent sync --from ${source}`,
    `hatchway-agent sync --from ${source} >/dev/null`,
    "hatchway-agent status | head -1",
    "cd /run/hatchway/secrets && for one in *; do stat -c '%n %a %u %g %Y' $one; sha256sum < $one; done",
  ].join(" && ");
  const lines = [`${entries.length} secrets, revision ${revision}`, `source    ${source}`];
  const open = await bundle.disclose(entries);
  const files = [];
  for (const [at, entry] of entries.entries()) {
    const { path, mode, uid, gid, mtime } = entryHeader(entry, bundle.times[at] ?? 0);
    const digest = createHash("sha256")
      .update(await open(entry))
      .digest("hex");
    files.push(`${path} ${mode.toString(8)} ${uid} ${gid} ${mtime}\n${digest}  -`);
  }
  const seen = await guest.output(script);
  const wanted = `${[...lines, ...files.toSorted()].join("\n")}\n`;
  if (seen !== wanted) throw new Error(`by ${source}:\n${seen}\nwanted:\n${wanted}`);
}

describe("a guest's firmware", () => {
  it("shows a bundle by both ways at once, and nobody but root reads it", async ({ expect }) => {
    const bundle = caseBundle(rich);
    const items = [...(await smbios.compose(bundle, agent)).items, ...(await fwCfg.compose(bundle, agent)).items];
    const tar = await imageOf(bundle, "tar");
    await using guest = await GuestMachine.launch({ firmware: items });
    expect(items.every(({ content }) => content.every((byte) => byte === 0))).toBe(true);
    const table = Buffer.from(await guest.output(`base64 ${OEM_STRINGS}`), "base64");
    const [text = ""] = strings(table);
    const [name, base64 = ""] = text.split("=", 2);
    expect(name).toBe("io.systemd.credential.binary:hatchway.bundle");
    expect(Buffer.from(base64, "base64").equals(tar)).toBe(true);
    const file = Buffer.from(await guest.output(`base64 ${FW_CFG}/hatchway.bundle/raw`), "base64");
    expect(file.equals(tar)).toBe(true);
    expect(readBundle([file]).error).toBeUndefined();
    for (const path of [OEM_STRINGS, `${FW_CFG}/hatchway.bundle/raw`]) {
      expect((await guest.run(`su app -c 'cat ${path}'`)).output.toString()).toContain("Permission denied");
    }
    for (const source of ["fw-cfg", "smbios"]) await expectInstalled(guest, source, bundle);
    const { pid } = guest.machine.process;
    expect(readFileSync(`/proc/${pid}/cmdline`, "latin1")).toContain("type=11,path=/proc/self/fd/3");
  });

  it("shows each secret of a systemd guest by fw-cfg, more than QEMU has room for by itself", async ({ expect }) => {
    const bundle = manySecrets();
    const { items } = await fwCfg.compose(bundle, systemd);
    await using guest = await GuestMachine.launch({ firmware: items });
    const open = await bundle.disclose(bundle.manifest.entries);
    const sums = await guest.output(`cd ${FW_CFG} && for one in *; do echo $one $(sha256sum < $one/raw); done`);
    const wanted = [];
    for (const entry of bundle.manifest.entries) {
      wanted.push(
        `${entry.name} ${createHash("sha256")
          .update(await open(entry))
          .digest("hex")} -`,
      );
    }
    expect(sums.trimEnd().split("\n").toSorted()).toEqual(wanted.toSorted());
  });

  it("shows all that SMBIOS has room for, to the last byte", async ({ expect }) => {
    const size = 65_215 - "io.systemd.credential:n=".length - 1;
    const entry = { name: "n", version: 1, size, file: { path: "n", mode: "0400", user: 0, group: 0 } };
    const bundle: Bundle = {
      ...manySecrets(),
      manifest: { ...manySecrets().manifest, entries: [entry] },
      disclose: async () => async () => Buffer.alloc(size, "0123456789"),
    };
    const { items } = await smbios.compose(bundle, systemd);
    await using guest = await GuestMachine.launch({ firmware: items });
    const table = Buffer.from(await guest.output(`base64 ${OEM_STRINGS}`), "base64");
    expect(strings(table)).toEqual([`io.systemd.credential:n=${Buffer.alloc(size, "0123456789").toString()}`]);
  });
});
