/**
 * Reads the doc comments of everything that the package exports.
 *
 * @module
 */

/** The output of `deno doc --json`, as far as it is read. */
export interface DocOutput {
  /** The exported modules by URL. */
  readonly nodes: Readonly<Record<string, DocModule>>;
}

interface DocModule {
  readonly module_doc?: JsDoc;
  readonly symbols: readonly DocSymbol[];
}

interface DocSymbol {
  readonly name: string;
  /** More than one for overloads. */
  readonly declarations: readonly Declaration[];
}

/** A declaration of an exported symbol. */
export interface Declaration extends Documented {
  readonly kind: string;
  readonly def?: Members;
}

interface Members {
  /** The interfaces that this one extends. */
  readonly extends?: readonly { readonly repr?: string }[];
  readonly constructors?: readonly Member[];
  readonly methods?: readonly Member[];
  readonly properties?: readonly Member[];
}

/** A constructor, method or property. */
export interface Member extends Documented {
  readonly name: string;
  readonly kind?: string;
  readonly optional?: boolean;
  readonly accessibility?: string;
}

/** A place in the sources, and its doc comment. */
export interface Documented {
  /** The first line and the first byte are 0. */
  readonly location: { readonly filename: string; readonly line: number; readonly byteIndex: number };
  readonly jsDoc?: JsDoc;
}

interface JsDoc {
  readonly doc?: string;
  readonly tags?: readonly Tag[];
}

interface Tag {
  readonly kind: string;
  readonly doc?: string;
  /** Of `@default`. */
  readonly value?: string;
  readonly tsType?: { readonly repr: string };
}

/** Returns what `deno doc --json` prints for the exported modules. */
export async function readDocs(): Promise<DocOutput> {
  const { exports }: { exports: Record<string, string> } = JSON.parse(await Deno.readTextFile("deno.json"));
  const command = new Deno.Command(Deno.execPath(), { args: ["doc", "--json", ...Object.values(exports)] });
  const { success, stdout, stderr } = await command.output();
  if (!success) throw new Error(`deno doc failed: ${new TextDecoder().decode(stderr)}`);
  return JSON.parse(new TextDecoder().decode(stdout));
}
