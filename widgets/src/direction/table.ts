// Rows of figures with their intervals drawn in the row; one is selected.

import { div, fill, h, setAttribute, span } from "../ui/dom";
import { number, printable } from "../ui/format";
import type { Row } from "./data";

export class Figures {
  readonly element: HTMLElement;
  readonly #list: HTMLElement;
  readonly #pick: (key: string) => void;
  #rows: Row[] = [];
  #at = -1;

  constructor(label: string, id: string, pick: (key: string) => void) {
    this.#pick = pick;
    this.#list = h("div", { class: "wb-dir-rows", role: "listbox", tabindex: 0, id, "aria-label": label, onkeydown: (event: KeyboardEvent) => this.#key(event) });
    this.element = this.#list;
  }

  /** Bars begin at `floor`: what a guess reaches, or zero. */
  show(rows: Row[], selected: string, measure: string, floor: number): void {
    this.#rows = rows;
    this.#at = rows.findIndex((row) => row.key === selected);
    const least = Math.min(floor, ...rows.map((row) => row.low ?? floor));
    const x = (value: number): number => (100 * (value - least)) / (1 - least || 1);
    fill(this.#list, ...rows.map((row, at) => this.#row(row, at, x, floor, measure)));
    setAttribute(this.#list, "aria-activedescendant", this.#at < 0 ? null : `${this.#list.id}-${this.#at}`);
    const shown = this.#list.children[this.#at] as HTMLElement | undefined;
    if (!shown) return;
    // Scroll the list, not the page.
    const [top, high] = [shown.offsetTop - this.#list.offsetTop, shown.offsetHeight];
    if (top < this.#list.scrollTop) this.#list.scrollTop = top;
    else if (top + high > this.#list.scrollTop + this.#list.clientHeight) this.#list.scrollTop = top + high - this.#list.clientHeight;
  }

  #row(row: Row, at: number, x: (value: number) => number, floor: number, measure: string): HTMLElement {
    const interval = row.low === null || row.high === null ? "" : ` [${number(row.low, 3)}, ${number(row.high, 3)}]`;
    const published = row.published === null || row.published === undefined ? "" : ` \u00b7 published with AxBench: ${number(row.published, 3)}`;
    const usable = row.usable ? ` \u00b7 usable on ${row.usable} concepts` : "";
    const said = row.value === null ? `not usable: ${printable(row.note)}` : `${measure} ${number(row.value, 3)}${interval}${usable}${published}`;
    const track = div("wb-dir-track");
    if (row.value !== null) {
      track.append(this.#place("wb-dir-floor", x(floor), 0), this.#place("wb-dir-bar", x(Math.min(floor, row.value)), Math.abs(x(row.value) - x(floor))));
      if (row.low !== null && row.high !== null) track.append(this.#place("wb-dir-whisker", x(row.low), x(row.high) - x(row.low)));
    }
    return h(
      "div",
      { class: `wb-dir-row${at === this.#at ? " wb-picked" : ""}`, role: "option", id: `${this.#list.id}-${at}`, "aria-selected": String(at === this.#at), "aria-label": `${printable(row.name)}: ${said}`, title: `${printable(row.name)}: ${said}`, onclick: () => this.#pick(row.key) },
      span("wb-clip", printable(row.name)),
      row.value === null ? span("wb-clip wb-muted wb-dir-note", printable(row.note) || "not usable") : track,
      span("wb-num", number(row.value, 3)),
      span("wb-num wb-muted wb-dir-interval", interval.trim()),
    );
  }

  #place(name: string, left: number, width: number): HTMLElement {
    const item = span(name);
    item.style.left = `${left.toFixed(2)}%`;
    if (width > 0) item.style.width = `${width.toFixed(2)}%`;
    return item;
  }

  #key(event: KeyboardEvent): void {
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, Home: -this.#rows.length, End: this.#rows.length };
    const step = steps[event.key];
    if (step === undefined || !this.#rows.length) return;
    const at = Math.max(0, Math.min(this.#rows.length - 1, this.#at + step));
    this.#pick(this.#rows[at]!.key);
    event.preventDefault();
  }
}
