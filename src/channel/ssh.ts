import type { Socket } from "node:net";
import { join } from "node:path";
import type { Accept, ChannelVm, Listener, LiveChannel } from "#channel";
import { bindForRunner, closeServer } from "#channel/folder";
import { serveSessions } from "#channel/serial-session";

/** Milliseconds in which nothing comes or goes: longer than the longest wait of the guest API. */
const IDLE_TIMEOUT = 75_000;

/**
 * ssh into this host: sshd runs `hatchway fetch`, the one command that it has for a VM's key (authorized_keys of sshd(8)),
 * as the VM's runner, and that joins the guest's connection to this socket. Which VM it is, is which key sshd accepted.
 * The stream has sessions as a virtio-serial port has them, for what a login shell prints before the command comes first;
 * a connection has one.
 */
export const ssh: LiveChannel = {
  kind: "ssh",

  async listen(vm: ChannelVm, accept: Accept): Promise<Listener> {
    const path = join(vm.directory, "ssh.sock");
    const sockets = new Set<Socket>();
    const server = await bindForRunner(path, vm.runner, (socket, { pid }) => {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
      socket.on("error", () => socket.destroy());
      // A guest whose network went away says no goodbye.
      socket.setTimeout(IDLE_TIMEOUT, () => socket.destroy());
      serveSessions(socket, (stream) => {
        stream.once("close", () => socket.destroySoon());
        accept(stream, { vmId: vm.id, channel: "ssh", rootOnly: true, pid });
      });
    });
    return {
      kind: "ssh",
      path,
      async close() {
        for (const socket of sockets) socket.destroy();
        await closeServer(server);
      },
    };
  },
};
