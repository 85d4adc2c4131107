import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, test } from "vitest";
import { startSessionDaemon } from "#test/kit/session-daemon";
import { playTranscript } from "#test/kit/transcript";

const folder = join(import.meta.dirname, "../transcripts");

// As it ships, and from these sources.
beforeAll(() => void execFileSync(process.execPath, ["scripts/bundle.ts"]));

test.for(readdirSync(folder))("transcript %s", async (name, { expect }) => {
  await using daemon = await startSessionDaemon();
  const played = await playTranscript(join(folder, name), { env: daemon.env, cwd: daemon.folder });
  expect(played.length).toBeGreaterThan(0);
  for (const { command, actual, expected } of played)
    expect(`$ ${command}\n${actual}`).toBe(`$ ${command}\n${expected}`);
});
