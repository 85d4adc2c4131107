import type { Readable } from "node:stream";

/**
 * Hands each chunk of a stream to `take` and wipes it, until `take` says that it is done or the stream ends; the stream
 * stays open and paused. By "data" events, since reading in any other way joins chunks into copies that nobody wipes.
 */
export function takeChunks(stream: Readable, take: (chunk: Buffer) => "more" | "done"): Promise<"done" | "ended"> {
  const { promise, resolve, reject } = Promise.withResolvers<"done" | "ended">();
  let over = false;
  const onData = (chunk: Buffer): void => {
    try {
      if (!over && take(chunk) === "done") end(() => resolve("done"));
    } catch (error) {
      end(() => reject(error));
    } finally {
      chunk.fill(0);
    }
  };
  const onEnd = (): void => end(() => resolve("ended"));
  const onError = (error: Error): void => end(() => reject(error));
  const end = (settle: () => void): void => {
    over = true;
    stream.off("data", onData).off("end", onEnd).off("error", onError).pause();
    settle();
  };
  stream.on("data", onData).on("end", onEnd).on("error", onError);
  return promise;
}
