// A histogram of bars that are elements: brushed by pointer or keyboard, read bar by bar.

import { fill, h } from "../ui/dom";
import { count, number, plural } from "../ui/format";
import { axis, brushedBins, logHeight, type Axis, type Histogram } from "./data";
import { facts } from "./parts";

export interface HistogramActions {
  /** First and last bin brushed, or null when the brush is taken away. */
  brush: ((bins: [number, number] | null) => void) | null;
  hover(element: HTMLElement | null, card: Node[]): void;
}

export interface HistogramWords {
  name: string;
  axis: string;
}

export class ActivationHistogram {
  readonly element: HTMLElement;
  readonly #plot = h("div", {
    class: "wb-hist-plot",
    onpointermove: (event: PointerEvent) => this.#moved(event),
    onpointerdown: (event: PointerEvent) => this.#down(event),
    onpointerup: () => this.#up(),
    onpointercancel: () => {
      this.#drag = null;
      this.#paint(this.#brushed);
    },
    onpointerleave: () => this.#leave(),
    onfocusin: (event: FocusEvent) => {
      const bar = event.target as HTMLElement;
      this.#focused = Number(bar.dataset["bin"] ?? 0);
      if (bar.matches(":focus-visible")) this.#hover(this.#focused);
    },
    onfocusout: () => this.#leave(),
    onkeydown: (event: KeyboardEvent) => this.#key(event),
  });
  readonly #mark = h("div", { class: "wb-hist-mark", hidden: true });
  readonly #bars: HTMLElement[] = [];
  readonly #axis: Axis;
  readonly #edges: ArrayLike<number>;
  #focused = 0;
  #anchor = 0;
  #drag: { from: number; to: number } | null = null;
  #brushed: [number, number] | null = null;

  constructor(
    readonly data: Histogram,
    words: HistogramWords,
    readonly actions: HistogramActions,
  ) {
    const edges = (this.#edges = data.edges.data);
    const counts = data.counts.data;
    const most = Math.max(0, ...counts);
    this.#axis = axis(edges);
    const brushable = actions.brush !== null;
    for (let i = 0; i < counts.length; i += 1) {
      const amount = counts[i] as number;
      const left = this.#axis.at(edges[i] as number);
      const width = this.#axis.at(edges[i + 1] as number) - left;
      const bar = h("i", {});
      bar.style.height = amount ? `max(1px, ${(100 * logHeight(amount, most)).toFixed(2)}%)` : "0";
      // An axis that runs through zero is one on which signs matter.
      const middle = (edges[i] as number) + (edges[i + 1] as number);
      const sign = (edges[0] as number) >= 0 ? "" : middle < 0 ? " wb-neg" : " wb-pos";
      const bin = h(
        "div",
        {
          class: `wb-hist-bin${sign}`,
          role: brushable ? "option" : "listitem",
          tabindex: i === 0 ? 0 : -1,
          "data-bin": i,
          "aria-label": `${words.axis} ${this.range(i, i)}: ${plural(amount, "token")}`,
        },
        bar,
      );
      bin.style.left = `${100 * left}%`;
      bin.style.width = `${100 * width}%`;
      this.#bars.push(bin);
    }
    fill(this.#plot, ...this.#bars, brushable && this.#mark);
    const last = edges.length - 1;
    this.element = h(
      "div",
      {
        class: `wb-hist${brushable ? " wb-brushable" : ""}`,
        role: brushable ? "listbox" : "list",
        "aria-multiselectable": brushable ? "true" : null,
        "aria-label": brushable
          ? `${words.name}. Arrow keys move, Shift and arrow keys brush, Escape clears.`
          : words.name,
      },
      this.#plot,
      h(
        "div",
        { class: "wb-hist-axis", "aria-hidden": "true" },
        h("span", {}, tick(edges[0] ?? 0)),
        h("span", {}, this.#axis.log ? `${words.axis} (log axis)` : words.axis),
        h("span", {}, tick(edges[last] ?? 0)),
      ),
    );
  }

  range(first: number, last: number): string {
    return `${tick(this.#edges[first] ?? 0)} to ${tick(this.#edges[last + 1] ?? 0)}`;
  }

  show(brush: readonly number[], marked: number | null): void {
    this.#brushed = brushedBins(this.#edges, brush);
    this.#paint(this.#brushed);
    this.#mark.hidden = marked === null || marked <= 0;
    this.#mark.style.left = `${100 * this.#axis.at(marked ?? 0)}%`;
  }

  #paint(bins: [number, number] | null): void {
    this.#bars.forEach((bar, i) => {
      const on = bins !== null && i >= bins[0] && i <= bins[1];
      bar.classList.toggle("wb-on", on);
      if (this.actions.brush) bar.setAttribute("aria-selected", String(on));
    });
  }

  #at(event: PointerEvent): number {
    const box = this.#plot.getBoundingClientRect();
    const x = Math.min(1, Math.max(0, (event.clientX - box.left) / Math.max(1, box.width)));
    for (let i = 0; i < this.#bars.length; i += 1) if (x < this.#axis.at(this.#edges[i + 1] as number)) return i;
    return this.#bars.length - 1;
  }

  #commit(bins: [number, number] | null): void {
    if (!this.actions.brush) return;
    this.#paint(bins);
    this.actions.brush(bins);
  }

  readonly #leave = (): void => this.actions.hover(null, []);

  #hover(bin: number): void {
    const { data } = this.data.counts;
    let total = 0;
    for (const amount of data) total += amount;
    const amount = data[bin] ?? 0;
    const share = total ? ` (${((100 * amount) / total).toFixed(2)}%)` : "";
    this.actions.hover(this.#bars[bin] ?? null, [facts(["range", this.range(bin, bin)], ["count", count(amount) + share])]);
  }

  #moved(event: PointerEvent): void {
    const at = this.#at(event);
    if (!this.#drag) return this.#hover(at);
    this.#drag.to = at;
    this.#paint(ordered(this.#drag.from, at));
  }

  #down(event: PointerEvent): void {
    if (event.button !== 0 || !this.actions.brush) return;
    event.preventDefault();
    const from = (this.#anchor = this.#at(event));
    this.#drag = { from, to: from };
    this.#plot.setPointerCapture(event.pointerId);
    this.#move(from);
    this.#leave();
    this.#paint([from, from]);
  }

  #up(): void {
    const [drag, brushed] = [this.#drag, this.#brushed];
    this.#drag = null;
    if (!drag) return;
    // A click inside the brush takes it away.
    const again = brushed && drag.from === drag.to && drag.from >= brushed[0] && drag.from <= brushed[1];
    this.#commit(again ? null : ordered(drag.from, drag.to));
  }

  #move(to: number): void {
    const from = this.#bars[this.#focused];
    if (from) from.tabIndex = -1;
    this.#focused = to;
    const bar = this.#bars[to];
    if (!bar) return;
    bar.tabIndex = 0;
    bar.focus({ preventScroll: true });
  }

  #key(event: KeyboardEvent): void {
    const last = this.#bars.length - 1;
    const steps: Record<string, number> = { ArrowRight: this.#focused + 1, ArrowLeft: this.#focused - 1, Home: 0, End: last };
    const step = steps[event.key];
    if (step !== undefined) {
      this.#move(Math.min(last, Math.max(0, step)));
      if (event.shiftKey) this.#commit(ordered(this.#anchor, this.#focused));
      else this.#anchor = this.#focused;
    } else if (event.key === " " || event.key === "Enter") {
      this.#anchor = this.#focused;
      this.#commit([this.#anchor, this.#anchor]);
    } else if (event.key === "Escape" && this.#brushed) this.#commit(null);
    else return;
    event.preventDefault();
  }
}

function ordered(a: number, b: number): [number, number] {
  return a < b ? [a, b] : [b, a];
}

/** An axis end: short, but never so short that two ends look the same. */
export function tick(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e5) return number(value, 2);
  return number(value, size === 0 || size >= 100 ? 0 : size >= 10 ? 1 : 2);
}
