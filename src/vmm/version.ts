import { once } from "node:events";
import { HatchwayError } from "#error";
import type { Runner } from "#vm";
import { parseVersion, type Version } from "#wiring";
import { spawnProbe } from "./spawn.ts";

const SECONDS = 5;

/**
 * The version of the QEMU that is installed, asked of it as `runner`; undefined where there is none, or it does not say.
 * Throws HatchwayError "forbidden" when only root could become the runner.
 */
export async function qemuVersion(runner: Runner): Promise<Version | undefined> {
  try {
    const { child } = spawnProbe(["--version"], runner, SECONDS);
    // Other than for a machine, we stay for the end of this one.
    child.ref();
    let said = "";
    child.stdout?.on("data", (chunk: Buffer) => (said = (said + chunk.toString("latin1")).slice(0, 4096)));
    await once(child, "close");
    return parseVersion(said);
  } catch (error) {
    if (error instanceof HatchwayError && error.code === "unsupported") return undefined;
    throw error;
  }
}
