import type { Socket } from "node:net";
import { join } from "node:path";
import type { Accept, ChannelVm, Listener, LiveChannel } from "#channel";
import { bindForRunner, closeServer } from "#channel/folder";
import { serveSessions } from "#channel/serial-session";

/**
 * A virtio-serial port whose host end is a chardev socket: the VMM connects here and comes back after we restart. In
 * the guest it is a device that only root may open.
 */
export const virtioSerial: LiveChannel = {
  kind: "virtio-serial",

  async listen(vm: ChannelVm, accept: Accept): Promise<Listener> {
    const path = join(vm.directory, "serial.sock");
    let port: Socket | undefined;
    const server = await bindForRunner(path, vm.runner, (socket, { pid }) => {
      // A VM has one such port: whoever comes later is the VMM that came back.
      port?.destroy();
      port = socket;
      socket.on("error", () => socket.destroy());
      serveSessions(socket, (stream) => accept(stream, { vmId: vm.id, channel: "virtio-serial", rootOnly: true, pid }));
    });
    return {
      kind: "virtio-serial",
      path,
      async close() {
        port?.destroy();
        await closeServer(server);
      },
    };
  },
};
