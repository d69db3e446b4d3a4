// "Try your own text": typed text as tokens, coloured by the feature.

import { fill, h } from "../ui/dom";
import { number, plural, spoken } from "../ui/format";
import { tokenContent } from "../ui/token";
import type { Context, Tried } from "./data";
import { div, muted, shade, sub } from "./parts";

export interface TextActions {
  read(text: string): void;
  hover(context: Context, at: number, element: HTMLElement): void;
  leave(): void;
}

export class OwnText {
  readonly element = div("wb-try");
  readonly #input = h("textarea", {
    rows: 1,
    spellcheck: "false",
    "aria-label": "Your own text",
    class: "wb-mono",
    oninput: () => this.#fit(),
    onkeydown: (event: KeyboardEvent) => {
      if (event.key !== "Enter" || event.shiftKey) return;
      event.preventDefault();
      this.#form.requestSubmit();
    },
  });
  readonly #button = h("button", { type: "submit" }, "Read");
  readonly #tokens = h("div", {
    class: "wb-try-tokens",
    onpointerleave: () => this.#actions.leave(),
    onfocusout: () => this.#actions.leave(),
  });
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
  }

  show(text: string, tried: Tried | null, largest: number, mode: { live: boolean; lost: boolean }): void {
    if (text !== this.#shown) this.#input.value = text;
    this.#shown = text;
    this.#fit();
    this.#input.disabled = this.#button.disabled = mode.lost;
    const found = tried ? ` \u00b7 largest ${number(tried.largest)} in ${plural(tried.tokens.length, "token")}` : "";
    fill(
      this.element,
      sub((mode.live ? "try your own text" : "own text") + found),
      mode.live ? this.#form : null,
      tried ? this.#tokens : null,
      !mode.live && !tried && muted("None was read; reading one needs the notebook's kernel."),
    );
    this.#tokens.classList.toggle("wb-gaps", tried?.gaps === true);
    fill(this.#tokens, ...(tried ? this.#line(tried, largest) : []));
  }

  #fit(): void {
    this.#input.rows = Math.min(5, Math.max(1, this.#input.value.split("\n").length));
  }

  #line(tried: Tried, largest: number): Node[] {
    const context: Context = { document: -1, start: 0, peak: 0, tokens: tried.tokens, ids: tried.ids.data, values: tried.values.data };
    return tried.tokens.flatMap((token, at) => {
      const value = tried.values.data[at] ?? 0;
      const special = tried.special.data[at] ? "special token, " : "";
      const item = h(
        "span",
        {
          class: `wb-tok${special ? " wb-special" : ""}`,
          tabindex: 0,
          role: "img",
          "aria-label": `${special}${spoken(token)}, position ${at}, value ${number(value)}`,
          onpointerenter: () => this.#actions.hover(context, at, item),
          onfocus: () => {
            if (item.matches(":focus-visible")) this.#actions.hover(context, at, item);
          },
        },
        ...tokenContent(token),
      );
      // Colours mean what they mean in the contexts, unless the text goes beyond them.
      shade(item, value, Math.max(largest, tried.largest));
      return token.includes("\n") ? [item, h("br", {})] : [item];
    });
  }
}
