/**
 * Parses a dictionary of structured fields strictly, as RFC 9651, section 4.2.2, says. Pure.
 *
 * @module
 */

/** The type of a value. An inner list is a list of items. */
export type ItemType =
  | "string"
  | "display string"
  | "integer"
  | "decimal"
  | "token"
  | "bytes"
  | "boolean"
  | "date";

/** A value with its parameters. */
export interface Item {
  readonly type: ItemType;
  /** The value; of a type whose value is not needed here, its text. */
  readonly value: string;
  readonly parameters: ReadonlyMap<string, Item>;
}

/** A member of a dictionary: an item, or an inner list. */
export type Member = Item | readonly Item[];

/**
 * Parses a dictionary.
 *
 * @throws {SyntaxError} If the text is not one. The message says where.
 */
export function parseDictionary(text: string): ReadonlyMap<string, Member> {
  return new Parser(text).parse();
}

/** What an item begins with, for the types whose text is all that is needed. */
const PLAIN: readonly (readonly [ItemType, RegExp])[] = [
  ["date", /@-?\d{1,15}(?![\d.])/y],
  ["decimal", /-?\d{1,12}\.\d{1,3}(?!\d)/y],
  ["integer", /-?\d{1,15}(?![\d.])/y],
  ["boolean", /\?[01]/y],
  ["bytes", /:[A-Za-z0-9+/=]*:/y],
  ["token", /[A-Za-z*][\w!#$%&'*+.^`|~:/-]*/y],
];

class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): ReadonlyMap<string, Member> {
    const members = new Map<string, Member>();
    this.#take(/ */y);
    while (!this.#isAtEnd) {
      const key = this.#key();
      if (members.has(key)) this.#fail(`"${key}" is there twice`);
      members.set(key, this.#take(/=/y) === undefined ? this.#true() : this.#member());
      this.#take(/[ \t]*/y);
      if (this.#isAtEnd) break;
      this.#expect(/,[ \t]*/y, "a comma");
      if (this.#isAtEnd) this.#fail("expected a member after the comma");
    }
    return members;
  }

  get #isAtEnd(): boolean {
    return this.#at === this.#text.length;
  }

  #member(): Member {
    if (this.#take(/\(/y) === undefined) return this.#item();
    const items: Item[] = [];
    for (;;) {
      const space = this.#take(/ */y);
      if (this.#take(/\)/y) !== undefined) break;
      if (items.length > 0 && space === "") this.#fail("expected a space or )");
      items.push(this.#item());
    }
    this.#parameters();
    return items;
  }

  #item(): Item {
    return { ...this.#bareItem(), parameters: this.#parameters() };
  }

  #bareItem(): Pick<Item, "type" | "value"> {
    const quoted = this.#take(/"(?:[ !#-[\]-~]|\\["\\])*"/y);
    if (quoted !== undefined) {
      return { type: "string", value: quoted.slice(1, -1).replace(/\\(.)/g, "$1") };
    }
    const display = this.#take(/%"(?:[ !#$&-~]|%[0-9a-f]{2})*"/y);
    if (display !== undefined) return { type: "display string", value: this.#decode(display.slice(2, -1)) };
    for (const [type, pattern] of PLAIN) {
      const value = this.#take(pattern);
      if (value !== undefined) return { type, value };
    }
    return this.#fail("expected an item");
  }

  #parameters(): ReadonlyMap<string, Item> {
    const parameters = new Map<string, Item>();
    while (this.#take(/; */y) !== undefined) {
      const key = this.#key();
      const item = this.#take(/=/y) === undefined
        ? this.#true()
        : { ...this.#bareItem(), parameters: new Map() };
      parameters.set(key, item);
    }
    return parameters;
  }

  #key(): string {
    return this.#expect(/[a-z*][a-z0-9_.*-]*/y, "a key in lower case");
  }

  #true(): Item {
    return { type: "boolean", value: "?1", parameters: this.#parameters() };
  }

  #decode(text: string): string {
    const bytes = text.replace(/%(..)/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
    try {
      const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
      return decoder.decode(Uint8Array.from(bytes, (char) => char.charCodeAt(0)));
    } catch {
      return this.#fail("expected UTF-8 in a display string");
    }
  }

  /** Moves behind a sticky pattern, if it is there. Returns its text. */
  #take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const [found] = pattern.exec(this.#text) ?? [];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  #expect(pattern: RegExp, what: string): string {
    return this.#take(pattern) ?? this.#fail(`expected ${what}`);
  }

  #fail(message: string): never {
    throw new SyntaxError(`${message} at ${JSON.stringify(this.#text.slice(this.#at, this.#at + 40))}`);
  }
}
