/** V8 keeps typed arrays of up to this many bytes inside its heap (`v8_typed_array_max_size_in_heap`). */
const MAX_IN_HEAP = 64;

/**
 * A buffer for a value or a key, which its user wipes: memory of its own and outside V8's heap, where the garbage
 * collector would move a small one and leave a copy behind that nothing wipes. Its content is not defined.
 */
export function valueBuffer(size: number): Buffer {
  return Buffer.allocUnsafeSlow(Math.max(size, MAX_IN_HEAP + 1)).subarray(0, size);
}
