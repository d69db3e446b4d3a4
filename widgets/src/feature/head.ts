// The head of a feature's page: where one has been, which feature this is, and its label.

import { h } from "../ui/dom";
import { printable } from "../ui/format";
import type { Page, State } from "./data";
import { quiet } from "./parts";

export class Head {
  readonly #steps: readonly (readonly [HTMLButtonElement, string, number])[];
  readonly #ref = h("span", { class: "wb-title wb-mono", tabindex: -1 });
  readonly #label: HTMLInputElement;
  #said = "";

  constructor(go: (by: number) => void, label: (text: string) => void) {
    const step = (mark: string, by: number): HTMLButtonElement => quiet(mark, () => go(by), { class: "wb-quiet wb-step" });
    this.#steps = [
      [step("\u2039", -1), "Back", -1],
      [step("\u203a", 1), "Forward", 1],
    ];
    this.#label = h("input", {
      type: "text",
      class: "wb-label",
      "aria-label": "Label",
      maxlength: 200,
      placeholder: "no label",
      onkeydown: (event: KeyboardEvent) => {
        if (event.key === "Escape") this.#label.value = this.#said;
        if (event.key === "Escape" || event.key === "Enter") this.#label.blur();
      },
      onchange: () => label(this.#label.value),
    });
  }

  get elements(): HTMLElement[] {
    return [...this.#steps.map(([button]) => button), this.#ref, this.#label];
  }

  show(page: Page, { history, place }: State, still: boolean, readOnly: boolean): void {
    for (const [button, words, by] of this.#steps) {
      const to = history[place + by];
      button.disabled = to === undefined || still;
      button.title = button.ariaLabel = to === undefined ? words : `${words} to ${to}`;
    }
    this.#said = printable(page.label ?? "");
    this.#ref.textContent = page.feature;
    if (document.activeElement !== this.#label) this.#label.value = this.#said;
    this.#label.title = this.#said;
    this.#label.readOnly = readOnly;
  }

  focus(): void {
    this.#ref.focus();
  }
}
