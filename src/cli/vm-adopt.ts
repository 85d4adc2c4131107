// vm adopt: a VM that something else has started.
import { resolve } from "node:path";
import type { AdoptBody, VmBody, VmRequestBody } from "#api-vm";
import { HatchwayError } from "#error";
import { vmNameProblem } from "#protocol/names";
import { readGrants, type GrantFlags } from "./grant-flags.ts";
import { parseCount } from "./quantity.ts";
import type { Session } from "./session.ts";
import { describeSecrets } from "./vm-launch.ts";
import { describeAdoption, warnOfProblems } from "./vm-show.ts";

export interface AdoptFlags extends GrantFlags {
  uds?: string;
  qmp?: string;
  libvirt?: string;
  pid?: string;
  cid?: string;
  runner?: string;
}

export async function adoptVm(session: Session, [name = ""]: readonly string[], flags: AdoptFlags): Promise<undefined> {
  const problem = vmNameProblem(name);
  if (problem !== undefined) throw new HatchwayError("invalid", `"${name}" ${problem}`);
  const adopt = readAdoption(flags);
  const secrets = await readGrants(session.client, flags);
  const request: VmRequestBody = { name, adopt };
  if (secrets !== undefined) request.secrets = secrets;
  if (flags.defaultSecrets === false) request.default_secrets = false;
  if (flags.runner !== undefined) {
    request.runner = /^[0-9]+$/.test(flags.runner) ? Number(flags.runner) : flags.runner;
  }
  const vm = await session.client.createVm(request);
  session.report(
    vm,
    () => `adopted vm "${name}" by ${describeAdoption(vm)}: ${describeProcess(vm)}\n${describeSecrets(vm)}`,
  );
  warnOfProblems(session, [vm]);
  if (vm.runner.uid === 0) {
    session.warn(`vm "${name}" is run by root: a guest that breaks out of its VMM has the host`);
  }
}

function readAdoption({ uds, qmp, libvirt, pid, cid }: AdoptFlags): AdoptBody {
  const ways = [uds, qmp, libvirt, pid].filter((way) => way !== undefined);
  if (ways.length > 1) throw new HatchwayError("invalid", "--uds, --qmp, --libvirt and --pid exclude each other");
  if (ways.length === 0) {
    const why = cid === undefined ? "" : ": a CID counts only while the process is seen that has it";
    throw new HatchwayError("invalid", `adopt needs one of --uds, --qmp, --libvirt and --pid${why}`, {
      hint: "for a VM that does not run yet: hatchway vm create NAME --external, and hatchway vm args NAME",
    });
  }
  return {
    ...(uds !== undefined && { uds: resolve(uds) }),
    ...(qmp !== undefined && { qmp: resolve(qmp) }),
    ...(libvirt !== undefined && { libvirt }),
    ...(pid !== undefined && { pid: parseCount("--pid", pid, 1) }),
    ...(cid !== undefined && { cid: parseCount("--cid", cid, 3) }),
  };
}

function describeProcess({ state, pid, reason, runner }: VmBody): string {
  const who = runner.name ?? `uid ${runner.uid}`;
  if (pid !== undefined) return `process ${pid} of ${who}`;
  return reason === undefined ? state : `${state}, ${reason}`;
}
