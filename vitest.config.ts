import { defineConfig, type ViteUserConfig } from "vitest/config";
import { Counts } from "./test/kit/counts.ts";

// Four projects, by what they need: `unit` needs nothing but Node; `system` starts daemons, sockets and other
// processes; `fuzz` reads inputs that are nearly right; `vm` boots real virtual machines. `npm run check` runs the first, `scripts/test` runs all.
const project = (name: string, include: string[], timeout: number) => ({
  test: {
    name,
    include,
    environment: "node" as const,
    testTimeout: timeout,
    hookTimeout: timeout,
    env: { HATCHWAY_NO_AF_VSOCK: "1" },
    pool: "forks" as const,
  },
});

const counts = process.env["HATCHWAY_TEST_COUNTS"];

const config: ViteUserConfig = defineConfig({
  test: {
    reporters: counts === undefined ? ["default"] : ["default", new Counts(counts)],
    projects: [
      project("unit", ["{protocol,src,agent}/**/*.test.ts"], 20_000),
      project("system", ["test/system/**/*.test.ts"], 60_000),
      project("fuzz", ["test/fuzz/**/*.test.ts"], 120_000),
      project("vm", ["test/vm/**/*.test.ts"], 180_000),
    ],
  },
});

export default config;
