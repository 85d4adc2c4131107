// What is done on a state's files without a daemon: the other side of src/cli/offline.ts.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { HatchwayError } from "#error";
import { placesOf, waySources, type StatePlace } from "#daemon/places";
import { privateDirectory } from "#host/files";
import { newWay, type Way, type WayParts } from "#keys";
import { verifyTrail } from "#vault/audit-chain";
import { segmentsOf } from "#vault/audit-files";
import { checkWayName, createKeyring, openKeyring } from "#vault/keyring";
import type { TrailSummary } from "#trail";

/** Makes the keyring of a store that is not there yet. */
export async function initKeys(
  place: StatePlace,
  name: string,
  parts: WayParts,
  secret: Buffer,
): Promise<{ keyring: string; way: Way }> {
  const places = placesOf(place);
  const path = join(places.state, "keyring.json");
  for (const file of [path, join(places.state, "store.db")]) {
    if (existsSync(file)) {
      throw new HatchwayError("exists", `there is "${file}" already`, {
        hint: "add a way to its keys with: hatchway key add-way",
      });
    }
  }
  checkWayName(name);
  const sources = waySources(places);
  for (const file of [path, sources.keyFile]) await privateDirectory(dirname(file));
  using keyring = await createKeyring(path, sources, newWay(parts, secret), name);
  const [way] = keyring.ways;
  if (!way) throw new HatchwayError("internal", "a keyring was made without a way");
  return { keyring: path, way };
}

/** Checks a whole trail; `file` is that of the state when absent. */
export async function verifyAudit(place: StatePlace, file: string | undefined): Promise<TrailSummary> {
  const places = placesOf(place);
  const path = join(places.state, "keyring.json");
  using keyring = await openKeyring(path, waySources(places));
  if (!keyring) {
    throw new HatchwayError("not-found", `there is no keyring "${path}", so the trail cannot be checked`, {
      hint: "name the state folder with: --state",
    });
  }
  // Awaited here: the keys are wiped when this returns.
  const trail = file ?? join(places.state, "audit.jsonl");
  return await verifyTrail(trail, await segmentsOf(trail), keyring.auditKey);
}
