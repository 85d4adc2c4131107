// The live channels against a real daemon: one conformance suite for all, and what only one of them can do.
import { describe } from "vitest";
import type { VmBody } from "#api-vm";
import { describeChannel, type ChannelCase } from "#test/kit/channel-conformance";
import { GuestConnection } from "#test/kit/guest-connection";
import { guestListenConfig, issueGuest, openTls } from "#test/kit/tls-guest";

const pathOf = (kind: VmBody["channels"][number]["kind"], vm: VmBody): string => {
  const channel = vm.channels.find((one) => one.kind === kind);
  if (!channel) throw new Error(`the vm has no channel ${kind}`);
  return channel.path;
};

const vsock: ChannelCase = {
  rootOnly: false,
  socket: (vm) => `${pathOf("vsock", vm)}_5107`,
  open: (socket) => GuestConnection.open(socket),
  source: (socket) => ["--from", `unix:${socket}`],
};

const virtioSerial: ChannelCase = {
  rootOnly: true,
  socket: (vm) => pathOf("virtio-serial", vm),
  open: (socket) => GuestConnection.openSerial(socket),
  source: (socket) => ["--from", `unix-serial:${socket}`],
};

const tcp: ChannelCase = {
  rootOnly: true,
  config: guestListenConfig,
  socket: (vm, { folder }) => issueGuest(folder, vm),
  open: openTls,
  source: (file) => ["--tls", file],
};

const ssh: ChannelCase = {
  rootOnly: true,
  socket: (vm) => pathOf("ssh", vm),
  open: (socket) => GuestConnection.openSerial(socket),
  source: (socket) => ["--from", `unix-serial:${socket}`],
};

describe("live channels", () => {
  describeChannel("hybrid vsock", vsock);
  describeChannel("virtio-serial", virtioSerial);
  describeChannel("ssh", ssh);
  describeChannel("tcp", tcp);
});
