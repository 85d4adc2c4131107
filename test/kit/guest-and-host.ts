// A guest's namespace, and the host that its agent asks, on a unix socket there.
import { join } from "node:path";
import { GuestNamespace } from "#test/kit/guest-namespace";
import { HostPeer } from "#test/kit/host-peer";

export interface GuestAndHost {
  guest: GuestNamespace;
  host: HostPeer;
  /** The agent's --from. */
  from: string;
  /** As a hook of vitest may return it. */
  close: () => Promise<void>;
}

export async function guestAndHost(): Promise<GuestAndHost> {
  const guest = await GuestNamespace.open();
  const host = new HostPeer();
  const socket = join(guest.outside, "api");
  await host.listen(socket);
  const close = async (): Promise<void> => {
    await host.close();
    await guest.close();
  };
  return { guest, host, from: `unix:${socket}`, close };
}
