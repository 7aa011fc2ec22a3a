/**
 * The log of a standalone server: lines of text, or of JSON.
 *
 * @module
 */
import type { RealityError } from "../src/errors.ts";
import type { RealityEvent } from "../src/telemetry/events.ts";

/** The levels. Each includes those before it. */
export const LOG_LEVELS = ["error", "warn", "info", "debug"] as const;

/** A level. */
export type LogLevel = typeof LOG_LEVELS[number];

/** The formats. */
export const LOG_FORMATS = ["text", "json"] as const;

/** What is logged, and in which format. */
export interface LogSetting {
  /** The level. `debug` also logs every request, and stacks. */
  readonly level: LogLevel;
  /** Lines of text, or one JSON object per line. */
  readonly format: typeof LOG_FORMATS[number];
}

/** The output. */
export interface LogOutput {
  /** The standard output: levels `info` and `debug`. */
  log(line: string): void;
  /** The standard error: levels `error` and `warn`. */
  error(line: string): void;
}

/** Fields besides the message, for the JSON format. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Writes the log. It redacts nothing: errors of this package contain no secret. */
export class Log {
  readonly #setting: LogSetting;
  readonly #output: LogOutput;
  readonly #now: () => Date;

  /**
   * @param setting The level and the format.
   * @param output The output.
   * @param now Returns the current date.
   */
  constructor(setting: LogSetting, output: LogOutput = console, now: () => Date = () => new Date()) {
    this.#setting = setting;
    this.#output = output;
    this.#now = now;
  }

  /** Writes a message. */
  write(level: LogLevel, message: string, fields: LogFields = {}): void {
    if (!this.#prints(level)) return;
    const line = this.#setting.format === "json"
      ? JSON.stringify({ time: this.#now().toISOString(), level, message, ...fields })
      : message;
    if (level === "error" || level === "warn") this.#output.error(line);
    else this.#output.log(line);
  }

  /** Writes an error: the option `onError` of a server. */
  readonly onError = (error: RealityError): void => {
    const { recovered = false } = error as { recovered?: boolean };
    const isPlain = PLAIN_CODES.has(error.code) && !this.#prints("debug");
    const isStackShown = !recovered && !isPlain;
    const level = recovered ? "info" : isRecoverable(error) ? "warn" : "error";
    if (this.#setting.format === "json") {
      const stack = isStackShown ? { stack: stackOf(error) } : {};
      this.write(level, error.message, { code: error.code, ...stack });
    } else {
      this.write(level, isStackShown ? stackOf(error) : `${error.name}: ${error.message}`);
    }
  };

  /** Writes an event: the option `onEvent` of a server. `undefined` if the level omits events, so that none are made. */
  get onEvent(): ((event: RealityEvent) => void) | undefined {
    if (!this.#prints("debug")) return undefined;
    return ({ type, at: _at, ...fields }) => {
      const isText = this.#setting.format === "text";
      this.write("debug", isText ? `${type} ${JSON.stringify(fields)}` : type, fields);
    };
  }

  #prints(level: LogLevel): boolean {
    return LOG_LEVELS.indexOf(level) <= LOG_LEVELS.indexOf(this.#setting.level);
  }
}

/** Errors of the environment: the message is enough, the stack is not written. */
const PLAIN_CODES: ReadonlySet<string> = new Set([
  "ERR_REALITY_STORAGE",
  "ERR_REALITY_RELAY",
  "ERR_REALITY_PEER_UNREACHABLE",
  "ERR_REALITY_PEER_REFUSED",
  "ERR_REALITY_PEER_REPLY",
  "ERR_REALITY_HOOK",
  "ERR_REALITY_CLOSED",
]);

/** Whether the server recovers by itself: without Redis through storage and peers, from a peer's failure by the next exchange. */
function isRecoverable({ code }: RealityError): boolean {
  return code === "ERR_REALITY_RELAY" || code.startsWith("ERR_REALITY_PEER_");
}

function stackOf(error: unknown): string {
  const parts: string[] = [];
  for (let one = error; one !== undefined && parts.length < 8; one = (one as { cause?: unknown }).cause) {
    if (!(one instanceof Error)) return [...parts, String(one)].join("\ncaused by ");
    parts.push(one.stack ?? `${one.name}: ${one.message}`);
  }
  return parts.join("\ncaused by ");
}
