// Whole commands, as a person or a script runs them.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { BenchDaemon } from "#bench/daemon";
import { Libvirt } from "#bench/libvirt";
import { median, type Contest, type Contestant, type Part, type Scale } from "#bench/measure";
import { find, NOT_INSTALLED, timed } from "#bench/programs";

const SECRETS = 100;
const EMPTY = "empty node";

export const command: Part = {
  name: "command",
  about: `whole commands, with ${SECRETS} secrets in the daemon`,
  async open({ size }: Scale): Promise<Contest> {
    await using opened = new AsyncDisposableStack();
    const folder = mkdtempSync(join(tmpdir(), "hwb-"));
    opened.defer(() => rmSync(folder, { recursive: true }));
    const daemon = opened.use(await BenchDaemon.open());
    for (let number = 0; number < SECRETS; number++) await daemon.secret(`secret-${number}`, `value ${number}`);
    const empty = join(folder, "empty.cjs");
    writeFileSync(empty, "");
    const hatchway = resolve(import.meta.dirname, "../../bin/hatchway");
    const runs = Math.max(3, Math.round(7 * size));
    const contestant = (what: string, argv: readonly string[]): Contestant => ({
      what,
      turn: async () => ({ ms: median(Array.from({ length: runs }, () => timed(argv, daemon.env))) }),
    });
    const virsh = find("virsh");
    if (virsh !== undefined) Libvirt.open(folder)?.create(SECRETS);
    const contestants: Contestant[] = [
      contestant(EMPTY, [process.execPath, empty]),
      { ...contestant("hatchway version", [hatchway, "version"]), against: [EMPTY] },
      { ...contestant("hatchway secret list", [hatchway, "secret", "list"]), against: [EMPTY, "virsh secret-list"] },
      virsh === undefined
        ? { what: "virsh secret-list", missing: NOT_INSTALLED }
        : contestant("virsh secret-list", [
            virsh,
            "-c",
            `secret:///embed?root=${join(folder, "libvirt")}`,
            "secret-list",
          ]),
    ];
    const whileOpen = opened.move();
    return { contestants, [Symbol.asyncDispose]: () => whileOpen.disposeAsync() };
  },
};
