// "Try your own text": typed text as tokens, coloured by the feature.

import { fill, h } from "../ui/dom";
import { number, plural, spoken } from "../ui/format";
import { tokenContent } from "../ui/token";
import type { Context, Tried } from "./data";

export interface TextActions {
  read(text: string): void;
  hover(context: Context, at: number, element: HTMLElement): void;
  leave(): void;
}

export class OwnText {
  readonly element = h("div", { class: "wb-try" });
  readonly #input = h("textarea", { rows: 1, spellcheck: "false", "aria-label": "Your own text", class: "wb-mono" });
  readonly #button = h("button", { type: "submit" }, "Read");
  readonly #tokens = h("div", { class: "wb-try-tokens" });
  readonly #form: HTMLFormElement;
  readonly #actions: TextActions;
  #shown = "";

  constructor(actions: TextActions) {
    this.#actions = actions;
    this.#form = h(
      "form",
      {
        class: "wb-read",
        onsubmit: (event: Event) => {
          event.preventDefault();
          actions.read(this.#input.value);
        },
      },
      this.#input,
      this.#button,
    );
    this.#input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        this.#form.requestSubmit();
      }
    });
    this.#input.addEventListener("input", () => this.#fit());
    this.#tokens.addEventListener("pointerleave", () => actions.leave());
    this.#tokens.addEventListener("focusout", () => actions.leave());
  }

  show(text: string, tried: Tried | null, largest: number, gaps: boolean, mode: { live: boolean; lost: boolean }): void {
    if (text !== this.#shown) this.#input.value = text;
    this.#shown = text;
    this.#fit();
    this.#input.disabled = this.#button.disabled = mode.lost;
    const head = h(
      "div",
      { class: "wb-sub" },
      mode.live ? "try your own text" : "own text",
      tried ? ` \u00b7 largest ${number(tried.largest)} in ${plural(tried.tokens.length, "token")}` : null,
    );
    fill(
      this.element,
      head,
      mode.live ? this.#form : null,
      tried ? this.#tokens : null,
      !mode.live && !tried ? h("div", { class: "wb-muted" }, "None was read; reading one needs the notebook's kernel.") : null,
    );
    this.#tokens.classList.toggle("wb-gaps", gaps);
    fill(this.#tokens, ...(tried ? this.#line(tried, largest) : []));
  }

  #fit(): void {
    this.#input.rows = Math.min(5, Math.max(1, this.#input.value.split("\n").length));
  }

  #line(tried: Tried, largest: number): Node[] {
    const context: Context = { document: -1, start: 0, peak: 0, tokens: tried.tokens, ids: tried.ids.data, values: tried.values.data };
    // Colours mean what they mean in the contexts, unless the text goes beyond them.
    const scale = Math.max(largest, tried.largest);
    return tried.tokens.flatMap((token, at) => {
      const value = tried.values.data[at] ?? 0;
      const alpha = scale > 0 ? Math.min(1, Math.max(0, value) / scale) * 0.75 : 0;
      const special = tried.special.data[at] ? "special token, " : "";
      const show = (event: Event): void => this.#actions.hover(context, at, event.currentTarget as HTMLElement);
      const item = h(
        "span",
        {
          class: `wb-tok${special ? " wb-special" : ""}`,
          tabindex: 0,
          role: "img",
          "aria-label": `${special}${spoken(token)}, position ${at}, value ${number(value)}`,
          onpointerenter: show,
          onfocus: (event: Event) => {
            if ((event.currentTarget as HTMLElement).matches(":focus-visible")) show(event);
          },
        },
        ...tokenContent(token),
      );
      if (alpha > 0) item.style.background = `rgba(var(--wb-act), ${alpha.toFixed(3)})`;
      return token.includes("\n") ? [item, h("br", {})] : [item];
    });
  }
}
