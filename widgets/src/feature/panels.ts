// The small tables beside the contexts: logit effects, neighbours, coordinates, attention sources.

import { h } from "../ui/dom";
import { number, percent, printable } from "../ui/format";
import { tokenSpan } from "../ui/token";
import type { Context, Effect, Neighbour, Page } from "./data";

const FEW = 5;

export function signed(value: number | null | undefined, digits = 2): string {
  const text = number(value, digits);
  return typeof value === "number" && value > 0 ? `+${text}` : text;
}

function bar(value: number, largest: number): HTMLElement {
  const inner = h("i", { class: `wb-bar ${value < 0 ? "wb-neg" : "wb-pos"}` });
  inner.style.width = largest > 0 ? `${(100 * Math.abs(value)) / largest}%` : "0";
  return h("span", { class: "wb-bar-track" }, inner);
}

/** Raised or lowered tokens: the first few, or all. */
export function effects(name: string, list: readonly Effect[], largest: number, all: boolean): HTMLElement {
  const rows = list.slice(0, all ? list.length : FEW).map(([token, id, value]) =>
    h(
      "div",
      { class: "wb-bar-row", role: "listitem", title: `token id ${id}, ${value.toPrecision(5)} logits per unit of activation` },
      tokenSpan(token, "wb-mono wb-clip"),
      bar(value, largest),
      h("span", { class: "wb-num" }, signed(value)),
    ),
  );
  return h(
    "div",
    { class: "wb-effects" },
    h("div", { class: "wb-sub" }, name),
    rows.length ? h("div", { class: "wb-bars", role: "list", "aria-label": name }, ...rows) : h("div", { class: "wb-muted" }, "none"),
  );
}

export interface NeighbourActions {
  /** Null where the feature cannot be opened (a snapshot that does not hold it). */
  open: ((feature: string) => void) | null;
  pick: (feature: string) => void;
  picked: ReadonlySet<string>;
  openable: (feature: string) => boolean;
}

export function neighbours(
  name: string,
  unit: string,
  list: readonly Neighbour[],
  score: (value: number) => string,
  actions: NeighbourActions,
): HTMLElement {
  const rows = list.map(([feature, value, label]) => {
    const chosen = actions.picked.has(feature);
    const can = actions.open !== null && actions.openable(feature);
    const box = h("input", {
      type: "checkbox",
      "aria-label": `Pick ${feature}`,
      title: "Pick: it becomes part of view.selection",
      onchange: () => actions.pick(feature),
    });
    box.checked = chosen;
    return h(
      "div",
      { class: `wb-near${chosen ? " wb-picked" : ""}`, role: "listitem" },
      box,
      can
        ? h("button", { class: "wb-link wb-mono", type: "button", "data-open": feature, onclick: () => actions.open?.(feature) }, feature)
        : h("span", { class: "wb-mono", title: "Opening it needs the notebook's kernel" }, feature),
      h("span", { class: "wb-muted wb-clip", title: label === null ? null : printable(label) }, label === null ? "no label" : printable(label)),
      h("span", { class: "wb-num", title: value.toPrecision(5) }, score(value)),
    );
  });
  return h(
    "div",
    { class: "wb-panel" },
    h("div", { class: "wb-sub", title: unit }, name),
    rows.length ? h("div", { class: "wb-nears", role: "list", "aria-label": name }, ...rows) : h("div", { class: "wb-muted" }, "none found"),
  );
}

export function weights(page: Page): HTMLElement {
  const largest = Math.max(0, ...page.neurons.map(([, value]) => Math.abs(value)));
  const rows = page.neurons.map(([neuron, value, share]) =>
    h(
      "div",
      { class: "wb-bar-row", role: "listitem", title: `entry ${value.toPrecision(5)}, ${(100 * share).toFixed(3)}% of the L1 norm` },
      h("span", { class: "wb-mono wb-clip" }, `${page.out_site}[${neuron}]`),
      bar(value, largest),
      h("span", { class: "wb-num" }, percent(share)),
    ),
  );
  const cosine =
    page.cosine === null
      ? h("div", { class: "wb-muted" }, page.site === page.out_site ? "encoder and decoder: no cosine" : `reads ${page.site}, writes ${page.out_site}: no cosine across spaces`)
      : h("div", { class: "wb-row-fact" }, h("span", { class: "wb-muted" }, "cosine of encoder and decoder"), h("span", { class: "wb-num" }, number(page.cosine)));
  return h(
    "div",
    { class: "wb-panel wb-weights" },
    h("div", { class: "wb-sub", title: "Largest coordinates of the decoder direction and their share of its L1 norm" }, "decoder, share of norm"),
    h("div", { class: "wb-bars", role: "list", "aria-label": "Largest decoder coordinates" }, ...rows),
    cosine,
  );
}

/** Where an attention-output feature's activation came from, in its strongest context. */
export function sources(page: Page, context: Context | null): HTMLElement | null {
  if (!page.sources.length) return null;
  const largest = Math.max(...page.sources.map(([, , value]) => Math.abs(value)));
  const rows = page.sources.map(([head, position, value]) =>
    h(
      "div",
      {
        class: "wb-bar-row",
        role: "listitem",
        title: `head ${head}, source position ${position} of the strongest context, ${value.toPrecision(5)} of the pre-activation`,
      },
      h("span", { class: "wb-clip" }, h("span", { class: "wb-muted" }, `h${head} `), tokenSpan(context?.tokens[position] ?? `at ${position}`)),
      bar(value, largest),
      h("span", { class: "wb-num" }, signed(value)),
    ),
  );
  return h(
    "div",
    { class: "wb-panel" },
    h(
      "div",
      { class: "wb-sub", title: "Direct feature attribution: what each head's reading from a source token adds to the feature's pre-activation in the strongest context" },
      "from heads, strongest context",
    ),
    h("div", { class: "wb-bars", role: "list", "aria-label": "Attention sources" }, ...rows),
  );
}

/** What a token in a context has to say. */
export function contextCard(context: Context, at: number, effect: number | string | null): Node[] {
  const value = context.values[at] ?? 0;
  const rows: [string, Node | string][] = [
    ["token", tokenSpan(context.tokens[at] ?? "")],
    ["value", number(value, 4)],
    ["token id", String(context.ids[at])],
    ["position", `${context.start + at} of document ${context.document}`],
  ];
  if (effect !== null) {
    rows.push(["if ablated", typeof effect === "string" ? effect : `loss ${signed(effect, 4)} nats at this token`]);
  }
  const list = h("dl", { class: "wb-facts" });
  for (const [name, content] of rows) list.append(h("dt", {}, name), h("dd", {}, content));
  return [list];
}
