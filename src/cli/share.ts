// share: what a VM has as a folder that a guest mounts, as it is now or for as long as this runs.
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { HatchwayError, toHatchwayError } from "#error";
import { parseSealHeader, SEAL_HEADER } from "#protocol/sealed";
import { checkExposure, SHARED_BY, type SharedBy } from "#share";
import { openPlainShare, openSealedShare, type Fill, type Share } from "#share/folder";
import { knownRecipient, openKey, writeKey } from "./image-build.ts";
import type { Session } from "./session.ts";

export interface ShareFlags {
  out: string;
  watch?: true;
  key?: string;
  recipient?: string;
  plain?: true;
  for?: string;
  allowExposed?: true;
}

/** How long the daemon may hold its answer back, in seconds. */
const WAIT = 50;
/** Before it is asked again when it did not answer: milliseconds. */
const PAUSE = 1_000;

export async function shareVm(session: Session, [vm = ""]: readonly string[], flags: ShareFlags): Promise<undefined> {
  const by = readWay(flags);
  refuseNobody(flags);
  await using share = await open(session, vm, by, flags);
  const recipient = flags.plain === true ? undefined : readRecipient(flags);
  const job = { session, vm, share, recipient };
  const revision = (await bring(job, undefined)) ?? "";
  const form = flags.plain === true ? "plain" : "sealed";
  session.report(
    { vm, share: share.exported, form, revision },
    () => `"${share.exported}" has the secrets of vm "${vm}", ${form}`,
  );
  if (flags.watch === true) await watch(job, revision);
  await share.settled();
}

interface Job {
  session: Session;
  vm: string;
  share: Share;
  /** Whom it is sealed to. */
  recipient: string | undefined;
}

function readWay({ plain, for: said, allowExposed, key, recipient }: ShareFlags): SharedBy | undefined {
  const by = SHARED_BY.find((way) => way === said);
  if (said !== undefined && by === undefined) {
    throw new HatchwayError("invalid", `--for "${said}" is none of ${SHARED_BY.join(", ")}`);
  }
  if (plain !== true) {
    if (allowExposed === true) throw new HatchwayError("invalid", "--allow-exposed is of --plain, which is not given");
    return by;
  }
  if (key !== undefined || recipient !== undefined) {
    throw new HatchwayError("invalid", "--plain seals nothing, so that nobody can be named or made to seal it to");
  }
  if (by === undefined) {
    throw new HatchwayError("invalid", "--plain needs --for: how files stand on the host depends on what shares them", {
      hint: `one of: ${SHARED_BY.join(", ")}`,
    });
  }
  checkExposure(by, "plain", allowExposed === true);
  return by;
}

async function open(session: Session, vm: string, by: SharedBy | undefined, flags: ShareFlags): Promise<Share> {
  const path = resolve(flags.out);
  // A VM that is not there makes no folder.
  const { runner } = await session.client.vm(vm);
  if (flags.plain !== true || by === undefined) return openSealedShare(path);
  return openPlainShare(path, by, runner.gid);
}

function refuseNobody({ plain, key, recipient }: ShareFlags): void {
  if (plain === true || (key === undefined) !== (recipient === undefined)) return;
  throw new HatchwayError("invalid", "a sealed share needs somebody to be sealed to, by --key or by --recipient", {
    hint: "--key FILE, on a tmpfs, makes a key for it; --recipient takes yours; --plain seals nothing",
  });
}

/** The key may be there from an earlier share. */
function readRecipient({ key = "", recipient }: ShareFlags): string {
  const path = resolve(key);
  return recipient ?? knownRecipient(path) ?? makeKey(path);
}

function makeKey(path: string): string {
  const file = openKey(path);
  try {
    const recipient = writeKey(file);
    file.finish();
    return recipient;
  } catch (error) {
    file.abandon();
    throw error;
  }
}

/** Brings the share up to date; its revision, undefined where it still is `have` after a while. */
async function bring({ session, vm, share, recipient }: Job, have: string | undefined): Promise<string | undefined> {
  const request = { format: "tar" as const, ...(have !== undefined && { have, wait: WAIT }) };
  let revision: string | undefined;
  const plain: Fill = async (take) => {
    revision = (await session.client.buildImage(vm, request, take))?.revision;
    return revision !== undefined;
  };
  const sealed: Fill = async (take) => {
    const pieces: Buffer[] = [];
    const said = { ...request, recipient: recipient ?? "" };
    revision = (await session.client.buildImage(vm, said, (piece) => void pieces.push(Buffer.from(piece))))?.revision;
    if (revision === undefined) return false;
    const image = Buffer.concat(pieces);
    take(image.subarray(SEAL_HEADER, SEAL_HEADER + parseSealHeader(image).length));
    return true;
  };
  await share.replace(recipient === undefined ? plain : sealed);
  return revision;
}

/** Until the VM is removed, and its share with it, or this process is ended. */
async function watch(job: Job, first: string): Promise<never> {
  const { session, vm, share } = job;
  let have = first;
  let isSilent = false;
  for (;;) {
    try {
      const revision = await bring(job, have);
      if (revision !== undefined) session.report({ vm, revision }, () => "brought up to date");
      if (isSilent) session.warn("the daemon answers again");
      isSilent = false;
      have = revision ?? have;
    } catch (thrown) {
      const error = toHatchwayError(thrown);
      if (error.code === "not-found") {
        await share.clear();
        throw error;
      }
      if (error.code !== "unavailable" && error.code !== "sealed") throw error;
      if (!isSilent) session.warn(`${error.message}; the folder stays as it is, and it is tried again`);
      isSilent = true;
      await sleep(PAUSE);
    }
  }
}
