// What is done on a state's files without a daemon: the other side of src/cli/offline.ts.
import { dirname, join } from "node:path";
import { HatchwayError } from "#error";
import { placesOf, type StatePlace } from "#daemon/places";
import { verifyTrail } from "#vault/audit-chain";
import { segmentsOf } from "#vault/audit-files";
import { openKeyring } from "#vault/keyring";
import type { TrailSummary } from "#trail";

/** Checks a whole trail; `file` is that of the state when absent. */
export async function verifyAudit(place: StatePlace, file: string | undefined): Promise<TrailSummary> {
  const places = placesOf(place);
  const path = join(places.state, "keyring.json");
  using keyring = await openKeyring(path, join(dirname(places.config), "root.key"));
  if (!keyring) {
    throw new HatchwayError("not-found", `there is no keyring "${path}", so the trail cannot be checked`, {
      hint: "name the state folder with: --state",
    });
  }
  // Awaited here: the keys are wiped when this returns.
  const trail = file ?? join(places.state, "audit.jsonl");
  return await verifyTrail(trail, await segmentsOf(trail), keyring.auditKey);
}
