// A token on screen: spaces, newlines, tabs and unprintable bytes are visible but stay what they
// are in the text, so that copying gives the real token.

import { h, span } from "./dom";
import { pieces } from "./format";

const MARKS: Record<string, string> = { newline: "\u21b5", tab: "\u21e5" };

export function tokenContent(token: string): (Node | string)[] {
  if (token === "") return [span("wb-mark", "\u2205")];
  return pieces(token).map((piece) => {
    if (piece.kind === "text") return piece.text;
    if (piece.kind === "space") return span("wb-space", piece.text);
    if (piece.kind === "control") return span("wb-control", piece.text);
    return h("span", { class: "wb-mark", "data-mark": MARKS[piece.kind] ?? "" }, piece.kind === "tab" ? "\t" : "");
  });
}

export function tokenSpan(token: string, className = "wb-mono"): HTMLElement {
  return span(className, ...tokenContent(token));
}
