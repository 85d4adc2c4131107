import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { describe, onTestFinished, test } from "vitest";
import { serveSessions } from "#channel/serial-session";

const NONCE = "0123456789abcdef0123456789abcdef";
const opening = (nonce: string = NONCE): string => `\0${nonce}\n`;

interface Port {
  /** The guest's end. */
  guest: Socket;
  sessions: { stream: Duplex; heard: string; ended: boolean }[];
  /** What the guest has read. */
  read(): string;
}

/** A port with its host's end served; every session is recorded. */
async function port(onOpen: (stream: Duplex) => void = () => undefined): Promise<Port> {
  const folder = await mkdtemp(join(tmpdir(), "hatchway-serial-"));
  const server = createServer().listen(join(folder, "s"));
  await once(server, "listening");
  const accepted = once(server, "connection") as Promise<[Socket]>;
  const guest = connect(join(folder, "s"));
  const [host] = await accepted;
  // An end that goes with bytes unread resets the other; who serves the port sees to that (virtio-serial.ts).
  for (const end of [guest, host]) end.on("error", () => end.destroy());
  onTestFinished(async () => {
    guest.destroy();
    host.destroy();
    server.close();
    await rm(folder, { recursive: true });
  });
  const made: Port = { guest, sessions: [], read: () => text };
  let text = "";
  guest.on("data", (bytes: Buffer) => (text += bytes.toString("latin1")));
  serveSessions(host, (stream) => {
    const session = { stream, heard: "", ended: false };
    made.sessions.push(session);
    stream.on("data", (bytes: Buffer) => (session.heard += bytes.toString("latin1")));
    stream.once("close", () => (session.ended = true)).on("error", () => undefined);
    onOpen(stream);
  });
  return made;
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1));
}

async function rest(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 20));
}

describe("a session", () => {
  test("is opened by its opening, which comes back, and carries bytes both ways", async ({ expect }) => {
    const made = await port();
    made.guest.write(`${opening()}hello`);
    await until(() => made.sessions[0]?.heard === "hello");
    made.sessions[0]?.stream.write("answer");
    await until(() => made.read().endsWith("answer"));
    expect(made.read()).toBe(`${opening()}answer`);
  });

  test("begins wherever the rest of an old one was cut", async ({ expect }) => {
    const made = await port();
    const old = `${opening("f".repeat(32))}GET /v1/bundle HTTP/1.1\r\nhost: x\r\n\r\n`;
    for (let cut = 0; cut <= old.length; cut++) {
      const nonce = cut.toString(16).padStart(32, "a");
      made.guest.write(Buffer.from(`${old.slice(0, cut)}${opening(nonce)}request ${cut}`, "latin1"));
      await until(() => made.sessions.at(-1)?.heard === `request ${cut}`);
      expect(made.sessions.slice(0, -1).every(({ ended }) => ended)).toBe(true);
    }
  });

  test("begins when its bytes come one by one", async ({ expect }) => {
    const made = await port();
    for (const char of `junk${opening()}hi`) {
      made.guest.write(Buffer.from(char, "latin1"));
      await new Promise(setImmediate);
    }
    await until(() => made.sessions[0]?.heard === "hi");
    expect(made.sessions).toHaveLength(1);
  });

  test("ends when the next one begins, and its late answer goes nowhere", async ({ expect }) => {
    const made = await port();
    made.guest.write(opening());
    await until(() => made.sessions.length === 1);
    made.guest.write(opening("b".repeat(32)));
    await until(() => made.sessions.length === 2);
    await until(() => made.sessions[0]?.ended === true);
    made.sessions[0]?.stream.write("late", () => undefined);
    made.sessions[1]?.stream.write("good");
    await until(() => made.read().endsWith("good"));
    expect(made.read()).not.toContain("late");
  });

  test("that the host ends leaves the port open for the next", async ({ expect }) => {
    const made = await port();
    made.guest.write(opening());
    await until(() => made.sessions.length === 1);
    made.sessions[0]?.stream.destroy();
    made.guest.write("into nothing");
    await rest();
    made.guest.write(`${opening("c".repeat(32))}again`);
    await until(() => made.sessions[1]?.heard === "again");
    expect(made.sessions).toHaveLength(2);
  });

  test("ends with the port", async ({ expect }) => {
    const made = await port();
    made.guest.write(opening());
    await until(() => made.sessions.length === 1);
    made.guest.destroy();
    await until(() => made.sessions[0]?.ended === true);
    expect(made.sessions).toHaveLength(1);
  });
});

describe("what is no opening opens nothing", () => {
  test.for([
    "no nul at all",
    NONCE + "\n",
    `\0${NONCE.slice(1)}\n`,
    `\0${NONCE}0\n`,
    `\0${NONCE.toUpperCase()}\n`,
    `\0${NONCE}\r`,
    `\0${"g".repeat(32)}\n`,
    `\0\0${NONCE}`,
    "\0".repeat(100),
    `\0${" ".repeat(32)}\n`,
  ])("%j", async (bytes, { expect }) => {
    const made = await port();
    made.guest.write(Buffer.from(bytes, "latin1"));
    await rest();
    expect(made.sessions).toHaveLength(0);
    expect(made.read()).toBe("");
    made.guest.write(`${opening()}ok`);
    await until(() => made.sessions[0]?.heard === "ok");
  });

  test("and an opening inside an opening is the one that counts", async ({ expect }) => {
    const made = await port();
    for (let cut = 1; cut < 34; cut++) {
      const count = made.sessions.length;
      made.guest.write(`${opening().slice(0, cut)}${opening("d".repeat(32))}${cut}`);
      await until(() => made.sessions[count]?.heard === `${cut}`);
      expect(made.sessions).toHaveLength(count + 1);
    }
    const echoes = opening("d".repeat(32)).repeat(33);
    await until(() => made.read().length >= echoes.length);
    expect(made.read()).toBe(echoes);
  });
});

describe("a guest that is hostile", () => {
  test("and opens without end, reading nothing, fills no memory", async ({ expect }) => {
    const made = await port();
    made.guest.pause();
    const flood = Buffer.from(opening().repeat(60_000), "latin1");
    made.guest.write(flood);
    let opened: number;
    do {
      opened = made.sessions.length;
      await rest();
    } while (opened === 0 || made.sessions.length > opened);
    expect(opened).toBeLessThan(30_000);
  });

  test("and floods with NUL bytes does no harm", async ({ expect }) => {
    const made = await port();
    made.guest.write(Buffer.alloc(4_194_304));
    made.guest.write(`${opening()}still here`);
    await until(() => made.sessions[0]?.heard === "still here");
    expect(made.sessions).toHaveLength(1);
  });

  test("and sends what nobody reads ends its session, not its port", async ({ expect }) => {
    const made = await port((stream) => stream.pause());
    made.guest.write(opening());
    await until(() => made.sessions.length === 1);
    made.guest.write(Buffer.alloc(70_000, "x"));
    await until(() => made.sessions[0]?.ended === true);
    made.guest.write(opening("e".repeat(32)));
    await until(() => made.sessions.length === 2);
    expect(made.sessions[1]?.ended).toBe(false);
  });

  test("and reads nothing is asked for no more than what waits for it", async ({ expect }) => {
    const answer = Buffer.alloc(1_048_576, "v");
    const made = await port((stream) => stream.write(answer));
    const openings = Array.from({ length: 8 }, (_, at) => opening(at.toString(16).padStart(32, "0")));
    made.guest.pause();
    // The rest is held whether it comes with the first or behind it.
    made.guest.write(openings.slice(0, 4).join(""));
    await until(() => made.sessions.length > 0);
    for (const one of openings.slice(4)) made.guest.write(one);
    await rest();
    expect(made.sessions).toHaveLength(1);
    made.guest.resume();
    await until(() => made.read().length === openings.length * (34 + answer.length));
    expect(made.read().match(/[^v]+/g)).toEqual(openings);
  });
});
