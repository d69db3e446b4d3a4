// The small tables beside the contexts: logit effects, neighbours, coordinates, attention sources.

import { h } from "../ui/dom";
import { number, percent, printable, spoken } from "../ui/format";
import { tokenSpan } from "../ui/token";
import type { Context, Effect, Neighbour, Page } from "./data";
import { div, span, barRow, facts, figure, largestOf, list, muted, signed, sub } from "./parts";

export const FEW = 5;

function panel(...content: Node[]): HTMLElement {
  return div("wb-panel", ...content);
}

/** Raised or lowered tokens: the first few, or all. */
export function effects(name: string, rows: readonly Effect[], largest: number, most: number): HTMLElement {
  const shown = rows
    .slice(0, most)
    .map(([token, id, value]) =>
      barRow(tokenSpan(token, "wb-mono wb-clip"), value, largest, signed(value), `${spoken(token)}, token id ${id}: ${value.toPrecision(5)} logits per unit of activation`),
    );
  return div("wb-effects", sub(name), list(name, shown));
}

export interface NeighbourActions {
  /** Null where nothing can be opened: the kernel is gone. */
  open: ((feature: string) => void) | null;
  pick: (feature: string) => void;
  picked: readonly string[];
  openable: (feature: string) => boolean;
}

export function neighbours(
  name: string,
  title: string,
  rows: readonly Neighbour[],
  score: (value: number) => string,
  { open, pick, picked, openable }: NeighbourActions,
): HTMLElement {
  const items = rows.map(([feature, value, label]) => {
    const chosen = picked.includes(feature);
    const box = h("input", {
      type: "checkbox",
      "aria-label": `Pick ${feature}`,
      title: "Pick: it becomes part of view.selection",
      onchange: () => pick(feature),
    });
    box.checked = chosen;
    const words = label === null ? "no label" : printable(label);
    return h(
      "div",
      { class: `wb-near${chosen ? " wb-picked" : ""}`, role: "listitem" },
      box,
      open && openable(feature)
        ? h("button", { class: "wb-link wb-mono", type: "button", "aria-label": `Open ${feature}`, onclick: () => open(feature) }, feature)
        : h("span", { class: "wb-mono", title: "Opening it needs the notebook's kernel" }, feature),
      muted(words, words),
      figure(score(value), value.toPrecision(5)),
    );
  });
  return panel(sub(name, title), list(name, items, "wb-nears"));
}

export function weights(page: Page): HTMLElement {
  const largest = largestOf(page.neurons.map(([neuron, value]) => [neuron, 0, value]));
  const rows = page.neurons.map(([neuron, value, share]) =>
    barRow(h("span", {}, `neuron ${neuron}`), value, largest, percent(share), `entry ${value.toPrecision(5)} of the decoder direction in ${page.out_site}`),
  );
  const spaces = page.site === page.out_site ? "unknown" : "different spaces";
  return panel(
    sub("decoder coordinates, share of L1 norm"),
    list("Largest decoder coordinates", rows),
    div("wb-row-fact", muted("encoder · decoder, cosine"), figure(page.cosine === null ? spaces : number(page.cosine))),
  );
}

/** Where an attention-output feature's activation came from, in its strongest context. */
export function sources(page: Page, context: Context | undefined): HTMLElement | null {
  if (!page.sources.length) return null;
  const largest = largestOf(page.sources);
  const rows = page.sources.map(([head, position, value]) =>
    barRow(
      span("wb-clip", `${head} `, tokenSpan(context?.tokens[position] ?? `at ${position}`)),
      value,
      largest,
      signed(value),
      `head ${head} reading source position ${position}: ${value.toPrecision(5)} of the pre-activation`,
    ),
  );
  return panel(
    sub("from head and token, strongest context", "Direct feature attribution: what each head's reading from a source token adds to the feature's pre-activation"),
    list("Attention sources", rows),
  );
}

/** What a token in a context has to say; `effect` is null where nothing can be ablated. */
export function contextCard(context: Context, at: number, effect: string | null): Node[] {
  return [
    facts(
      ["token", tokenSpan(context.tokens[at] ?? "")],
      ["value", number(context.values[at], 4)],
      ["token id", String(context.ids[at])],
      ["position", String(context.start + at)],
      ...(context.document < 0 ? [] : [["document", String(context.document)] as [string, string]]),
      ...(effect === null ? [] : [["if ablated", effect] as [string, string]]),
    ),
  ];
}
