// What kind of image a disk is.

import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { HatchwayError } from "#error";
import type { Disk } from "#vm";

const qcow2Magic = Buffer.from("QFI\xfb", "latin1");
const backingFileOffset = 8;
const incompatibleFeatures = 72;
const externalDataFile = 0x4;

/**
 * Looks at the image once, before a guest could have written to it. Throws HatchwayError "not-found", or "invalid" for what is no image, and for a
 * qcow2 image that names another file (a backing or an external data file): whoever made the image would choose which of
 * the host's files the guest reads.
 */
export async function diskFormat(path: string): Promise<Disk["format"]> {
  const header = await readHeader(path);
  if (!header.subarray(0, 4).equals(qcow2Magic)) return "raw";
  if (header.readBigUInt64BE(backingFileOffset) !== 0n) {
    throw new HatchwayError(
      "invalid",
      `disk "${path}" is a qcow2 image with a backing file, and should be a whole one`,
      {
        hint: `qemu-img convert -O qcow2 ${path} WHOLE.qcow2`,
      },
    );
  }
  const version = header.readUInt32BE(4);
  if (version >= 3 && (header.readUInt32BE(incompatibleFeatures + 4) & externalDataFile) !== 0) {
    throw new HatchwayError("invalid", `disk "${path}" is a qcow2 image whose data is in another file`);
  }
  return "qcow2";
}

/** The first 104 bytes: a qcow2 header of version 3. What the file lacks of them is zero. */
async function readHeader(path: string): Promise<Buffer> {
  const header = Buffer.alloc(104);
  try {
    // Who opens a pipe otherwise waits for its other end.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const status = await file.stat();
    if (!status.isFile() && !status.isBlockDevice()) {
      throw new HatchwayError("invalid", `disk "${path}" is neither a file nor a block device`);
    }
    await file.read(header, 0, header.length, 0);
  } catch (error) {
    if (error instanceof HatchwayError) throw error;
    throw new HatchwayError("not-found", `disk "${path}" cannot be read`, { cause: error });
  }
  return header;
}
