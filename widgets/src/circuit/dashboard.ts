// A feature in short, for beside something else: where it fires and what it writes.

import { h } from "../ui/dom";
import { number, percent, printable, spoken } from "../ui/format";
import { tokenContent, tokenSpan } from "../ui/token";

export interface Brief {
  feature: string;
  label: string | null;
  density: number | null;
  maximum: number | null;
  counted: number;
  complete: boolean;
  gaps: boolean;
  contexts: { tokens: string[]; values: number[]; peak: number }[];
  raises: [string, number][];
  lowers: [string, number][];
}

const AROUND = 10;

export function dashboard(brief: Brief): HTMLElement {
  const most = Math.max(brief.maximum ?? 0, ...brief.contexts.map((context) => context.values[context.peak] ?? 0));
  const facts = [
    brief.counted ? `density ${percent(brief.density)}` : "not indexed",
    brief.maximum === null ? "" : `max ${number(brief.maximum)}`,
    brief.complete || !brief.counted ? "" : "index still being built",
  ].filter(Boolean);
  return h(
    "div",
    { class: "wb-brief" },
    h("div", { class: "wb-caption" }, facts.join(" \u00b7 ")),
    ...effects("raises", brief.raises),
    ...effects("lowers", brief.lowers),
    h("div", { class: "wb-sub" }, brief.contexts.length ? "fires most in" : "no contexts: open or build an index to see where it fires"),
    h("div", { class: brief.gaps ? "wb-gaps" : "", role: "list", "aria-label": "Contexts" }, ...brief.contexts.map((context) => line(context, most))),
  );
}

function effects(words: string, tokens: [string, number][]): Node[] {
  if (!tokens.length) return [];
  const items = tokens.slice(0, 6).flatMap(([token, value]) => [" ", h("span", { title: `${spoken(token)} ${number(value)}` }, tokenSpan(token))]);
  return [h("div", { class: "wb-brief-effects" }, h("span", { class: "wb-caption" }, words), ...items)];
}

function line(context: Brief["contexts"][number], most: number): HTMLElement {
  const first = Math.max(0, context.peak - AROUND);
  const shown = context.tokens.slice(first, context.peak + AROUND / 2 + 1);
  const tokens = shown.map((token, i) => {
    const value = context.values[first + i] ?? 0;
    const item = h("span", { class: "wb-tok", title: `${spoken(token)} ${number(value)}` }, ...tokenContent(token));
    if (value > 0 && most > 0) item.style.background = `rgba(var(--wb-act), ${(Math.min(1, value / most) * 0.75).toFixed(3)})`;
    return item;
  });
  const value = context.values[context.peak] ?? 0;
  return h(
    "div",
    { class: "wb-brief-row", role: "listitem", "aria-label": `${number(value)}: ${printable(shown.join(""))}` },
    h("span", { class: "wb-num wb-muted" }, number(value)),
    h("span", { class: "wb-brief-text" }, first > 0 ? "\u2026" : null, ...tokens),
  );
}
