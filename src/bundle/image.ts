import type { Bundle } from "#bundle";
import { ErofsImage } from "#bundle/erofs";
import { HatchwayError } from "#error";
import { IsoImage } from "#bundle/iso9660";
import { SquashfsImage } from "#bundle/squashfs";
import { BundleTar, type Sink } from "#bundle/tar";
import { bundleFiles, type ImageTree, type OpenFile } from "#bundle/tree";

/** The encodings of a whole bundle that can be kept in a file. */
export const IMAGE_FORMATS = ["erofs", "squashfs", "iso", "tar"] as const;
export type ImageFormat = (typeof IMAGE_FORMATS)[number];

/** A bundle in some encoding, of which only the size is there yet. */
export interface Encoding {
  /** Bytes in all. */
  readonly size: number;
  /** Nothing is given to the sink if the disclosure of its values cannot be audited. */
  writeTo(sink: Sink): Promise<void>;
}

interface Image {
  readonly size: number;
  writeTo(open: OpenFile, sink: Sink): Promise<void>;
}

const images: Record<Exclude<ImageFormat, "tar">, (tree: ImageTree, label: string | undefined) => Image> = {
  erofs: (tree, label) => new ErofsImage(tree, label),
  squashfs: (tree) => new SquashfsImage(tree),
  iso: (tree, label) => new IsoImage(tree, label),
};

/**
 * The same bundle gives the same bytes. Throws HatchwayError "too-large", or "invalid" for a label that the format has no
 * room for.
 */
export function encodeBundle(bundle: Bundle, format: ImageFormat, label?: string): Encoding {
  if (label !== undefined && (format === "tar" || format === "squashfs")) {
    throw new HatchwayError("invalid", `${format} has no label, so that it cannot be "${label}"`, {
      hint: "a guest finds a disk without a label by its serial",
    });
  }
  if (format === "tar") return new BundleTar(bundle, bundle.manifest.entries);
  const { tree, disclose } = bundleFiles(bundle);
  const image = images[format](tree, label);
  return { size: image.size, writeTo: async (sink) => image.writeTo(await disclose(), sink) };
}
