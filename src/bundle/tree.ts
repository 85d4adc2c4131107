// A bundle as the files that an image holds: what the tar has, with folders.
import { createHash } from "node:crypto";
import type { Bundle } from "#bundle";
import { HatchwayError } from "#error";
import { MANIFEST_PATH, entryHeader } from "#protocol/bundle";
import { encodeManifest, type ManifestEntry } from "#protocol/manifest";
import { RESERVED_FOLDER } from "#protocol/names";

export interface ImageFile {
  kind: "file";
  /** One component; `path` is the whole, relative to the image's root. */
  name: string;
  path: string;
  /** Permission bits. */
  mode: number;
  uid: number;
  gid: number;
  /** Seconds since 1970. */
  mtime: number;
  /** Bytes. */
  size: number;
}

export interface ImageFolder {
  kind: "folder";
  /** Empty for the root. */
  name: string;
  /** Root's. */
  mode: number;
  mtime: number;
  /** By name, bytewise. */
  nodes: ImageNode[];
}

export type ImageNode = ImageFile | ImageFolder;

export interface ImageTree {
  root: ImageFolder;
  /** In the order in which their contents are asked for. */
  files: readonly ImageFile[];
  /** Of the image: 16 bytes that are the same for the same tree. */
  uuid: Buffer;
}

/** The content of a file, of `file.size` bytes, in a buffer that the image wipes when it is done with it. */
export type OpenFile = (file: ImageFile) => Promise<Uint8Array>;

/** The volume's name, which the guest finds it by. */
export const LABEL = "HATCHWAY";
/** Bytes of an image, at most: 2 GiB. */
export const MAX_IMAGE_SIZE: number = 2 ** 31;

/** Refuses with "too-large" an image that no guest shall be given. */
export function checkImageSize(size: number): void {
  if (size <= MAX_IMAGE_SIZE) return;
  throw new HatchwayError("too-large", `an image of ${size} bytes, more than ${MAX_IMAGE_SIZE} (2 GiB)`, {
    hint: "attach fewer or smaller secrets",
  });
}

/** Refuses with "invalid" a label that the file system has no room for. */
export function checkLabel(label: string, bytes: number): void {
  if (/^[A-Za-z0-9_-]+$/.test(label) && label.length <= bytes) return;
  throw new HatchwayError("invalid", `"${label}" is not a label: 1 to ${bytes} of A-Z a-z 0-9 _ -`);
}

/**
 * The tree of files: each in its folder, which anybody may pass through and nobody but root list, as the agent makes
 * them; the reserved one is root's alone. A path is of the grammar that manifests have.
 */
export function imageTree(files: readonly Omit<ImageFile, "kind" | "name">[], uuid: Buffer): ImageTree {
  const newest = files.reduce((time, { mtime }) => Math.max(time, mtime), 0);
  const root: ImageFolder = { kind: "folder", name: "", mode: 0o711, mtime: newest, nodes: [] };
  const folders = new Map([["", root]]);
  const folderOf = (path: string): ImageFolder => {
    const known = folders.get(path);
    if (known) return known;
    const [parent, name] = split(path);
    const mode = path === RESERVED_FOLDER ? 0o700 : 0o711;
    const folder: ImageFolder = { kind: "folder", name, mode, mtime: newest, nodes: [] };
    folderOf(parent).nodes.push(folder);
    folders.set(path, folder);
    return folder;
  };
  const placed = files.map((file): ImageFile => {
    const [parent, name] = split(file.path);
    const node: ImageFile = { ...file, kind: "file", name };
    folderOf(parent).nodes.push(node);
    return node;
  });
  // Names are ASCII, so that the order of strings is that of bytes.
  for (const { nodes } of folders.values()) nodes.sort((a, b) => (a.name < b.name ? -1 : 1));
  return { root, files: placed, uuid };
}

function split(path: string): [parent: string, name: string] {
  const slash = path.lastIndexOf("/");
  return [path.slice(0, Math.max(slash, 0)), path.slice(slash + 1)];
}

/** The root and all below it, parents before children, and folders before files. */
export function foldersOf(root: ImageFolder): ImageFolder[] {
  const all = [root];
  for (const folder of all) for (const node of folder.nodes) if (node.kind === "folder") all.push(node);
  return all;
}

/** What an image of a bundle is made from. */
export interface BundleFiles {
  tree: ImageTree;
  /** Audits that all values leave, and only then gives the way to each file. */
  disclose: () => Promise<OpenFile>;
}

/**
 * The files of a bundle, the manifest first. Owners that the guest is to resolve by name are root here: the manifest
 * governs, and a mode of theirs gives root's group no more than root has.
 */
export function bundleFiles(bundle: Bundle): BundleFiles {
  const { manifest, times } = bundle;
  const json = encodeManifest(manifest);
  const headers = manifest.entries.map((entry, at) => entryHeader(entry, times[at] ?? 0));
  const first = { path: MANIFEST_PATH, mode: 0o600, uid: 0, gid: 0, mtime: 0, size: json.length };
  const uuid = createHash("sha256").update("hatchway image\0").update(json).digest().subarray(0, 16);
  // Version 8 of RFC 9562: a UUID whose bits mean nothing to others.
  uuid.writeUInt8(((uuid[6] ?? 0) & 0x0f) | 0x80, 6);
  uuid.writeUInt8(((uuid[8] ?? 0) & 0x3f) | 0x80, 8);
  const tree = imageTree(
    [first, ...headers.map(({ path, mode, uid, gid, mtime, size }) => ({ path, mode, uid, gid, mtime, size }))],
    uuid,
  );
  const entries = new Map<ImageFile, ManifestEntry>();
  tree.files.slice(1).forEach((file, at) => {
    const entry = manifest.entries[at];
    if (entry) entries.set(file, entry);
  });
  return {
    tree,
    disclose: async () => {
      const open = await bundle.disclose(manifest.entries);
      return async (file) => {
        const entry = entries.get(file);
        return entry ? open(entry) : Uint8Array.from(json);
      };
    },
  };
}
