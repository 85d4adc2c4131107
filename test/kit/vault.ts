import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openMemoryStore } from "#store/memory";
import type { Vault } from "#vault";
import { openVault } from "#vault/open";

export interface TemporaryVault extends AsyncDisposable {
  vault: Vault;
  /** A folder of its own, gone with it. */
  folder: string;
}

/** A vault over a store in memory, of the user that runs the test. */
export async function temporaryVault(): Promise<TemporaryVault> {
  const folder = await mkdtemp(join(tmpdir(), "hatchway-test-"));
  const places = {
    keyFile: join(folder, "key"),
    keyring: join(folder, "keyring"),
    audit: join(folder, "audit.jsonl"),
  };
  const vault = await openVault(openMemoryStore(), places, { mode: "session", uid: process.getuid?.() ?? 0 });
  return {
    vault,
    folder,
    [Symbol.asyncDispose]: async () => {
      await vault.close();
      await rm(folder, { recursive: true });
    },
  };
}
