// A process that launches the machine of its first argument (a MachineSpec as JSON), prints the machine's identity as JSON
// and stays: something that a test can kill.

import process from "node:process";
import { qemu } from "#vmm/machine";
import type { MachineSpec } from "#vmm";

const spec = JSON.parse(process.argv[2] ?? "") as MachineSpec;
const machine = await qemu.launch(spec, { kind: "tcg", reason: "a test" });
process.stdout.write(`${JSON.stringify(machine.process)}\n`);
setInterval(() => undefined, 60_000);
