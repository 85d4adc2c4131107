// The documents' commands, run in order against a real daemon and a real VM.
import { describe, it } from "vitest";
import { Desk, mismatch, readTranscript } from "#test/kit/documents";

for (const path of ["README.md", "docs/guest.md", "docs/images.md", "docs/shares.md"]) {
  describe(path, () => {
    const { steps } = readTranscript(path);

    it("shows commands that do what it shows", async ({ expect }) => {
      await using desk = new Desk();
      expect(steps.length).toBeGreaterThan(5);
      for (const step of steps) {
        const ran = await desk.run(step);
        expect(mismatch(step, ran), `line ${step.line}: ${step.command}\n${ran.output}`).toBeUndefined();
      }
    });
  });
}
