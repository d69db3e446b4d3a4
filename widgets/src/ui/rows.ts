// A table body of any length in which only the visible rows exist. Rows have one height; two
// spacers stand for the rest, so that the scroll bar is honest.

import { h } from "./dom";

export interface Window {
  first: number;
  last: number;
}

/** Which rows to draw for a scroll position, with some to spare on both sides. */
export function visible(scrollTop: number, viewport: number, rowHeight: number, count: number, spare = 8): Window {
  const first = Math.max(0, Math.floor(scrollTop / rowHeight) - spare);
  const last = Math.min(count, Math.ceil((scrollTop + viewport) / rowHeight) + spare);
  return { first: Math.min(first, last), last };
}

export class Rows {
  #count = 0;
  #drawn: Window = { first: -1, last: -1 };
  readonly #before = h("tr", { class: "wb-spacer", "aria-hidden": "true" });
  readonly #after = h("tr", { class: "wb-spacer", "aria-hidden": "true" });
  #elements = new Map<number, HTMLTableRowElement>();

  readonly #scroller: HTMLElement;
  readonly #body: HTMLTableSectionElement;
  readonly #rowHeight: number;
  readonly #viewport: number;
  readonly #draw: (index: number) => HTMLTableRowElement;

  /** `viewport` is the height the scroller may grow to: rows to draw before it has been laid out. */
  constructor(
    scroller: HTMLElement,
    body: HTMLTableSectionElement,
    rowHeight: number,
    viewport: number,
    draw: (index: number) => HTMLTableRowElement,
  ) {
    this.#scroller = scroller;
    this.#body = body;
    this.#rowHeight = rowHeight;
    this.#draw = draw;
    this.#viewport = viewport;
    scroller.addEventListener("scroll", () => this.#refresh(false), { passive: true });
  }

  /** Draw again from the data, `count` rows now. */
  reset(count: number): void {
    this.#count = count;
    this.#refresh(true);
  }

  row(index: number): HTMLTableRowElement | undefined {
    return this.#elements.get(index);
  }

  /** Scroll so that row `index` exists and can be seen. */
  reveal(index: number): HTMLTableRowElement | undefined {
    const top = index * this.#rowHeight;
    const head = this.#body.parentElement?.querySelector("thead")?.getBoundingClientRect().height ?? 0;
    const view = this.#scroller.clientHeight - head;
    if (top < this.#scroller.scrollTop) this.#scroller.scrollTop = top;
    else if (top + this.#rowHeight > this.#scroller.scrollTop + view) {
      this.#scroller.scrollTop = top + this.#rowHeight - view;
    }
    this.#refresh(false);
    return this.row(index);
  }

  #refresh(force: boolean): void {
    const next = visible(this.#scroller.scrollTop, Math.max(this.#scroller.clientHeight, this.#viewport), this.#rowHeight, this.#count);
    if (!force && next.first === this.#drawn.first && next.last === this.#drawn.last) return;
    const kept = force ? new Map<number, HTMLTableRowElement>() : this.#elements;
    const elements = new Map<number, HTMLTableRowElement>();
    for (let i = next.first; i < next.last; i += 1) elements.set(i, kept.get(i) ?? this.#draw(i));
    this.#elements = elements;
    this.#drawn = next;
    this.#before.style.height = `${next.first * this.#rowHeight}px`;
    this.#after.style.height = `${(this.#count - next.last) * this.#rowHeight}px`;
    this.#body.replaceChildren(this.#before, ...elements.values(), this.#after);
  }
}
