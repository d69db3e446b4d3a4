// The table of features: a grid of rows that exist only in sight, sorted by its heads.

import { facts } from "../ui/dom";
import { BigRows } from "../ui/bigrows";
import { fill, h } from "../ui/dom";
import { count, number, printable } from "../ui/format";
import { figure, type Known, type NumberColumn, type Row } from "./data";

const ROW = 25;
const MOST = 372;

export interface TableState {
  known: Known;
  /** Whether other rows begin at the first; the same ones stay where they are. */
  top: boolean;
  columns: readonly NumberColumn[];
  orderBy: string;
  descending: boolean;
  /** What the score is; null without a search. */
  means: string | null;
  /** Whether what matched is more than the label. */
  why: boolean;
  widest: number;
  picked: ReadonlySet<string>;
  open: string;
  sortable: boolean;
}

export interface TableActions {
  sort(column: string, descending: boolean): void;
  open(row: Row, element: HTMLElement): void;
  toggle(row: Row): void;
  range(first: number, last: number): void;
  clear(): void;
  hover(row: Row | null, element: HTMLElement | null): void;
  seen(first: number, last: number): void;
}

export class FeatureTable {
  readonly element: HTMLElement;
  readonly #head = h("div", { class: "wb-grid-head", role: "row", "aria-rowindex": 1 });
  readonly #body = h("div", { class: "wb-grid-body", role: "rowgroup", tabindex: 0 });
  readonly #big: BigRows;
  readonly #grid: HTMLElement;
  readonly #actions: TableActions;
  readonly #id: string;
  #state: TableState | null = null;
  #active = 0;
  #anchor = 0;
  #press: { index: number; moved: boolean } | null = null;

  constructor(id: string, actions: TableActions) {
    [this.#id, this.#actions] = [id, actions];
    this.#big = new BigRows(this.#head, this.#body, {
      height: ROW,
      most: MOST,
      draw: (index) => this.#row(index),
      seen: (first, last) => actions.seen(first, last),
    });
    this.#grid = h("div", { class: "wb-grid", role: "grid", "aria-multiselectable": "true", "aria-label": "Features" }, this.#big.element);
    this.element = this.#grid;
    this.#listen();
  }

  dispose(): void {
    this.#big.dispose();
  }

  get inSight(): [number, number] {
    return this.#big.inSight;
  }

  /** Show the rows of an answer. */
  show(state: TableState): void {
    const other = this.#state?.known !== state.known && state.top;
    this.#state = state;
    if (other) this.#active = this.#anchor = 0;
    const characters = state.widest;
    // Least widths; labels and matches take what is left.
    const widths = [24, Math.min(220, Math.ceil(characters * 7.3) + 18), 84, ...(state.why ? [96] : []), ...(state.means ? [50] : []), ...state.columns.map(() => 58)];
    const shares = new Set([2, state.why ? 3 : 2]);
    this.#grid.style.setProperty("--wb-columns", widths.map((width, at) => (shares.has(at) ? `minmax(${width}px, 1fr)` : `${width}px`)).join(" "));
    this.#grid.style.setProperty("--wb-least", `${widths.reduce((sum, width) => sum + width + 6, 4)}px`);
    this.#grid.setAttribute("aria-rowcount", String(state.known.count + 1));
    this.#drawHead(state);
    this.#big.reset(state.known.count, other);
    this.#big.redraw();
    this.#activate(this.#active);
  }

  busy(on: boolean): void {
    this.#grid.setAttribute("aria-busy", String(on));
  }

  /** Rows have come: draw those in sight again. */
  refresh(): void {
    this.#big.redraw();
    this.#activate(this.#active);
  }

  focus(): void {
    this.#body.focus({ preventScroll: true });
  }

  #drawHead(state: TableState): void {
    const names: [name: string, words: string, title: string, numeric: boolean][] = [
      ["feature", "feature", "SAE and index", false],
      ["label", "label", "Description of the feature, where one is known", false],
    ];
    if (state.why) names.push(["", "match", "What matched", false]);
    if (state.means) names.push(["score", "score", state.means, true]);
    for (const { name, title } of state.columns) names.push([name, name.replace("_", " "), title, true]);
    const heads = names.map(([name, words, title, numeric]) => {
      const on = name !== "" && name === state.orderBy;
      const arrow = on ? (state.descending ? " \u2193" : " \u2191") : "";
      const sort = on ? (state.descending ? "descending" : "ascending") : "none";
      const press = (): void => this.#actions.sort(name, on ? !state.descending : name !== "feature" && name !== "label");
      return h(
        "span",
        { role: "columnheader", class: numeric ? "wb-num" : null, "aria-sort": name ? sort : null, title },
        name && state.sortable ? h("button", { type: "button", class: "wb-sort", onclick: press }, words + arrow) : words + arrow,
      );
    });
    fill(this.#head, h("span", { role: "columnheader", "aria-label": "picked" }), ...heads);
  }

  #row(index: number): HTMLElement {
    const state = this.#state as TableState;
    const row = state.known.row(index);
    const element = h("div", { role: "row", class: "wb-grid-row", id: `${this.#id}-${index}`, "data-index": index, "aria-rowindex": index + 2 });
    if (!row) {
      element.setAttribute("aria-busy", "true");
      element.append(h("span", {}), h("span", { class: "wb-muted" }, "\u2026"));
      return element;
    }
    const picked = state.picked.has(row.ref);
    const label = row.label === null ? null : printable(row.label);
    const swatch = row.colour ? h("i", { class: "wb-swatch", title: `colour ${row.colour}` }) : null;
    if (swatch) swatch.style.background = row.colour as string;
    const why = row.why === null ? "" : printable(row.why);
    element.setAttribute("aria-selected", String(picked));
    element.classList.toggle("wb-picked", picked);
    element.classList.toggle("wb-open", row.ref === state.open);
    element.append(
      h("span", { role: "gridcell" }, h("input", { type: "checkbox", tabindex: -1, checked: picked, "aria-label": `Pick ${row.ref}` })),
      h("span", { role: "gridcell", class: "wb-mono wb-clip" }, swatch, row.ref),
      h("span", { role: "gridcell", class: `wb-clip${label === null ? " wb-muted" : ""}` }, label ?? (row.dead ? "never fires" : "no label")),
    );
    if (state.why) element.append(h("span", { role: "gridcell", class: "wb-clip wb-muted" }, why));
    if (state.means) element.append(h("span", { role: "gridcell", class: "wb-num" }, number(row.numbers["score"])));
    for (const { name } of state.columns) {
      element.append(h("span", { role: "gridcell", class: "wb-num" }, figure(name, row.numbers[name])));
    }
    return element;
  }

  #activate(index: number): void {
    this.#big.row(this.#active)?.classList.remove("wb-active");
    this.#active = index;
    const element = this.#big.row(index);
    element?.classList.add("wb-active");
    if (element) this.#body.setAttribute("aria-activedescendant", element.id);
    else this.#body.removeAttribute("aria-activedescendant");
  }

  #index(event: Event): number | null {
    const element = (event.target as HTMLElement).closest<HTMLElement>("[data-index]");
    return element ? Number(element.dataset["index"]) : null;
  }

  #known(index: number | null): Row | undefined {
    return index === null ? undefined : this.#state?.known.row(index);
  }

  #listen(): void {
    const body = this.#body;
    body.addEventListener("pointerdown", (event) => {
      const index = this.#index(event);
      if (event.button !== 0 || index === null || (event.target as HTMLElement).matches("input")) return;
      this.#press = { index, moved: false };
    });
    body.addEventListener("pointermove", (event) => {
      const press = this.#press;
      if (!press || !(event.buttons & 1)) return;
      const to = this.#big.at(event.clientY);
      if (to === press.index && !press.moved) return;
      if (!press.moved) body.setPointerCapture(event.pointerId);
      press.moved = true;
      this.#actions.hover(null, null);
      this.#sweep(press.index, to);
    });
    body.addEventListener("pointerup", (event) => {
      const press = this.#press;
      if (!press?.moved) return;
      const to = this.#big.at(event.clientY);
      this.#anchor = press.index;
      this.#activate(to);
      this.#actions.range(Math.min(press.index, to), Math.max(press.index, to));
    });
    body.addEventListener("pointercancel", () => {
      this.#press = null;
      this.#big.redraw();
    });
    body.addEventListener("click", (event) => this.#click(event));
    body.addEventListener("pointerover", (event) => {
      const index = this.#index(event);
      const row = this.#known(index);
      if (row && index !== null && !this.#press?.moved) this.#actions.hover(row, this.#big.row(index) ?? null);
    });
    body.addEventListener("pointerleave", () => this.#actions.hover(null, null));
    body.addEventListener("blur", () => this.#actions.hover(null, null));
    body.addEventListener("keydown", (event) => this.#key(event));
  }

  #sweep(from: number, to: number): void {
    const [first, last] = [Math.min(from, to), Math.max(from, to)];
    const [top, bottom] = this.inSight;
    for (let at = top; at < bottom; at += 1) this.#big.row(at)?.classList.toggle("wb-swept", at >= first && at <= last);
  }

  #click(event: MouseEvent): void {
    const swept = this.#press?.moved === true;
    this.#press = null;
    const index = this.#index(event);
    const row = this.#known(index);
    if (swept || index === null || !row) return;
    const from = this.#anchor;
    this.#activate(index);
    if (event.shiftKey) return this.#actions.range(Math.min(from, index), Math.max(from, index));
    this.#anchor = index;
    if ((event.target as HTMLElement).matches("input") || event.ctrlKey || event.metaKey) this.#actions.toggle(row);
    else this.#actions.open(row, this.#big.row(index) as HTMLElement);
  }

  #key(event: KeyboardEvent): void {
    const last = (this.#state?.known.count ?? 0) - 1;
    const page = Math.max(1, this.inSight[1] - this.inSight[0] - 2);
    const steps: Record<string, number> = {
      ArrowDown: this.#active + 1,
      ArrowUp: this.#active - 1,
      PageDown: this.#active + page,
      PageUp: this.#active - page,
      Home: 0,
      End: last,
    };
    const step = steps[event.key];
    if (step !== undefined) {
      const to = Math.min(last, Math.max(0, step));
      if (to < 0) return;
      this.#big.reveal(to);
      this.#activate(to);
      if (event.shiftKey) this.#actions.range(Math.min(this.#anchor, to), Math.max(this.#anchor, to));
      else this.#anchor = to;
      const row = this.#known(to);
      if (row) this.#actions.hover(row, this.#big.row(to) ?? null);
    } else if (event.key === "Enter" || event.key === " ") {
      const row = this.#known(this.#active);
      this.#anchor = this.#active;
      if (row && event.key === " ") this.#actions.toggle(row);
      else if (row) this.#actions.open(row, this.#big.row(this.#active) as HTMLElement);
    } else if (event.key === "Escape") this.#actions.clear();
    else return;
    event.preventDefault();
  }
}

export function rowCard(row: Row, columns: readonly NumberColumn[], means: string | null): Node[] {
  const list: [string, Node | string][] = [
    ["feature", row.ref],
    ["label", row.label === null ? "no label" : printable(row.label)],
  ];
  if (row.why !== null && row.why !== row.label) list.push(["match", printable(row.why)]);
  if (means !== null) list.push(["score", `${number(row.numbers["score"], 4)}: ${means}`]);
  for (const { name } of columns) {
    const value = row.numbers[name];
    if (value !== undefined && !Number.isNaN(value)) list.push([name.replace("_", " "), name === "count" ? count(value) : exact(value)]);
  }
  if (row.dead) list.push(["fires", "never"]);
  if (row.dense) list.push(["dense", "yes"]);
  return [facts(...list)];
}

/** All figures a float has to say, without noise. */
function exact(value: number): string {
  return String(Number(value.toPrecision(6))).replace("-", "\u2212");
}
