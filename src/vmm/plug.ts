// A virtio-serial port for a QEMU that runs already, plugged in over its monitor.
import { HatchwayError } from "#error";
import { agentPort } from "./qemu.ts";

/** One command of QMP (docs/interop/qemu-qmp-ref of QEMU) and what it returns. Throws HatchwayError as QmpClient does. */
export type Tell = (command: string, members?: Record<string, unknown>) => Promise<unknown>;

/** What `vm args` calls the chardev too, so that a QEMU that was started with it has the port already. */
const CHARDEV = "hatchway";
const BUS_DEVICE = "hatchway-ports";
const PORT = "hatchway-port";
const PERIPHERALS = "/machine/peripheral";

/**
 * Gives the guest the port `org.hatchway.0`, whose host end QEMU connects to `socket`, and again after each loss; a QEMU
 * that has it already is left alone. Throws "unsupported" where nothing can be plugged in, and nothing is left then.
 */
export async function plugPort(tell: Tell, socket: string): Promise<void> {
  const chardevs = (await tell("query-chardev")) as { label?: unknown }[];
  if (chardevs.some(({ label }) => label === CHARDEV)) return;
  const address = { type: "unix", data: { path: socket } };
  const backend = { type: "socket", data: { addr: address, server: false, reconnect: 1 } };
  await tell("chardev-add", { id: CHARDEV, backend });
  try {
    await addPort(tell);
  } catch (error) {
    await tell("chardev-remove", { id: CHARDEV });
    throw error;
  }
}

/** On a bus of virtio-serial that is there, else on one that is plugged in for it. */
async function addPort(tell: Tell): Promise<void> {
  const port = { driver: "virtserialport", chardev: CHARDEV, name: agentPort, id: PORT };
  try {
    await tell("device_add", port);
    return;
  } catch (error) {
    if (!isRefusal(error)) throw error;
  }
  await addBus(tell);
  try {
    await tell("device_add", { ...port, bus: `${BUS_DEVICE}.0` });
  } catch (error) {
    await tell("device_del", { id: BUS_DEVICE });
    throw error;
  }
}

/** On the root bus where that takes it (i440fx), else behind a root port of PCI Express that is free (q35). */
async function addBus(tell: Tell): Promise<void> {
  const device = { driver: "virtio-serial-pci", id: BUS_DEVICE };
  const rootPorts = ((await tell("qom-list", { path: PERIPHERALS })) as { name: string; type: string }[])
    .filter(({ type }) => type === "child<pcie-root-port>")
    .map(({ name }) => ({ bus: name }));
  let why = "";
  for (const where of [{}, ...rootPorts]) {
    try {
      await tell("device_add", { ...device, ...where });
      return;
    } catch (error) {
      if (!isRefusal(error)) throw error;
      why = error.message;
    }
  }
  throw new HatchwayError("unsupported", `no virtio-serial port can be plugged into it: ${why}`, {
    hint: "start it with what this prints, or with a bus of virtio-serial or a free pcie-root-port: hatchway vm args NAME",
  });
}

/** What QEMU said no to; a monitor that is gone says nothing. */
function isRefusal(error: unknown): error is HatchwayError {
  return error instanceof HatchwayError && error.code === "unavailable" && error.message.startsWith("QEMU refused");
}
