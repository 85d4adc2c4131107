// `hatchway-agent units`: what makes a unit of systemd take its credentials from this agent, to be put in place by a person.

export interface UnitsPlace {
  unit: string;
  /** Each `ID` or `ID=SECRET`, checked. */
  credentials: readonly string[];
  socket: string;
  policy: string;
}

/** The drop-in; the policy's line stands in it as a comment, for it goes into another file. */
export function dropIn({ unit, credentials, socket, policy }: UnitsPlace): string {
  const loads = credentials.map((word) => `LoadCredential=${word.split("=", 1)[0] ?? ""}:${socket}`);
  return `; ${policy}:
;   allow ${unit} ${credentials.join(" ")}
;   on-change ${unit} restart
; /etc/systemd/system/${unit}.d/hatchway.conf:
[Unit]
Wants=hatchway-agent-credentials.service
After=hatchway-agent-credentials.service

[${sectionOf(unit)}]
${loads.join("\n")}
`;
}

function sectionOf(unit: string): string {
  const kind = unit.slice(unit.lastIndexOf(".") + 1);
  return `${kind.slice(0, 1).toUpperCase()}${kind.slice(1)}`;
}
