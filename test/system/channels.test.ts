// The live channels against a real daemon: one conformance suite for all, and what only one of them can do.
import { describe } from "vitest";
import { describeChannel, type ChannelCase } from "#test/kit/channel-conformance";
import { GuestConnection } from "#test/kit/guest-connection";

const pathOf = (kind: ChannelCase["kind"], vm: Parameters<ChannelCase["socket"]>[0]): string => {
  const channel = vm.channels.find((one) => one.kind === kind);
  if (!channel) throw new Error(`the vm has no channel ${kind}`);
  return channel.path;
};

const vsock: ChannelCase = {
  kind: "vsock",
  rootOnly: false,
  socket: (vm) => `${pathOf("vsock", vm)}_5107`,
  open: (socket) => GuestConnection.open(socket),
  source: (socket) => `unix:${socket}`,
};

const virtioSerial: ChannelCase = {
  kind: "virtio-serial",
  rootOnly: true,
  socket: (vm) => pathOf("virtio-serial", vm),
  open: (socket) => GuestConnection.openSerial(socket),
  source: (socket) => `unix-serial:${socket}`,
};

const ssh: ChannelCase = {
  kind: "ssh",
  rootOnly: true,
  socket: (vm) => pathOf("ssh", vm),
  open: (socket) => GuestConnection.openSerial(socket),
  source: (socket) => `unix-serial:${socket}`,
};

describe("live channels", () => {
  describeChannel("hybrid vsock", vsock);
  describeChannel("virtio-serial", virtioSerial);
  describeChannel("ssh", ssh);
});
