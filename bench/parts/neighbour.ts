// What a guest notices of somebody else who sends the daemon nothing but rubbish: every request of the corpus of raw HTTP,
// again and again, with 2,000 requests left half sent. The ratio of the two p99 is what counts.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BenchDaemon, claimed } from "#bench/daemon";
import type { Contest, Figures, Part, Scale } from "#bench/measure";
import { compile, load, rateOf, Server } from "#bench/programs";

const CALM = "guest reads, alone";

export const neighbour: Part = {
  name: "neighbour",
  about: "a guest reads while another sends the corpus of raw HTTP and leaves 2,000 requests half sent (niced)",
  async open({ size }: Scale): Promise<Contest> {
    await using opened = new AsyncDisposableStack();
    const folder = mkdtempSync(join(tmpdir(), "hwb-"));
    opened.defer(() => rmSync(folder, { recursive: true }));
    const program = compile("load", folder);
    const daemon = opened.use(await BenchDaemon.open());
    await daemon.secret("db", "a value");
    await daemon.vm("a", ["db"]);
    await daemon.vm("b", ["db"]);
    const input = claimed("GET /v1/secrets/db");
    const read = async (): Promise<Figures> =>
      rateOf(
        await load(program, { to: [daemon.guest("a")], connections: 1, requests: Math.round(4_000 * size), input }),
      );
    const besides = async (): Promise<Figures> => {
      const noise = join(import.meta.dirname, "../noise.ts");
      const control = join(daemon.runtime, "vm/b/control.sock");
      // What it takes of the processors itself is not what is measured, and it would take all it can.
      const argv = ["-n", "19", process.execPath, noise, daemon.admin, control, daemon.guest("b")];
      const hostile = await Server.start("nice", argv);
      try {
        return await read();
      } finally {
        await hostile[Symbol.asyncDispose]();
      }
    };
    const whileOpen = opened.move();
    return {
      contestants: [
        { what: CALM, turn: read },
        { what: "guest reads, besides the noise", turn: besides, against: [CALM] },
      ],
      [Symbol.asyncDispose]: () => whileOpen.disposeAsync(),
    };
  },
};
