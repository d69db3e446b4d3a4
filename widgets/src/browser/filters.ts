// Conditions on features: each a chip that can be taken away, and one line to add some, typed or
// put together from a menu.

import { div, fill, h, span } from "../ui/dom";
import { plural, printable } from "../ui/format";
import { short, type NumberColumn, type State } from "./data";

export interface FilterActions {
  add(text: string): Promise<boolean>;
  set(patch: Partial<State>): void;
}

const FLAGS = ["alive", "dead", "dense", "not dense", "labelled", "not labelled"];

export class Filters {
  readonly #chips = span("wb-chips");
  readonly #text = h("input", {
    type: "text",
    "aria-label": "Filter",
    placeholder: "filter: density < 1% and max > 5",
    maxlength: 1000,
    onkeydown: (event: KeyboardEvent) => {
      if (event.key === "Enter") void this.#add(this.#text.value);
    },
  });
  readonly #choice = h("select", { "aria-label": "Filter by", onchange: () => this.#chosen() });
  readonly #form: HTMLElement;
  readonly element: HTMLElement;
  #offered: unknown = null;

  constructor(readonly actions: FilterActions) {
    this.#form = span("wb-filter", this.#text, this.#choice);
    this.element = div("wb-filters", this.#form, this.#chips);
  }

  show(state: State, words: readonly string[], numbers: readonly NumberColumn[], saes: readonly string[], editable: boolean): void {
    const set = this.actions.set;
    const chip = (text: string, patch: Partial<State> | null): HTMLElement =>
      span("wb-chip", text, patch && h("button", { type: "button", class: "wb-quiet", "aria-label": `Remove ${text}`, onclick: () => set(patch) }, "\u00d7"));
    const chips = words.map((text, at) => chip(printable(text), editable ? { where: state.where.filter((_, place) => place !== at) } : null));
    if (state.only.length) chips.push(chip(`only ${plural(state.only.length, "feature")}`, editable ? { only: [] } : null));
    const [left = 0, right = 0, low = 0, high = 0] = state.brush;
    if (state.brush.length) chips.push(chip(`brushed ${state.x} ${short(left)} to ${short(right)}, ${state.y} ${short(low)} to ${short(high)}`, { brush: [] }));
    fill(this.#chips, ...chips);
    this.#form.hidden = !editable;
    if (this.#offered === numbers) return;
    this.#offered = numbers;
    const group = (label: string, values: readonly string[], before = "", after = ""): HTMLElement =>
      h("optgroup", { label }, ...values.map((value) => h("option", { value: before + value + after }, value.replace("_", " "))));
    fill(
      this.#choice,
      h("option", { value: "" }, "Filter by\u2026"),
      group("statistic", numbers.map(({ name }) => name), "", " >= "),
      group("label", ["label contains"], "", " "),
      group("kind", FLAGS),
      group("SAE", saes, "sae = "),
    );
  }

  /** A whole condition acts at once; the beginning of one waits for its value. */
  #chosen(): void {
    const { value } = this.#choice;
    this.#choice.value = "";
    if (!value.endsWith(" ")) return void this.#add(value);
    const typed = this.#text.value.trim();
    this.#text.value = typed ? `${typed} and ${value}` : value;
    this.#text.focus();
  }

  async #add(text: string): Promise<void> {
    if (text.trim() && (await this.actions.add(text)) && text === this.#text.value) this.#text.value = "";
  }
}
