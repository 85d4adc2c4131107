// The OpenSSL that is in Node, called without node:crypto in between, where that leaves behind what was decrypted: its
// decipher works in memory that is a little larger than its result, and frees it, plaintext and all. Node exports these
// calls for addons (nodejs.org, "C++ addons", "Linking to libraries included with Node.js").
import koffi from "koffi";
import { HatchwayError } from "#error";

const program = koffi.load(null);

type Context = object;
type Cipher = object;

const newContext: () => Context | null = program.func("void *EVP_CIPHER_CTX_new()");
const resetContext: (context: Context) => number = program.func("int EVP_CIPHER_CTX_reset(void *context)");
const fetchCipher: (library: null, name: string, properties: null) => Cipher | null = program.func(
  "void *EVP_CIPHER_fetch(void *library, const char *name, const char *properties)",
);
type Init = (context: Context, cipher: Cipher, engine: null, key: Uint8Array, nonce: Uint8Array) => number;
const decryptInit: Init = program.func(
  "int EVP_DecryptInit_ex(void *context, void *cipher, void *engine, const uint8_t *key, const uint8_t *nonce)",
);
type Update = (
  context: Context,
  out: Uint8Array | null,
  written: Uint32Array,
  bytes: Uint8Array,
  size: number,
) => number;
const decryptUpdate: Update = program.func(
  "int EVP_DecryptUpdate(void *context, uint8_t *out, uint32_t *written, const uint8_t *bytes, int size)",
);
const decryptFinal: (context: Context, out: Uint8Array, written: Uint32Array) => number = program.func(
  "int EVP_DecryptFinal_ex(void *context, uint8_t *out, uint32_t *written)",
);
const control: (context: Context, type: number, size: number, bytes: Uint8Array) => number = program.func(
  "int EVP_CIPHER_CTX_ctrl(void *context, int type, int size, const uint8_t *bytes)",
);
const EVP_CTRL_AEAD_SET_TAG = 0x11;

const context = present(newContext());
const gcm = present(fetchCipher(null, "AES-256-GCM", null));
/** For the lengths that OpenSSL writes, which are known beforehand. */
const written = new Uint32Array(1);

/** What AES-256-GCM opens, apart from its key. */
export interface Sealed {
  /** 12 bytes. */
  nonce: Uint8Array;
  ciphertext: Uint8Array;
  /** 16 bytes. */
  tag: Uint8Array;
  associated: Uint8Array;
}

/**
 * Decrypts into `out`, which is as long as the ciphertext; nothing of it is anywhere else afterwards, nor is the key of 32
 * bytes. False, and `out` is zeros, where the tag does not fit (EVP_EncryptInit(3ssl), "AEAD interface").
 */
export function openGcm(key: Uint8Array, { nonce, ciphertext, tag, associated }: Sealed, out: Uint8Array): boolean {
  if (key.length !== 32 || nonce.length !== 12 || tag.length !== 16 || out.length !== ciphertext.length) {
    throw new RangeError("AES-256-GCM has a key of 32 bytes, a nonce of 12 and a tag of 16");
  }
  try {
    const opened =
      decryptInit(context, gcm, null, key, nonce) === 1 &&
      (associated.length === 0 || decryptUpdate(context, null, written, associated, associated.length) === 1) &&
      (out.length === 0 || decryptUpdate(context, out, written, ciphertext, ciphertext.length) === 1) &&
      control(context, EVP_CTRL_AEAD_SET_TAG, tag.length, tag) === 1 &&
      decryptFinal(context, new Uint8Array(16), written) === 1;
    if (!opened) out.fill(0);
    return opened;
  } finally {
    resetContext(context);
  }
}

function present<T>(pointer: T | null): T {
  if (pointer !== null) return pointer;
  throw new HatchwayError("unsupported", "this Node's OpenSSL does not have AES-256-GCM");
}
