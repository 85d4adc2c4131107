/**
 * What both ends throw when bytes from the other break the protocol. The message names the place and the rule, and
 * holds nothing of a value.
 */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}
