// vm explain: every way into a VM, and what speaks against it.
import type { ChannelBody, ChannelsBody } from "#api-vm";
import { plural } from "./quantity.ts";
import type { Session } from "./session.ts";
import { formatFields, formatTable, type Column } from "./table.ts";
import { describeVmm, readWiring, type WiringFlags } from "./vm-args.ts";

const COLUMNS: readonly Column[] = "CHANNEL,FITS,TAKES,OF,LOST".split(",").map((title) => ({ title }));

export async function explainVm(
  session: Session,
  [name = ""]: readonly string[],
  flags: WiringFlags,
): Promise<undefined> {
  const body = await session.client.vmChannels(name, readWiring(flags));
  const absent = body.channels.filter(({ built }) => !built).map((one) => one.name);
  session.report(body, () =>
    [
      headline(body),
      formatTable(COLUMNS, body.channels.filter(({ built }) => built).flatMap(rows)),
      ...body.channels.filter(({ built }) => built).map(details),
      ...(absent.length === 0 ? [] : [`not in this version: ${absent.join(", ")}`]),
    ].join("\n\n"),
  );
}

function headline({ vm, vmm, qemu, guest, systemd, secrets, bytes, channels }: ChannelsBody): string {
  const reader = guest === "systemd" ? `systemd${systemd === undefined ? "" : ` ${systemd}`}` : "the agent";
  const chosen = channels.find((one) => one.chosen)?.name ?? "nothing";
  const has = `${plural(secrets, "secret")} of ${bytes} bytes`;
  return `vm "${vm}", ${describeVmm(vmm, qemu)}, ${reader} in the guest, ${has}: ${chosen} is what it gets if nothing is said`;
}

/** A line for the channel, and one for each other thing that is bounded. */
function rows({ name, fits, chosen, measures, lost }: ChannelBody): string[][] {
  const [first, ...rest] = measures.map(({ what, size, limit }) => [String(size), `${limit} ${what}`]);
  const verdict = fits ? (chosen ? "yes, chosen" : "yes") : "no";
  const losses = lost.length === 0 ? "nothing" : lost.join(", ");
  return [[name, verdict, ...(first ?? ["-", "-"]), losses], ...rest.map((cells) => ["", "", ...cells])];
}

function details(channel: ChannelBody): string {
  return `${channel.name}: ${channel.how}\n${formatFields([
    ["  why not", channel.reason],
    ["  instead", channel.instead],
    ["  needs", channel.needs],
    ["  readers in the guest", channel.guest_readers],
    ["  readers on the host", channel.host_readers],
    ["  a change arrives", channel.fresh],
  ])}`;
}
