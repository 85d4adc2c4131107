// A list of many secrets, from the request to its last byte.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BenchDaemon } from "#bench/daemon";
import type { Contest, Part, Scale } from "#bench/measure";
import { compile, load, request } from "#bench/programs";

const SECRETS = 10_000;

export const list: Part = {
  name: "list",
  about: `the list of ${SECRETS.toLocaleString("en")} secrets, end to end`,
  async open({ size }: Scale): Promise<Contest> {
    await using opened = new AsyncDisposableStack();
    const folder = mkdtempSync(join(tmpdir(), "hwb-"));
    opened.defer(() => rmSync(folder, { recursive: true }));
    const program = compile("load", folder);
    const daemon = opened.use(await BenchDaemon.open());
    const count = Math.max(10, Math.round(SECRETS * size));
    const body = JSON.stringify({ name: "secret-########", data: Buffer.from("a value").toString("base64") });
    const made = request("POST /secrets", { "content-type": "application/json" }, body);
    await load(program, { to: [daemon.admin], connections: Math.min(64, count), requests: count, input: made });
    const input = request("GET /secrets");
    const whileOpen = opened.move();
    return {
      contestants: [
        {
          what: `list of ${count.toLocaleString("en")}`,
          turn: async () => {
            const { p50us } = await load(program, { to: [daemon.admin], connections: 1, requests: 9, input });
            return { ms: p50us / 1000 };
          },
          bars: { ms: 40 },
        },
      ],
      [Symbol.asyncDispose]: () => whileOpen.disposeAsync(),
    };
  },
};
