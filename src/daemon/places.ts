import { dirname, join } from "node:path";
import { HatchwayError } from "#error";
import { ownUid } from "#host/files";
import { sessionPlaces, systemPlaces, type Places } from "#places";
import type { WaySources } from "#vault/ways";

/** Where a process of these places finds what opens the keys. */
export function waySources(places: Places, env: NodeJS.ProcessEnv = process.env): WaySources {
  const credentials = env["CREDENTIALS_DIRECTORY"];
  return {
    keyFile: join(dirname(places.config), "root.key"),
    ...(credentials?.startsWith("/") === true && { credentials }),
  };
}

export interface StatePlace {
  mode: "system" | "session";
  /** Absolute; the mode's own when absent. */
  stateDirectory?: string;
}

/** Throws "forbidden" for the machine's places if this is not root. */
export function placesOf({ mode, stateDirectory }: StatePlace): Places {
  const places = mode === "system" ? systemPlaces() : sessionPlaces(process.env, ownUid());
  if (mode === "system" && ownUid() !== 0) {
    throw new HatchwayError("forbidden", "the system daemon needs root", {
      hint: "run your own with: hatchway serve --session",
    });
  }
  return stateDirectory === undefined ? places : { ...places, state: stateDirectory };
}
