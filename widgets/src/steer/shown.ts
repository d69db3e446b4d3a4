// What steering does: the next token before and after, both texts, the features that changed.

import { div, dots, fill, h, options, span } from "../ui/dom";
import { number, percent, printable, spoken } from "../ui/format";
import { tokenContent, tokenSpan } from "../ui/token";
import { differing, shadeOf, signed, steady, type Next, type Side, type Texts } from "./data";

const BARS = 7;

export class NextTokens {
  readonly element = div("wb-steer-next");
  readonly #caption = span("wb-num");
  readonly #bars = h("div", { role: "table", "aria-label": "Next token, unsteered and steered" });
  readonly #rows: { element: HTMLElement; token: HTMLElement; before: HTMLElement; after: HTMLElement; change: HTMLElement }[] = [];
  #shown: number[] = [];

  constructor() {
    const key = (kind: string, words: string): HTMLElement => span("wb-steer-key", span(`wb-steer-${kind}`), words);
    fill(this.element, div("wb-sub", "next token ", key("before", "unsteered"), key("after", "steered"), this.#caption), this.#bars);
    for (let at = 0; at < BARS; at += 1) {
      const [token, before, after, change] = [span("wb-mono wb-clip"), span("wb-steer-before"), span("wb-steer-after"), span("wb-num")];
      const element = h("div", { class: "wb-steer-bar", role: "row" }, token, span("wb-steer-track", before, after), change);
      this.#rows.push({ element, token, before, after, change });
      this.#bars.append(element);
    }
  }

  show(next: Next | null, moving: boolean): void {
    if (!next) {
      for (const row of this.#rows) row.element.style.visibility = "hidden";
      return;
    }
    const chosen = steady(this.#shown, next, BARS, moving);
    this.#rows.forEach((row, place) => {
      const at = chosen[place];
      row.element.style.visibility = at === undefined ? "hidden" : "";
      if (at === undefined) return;
      const [before, after] = [next.before[at]!, next.after[at]!];
      if (this.#shown[place] !== next.ids[at]) fill(row.token, ...tokenContent(next.tokens[at]!));
      row.before.style.width = `${before * 100}%`;
      row.after.style.width = `${after * 100}%`;
      const change = 100 * (after - before);
      row.change.textContent = Math.abs(change) < 0.05 ? "0%" : `${signed(Number(change.toFixed(Math.abs(change) < 9.95 ? 1 : 0)))}%`;
      const said = `${spoken(next.tokens[at]!)}: ${percent(before)} unsteered, ${percent(after)} steered`;
      row.element.title = said;
      row.element.setAttribute("aria-label", said);
    });
    this.#shown = chosen.map((at) => next.ids[at]!);
    this.#caption.textContent = next.kl === null ? "" : `KL ${number(next.kl)}`;
    this.#caption.title = "KL(steered \u2016 unsteered) over the whole vocabulary, nats";
  }
}

class Text {
  readonly element: HTMLElement;
  readonly #figures = h("span", { class: "wb-num", title: "Perplexity under the unsteered model; KL(steered \u2016 unsteered) in nats" });
  readonly #box: HTMLElement;

  constructor(readonly name: "unsteered" | "steered") {
    this.#box = h("div", { class: "wb-steer-text", tabindex: 0, role: "group", "aria-label": `${name} text` });
    this.element = div("", div("wb-sub", `${name} `, this.#figures), this.#box);
  }

  show(side: Side, other: Side | null, shade: string, running: boolean, gaps: boolean): void {
    const marked = other ? differing(side.tokens, other.tokens, gaps) : side.tokens.map(() => false);
    const spans = side.tokens.map((token, at) => {
      const [kl, plain] = [side.kl[at] ?? null, side.plain[at] ?? null];
      const element = tokenSpan(token, `wb-tok${marked[at] ? " wb-steer-differs" : ""}`);
      const depth = this.name === "steered" || shade === "log-prob" ? shadeOf(shade, kl, plain) : 0;
      if (depth > 0.02) element.style.backgroundColor = `rgba(var(--wb-act), ${(0.62 * depth).toFixed(3)})`;
      const figures = [`log-prob ${number(side.log_prob[at])} nats`];
      if (this.name === "steered") figures.push(`unsteered ${number(plain)}`, `KL ${number(kl)} nats`);
      element.title = `${spoken(token)}: ${figures.join(", ")}`;
      return element;
    });
    if (!running && !spans.length) spans.push(span("wb-muted", side.stopped === "eos" ? "ends at once" : "nothing written"));
    fill(this.#box, ...spans);
    if (running) this.#box.scrollTop = this.#box.scrollHeight;
    const first = this.name === "steered" && side.kl.length ? `KL ${number(side.kl[0], 1)} at first` : "";
    const perplexity = side.perplexity !== null ? `perplexity ${number(side.perplexity, 1)}` : running ? "writing\u2026" : "";
    this.#figures.textContent = dots("", perplexity, first, { length: "cut here", context: "context full" }[side.stopped]).replace(/^/, (perplexity || first) && "\u00b7 ");
  }
}

export class Both {
  readonly element = div("wb-steer-texts");
  readonly shade = h("select", { "aria-label": "Shade of steered tokens" });
  readonly #unsteered = new Text("unsteered");
  readonly #steered = new Text("steered");
  readonly #note = span("wb-muted");
  readonly #changes = div("wb-steer-changes");

  constructor() {
    options(this.shade, [["kl", "KL"], ["log-prob", "log-prob"], ["none", "no shade"]]);
    fill(
      this.element,
      this.#unsteered.element,
      this.#steered.element,
      div("wb-steer-shade wb-caption", h("label", {}, "shade", this.shade), span("wb-steer-differs", "words that differ"), this.#note),
      this.#changes,
    );
  }

  show(texts: Pick<Texts, "steered" | "unsteered"> & Partial<Texts>, shade: string, running: boolean): void {
    this.shade.value = shade;
    this.#note.textContent = shade === "kl" ? "0 to 4 nats" : shade === "log-prob" ? "unsteered, 0 to \u221210" : "";
    const gaps = this.element.classList.contains("wb-gaps");
    this.#unsteered.show(texts.unsteered, null, shade, running, gaps);
    this.#steered.show(texts.steered, texts.unsteered, shade, running, gaps);
    if (running) return;
    const changes = texts.changes;
    if (changes === undefined) return this.#changes.replaceChildren();
    const rows = (changes ?? []).slice(0, 8).map((change) =>
      h(
        "div",
        { class: "wb-steer-change", title: `mean activation over ${texts.counted} tokens of the steered text` },
        span("wb-mono wb-clip", change.feature),
        span("wb-muted wb-clip", printable(change.label)),
        span("wb-num", `${number(change.before)} \u2192 ${number(change.after)}`),
      ),
    );
    fill(this.#changes, rows.length > 0 && div("wb-sub", "features that changed, mean activation"), ...rows);
  }

  stale(stale: boolean): void {
    this.element.classList.toggle("wb-steer-stale", stale);
  }
}
