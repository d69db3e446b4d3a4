// Pieces that several panels of the feature view are made of.

import { div, dots, facts, h, quiet, span } from "../ui/dom";
import { number } from "../ui/format";

export { div, dots, facts, quiet, span };

type Content = Node | string | null | false;

export function sub(words: string, title: string | null = null): HTMLElement {
  return h("div", { class: "wb-sub", title }, words);
}

export function muted(words: string, title: string | null = null): HTMLElement {
  return h("span", { class: "wb-muted wb-clip", title }, words);
}

export function figure(text: string, title: string | null = null): HTMLElement {
  return h("span", { class: "wb-num", title }, text);
}

export function list(name: string, rows: Content[], className = "wb-bars"): HTMLElement {
  return rows.length ? h("div", { class: className, role: "list", "aria-label": name }, ...rows) : muted("none");
}

/** A name, a bar whose colour is its sign, and a figure. */
export function barRow(name: Node, value: number, largest: number, text: string, title: string): HTMLElement {
  const bar = h("i", { class: `wb-bar ${value < 0 ? "wb-neg" : "wb-pos"}` });
  bar.style.width = `${(100 * Math.abs(value)) / (largest || 1)}%`;
  return h("div", { class: "wb-bar-row", role: "listitem", title }, name, span("wb-bar-track", bar), figure(text));
}

export function signed(value: number, digits = 2): string {
  return (value > 0 ? "+" : "") + number(value, digits);
}

export function largestOf(rows: readonly (readonly [unknown, unknown, number, ...unknown[]])[]): number {
  return Math.max(0, ...rows.map((row) => Math.abs(row[2])));
}

/** Colour of a token: alpha of one hue, the strongest standing for `largest`. */
export function shade(item: HTMLElement, value: number, largest: number): void {
  if (value > 0 && largest > 0) item.style.background = `rgba(var(--wb-act), ${(Math.min(1, value / largest) * 0.75).toFixed(3)})`;
}
