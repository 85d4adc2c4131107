// Counts for scripts/test: one line a run of vitest, `PASSED FAILED`, in the file that HATCHWAY_TEST_COUNTS names.
import { appendFileSync } from "node:fs";
import type { Reporter, TestModule, TestRunEndReason } from "vitest/node";

export class Counts implements Reporter {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  /** What was skipped counts as failed, as do a file that could not be loaded and an error outside of any test. */
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[], reason: TestRunEndReason): void {
    let passed = 0;
    let failed = errors.length;
    for (const module of modules) {
      failed += module.errors().length;
      for (const test of module.children.allTests()) {
        if (test.result().state === "passed") passed += 1;
        else failed += 1;
      }
    }
    if (reason !== "passed" && failed === 0) failed = 1;
    appendFileSync(this.#file, `${passed} ${failed}\n`);
  }
}
