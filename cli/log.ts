/**
 * What a server of its own prints: lines of text for people, or of JSON for programs.
 *
 * @module
 */
import type { RealityError } from "../src/errors.ts";
import type { RealityEvent } from "../src/telemetry/events.ts";

/** How much is printed: each level includes those before it. */
export const LOG_LEVELS = ["error", "warn", "info", "debug"] as const;

/** One of the levels. */
export type LogLevel = typeof LOG_LEVELS[number];

/** How it is printed. */
export const LOG_FORMATS = ["text", "json"] as const;

/** How much is printed, and how. */
export interface LogSetting {
  /** `debug` also prints every request, and stacks. */
  readonly level: LogLevel;
  /** One line of text, or one object of JSON a line. */
  readonly format: typeof LOG_FORMATS[number];
}

/** Where lines go. */
export interface LogOutput {
  /** The standard output: levels `info` and `debug`. */
  log(line: string): void;
  /** The standard error: levels `error` and `warn`. */
  error(line: string): void;
}

/** What is known beside the message, for programs. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Prints what a server has to say. Holds nothing back itself: errors of this package hold no secret. */
export class Log {
  readonly #setting: LogSetting;
  readonly #output: LogOutput;
  readonly #now: () => Date;

  /**
   * @param setting How much, and how.
   * @param output Where to.
   * @param now The date of a line.
   */
  constructor(setting: LogSetting, output: LogOutput = console, now: () => Date = () => new Date()) {
    this.#setting = setting;
    this.#output = output;
    this.#now = now;
  }

  /** Prints a message. */
  write(level: LogLevel, message: string, fields: LogFields = {}): void {
    if (!this.#prints(level)) return;
    const line = this.#setting.format === "json"
      ? JSON.stringify({ time: this.#now().toISOString(), level, message, ...fields })
      : message;
    if (level === "error" || level === "warn") this.#output.error(line);
    else this.#output.log(line);
  }

  /** Prints what `onError` hears. */
  readonly onError = (error: RealityError): void => {
    const { recovered = false } = error as { recovered?: boolean };
    const isPlain = PLAIN_CODES.has(error.code) && !this.#prints("debug");
    const isStackShown = !recovered && !isPlain;
    const level = recovered ? "info" : isMended(error) ? "warn" : "error";
    if (this.#setting.format === "json") {
      const stack = isStackShown ? { stack: stackOf(error) } : {};
      this.write(level, error.message, { code: error.code, ...stack });
    } else {
      this.write(level, isStackShown ? stackOf(error) : `${error.name}: ${error.message}`);
    }
  };

  /** Prints what `onEvent` hears; `undefined` where it would print nothing, so that no event is made. */
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

/** What their messages say is all that there is to know: no stack is printed. */
const PLAIN_CODES: ReadonlySet<string> = new Set([
  "ERR_REALITY_STORAGE",
  "ERR_REALITY_RELAY",
  "ERR_REALITY_PEER_UNREACHABLE",
  "ERR_REALITY_PEER_REFUSED",
  "ERR_REALITY_PEER_REPLY",
  "ERR_REALITY_HOOK",
  "ERR_REALITY_CLOSED",
]);

/** Whether others make up for the failure: storage and peers for Redis, later exchanges for a peer. */
function isMended({ code }: RealityError): boolean {
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
