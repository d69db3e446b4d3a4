// Adding an intervention: type a feature, words of a label, a list's or a direction's name.

import type { Store } from "../store/types";
import { fill, h, span } from "../ui/dom";
import type { Frame } from "../ui/frame";
import { printable } from "../ui/format";

interface Candidate {
  kind: "feature" | "list" | "direction";
  target: string;
  label: string;
  why: string;
}

const FAILED = "Could not add";

export class Adder {
  readonly element: HTMLElement;
  readonly input: HTMLInputElement;
  readonly #list = h("div", { class: "wb-steer-found", role: "listbox", "aria-label": "What can be added", hidden: true });
  readonly #store: Store;
  readonly #frame: Frame;
  #found: Candidate[] = [];
  #at = 0;
  #asked = 0;

  constructor(store: Store, frame: Frame) {
    [this.#store, this.#frame] = [store, frame];
    this.input = h("input", {
      type: "text",
      placeholder: "Add feature or direction\u2026",
      role: "combobox",
      "aria-label": "Add a feature, list or direction",
      "aria-expanded": "false",
      oninput: () => void this.#look(),
      onfocus: () => void this.#look(),
      onkeydown: (event: KeyboardEvent) => this.#key(event),
      onblur: () => this.#close(),
    });
    this.element = h("div", { class: "wb-steer-add" }, this.input, this.#list);
  }

  enable(on: boolean): void {
    this.input.disabled = !on;
  }

  async #look(): Promise<void> {
    const asked = (this.#asked += 1);
    await this.#frame.attempt(FAILED, async () => {
      const found = await this.#store.request<Candidate[]>("find", { text: this.input.value }, { policy: "coalesce" });
      if (asked !== this.#asked || document.activeElement !== this.input) return;
      this.#found = found;
      this.#at = 0;
      this.#show();
    });
  }

  #show(): void {
    const rows = this.#found.map((one, at) =>
      h(
        "div",
        // Taken on pointerdown: the box would be closed by the loss of focus before a click.
        { role: "option", "aria-selected": String(at === this.#at), onpointerdown: (event: Event) => (event.preventDefault(), void this.#take(at)) },
        span("wb-mono wb-clip", printable(one.target)),
        span("wb-muted wb-clip wb-grow", printable(one.label)),
        one.kind === "feature" ? null : span("wb-caption", one.kind),
      ),
    );
    const none = this.input.value.trim() && !rows.length;
    fill(this.#list, none && span("wb-muted", "nothing found: type a feature (sae/number) or words of a label"), ...rows);
    this.#list.hidden = !rows.length && !none;
    this.input.setAttribute("aria-expanded", String(!this.#list.hidden));
  }

  #key(event: KeyboardEvent): void {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && this.#found.length) {
      this.#at = (this.#at + step + this.#found.length) % this.#found.length;
      this.#show();
    } else if (event.key === "Enter") void this.#enter();
    else if (event.key === "Escape") this.#close();
    else return;
    event.preventDefault();
  }

  async #enter(): Promise<void> {
    // What was typed may be newer than what was found.
    if (this.#list.hidden) await this.#look();
    const written = this.input.value.trim();
    const same = this.#found.findIndex((one) => one.target === written);
    if (same >= 0 || this.#found.length) await this.#take(same >= 0 ? same : this.#at);
    else if (written) await this.#add("feature", written);
  }

  #take(at: number): Promise<void> {
    const one = this.#found[at]!;
    return this.#add(one.kind, one.target);
  }

  #add(kind: string, target: string): Promise<void> {
    return this.#frame.attempt(FAILED, async () => {
      await this.#store.request("add", { kind, target });
      this.input.value = "";
      this.#close();
    });
  }

  #close(): void {
    this.#asked += 1;
    this.#found = [];
    this.#list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
  }
}
