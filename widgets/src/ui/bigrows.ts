// Rows of any number in a box that scrolls: only those in sight exist, and the browser's own limit
// on heights (about 17 million pixels) does not matter. Up to MOST_PIXELS the scroll bar is honest
// pixel by pixel; beyond, its position stands for a share of the whole, and the wheel and the
// keyboard still move by pixels and rows.

import { h } from "./dom";

export const MOST_PIXELS = 8_000_000;

export interface Extent {
  /** Pixels all rows would take, and those of them in sight. */
  real: number;
  view: number;
}

/** Height of what scrolls under the rows in sight. */
export function spread({ real }: Extent): number {
  return Math.min(real, MOST_PIXELS);
}

/** Where in the rows (pixels from the first) a scroll position is. */
export function placeOf(scrollTop: number, extent: Extent): number {
  const most = spread(extent) - extent.view;
  const end = Math.max(0, extent.real - extent.view);
  return most <= 0 ? 0 : Math.min(end, Math.max(0, (scrollTop / most) * end));
}

/** The scroll position of a place in the rows. */
export function scrollOf(place: number, extent: Extent): number {
  const end = extent.real - extent.view;
  return end <= 0 ? 0 : (place / end) * (spread(extent) - extent.view);
}

export class BigRows {
  readonly element: HTMLElement;
  readonly #head: HTMLElement;
  readonly #rows: HTMLElement;
  readonly #filler = h("div", { class: "wb-filler", "aria-hidden": "true" });
  readonly #height: number;
  readonly #most: number;
  readonly #draw: (index: number) => HTMLElement;
  readonly #seen: (first: number, last: number) => void;
  readonly #watch: ResizeObserver;
  #elements = new Map<number, HTMLElement>();
  #count = 0;
  #place = 0;
  #own = -1;

  /**
   * `head` stays in sight above `rows`, which has rows of `height` pixels and shows `most` pixels of
   * them; `draw` makes a row, and `seen` is told which are in sight.
   */
  constructor(
    head: HTMLElement,
    rows: HTMLElement,
    options: { height: number; most: number; draw: (index: number) => HTMLElement; seen: (first: number, last: number) => void },
  ) {
    [this.#head, this.#rows, this.#height, this.#most] = [head, rows, options.height, options.most];
    [this.#draw, this.#seen] = [options.draw, options.seen];
    const stage = h("div", { class: "wb-stage" }, head, h("div", { class: "wb-window" }, rows));
    this.element = h("div", { class: "wb-big" }, stage, this.#filler);
    this.element.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.element.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.#watch = new ResizeObserver(() => this.#lay());
    this.#watch.observe(this.element);
  }

  dispose(): void {
    this.#watch.disconnect();
  }

  /** First and last row in sight, the last one excluded. */
  get inSight(): [number, number] {
    const first = Math.floor(this.#place / this.#height);
    return [first, Math.min(this.#count, Math.ceil((this.#place + this.#extent.view) / this.#height))];
  }

  /** There are `count` rows now; `top` goes back to the first. */
  reset(count: number, top: boolean): void {
    this.#count = count;
    if (top) this.#place = 0;
    this.#lay();
  }

  /** Draw the rows in sight again. */
  redraw(): void {
    this.#elements.clear();
    this.#paint();
  }

  row(index: number): HTMLElement | undefined {
    return this.#elements.get(index);
  }

  /** The row under a point of the page, or the nearest in sight. */
  at(clientY: number): number {
    const within = clientY - this.#rows.getBoundingClientRect().top;
    const [first, last] = this.inSight;
    return Math.min(last - 1, Math.max(first, first + Math.floor(within / this.#height)));
  }

  /** Scroll so that row `index` can be seen. */
  reveal(index: number): void {
    const { view } = this.#extent;
    const top = index * this.#height;
    if (top < this.#place) this.#go(top);
    else if (top + this.#height > this.#place + view) this.#go(top + this.#height - view);
  }

  get #extent(): Extent {
    const inside = this.element.clientHeight || this.#most;
    return { real: this.#count * this.#height, view: Math.max(this.#height, inside - this.#head.offsetHeight) };
  }

  #lay(): void {
    const head = this.#head.offsetHeight;
    const bar = this.element.offsetHeight - this.element.clientHeight;
    this.element.style.height = `${Math.min(this.#most, head + Math.max(1, this.#count) * this.#height + bar)}px`;
    const extent = this.#extent;
    this.#filler.style.height = `${Math.max(0, spread(extent) - extent.view)}px`;
    this.#go(Math.min(this.#place, Math.max(0, extent.real - extent.view)));
  }

  #go(place: number): void {
    this.#place = Math.max(0, place);
    this.element.scrollTop = scrollOf(this.#place, this.#extent);
    // What it became, for positions are rounded: a scroll event to there is our own.
    this.#own = this.element.scrollTop;
    this.#paint();
  }

  #scrolled(): void {
    if (Math.abs(this.element.scrollTop - this.#own) < 1) return;
    this.#own = -1;
    this.#place = placeOf(this.element.scrollTop, this.#extent);
    this.#paint();
  }

  #wheel(event: WheelEvent): void {
    const extent = this.#extent;
    if (extent.real <= MOST_PIXELS || event.ctrlKey || event.deltaY === 0) return;
    const end = extent.real - extent.view;
    const step = event.deltaMode === 1 ? this.#height : event.deltaMode === 2 ? extent.view : 1;
    const next = Math.min(end, Math.max(0, this.#place + event.deltaY * step));
    if (next === this.#place) return; // at an end: the page scrolls
    event.preventDefault();
    this.#go(next);
  }

  #paint(): void {
    const [first, last] = this.inSight;
    const next = new Map<number, HTMLElement>();
    for (let at = first; at < last; at += 1) next.set(at, this.#elements.get(at) ?? this.#draw(at));
    const same = next.size === this.#rows.childElementCount && [...next.values()].every((row, at) => this.#rows.children[at] === row);
    this.#elements = next;
    if (!same) this.#rows.replaceChildren(...next.values());
    this.#rows.style.transform = `translateY(${(first * this.#height - this.#place).toFixed(2)}px)`;
    this.#seen(first, last);
  }
}
