// systemd-vmspawn of systemd 257 (src/vmspawn/vmspawn.c). What it takes as --load-credential= and --set-credential= it
// writes in base64 into QEMU's arguments, so neither is ever used. Options for its QEMU go through an environment
// variable (docs/ENVIRONMENT.md of systemd), which it splits as a unit file's words are split.
import type { Unfit, Version, WiredChannel, Wirer, Wiring, WiringRequest } from "#wiring";
import { qemuNotes, qemuOptions, qemuRefusal } from "./qemu-wiring.ts";
import { checkWired, cidNotes, cidOf, onlyBy, shellWord } from "./wiring.ts";

const VARIABLE = "SYSTEMD_VMSPAWN_QEMU_EXTRA";

const refusal = onlyBy("vmspawn", ["virtio-serial", "fw-cfg", "smbios", "disk", "9p", "tcp", "af-vsock"], {
  smb: "its network is for the guest to use, and has no server",
  virtiofs: "it gives QEMU memory of its own, which its --bind-ro= shares and nobody else can",
  vsock: "its --vsock= is the host kernel's, which is af-vsock",
});

export const vmspawn: Wirer = {
  vmm: "vmspawn",
  proof: "by the source of systemd 257, not run against the binary; the options for QEMU are tried by a test",

  refusal(channel: WiredChannel, qemu: Version | undefined): Unfit | undefined {
    return refusal(channel) ?? qemuRefusal(channel, qemu);
  },

  wire(request: WiringRequest) {
    checkWired(this, request);
    if (request.channel === "af-vsock") return wireVsock(cidOf(request));
    const words = qemuOptions(request).flat().map(unitWord).join(" ");
    return {
      forms: [
        {
          name: "environment",
          what: "a variable for systemd-vmspawn; it names files, and holds no value",
          text: `${VARIABLE}=${shellWord(words)}`,
        },
      ],
      notes: [
        "--load-credential= and --set-credential= are no way: vmspawn puts what they bring into QEMU's arguments",
        ...qemuNotes(request),
      ],
    };
  },
};

function wireVsock(cid: number): Wiring {
  return {
    forms: [{ name: "arguments", what: "options of systemd-vmspawn", text: `--vsock=yes --vsock-cid=${cid}` }],
    notes: cidNotes(),
  };
}

/** A word as systemd reads it, with C's escapes and quotes (systemd.syntax(7)). */
function unitWord(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `"${word.replaceAll(/[\\"]/g, "\\$&")}"`;
}
