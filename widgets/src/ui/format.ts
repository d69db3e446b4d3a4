// Numbers and tokens as a person reads them.

const MINUS = "\u2212";

/** Three significant figures, never in a way that changes width by more than a sign. */
export function number(value: number | null | undefined, digits = 2): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "\u2013";
  if (!Number.isFinite(value)) return value > 0 ? "\u221e" : `${MINUS}\u221e`;
  const magnitude = Math.abs(value);
  const text =
    magnitude !== 0 && (magnitude < 10 ** -digits || magnitude >= 1e5)
      ? magnitude.toExponential(digits - 1).replace("e+", "e").replace("e-", `e${MINUS}`)
      : magnitude.toFixed(digits);
  return value < 0 ? MINUS + text : text;
}

export function percent(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "\u2013";
  const hundredth = value * 100;
  if (hundredth === 0) return "0%";
  if (hundredth < 0.01) return "<0.01%";
  return `${hundredth.toFixed(hundredth >= 10 ? 1 : 2)}%`;
}

export function count(value: number): string {
  return value.toLocaleString("en");
}

/** "1 token", "3 tokens". */
export function plural(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

export type Piece = { kind: "text" | "space" | "newline" | "tab" | "control"; text: string };

const SPACES = /[ \u00a0\u2000-\u200a\u202f\u3000]/;
// C0 and C1 controls, the soft hyphen, zero-width and direction marks, separators, byte-order mark,
// the replacement character and lone surrogates: all things that hide or mislead as text.
const HIDDEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffd\ud800-\udfff]/;

/** Split a token into what shows as it is and what must be made visible. */
export function pieces(token: string): Piece[] {
  const out: Piece[] = [];
  for (const character of token) {
    const kind =
      character === "\n"
        ? "newline"
        : character === "\t"
          ? "tab"
          : SPACES.test(character)
            ? "space"
            : character.length === 1 && HIDDEN.test(character)
              ? "control"
              : "text";
    const text = kind === "control" ? codePoint(character) : character;
    const last = out.at(-1);
    if (last?.kind === "text" && kind === "text") last.text += text;
    else out.push({ kind, text });
  }
  return out;
}

function codePoint(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** A token in words, for labels that are spoken or copied: whitespace by its name. */
export function spoken(token: string): string {
  return printable(token, "\u00b7") || "empty token";
}

/** Prose with its spaces kept and anything that hides or misleads written out. */
export function printable(text: string, space = " "): string {
  const marks: Partial<Record<Piece["kind"], string>> = { space, newline: "\u21b5", tab: "\u21e5" };
  return pieces(text)
    .map(({ kind, text }) => marks[kind] ?? text)
    .join("");
}

/** Python source for a string, on one line. */
export function pythonString(text: string): string {
  let body = "";
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    // What JSON escapes by a letter, or as itself, Python reads alike.
    if ('\\"\n\r\t'.includes(character)) body += JSON.stringify(character).slice(1, -1);
    else if (code < 32 || code === 127) body += `\\x${code.toString(16).padStart(2, "0")}`;
    else if (character.length === 1 && HIDDEN.test(character)) body += `\\u${code.toString(16).padStart(4, "0")}`;
    else body += character;
  }
  return `"${body}"`;
}
