// What a token under the pointer has to say: its value, and what ablating the feature does there.

import type { NdArray } from "../store/arrays";
import { Superseded, type Store } from "../store/types";
import type { Frame } from "../ui/frame";
import { key, type Context, type Group, type NextToken } from "./data";
import { contextCard } from "./panels";
import { signed } from "./parts";

interface Ablated {
  effect: NdArray;
  next: NextToken[][];
}

/** How long the pointer rests on a context before its ablation is measured, in milliseconds. */
const REST = 150;

export class TokenCards {
  /** Of each context, what was measured, or why it was not. */
  readonly #found = new Map<string, Ablated | string>();
  readonly #frame: Frame;
  readonly #store: Store;
  readonly #feature: () => string | undefined;
  readonly #live: () => boolean;
  #rest: ReturnType<typeof setTimeout> | undefined;

  constructor(frame: Frame, store: Store, feature: () => string | undefined, live: () => boolean) {
    [this.#frame, this.#store, this.#feature, this.#live] = [frame, store, feature, live];
  }

  clear(): void {
    this.#found.clear();
  }

  leave(): void {
    clearTimeout(this.#rest);
    this.#frame.card.hide();
  }

  show(group: Group, context: Context, at: number, element: HTMLElement): void {
    clearTimeout(this.#rest);
    const { card } = this.#frame;
    const name = `${group.place} ${key(context)}`;
    const show = (): void => {
      const found = this.#found.get(name);
      const measured = typeof found === "object" ? found : null;
      const change = measured?.effect.data[at] ?? NaN;
      const words = Number.isNaN(change) ? "no loss here: nothing is before it" : `loss ${signed(change, 4)} nats at this token`;
      const said = found === undefined ? (this.#live() ? "\u2026" : null) : measured ? words : String(found);
      card.show(element, contextCard(context, at, said, measured?.next[at]));
    };
    show();
    if (this.#found.has(name) || !this.#live()) return;
    const feature = this.#feature();
    const index = group.contexts.indexOf(context);
    this.#rest = setTimeout(() => {
      this.#store
        .request<Ablated>("loss_effect", { feature, group: group.place, index })
        .catch((error: Error) => (error instanceof Superseded ? null : `not measured: ${error.message}`))
        .then((found) => {
          if (found === null || feature !== this.#feature()) return;
          this.#found.set(name, found);
          if (card.anchoredTo === element) show();
        });
    }, REST);
  }
}
