import type { IncomingMessage } from "node:http";
import { HatchwayError } from "#error";

/**
 * A request's body as it comes, each chunk wiped when the next is asked for. By "data" events, since reading in any other
 * way joins chunks into copies that nobody wipes. Throws "invalid" where the connection ends before the body does.
 */
export async function* chunksOf(incoming: IncomingMessage): AsyncGenerator<Buffer> {
  const waiting: Buffer[] = [];
  let wake: (() => void) | undefined;
  const stir = (): void => wake?.();
  const take = (chunk: Buffer): void => {
    waiting.push(chunk);
    incoming.pause();
    wake?.();
  };
  incoming.on("data", take).on("end", stir).on("close", stir).on("error", stir);
  try {
    for (;;) {
      const chunk = waiting.shift();
      if (chunk) {
        yield chunk;
        chunk.fill(0);
      } else if (incoming.readableEnded) return;
      else if (incoming.destroyed) throw new HatchwayError("invalid", "the request ended before its body did");
      else {
        const { promise, resolve } = Promise.withResolvers<void>();
        wake = resolve;
        incoming.resume();
        await promise;
      }
    }
  } finally {
    for (const chunk of waiting) chunk.fill(0);
    incoming.off("data", take).off("end", stir).off("close", stir).off("error", stir);
    // What is still on its way is for nobody; but a client that is sending when the connection closes sees no answer.
    incoming.on("data", (chunk: Buffer) => void chunk.fill(0)).resume();
    if (!incoming.readableEnded && !incoming.destroyed) {
      const { promise, resolve } = Promise.withResolvers<void>();
      incoming.once("end", resolve).once("close", resolve);
      await promise;
    }
  }
}
