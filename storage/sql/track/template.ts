/**
 * Parses what tells which keys a row has: texts with `{column}` in them. Pure.
 *
 * @module
 */

/** A part of a template: text as it is, or the name of a column. */
export type TemplatePart = { readonly text: string } | { readonly column: string };

/**
 * Parses a template such as `chat:{room_id}`. `{{` and `}}` stand for braces.
 *
 * @param template The template.
 * @param option The option that it belongs to, for the message of an error.
 * @returns Its parts in order, without empty texts.
 * @throws {TypeError} When a brace has no partner, or there is no name between two braces.
 */
export function parseTemplate(template: string, option: string): TemplatePart[] {
  const parts: TemplatePart[] = [];
  let text = "";
  for (const [piece] of template.matchAll(/\{\{|\}\}|\{[^{}]+\}|[^{}]+|[{}]/g)) {
    if (piece === "{" || piece === "}") {
      throw new TypeError(
        `Option "${option}" is wrong: expected {column}, and {{ or }} for a brace, got ${
          JSON.stringify(template)
        }`,
      );
    }
    if (piece.length > 2 && piece.startsWith("{")) {
      if (text !== "") parts.push({ text });
      text = "";
      parts.push({ column: piece.slice(1, -1) });
    } else text += piece === "{{" ? "{" : piece === "}}" ? "}" : piece;
  }
  return text === "" ? parts : [...parts, { text }];
}

/** The columns that templates name, each once. */
export function columnsOf(templates: readonly (readonly TemplatePart[])[]): string[] {
  return [...new Set(templates.flat().flatMap((part) => "column" in part ? [part.column] : []))];
}

/**
 * The SQL of a condition: its text as it is, with the names of columns replaced.
 *
 * @param parts The condition.
 * @param columnOf Makes the SQL of a column.
 */
export function conditionOf(parts: readonly TemplatePart[], columnOf: (column: string) => string): string {
  const sql = parts.map((part) => "column" in part ? columnOf(part.column) : part.text).join("");
  // A comment ends with its line.
  return /--|#/.test(sql) ? `(${sql}\n)` : `(${sql})`;
}
