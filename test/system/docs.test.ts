// The documents' commands, those that need no VM.
import { describe, it } from "vitest";
import { Desk, mismatch, readTranscript } from "#test/kit/documents";

describe.each(["operations", "secrets", "channels", "directory", "systemd", "ssh"].map((name) => `docs/${name}.md`))(
  "%s",
  (path) => {
    const { steps } = readTranscript(path);

    it("shows commands that do what it shows", async ({ expect }) => {
      await using desk = new Desk();
      expect(steps.length).toBeGreaterThan(5);
      for (const step of steps) {
        const ran = await desk.run(step);
        expect(mismatch(step, ran), `line ${step.line}: ${step.command}\n${ran.output}`).toBeUndefined();
      }
    });
  },
);
