import { createHash } from "node:crypto";
import type { Encoding, ImageFormat } from "#bundle/image";
import { encodeSealHeader, SEAL_HEADER, SEAL_SECTOR } from "#protocol/sealed";
import { valueBuffer } from "#value-buffer";

/** Seals `plaintext` as an age file. */
export type Seal = (plaintext: Uint8Array) => Promise<Uint8Array>;

/** An image sealed, behind the header of `#protocol/sealed`. What was open of it is wiped. */
export async function sealImage(encoding: Encoding, format: ImageFormat, seal: Seal): Promise<Buffer> {
  const plaintext = valueBuffer(encoding.size);
  try {
    let at = 0;
    await encoding.writeTo(async (bytes) => {
      plaintext.set(bytes, at);
      at += bytes.length;
    });
    const age = await seal(plaintext);
    const digest = createHash("sha256").update(age).digest();
    const sealed = Buffer.alloc(Math.ceil((SEAL_HEADER + age.length) / SEAL_SECTOR) * SEAL_SECTOR);
    sealed.set(encodeSealHeader({ format, length: age.length, digest }));
    sealed.set(age, SEAL_HEADER);
    return sealed;
  } finally {
    plaintext.fill(0);
  }
}
