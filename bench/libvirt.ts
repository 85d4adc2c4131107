import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { find } from "./programs.ts";

/**
 * libvirt's secret driver in the process of one `virsh`, by the URI that embeds it: the driver alone, without its daemon
 * and without the start of a command for each secret.
 */
export class Libvirt {
  readonly #virsh: string;
  readonly #folder: string;
  readonly #uuids: string[] = [];
  #defined = 0;

  private constructor(virsh: string, folder: string) {
    this.#virsh = virsh;
    this.#folder = folder;
  }

  /** Undefined where it is not installed. */
  static open(folder: string): Libvirt | undefined {
    const virsh = find("virsh");
    if (virsh === undefined) return undefined;
    const made = new Libvirt(virsh, folder);
    mkdirSync(made.#root, { mode: 0o700 });
    return made;
  }

  /** Milliseconds for each of `count` secrets to be defined and given a value. */
  create(count: number): number {
    const commands = Array.from({ length: count }, () => {
      const uuid = randomUUID();
      const file = join(this.#folder, `${uuid}.xml`);
      this.#defined += 1;
      writeFileSync(file, `<secret><uuid>${uuid}</uuid><description>${this.#defined}</description></secret>`);
      this.#uuids.push(uuid);
      return [`secret-define ${file}`, `secret-set-value ${uuid} c2VjcmV0`];
    });
    return this.#timed(commands.flat(), "Secret value set", count) / count;
  }

  /** Milliseconds for each of `count` values to be read. */
  get(count: number): number {
    if (this.#uuids.length === 0) this.create(1);
    const commands = Array.from(
      { length: count },
      (_, at) => `secret-get-value ${this.#uuids[at % this.#uuids.length]}`,
    );
    return this.#timed(commands, "c2VjcmV0", count) / count;
  }

  get #root(): string {
    return join(this.#folder, "libvirt");
  }

  /** Milliseconds of all commands, without those of a virsh that has none. Each must have said `expected`. */
  #timed(commands: readonly string[], expected: string, count: number): number {
    const begun = performance.now();
    this.#run([]);
    const between = performance.now();
    const said = this.#run(commands);
    const taken = performance.now() - between - (between - begun);
    const lines = said.split("\n").filter((line) => line === expected);
    if (lines.length !== count) throw new Error(`virsh said "${expected}" ${lines.length} times, not ${count}`);
    return taken;
  }

  /** What virsh wrote. */
  #run(commands: readonly string[]): string {
    const uri = `secret:///embed?root=${this.#root}`;
    const input = commands.map((command) => `${command}\n`).join("");
    const { status, stdout, stderr } = spawnSync(this.#virsh, ["-c", uri], { input, encoding: "utf8" });
    if (status !== 0) throw new Error(`virsh ended with ${status}: ${stderr}`);
    return stdout;
  }
}
