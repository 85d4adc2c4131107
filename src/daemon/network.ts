import { dirname } from "node:path";
import type { Api } from "#admin/route";
import { Tokens, type TokenFile } from "#admin/tokens";
import { FolderWatch } from "#daemon/folder-watch";
import { GuestListener, type Admit } from "#daemon/guest-listener";
import type { GuestAddress, ListenAddress } from "#daemon/listen";
import { NetworkListener } from "#daemon/listener";
import type { Reloaded } from "#daemon/listener-tls";
import { toHatchwayError } from "#error";
import { Mutex } from "#mutex";
import type { Vault } from "#vault";

export interface NetworkParts {
  api: Api;
  vault: Vault;
  addresses: readonly ListenAddress[];
  tokens: readonly TokenFile[];
  guestAddresses: readonly GuestAddress[];
  admit: Admit;
  report: (line: string) => void;
}

/**
 * All addresses of the admin API and of guests, and the tokens and certificates that open them. It reads their files again when
 * something changes in their folders, now and then, and when it is told to. Open connections go on, but for those of
 * certificates that are good no more; a token is asked for with each request.
 */
export class Network implements Disposable {
  readonly listeners: NetworkListener[] = [];
  readonly guests: GuestListener[] = [];
  readonly #tokenFiles: readonly TokenFile[];
  readonly #report: (line: string) => void;
  /** What was said last of each thing that is not as it should be. */
  readonly #said = new Map<string, string>();
  readonly #oneByOne = new Mutex();
  #tokens: Tokens;
  #watch: FolderWatch | undefined;

  private constructor(tokenFiles: readonly TokenFile[], tokens: Tokens, report: (line: string) => void) {
    this.#tokenFiles = tokenFiles;
    this.#tokens = tokens;
    this.#report = report;
  }

  /** Serves on all of the addresses, or throws HatchwayError with none of them open. */
  static async listen(listened: NetworkParts): Promise<Network> {
    const { api, vault, addresses, tokens, guestAddresses, admit, report } = listened;
    const network = new Network(tokens, await Tokens.read(tokens), report);
    const findToken = (authorization: string): string | undefined => network.#tokens.find(authorization);
    const parts = { api, vault, findToken, hasTokens: tokens.length > 0, report };
    try {
      for (const address of addresses) network.listeners.push(await NetworkListener.listen(address, parts));
      for (const address of guestAddresses) network.guests.push(await GuestListener.listen(address, admit, report));
    } catch (error) {
      for (const { server } of network.listeners) server.close();
      for (const guests of network.guests) await guests.close();
      throw error;
    }
    const files = [
      ...tokens.map(({ path }) => path),
      ...[...addresses, ...guestAddresses].flatMap(({ tls }) => Object.values<string>({ ...tls })),
    ];
    if (files.length > 0) network.#watch = new FolderWatch(files.map(dirname), () => void network.reload());
    return network;
  }

  /** Reads all files again. What is bad is reported once; of it the listeners keep what they have, and a token is off. */
  async reload(): Promise<void> {
    await this.#oneByOne.run("", async () => {
      await this.#reloadTokens();
      for (const listener of [...this.listeners, ...this.guests]) await this.#reloadListener(listener);
    });
  }

  /** Whoever has the servers closes them. */
  [Symbol.dispose](): void {
    this.#watch?.[Symbol.dispose]();
  }

  async #reloadTokens(): Promise<void> {
    const before = this.#tokens;
    const { tokens, problems } = await Tokens.readSome(this.#tokenFiles);
    this.#tokens = tokens;
    for (const { id } of this.#tokenFiles) {
      const problem = problems.get(id);
      if (problem) this.#once(`token ${id}`, `token "${id}" is off: ${problem.message}`);
      else if (this.#said.delete(`token ${id}`)) this.#report(`token "${id}" is on again`);
      else if (!tokens.hasAsIn(before, id)) this.#report(`token "${id}" is another one now`);
    }
  }

  async #reloadListener(listener: { address: string; reload(): Promise<Reloaded> }): Promise<void> {
    const { address } = listener;
    const { taken, kept } = await listener.reload();
    if (taken.length > 0) this.#report(`took what is new for ${address}: ${taken.join(", ")}`);
    for (const what of ["certificate", "client authority"]) {
      const bad = kept.find((one) => one.what === what);
      if (bad)
        this.#once(`${address} ${what}`, `${address} keeps the ${what} it has: ${toHatchwayError(bad.why).message}`);
      else this.#said.delete(`${address} ${what}`);
    }
  }

  /** Says it unless it was the last that was said of that. */
  #once(about: string, line: string): void {
    if (this.#said.get(about) === line) return;
    this.#said.set(about, line);
    this.#report(line);
  }
}
