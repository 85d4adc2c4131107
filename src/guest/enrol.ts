// How a guest that was given a token at its boot enrols (#protocol/enrol); the same over every live channel.
import type { ServerResponse } from "node:http";
import { readBody } from "#guest/handlers";
import { parseEnrolment } from "#guest/messages";
import type { Asked, Parts } from "#guest/request";

/** `GET /v1/enrol`: what a guest has to say its MAC of besides what it was given. */
export async function getEnrolment({ vault }: Parts, { caller, response }: Asked): Promise<void> {
  answer(response, { generation: await vault.enrolling(caller) });
}

/** `POST /v1/enrol` */
export async function enrol({ vault }: Parts, { caller, request, response }: Asked): Promise<void> {
  const sealed = await vault.enrol(caller, parseEnrolment(await readBody(request)));
  answer(response, { sealed: sealed.toString("hex") });
}

/** Nothing in it is a secret of its own: what is sealed stays so. */
function answer(response: ServerResponse, body: object): void {
  const json = Buffer.from(JSON.stringify(body));
  response.writeHead(200, { "content-type": "application/json", "content-length": json.length });
  response.end(json);
}
