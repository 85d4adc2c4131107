// The guest agent, from its start to its end, into an empty folder on a tmpfs, beside a C program that does the least that
// has to be done and checks nothing. The host has its answers ready.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Contest, Contestant, Figures, Part, Scale } from "#bench/measure";
import { median } from "#bench/measure";
import { compile, Server } from "#bench/programs";
import { COMPILED } from "#test/kit/guest-namespace";

const TIMES = 9;

export const agent: Part = {
  name: "agent",
  about: "the guest agent brings secrets of 64 bytes from a unix socket into files, from its start to its end",
  async open({ size }: Scale): Promise<Contest> {
    await using opened = new AsyncDisposableStack();
    const folder = mkdtempSync("/dev/shm/hwb-");
    opened.defer(() => rmSync(folder, { recursive: true }));
    const [runner, floor] = [compile("spawn", folder, ["-static"]), compile("floor", folder, ["-static"])];
    const [program = ""] = COMPILED.command;
    const contestants: Contestant[] = [];
    for (const count of [10, 1_000]) {
      const socket = join(folder, `${count}.sock`);
      const host = resolve(import.meta.dirname, "../bundle-host.ts");
      opened.use(await Server.start(process.execPath, [host, socket, `${count}`]));
      const into = join(folder, `files-${count}`);
      const turn = (argv: readonly string[]) => async (): Promise<Figures> => timesOf(runner, argv, into, size);
      const least = `C floor, ${count} secrets`;
      contestants.push(
        { what: least, turn: turn([floor, socket, into]) },
        {
          what: `agent, ${count} secrets`,
          turn: turn([program, "sync", "--from", `unix:${socket}`, "--root", into, "--no-mount"]),
          against: [least],
          bars: count === 10 ? { ms: 5 } : { MB: 2.5 },
        },
      );
    }
    const whileOpen = opened.move();
    return { contestants, [Symbol.asyncDispose]: () => whileOpen.disposeAsync() };
  },
};

/** The medians of some runs, each into nothing. */
function timesOf(runner: string, argv: readonly string[], into: string, size: number): Figures {
  const runs = Array.from({ length: Math.max(1, Math.round(TIMES * size)) }, () => {
    rmSync(into, { recursive: true, force: true });
    const { status, stdout, stderr } = spawnSync(runner, argv, { encoding: "utf8" });
    if (status !== 0) throw new Error(`"${argv.join(" ")}" ended with ${status}: ${stderr}`);
    // The agent says how many it has, before the runner says how long it took.
    return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as { ms: number; cpuus: number; kb: number };
  });
  return {
    ms: median(runs.map(({ ms }) => ms)),
    "cpu µs": median(runs.map(({ cpuus }) => cpuus)),
    MB: median(runs.map(({ kb }) => kb / 1024)),
  };
}
