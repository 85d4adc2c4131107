import { unreadable, type Found } from "./imported.ts";
import { bytesOf, parseJsonBytes } from "./json-bytes.ts";

/** `{"name": "value", …}`: each member is a secret, its string the value in UTF-8. */
export function readJsonSecrets(file: Buffer): Found {
  const json = parseJsonBytes(file);
  if (json.kind !== "object") throw unreadable("JSON", "it is not an object of names and values");
  const secrets = [...json.members].map(([name, member]) => {
    const value = bytesOf(member);
    if (value) return { name, value, metadata: {} };
    throw unreadable("JSON", `the value of ${JSON.stringify(name.slice(0, 100))} is not a string`);
  });
  return { secrets, skipped: [] };
}
