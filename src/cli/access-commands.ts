// whoami and can: what somebody may do, as the daemon sees him.
import type { Command } from "commander";
import { exitCode, HatchwayError } from "#error";
import { secretNameProblem, vmNameProblem } from "#protocol/names";
import { VERBS } from "#role";
import { examples, leaf, type Run } from "./command.ts";
import type { Session } from "./session.ts";
import { formatTable } from "./table.ts";

export function addAccessCommands(run: Run, program: Command): void {
  leaf(run, program, "whoami", "show who you are to the daemon, and your roles", (command) => command, whoami);
  leaf(run, program, "can <verb> [thing...]", "ask whether you may do something (exit code 5: no)", defineCan, can);
}

function defineCan(command: Command): Command {
  const help = examples(
    "hatchway can update secret/db-password",
    "hatchway can attach secret/db-password vm/web-1",
    "hatchway can seal",
  );
  return command.addHelpText(
    "after",
    `\nThings: secret/NAME, vm/NAME, both, or none: the daemon.\nVerbs: ${VERBS.join(", ")}.\n${help}`,
  );
}

async function whoami(session: Session): Promise<undefined> {
  const { caller, roles } = await session.client.whoami();
  session.report({ caller, roles }, () => {
    const rows = roles.map(({ role, secrets, vms }) => [role, secrets, vms]);
    const table = formatTable([{ title: "ROLE" }, { title: "SECRETS" }, { title: "VMS" }], rows);
    return rows.length === 0 ? `${caller}, without a role` : `${caller}\n\n${table}`;
  });
}

async function can(session: Session, operands: readonly string[]): Promise<number> {
  const [word, ...things] = operands;
  const verb = VERBS.find((one) => one === word);
  if (!verb) throw new HatchwayError("invalid", `"${word}" is no verb: one of ${VERBS.join(", ")}`);
  const verdict = await session.client.can(verb, readThings(things));
  session.report(verdict, () => (verdict.allowed ? "yes" : `no: ${verdict.reason ?? "it is not allowed"}`));
  return verdict.allowed ? 0 : exitCode.forbidden;
}

/** Reads `secret/NAME` and `vm/NAME`, each once at most. */
function readThings(things: readonly string[]): { secret?: string; vm?: string } {
  const subject: { secret?: string; vm?: string } = {};
  for (const thing of things) {
    const [, kind, name = ""] = /^(secret|vm)\/(.*)$/s.exec(thing) ?? [];
    if (kind !== "secret" && kind !== "vm") {
      throw new HatchwayError("invalid", `"${thing}" is neither secret/NAME nor vm/NAME`);
    }
    if (subject[kind] !== undefined) throw new HatchwayError("invalid", `more than one ${kind} is asked about`);
    const problem = kind === "secret" ? secretNameProblem(name) : vmNameProblem(name);
    if (problem !== undefined) throw new HatchwayError("invalid", `"${name}" ${problem}`);
    subject[kind] = name;
  }
  return subject;
}
