import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { find, request } from "./programs.ts";

/** An etcd of its own, spoken to by its JSON gateway, which is what a client in TypeScript uses. */
export interface Etcd extends AsyncDisposable {
  port: number;
}

/** Undefined where it is not installed. */
export async function startEtcd(folder: string): Promise<Etcd | undefined> {
  const program = find("etcd");
  if (program === undefined) return undefined;
  const [port, peers] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${port}`;
  const peerUrl = `http://127.0.0.1:${peers}`;
  const places = ["--data-dir", join(folder, "etcd"), "--listen-client-urls", url, "--advertise-client-urls", url];
  const cluster = ["--listen-peer-urls", peerUrl, "--initial-advertise-peer-urls", peerUrl];
  const child = spawn(program, [...places, ...cluster, "--initial-cluster", `default=${peerUrl}`], { stdio: "ignore" });
  const gone = once(child, "exit");
  while (!(await answers(url))) {
    if (child.exitCode !== null) throw new Error(`etcd ended with ${child.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    port,
    async [Symbol.asyncDispose]() {
      child.kill();
      await gone;
    },
  };
}

/** A durable write of `value`; the request's number is the key, in base64 as it is. */
export function etcdPut(value: string): string {
  const body = `{"key":"########","value":"${Buffer.from(value).toString("base64")}"}`;
  return request("POST /v3/kv/put", { "content-type": "application/json" }, body);
}

export function etcdGet(key: string): string {
  const body = JSON.stringify({ key: Buffer.from(key).toString("base64") });
  return request("POST /v3/kv/range", { "content-type": "application/json" }, body);
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/health`)).ok;
  } catch (error) {
    if (error instanceof TypeError) return false;
    throw error;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
