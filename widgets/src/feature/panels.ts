// The small tables beside the contexts: logit effects, neighbours, coordinates, attention sources.

import { fill, h } from "../ui/dom";
import { number, percent, printable, spoken } from "../ui/format";
import { tokenSpan } from "../ui/token";
import type { Context, Effect, Neighbour, NextToken, Page } from "./data";
import { div, span, barRow, facts, figure, largestOf, list, muted, quiet, signed, sub } from "./parts";

const FEW = 5;

function panel(...content: Node[]): HTMLElement {
  return div("wb-panel", ...content);
}

/** Raised or lowered tokens: the first few, or all. */
function effects(name: string, rows: readonly Effect[], largest: number, most: number, unit = "logits per unit of activation"): HTMLElement {
  const shown = rows
    .slice(0, most)
    .map(([token, id, value]) =>
      barRow(tokenSpan(token, "wb-mono wb-clip"), value, largest, signed(value), `${spoken(token)}, token id ${id}: ${value.toPrecision(5)} ${unit}`),
    );
  return div("wb-effects", sub(name), list(name, shown));
}

/** Tokens whose logits the feature moves most: a few on each side, or all there are. */
export class LogitEffects {
  readonly element = div("wb-effect-lists");
  #most = FEW;

  show(page: Page): void {
    const { raises, lowers } = page;
    const largest = largestOf([...raises, ...lowers]);
    const all = Math.max(raises.length, lowers.length);
    const few = this.#most === FEW;
    const toggle = quiet(`show ${few ? all : FEW} each`, () => {
      this.#most = few ? all : FEW;
      this.show(page);
      this.element.querySelector("button")?.focus();
    }, { class: "wb-quiet wb-more", "aria-expanded": String(!few) });
    fill(
      this.element,
      effects("raises, logits per unit", raises, largest, this.#most),
      effects("lowers, logits per unit", lowers, largest, this.#most),
      all > FEW && toggle,
    );
  }
}

export interface NeighbourActions {
  /** Null where nothing can be opened: the kernel is gone. */
  open: ((feature: string) => void) | null;
  pick: (feature: string) => void;
  picked: readonly string[];
  openable: (feature: string) => boolean;
}

function neighbours(
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

function weights(page: Page): HTMLElement {
  const largest = largestOf(page.neurons.map(([neuron, value]) => [neuron, 0, value]));
  const rows = page.neurons.map(([neuron, value, share]) =>
    barRow(span("", `neuron ${neuron}`), value, largest, percent(share), `entry ${value.toPrecision(5)} of the decoder direction in ${page.out_site}`),
  );
  const spaces = page.site === page.out_site ? "unknown" : "different spaces";
  return panel(
    sub("decoder coordinates, share of L1 norm"),
    list("Largest decoder coordinates", rows),
    div("wb-row-fact", muted("encoder · decoder, cosine"), figure(page.cosine === null ? spaces : number(page.cosine))),
  );
}

/** Where an attention-output feature's activation came from, in its strongest context. */
function sources(page: Page): HTMLElement | null {
  if (page.sourced && !page.sources.length) return null;
  const largest = largestOf(page.sources);
  const rows = page.sources.map(([head, position, value, token]) =>
    barRow(
      span("wb-clip", `${head} `, tokenSpan(token)),
      value,
      largest,
      signed(value),
      `head ${head} reading the token at ${position} of the context: ${value.toPrecision(5)} of the pre-activation`,
    ),
  );
  return panel(
    sub("from head and token, strongest context", "Direct feature attribution: what each head's reading from a source token adds to the feature's pre-activation"),
    page.sourced ? list("Attention sources", rows) : muted("attributing\u2026"),
  );
}

/** The side a transcoder's encoder is on: which tokens it reads, and which encoders read alike. */
function reading(page: Page, actions: NeighbourActions): (HTMLElement | null)[] {
  const { reads_raised: raised, reads_lowered: lowered, encoders } = page;
  const largest = largestOf([...raised, ...lowered]);
  const words = "Added to the pre-activation where the stream is the token's embedding alone";
  return [
    raised.length
      ? panel(
          sub(`tokens read at ${page.site}`, words),
          div("wb-effect-lists", effects("raise it", raised, largest, FEW, "pre-activation"), effects("lower it", lowered, largest, FEW, "pre-activation")),
        )
      : null,
    encoders.length
      ? neighbours("nearest encoders, cosine", "Encoder directions of resident SAEs that read the same site", encoders, number, actions)
      : null,
  ];
}

/** The panels below the columns. */
export function near(page: Page, actions: NeighbourActions): (HTMLElement | null)[] {
  return [
    neighbours("nearest directions, cosine", "Decoder directions within its SAE and across resident SAEs on spaces of the same width", page.similar, number, actions),
    neighbours("fire with it, share", "Fraction of this feature's tokens on which the other fires too", page.cofiring, percent, actions),
    ...reading(page, actions),
    weights(page),
    sources(page),
  ];
}

/** Fill an element anew; what had the focus in it keeps it. */
export function redraw(element: HTMLElement, content: (HTMLElement | null)[]): void {
  const focused = element.contains(document.activeElement) && document.activeElement?.getAttribute("aria-label");
  fill(element, ...content);
  if (focused) element.querySelector<HTMLElement>(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
}

/** What a token in a context has to say; `effect` is null where nothing can be ablated. */
export function contextCard(context: Context, at: number, effect: string | null, next: NextToken[] = []): Node[] {
  return [
    facts(
      ["token", tokenSpan(context.tokens[at] ?? "")],
      ["value", number(context.values[at], 4)],
      ["token id", String(context.ids[at])],
      ["position", String(context.start + at)],
      context.document >= 0 && ["document", String(context.document)],
      effect !== null && ["if ablated", effect],
      ...next.map(([token, , before, after], i): [string, Node] => [
        i ? "" : "then next",
        span("", tokenSpan(token), ` ${percent(before)} \u2192 ${percent(after)}`),
      ]),
    ),
  ];
}
