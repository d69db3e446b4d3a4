// The table of features: one row each, clicked or picked by keyboard, drawn only where visible.

import { h } from "../ui/dom";
import { number, percent, printable } from "../ui/format";
import { Rows } from "../ui/rows";
import { tokenSpan } from "../ui/token";
import { bins, type Row, type SaeTable, type Sort } from "./data";

const ROW_HEIGHT = 25;
const MOST_HEIGHT = 360;
const STRIP_CELLS = 60;

export interface TableActions {
  pick(feature: number): void;
  clear(): void;
  hover(feature: number | null, element: HTMLElement | null): void;
}

export interface TableState {
  table: SaeTable;
  rows: Row[];
  sort: Sort;
  tokens: number;
  picked: Set<string>;
}

const COLUMNS: [key: string, name: string, numeric: boolean, title: string][] = [
  ["feature", "feature", false, "SAE and index"],
  ["label", "label", false, "Description of the feature, where one is known"],
  ["strip", "by token", false, "Value at each token, in order, on the feature's own scale"],
  ["value", "value", true, "Largest activation at the selected tokens, or at all that are not special"],
  ["density", "density", true, "Fraction of counted tokens at which the feature is active"],
  ["raises", "raises", false, "Tokens whose logits the feature raises most"],
];

export class FeatureTable {
  readonly element: HTMLElement;
  readonly #body = h("tbody", {});
  readonly #grid: HTMLTableElement;
  readonly #valueHead: HTMLElement;
  readonly #head: HTMLElement;
  readonly #list: Rows;
  #state: TableState | null = null;
  #focused = 0;

  readonly #actions: TableActions;

  constructor(actions: TableActions) {
    this.#actions = actions;
    const head = h("tr", { "aria-rowindex": 1 });
    for (const [key, name, numeric, title] of COLUMNS) {
      head.append(h("th", { class: `wb-c-${key}${numeric ? " wb-num" : ""}`, scope: "col", title }, name));
    }
    this.#valueHead = head.children[3] as HTMLElement;
    this.#head = head.children[0] as HTMLElement;
    this.#grid = h("table", { role: "grid", "aria-multiselectable": "true", "aria-label": "Features" }, h("thead", {}, head), this.#body);
    this.element = h("div", { class: "wb-table" }, this.#grid);
    this.#list = new Rows(this.element, this.#body, ROW_HEIGHT, MOST_HEIGHT, (index) => this.#row(index));
    this.#listen();
  }

  show(state: TableState): void {
    this.#state = state;
    // References are read and copied whole: the column is as wide as the longest.
    const longest = Math.max(0, ...state.rows.map((row) => String(row.feature).length));
    const characters = Math.max(8, state.table.data.sae.length + 1 + longest);
    this.#head.style.width = `${Math.min(220, Math.ceil(characters * 7.3) + 13)}px`;
    this.#focused = Math.min(this.#focused, Math.max(0, state.rows.length - 1));
    this.#valueHead.textContent = state.sort === "corrected" ? "corrected" : "value";
    this.#valueHead.title =
      state.sort === "corrected"
        ? "Value × natural log of 1/density; the value itself is in the row's card"
        : state.sort === "max"
          ? "Largest activation at any token that is not special"
          : (COLUMNS[3]?.[3] ?? "");
    // Without a single label the room goes to what the features raise.
    this.#grid.classList.toggle("wb-unlabelled", state.table.data.labels.every((label) => label === null));
    this.#grid.setAttribute("aria-rowcount", String(state.rows.length + 1));
    const hadFocus = this.#body.contains(document.activeElement);
    this.#list.reset(state.rows.length);
    if (hadFocus) this.#list.row(this.#focused)?.focus();
  }

  #row(index: number): HTMLTableRowElement {
    const { table, rows, tokens, picked, sort } = this.#state as TableState;
    const { feature, value, corrected } = rows[index] as Row;
    const ref = `${table.data.sae}/${feature}`;
    const label = table.label(feature);
    const chosen = picked.has(ref);
    const raises = table.raises(feature);
    return h(
      "tr",
      {
        class: chosen ? "wb-picked" : null,
        tabindex: index === this.#focused ? 0 : -1,
        "data-index": index,
        "aria-rowindex": index + 2,
        "aria-selected": String(chosen),
      },
      h("td", { class: "wb-c-feature wb-mono", role: "gridcell" }, ref),
      h("td", { class: `wb-c-label wb-clip${label ? "" : " wb-muted"}`, role: "gridcell" }, label === null ? "no label" : printable(label)),
      h("td", { class: "wb-c-strip", role: "gridcell" }, this.#strip(table, feature, tokens)),
      h("td", { class: "wb-c-value wb-num", role: "gridcell" }, number(sort === "corrected" ? corrected : value)),
      h("td", { class: "wb-c-density wb-num", role: "gridcell" }, percent(table.density(feature))),
      h(
        "td",
        { class: "wb-c-raises wb-clip wb-muted", role: "gridcell" },
        ...raises.slice(0, 5).flatMap((token, i) => (i ? [" ", tokenSpan(token)] : [tokenSpan(token)])),
      ),
    );
  }

  /** Values over the tokens as one element with one gradient: a row per feature must stay cheap. */
  #strip(table: SaeTable, feature: number, tokens: number): HTMLElement {
    const values = new Float64Array(tokens);
    for (const [at, value] of table.byFeature.get(feature) ?? []) values[at] = value;
    const cells = bins(values, STRIP_CELLS);
    const largest = Math.max(...cells, 0);
    const stops = cells.map((value, i) => {
      const alpha = largest > 0 ? (value / largest) * 0.85 : 0;
      return `rgba(var(--wb-act), ${alpha.toFixed(2)}) ${(100 * i) / cells.length}% ${(100 * (i + 1)) / cells.length}%`;
    });
    const strip = h("span", { class: "wb-strip", role: "img" });
    strip.style.width = `min(100%, ${Math.max(9 * cells.length, 9)}px)`;
    if (cells.length) strip.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    const peak = values.indexOf(Math.max(...values));
    strip.setAttribute("aria-label", `largest ${number(largest)} at position ${peak}`);
    return strip;
  }

  #index(event: Event): number | null {
    const row = (event.target as HTMLElement).closest<HTMLElement>("tr[data-index]");
    return row ? Number(row.dataset["index"]) : null;
  }

  #listen(): void {
    const body = this.#body;
    body.addEventListener("click", (event) => {
      const index = this.#index(event);
      const row = index === null ? undefined : this.#state?.rows[index];
      if (index === null || !row) return;
      this.#focused = index;
      this.#actions.pick(row.feature);
    });
    body.addEventListener("pointerover", (event) => {
      const index = this.#index(event);
      const row = index === null ? undefined : this.#state?.rows[index];
      if (index !== null && row) this.#actions.hover(row.feature, this.#list.row(index) ?? null);
    });
    body.addEventListener("pointerleave", () => this.#actions.hover(null, null));
    body.addEventListener("focusin", (event) => {
      const index = this.#index(event);
      const row = index === null ? undefined : this.#state?.rows[index];
      if (index === null || !row) return;
      this.#focused = index;
      const element = this.#list.row(index);
      if (element?.matches(":focus-visible")) this.#actions.hover(row.feature, element);
    });
    body.addEventListener("focusout", () => this.#actions.hover(null, null));
    body.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event: KeyboardEvent): void {
    const last = (this.#state?.rows.length ?? 0) - 1;
    const steps: Record<string, number> = {
      ArrowDown: this.#focused + 1,
      ArrowUp: this.#focused - 1,
      PageDown: this.#focused + 10,
      PageUp: this.#focused - 10,
      Home: 0,
      End: last,
    };
    const step = steps[event.key];
    if (step !== undefined) {
      event.preventDefault();
      const from = this.#list.row(this.#focused);
      this.#focused = Math.min(last, Math.max(0, step));
      if (from) from.tabIndex = -1;
      const row = this.#list.reveal(this.#focused);
      if (row) {
        row.tabIndex = 0;
        row.focus({ preventScroll: true });
      }
    } else if (event.key === " " || event.key === "Enter") {
      event.preventDefault();
      const row = this.#state?.rows[this.#focused];
      if (row) this.#actions.pick(row.feature);
    } else if (event.key === "Escape") {
      event.preventDefault();
      this.#actions.clear();
    }
  }
}
