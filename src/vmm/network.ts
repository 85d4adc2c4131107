/**
 * QEMU's user network (qemu(1), "-netdev user"), as a machine has it here: the guest's own address, and that by which it
 * finds what the host serves on its loopback.
 */
export const USER_NETWORK = { guest: "10.0.2.15/24", host: "10.0.2.2" } as const;

/** What the minimal guest's init takes (guest/init). */
export const NETWORK_WORD: string = `hatchway.net=${USER_NETWORK.guest},${USER_NETWORK.host}`;

/** Through it the guest reaches what QEMU's user reaches, the host's loopback included. */
export const networkOptions: readonly (readonly string[])[] = [
  ["-netdev", "user,id=network,ipv6=off"],
  // Without an option ROM: nobody boots from it.
  ["-device", "virtio-net-pci,netdev=network,romfile="],
];
