import type { Socket } from "node:net";
import { join } from "node:path";
import { GUEST_PORT, type Accept, type ChannelVm, type Listener, type LiveChannel } from "#channel";
import { bindForRunner, closeServer } from "#channel/folder";

/**
 * Hybrid vsock: Firecracker, Cloud Hypervisor and vhost-device-vsock bring a guest's connection to CID 2, port P, to
 * the unix socket `UDS_P`, where UDS is the path that they were given. Which VM it is, is which socket it is. Any
 * process of the guest can open it.
 */
export const vsock: LiveChannel = {
  kind: "vsock",

  async listen(vm: ChannelVm, accept: Accept): Promise<Listener> {
    const path = join(vm.directory, "vsock");
    const sockets = new Set<Socket>();
    const server = await bindForRunner(`${path}_${GUEST_PORT}`, vm.runner, (socket, { pid }) => {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
      accept(socket, { vmId: vm.id, channel: "vsock", rootOnly: false, pid });
    });
    return {
      kind: "vsock",
      path,
      async close() {
        for (const socket of sockets) socket.destroy();
        await closeServer(server);
      },
    };
  },
};
