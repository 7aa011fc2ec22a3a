/**
 * Servers that break the rules of sync requests and of versions: sections 3 and 4 of the protocol.
 *
 * @module
 */
import type { BrokenServer } from "./broken_server.ts";
import { gone, onAnswer, onSync, refuse } from "./interceptors.ts";

/** The servers. */
export const SYNCS: readonly BrokenServer[] = [
  {
    does: "refuses the requests of 1.x clients",
    breaks: ["3.1", "3.2", "3.3"],
    answer: onSync(({ body }) =>
      body.timestamp === undefined ? undefined : refuse(400, "BAD_REQUEST", 'Cannot read "timestamp"')
    ),
  },
  {
    does: "sends no serverTime",
    breaks: ["3.2"],
    answer: onAnswer(({ answer }) => delete answer.serverTime),
  },
  {
    does: "sends a key that was not requested",
    breaks: ["3.2"],
    answer: onAnswer(({ answer }) => answer.changed.other = { key: "other", version: 7 }),
  },
  {
    does: "sends the URLs of its peers",
    breaks: ["3.2"],
    answer: onAnswer(({ answer, body }) => {
      if (body.hint === undefined) answer.mesh.peers = ["http://10.0.0.7:3000"];
    }),
  },
  {
    does: "sends 1.x clients a list of peers",
    breaks: ["3.3"],
    answer: onAnswer(({ answer }) => answer.mesh.peers = []),
  },
  {
    does: "raises serverVersion to a client's version",
    breaks: ["3.4"],
    answer: answerWithClientVersions(),
  },
  {
    does: "answers gossip without authentication",
    breaks: ["3.5", "11.1"],
    answer: onSync(({ body }) => body.gossip === undefined ? undefined : Response.json({ gossip: {} })),
  },
  {
    does: "refuses the whole request for a key that no group has",
    breaks: ["3.7", "3.8"],
    answer: onSync(({ body }) =>
      Object.keys(body.known).some((key) => key.includes("*"))
        ? refuse(404, "NO_GROUP", "No group")
        : undefined
    ),
  },
  {
    does: "refuses a key that has a node, and names no code",
    breaks: ["3.7", "6.8"],
    answer: onAnswer(({ answer, body }) => {
      const keys = Object.keys(body.known).filter((key) => key.includes("*"));
      if (keys.length > 0) answer.refused = Object.fromEntries(keys.map((key) => [key, { message: key }]));
    }),
  },
  {
    does: "refuses a key without a message that names it",
    breaks: ["3.7"],
    options: { groups: { of: () => [], isGroup: () => false } },
    answer: onAnswer(({ answer }) => {
      const refused = (answer.refused ?? {}) as Record<string, { message: string }>;
      for (const refusal of Object.values(refused)) refusal.message = "No group";
    }),
  },
  {
    does: "names no member of a group that was changed by itself",
    breaks: ["3.8"],
    answer: onAnswer(({ answer, body }) => {
      if (body.detail) answer.detail = Object.fromEntries(Object.keys(body.known).map((key) => [key, {}]));
    }),
  },
  {
    does: "leaves keys out of changed if the client asks for detail",
    breaks: ["3.8"],
    answer: onAnswer(({ answer, body }) => {
      if (body.detail) answer.changed = {};
    }),
  },
  {
    does: "ignores the epoch",
    breaks: ["4.1"],
    answer: onSync(({ body, ask }) =>
      typeof body.epoch === "string" ? ask({ ...body, epoch: undefined }) : undefined
    ),
  },
  {
    does: "sends missing keys as deleted after a change of epoch",
    breaks: ["4.1"],
    answer: onAnswer(({ answer, body }) => {
      if (!/unknown epoch/.test(String(body.epoch))) return;
      for (const key of Object.keys(body.known)) answer.changed[key] ??= gone(key);
    }),
  },
  {
    does: "sends a change for a key without a node at version 0",
    breaks: ["3.4", "4.2", "4.3", "7.5"],
    answer: onAnswer(({ answer, body }) => {
      if (body.wait !== undefined || body.epoch !== undefined) return;
      const [key, ...others] = Object.keys(body.known);
      if (key === undefined || others.length > 0 || body.known[key] !== 0) return;
      answer.changed[key] ??= { key, version: 0 };
    }),
  },
  {
    does: "does not send deletions",
    breaks: ["2.3", "4.3", "5.2"],
    answer: onAnswer(({ answer }) => {
      for (const [key, meta] of Object.entries(answer.changed)) if (meta.deleted) delete answer.changed[key];
    }),
  },
  {
    does: "sends new nodes only, and no newer versions",
    breaks: ["4.4", "5.2"],
    answer: onAnswer(({ answer, body }) => {
      for (const [key, { version }] of Object.entries(answer.changed)) {
        if (version > (body.known[key] ?? 0) && body.known[key] !== 0) delete answer.changed[key];
      }
    }),
  },
  {
    does: "sends versions that the client already has",
    breaks: ["4.5"],
    answer: onSync(({ body, ask }) => {
      if (body.wait !== undefined) return undefined;
      const older = Object.entries(body.known).map(([key, version]) =>
        [key, Number.isSafeInteger(version) && version > 1 ? version - 1 : version] as const
      );
      return ask({ ...body, known: Object.fromEntries(older) });
    }),
  },
  {
    does: "sends nothing when the client's version is ahead",
    breaks: ["4.1", "4.6"],
    answer: onAnswer(({ answer, body }) => {
      for (const [key, meta] of Object.entries(answer.changed)) {
        if (!meta.deleted && meta.version < (body.known[key] ?? 0)) delete answer.changed[key];
      }
    }),
  },
];

/** Raises `serverVersion` to the highest version that a client has sent. */
function answerWithClientVersions(): BrokenServer["answer"] {
  let highest = 0;
  return onAnswer(({ answer, body }) => {
    highest = Math.max(highest, ...Object.values(body.known));
    answer.mesh.serverVersion = Math.max(highest, answer.mesh.serverVersion);
  });
}
