// The line of tokens: shaded by strength, brushed by pointer or keyboard.

import { h } from "../ui/dom";
import { number, spoken } from "../ui/format";
import { tokenContent } from "../ui/token";
import { normalise, range, toggle, type Reading } from "./data";

export interface TokenActions {
  select(positions: number[]): void;
  focus(position: number): void;
  hover(position: number | null, element: HTMLElement | null): void;
}

export class TokenLine {
  readonly element: HTMLElement;
  readonly #items: HTMLElement[] = [];
  #selected: readonly number[] = [];
  #focused = 0;
  #anchor = 0;
  #drag: { from: number; moved: boolean; base: readonly number[]; toggled: boolean } | null = null;

  readonly #reading: Reading;
  readonly #actions: TokenActions;

  constructor(
    reading: Reading,
    actions: TokenActions,
  ) {
    this.#reading = reading;
    this.#actions = actions;
    this.element = h("div", {
      class: `wb-tokens${reading.gaps ? " wb-gaps" : ""}`,
      role: "listbox",
      "aria-multiselectable": "true",
      "aria-label": "Tokens. Arrow keys move, Shift and arrow keys select, Space adds or removes one, Escape clears.",
    });
    reading.tokens.forEach((token, at) => {
      const item = h(
        "span",
        {
          class: `wb-tok${reading.special.data[at] ? " wb-special" : ""}`,
          role: "option",
          "aria-selected": "false",
          tabindex: at === 0 ? 0 : -1,
          "data-at": at,
        },
        ...tokenContent(token),
      );
      this.#items.push(item);
      this.element.append(item);
      if (token.includes("\n")) this.element.append(h("br", {}));
    });
    this.#listen();
  }

  item(position: number): HTMLElement | undefined {
    return this.#items[position];
  }

  show(shades: ArrayLike<number>, largest: number, selected: readonly number[], focused: number): void {
    this.#selected = selected;
    this.#focused = Math.min(Math.max(focused, 0), this.#items.length - 1);
    const chosen = new Set(selected);
    this.#items.forEach((item, at) => {
      const value = shades[at] ?? 0;
      const alpha = largest > 0 ? Math.min(1, value / largest) * 0.75 : 0;
      item.style.background = alpha > 0 ? `rgba(var(--wb-act), ${alpha.toFixed(3)})` : "";
      item.classList.toggle("wb-shaded", alpha > 0);
      item.classList.toggle("wb-selected", chosen.has(at));
      item.classList.toggle("wb-focused", at === this.#focused);
      item.setAttribute("aria-selected", String(chosen.has(at)));
      item.tabIndex = at === this.#focused ? 0 : -1;
      const special = this.#reading.special.data[at] ? "special token, " : "";
      item.setAttribute(
        "aria-label",
        `${special}${spoken(this.#reading.tokens[at] ?? "")}, position ${at}, value ${number(value)}`,
      );
    });
  }

  #at(event: Event): number | null {
    const item = (event.target as HTMLElement).closest<HTMLElement>("[data-at]");
    return item && this.element.contains(item) ? Number(item.dataset["at"]) : null;
  }

  #commit(positions: readonly number[]): void {
    this.#actions.hover(null, null); // the card would cover the table that has just changed
    this.#actions.select(normalise(positions, this.#items.length));
  }

  #listen(): void {
    const { element } = this;
    element.addEventListener("pointerdown", (event) => {
      const at = this.#at(event);
      if (at === null || event.button !== 0) return;
      event.preventDefault(); // no text selection while brushing
      this.#items[at]?.focus();
      if (event.shiftKey) return this.#commit(range(this.#anchor, at));
      const toggled = event.ctrlKey || event.metaKey;
      this.#anchor = at;
      this.#drag = { from: at, moved: false, base: toggled ? this.#selected : [], toggled };
    });
    element.addEventListener("pointermove", (event) => {
      const at = this.#at(event);
      if (!this.#drag || at === null) return;
      if (at === this.#drag.from && !this.#drag.moved) return;
      this.#drag.moved = true;
      this.#commit([...this.#drag.base, ...range(this.#drag.from, at)]);
    });
    const end = (): void => {
      const drag = this.#drag;
      this.#drag = null;
      if (!drag || drag.moved) return;
      if (drag.toggled) this.#commit(toggle(drag.base, drag.from));
      else {
        const only = this.#selected.length === 1 && this.#selected[0] === drag.from;
        this.#commit(only ? [] : [drag.from]);
      }
    };
    element.addEventListener("pointerup", end);
    element.addEventListener("pointerleave", () => {
      if (this.#drag?.moved) this.#drag = null;
      this.#actions.hover(null, null);
    });
    element.addEventListener("pointerover", (event) => {
      const at = this.#at(event);
      if (at !== null && !this.#drag?.moved) this.#actions.hover(at, this.#items[at] ?? null);
    });
    element.addEventListener("focusin", (event) => {
      const at = this.#at(event);
      if (at === null) return;
      this.#actions.focus(at);
      // A pointer that focuses is already hovering.
      if (!this.#drag && this.#items[at]?.matches(":focus-visible")) this.#actions.hover(at, this.#items[at] ?? null);
    });
    element.addEventListener("focusout", () => this.#actions.hover(null, null));
    element.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event: KeyboardEvent): void {
    const last = this.#items.length - 1;
    const steps: Record<string, number> = {
      ArrowRight: this.#focused + 1,
      ArrowDown: this.#focused + 1,
      ArrowLeft: this.#focused - 1,
      ArrowUp: this.#focused - 1,
      Home: 0,
      End: last,
    };
    const step = steps[event.key];
    if (step !== undefined) {
      const at = Math.min(last, Math.max(0, step));
      event.preventDefault();
      if (event.shiftKey) this.#commit(range(this.#anchor, at));
      else this.#anchor = at;
      this.#items[at]?.focus();
    } else if (event.key === " " || event.key === "Enter") {
      event.preventDefault();
      this.#anchor = this.#focused;
      this.#commit(toggle(this.#selected, this.#focused));
    } else if (event.key === "a" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.#commit(range(0, last));
    } else if (event.key === "Escape") {
      event.preventDefault();
      this.#commit([]);
    }
  }
}
