// How much of the behaviour the shown nodes keep: measured once asked for, and then as they change.

import type { Store } from "../store/types";
import { h } from "../ui/dom";
import { number, plural } from "../ui/format";
import type { Frame } from "../ui/frame";

interface Faithfulness {
  value: number | null;
  low: number | null;
  high: number | null;
  nodes: number;
  examples: number;
}

const REST = 140; // milliseconds after which a moved slider counts as set

export class Faith {
  readonly element = h("button", { class: "wb-badge wb-faith", type: "button", onclick: () => void this.#measure() });
  #asked = false;
  #timer: ReturnType<typeof setTimeout> | null = null;

  readonly #store: Store;
  readonly #frame: Frame;
  readonly #can: () => boolean;
  readonly #refresh: () => void;

  constructor(store: Store, frame: Frame, can: () => boolean, refresh: () => void) {
    this.#store = store;
    this.#frame = frame;
    this.#can = can;
    this.#refresh = refresh;
  }

  /** Another circuit is shown: nobody has asked about it yet. */
  reset(): void {
    this.#asked = false;
  }

  dispose(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  async #measure(): Promise<void> {
    if (!this.#can()) return;
    this.#asked = true;
    this.element.setAttribute("aria-busy", "true");
    try {
      await this.#store.request("faithfulness", {}, { policy: "coalesce" });
      this.#frame.clearErrors("Could not measure faithfulness");
      this.#later("interval");
    } catch (error) {
      this.#frame.error(error, "Could not measure faithfulness");
    } finally {
      this.element.removeAttribute("aria-busy");
      this.#refresh();
    }
  }

  show(nodes: number): void {
    const found = this.#store.get<Faithfulness | null>("faithfulness");
    const can = this.#can();
    const known = found && found.value !== undefined;
    this.element.hidden = !known && !can;
    this.element.disabled = !can;
    const interval = known && found.low !== null && found.high !== null ? ` [${number(found.low)}, ${number(found.high)}]` : "";
    const stale = known && found.nodes !== nodes;
    this.element.textContent = known ? `${stale ? "was " : ""}faithfulness ${number(found.value)}${interval}` : "Measure faithfulness";
    this.element.title = known ? `of ${plural(found.nodes, "node")}, on ${plural(found.examples, "example")}; interval by bootstrap over examples` : "How much of the behaviour the shown nodes keep when all others take their mean";
    // Once asked for, it follows what remains.
    if (stale && can && this.#asked) this.#later("value");
  }

  /** When the hand rests, measure; when it has rested longer, the interval too. */
  #later(what: "value" | "interval"): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        if (what === "value") return void this.#measure();
        this.#store.request("interval").catch((error: unknown) => this.#frame.error(error, "Could not measure faithfulness"));
      },
      what === "value" ? REST : 4 * REST,
    );
  }
}
