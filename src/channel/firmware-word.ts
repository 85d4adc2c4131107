// What the agent alone is told by the machine's firmware, under names of ours: systemd takes none of them for a credential.
import { FW_CFG_WORD, SMBIOS_WORD } from "#api-vm";
import type { FirmwareOptions } from "#vm";
import type { FirmwareItem } from "#vmm";
import { valueBuffer } from "#value-buffer";

/** A key that opens what is sealed (an age identity), what a guest enrols with, and what it shows by TLS (PEM). */
export type Word = "key" | "enrol" | "tls";

/** `content` is printable ASCII, on one line or in PEM, and stays the caller's; whoever gets the item wipes that. */
export function firmwareWord(kind: FirmwareOptions["kind"], word: Word, content: Buffer): FirmwareItem {
  const line = content.at(-1) === 0x0a ? content.subarray(0, -1) : content;
  const start = kind === "smbios" ? `${SMBIOS_WORD}${word}=` : "";
  const whole = valueBuffer(start.length + line.length);
  whole.write(start, "latin1");
  whole.set(line, start.length);
  return kind === "smbios" ? { kind, content: whole } : { kind, name: FW_CFG_WORD + word, content: whole };
}
