import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "vitest";
import { startSessionDaemon } from "#test/kit/session-daemon";
import { playTranscript } from "#test/kit/transcript";

const folder = join(import.meta.dirname, "../transcripts");

test.for(readdirSync(folder))("transcript %s", async (name, { expect }) => {
  await using daemon = await startSessionDaemon();
  const played = await playTranscript(join(folder, name), { env: daemon.env, cwd: daemon.folder });
  expect(played.length).toBeGreaterThan(0);
  for (const { command, actual, expected } of played)
    expect(`$ ${command}\n${actual}`).toBe(`$ ${command}\n${expected}`);
});
