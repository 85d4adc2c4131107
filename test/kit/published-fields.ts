// What three VMMs publish of what they take, as far as Hatchway writes it: field, type, and whether it has to be there.
// None of them runs here, so that this is what their wirers are held to.

type Kind = "string" | "boolean" | "integer" | "cid";
type Fields = Readonly<Record<string, readonly [kind: Kind, required: boolean]>>;

/** src/firecracker/swagger/firecracker.yaml, version 1.17.0-dev (commit 004d935399ba): Vsock and Drive. */
export const firecrackerFields: Record<"vsock" | "drive", Fields> = {
  vsock: { guest_cid: ["cid", true], uds_path: ["string", true], vsock_id: ["string", false] },
  drive: {
    drive_id: ["string", true],
    partuuid: ["string", false],
    is_root_device: ["boolean", true],
    cache_type: ["string", false],
    // Of a virtio-block drive, which ours is, these two have to be there as well.
    is_read_only: ["boolean", true],
    path_on_host: ["string", true],
    io_engine: ["string", false],
  },
};

/** vmm/src/api/openapi/cloud-hypervisor.yaml, commit 00f68228812d: VsockConfig, DiskConfig and FsConfig. */
export const cloudHypervisorFields: Record<"vsock" | "disk" | "fs", Fields> = {
  vsock: {
    cid: ["cid", true],
    socket: ["string", true],
    iommu: ["boolean", false],
    pci_segment: ["integer", false],
    pci_device_id: ["integer", false],
    id: ["string", false],
  },
  disk: {
    path: ["string", false],
    readonly: ["boolean", false],
    direct: ["boolean", false],
    iommu: ["boolean", false],
    num_queues: ["integer", false],
    queue_size: ["integer", false],
    pci_segment: ["integer", false],
    id: ["string", false],
    serial: ["string", false],
  },
  fs: {
    tag: ["string", true],
    socket: ["string", true],
    num_queues: ["integer", true],
    queue_size: ["integer", true],
    pci_segment: ["integer", false],
    pci_device_id: ["integer", false],
    id: ["string", false],
  },
};

/** Options below `microvm`, nixos-modules/microvm/options.nix, commit 967e2a697326; those of a volume and of a share behind it. */
export const microvmOptions: readonly string[] = [
  "hypervisor",
  "qemu.machine",
  "qemu.extraArgs",
  "cloud-hypervisor.extraArgs",
  "firecracker.extraConfig.vsock",
  "credentialFiles",
  "volumes",
  "shares",
];
export const microvmVolume: readonly string[] = [
  "image",
  "serial",
  "direct",
  "readOnly",
  "label",
  "mountPoint",
  "size",
  "autoCreate",
  "mkfsExtraArgs",
  "fsType",
];

export const microvmShare: readonly string[] = ["tag", "socket", "source", "securityModel", "mountPoint", "proto"];

/** What keeps `body` from being such an object; none where it is one. */
export function fieldProblems(fields: Fields, body: Record<string, unknown>): string[] {
  const unknown = Object.keys(body).filter((name) => !Object.hasOwn(fields, name));
  const missing = Object.entries(fields).filter(([name, [, required]]) => required && !Object.hasOwn(body, name));
  const wrong = Object.entries(body).filter(([name, value]) => {
    const kind = fields[name]?.[0];
    return kind !== undefined && !isOf(kind, value);
  });
  return [
    ...unknown.map((name) => `${name} is unknown`),
    ...missing.map(([name]) => `${name} is missing`),
    ...wrong.map(([name]) => `${name} is of another type`),
  ];
}

function isOf(kind: Kind, value: unknown): boolean {
  if (kind === "integer") return Number.isInteger(value);
  // 0 to 2 are reserved (vsock(7)); both documents say minimum 3.
  if (kind === "cid") return Number.isInteger(value) && Number(value) >= 3;
  return typeof value === kind;
}

/** The options that an expression sets below `microvm`, each once, and those of what it lists. */
export function nixNames(text: string): { options: string[]; volume: string[]; share: string[] } {
  const list = /^microvm\.(volumes|shares) /.exec(text)?.[1];
  const names = Array.from(text.matchAll(/^ *(?:microvm\.)?([a-zA-Z][\w.-]*) = /gm), ([, name = ""]) => name);
  const listed = names.filter((name) => name !== list);
  return {
    options: list === undefined ? names.filter((name) => name !== "microvm") : [list],
    volume: list === "volumes" ? listed : [],
    share: list === "shares" ? listed : [],
  };
}
