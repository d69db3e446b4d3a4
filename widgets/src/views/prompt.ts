// The prompt view: what a text is to the model, token by token and feature by feature.

import { rows, scale, toggle, SaeTable, SORTS, type Reading, type SaeData, type Sort } from "../prompt/data";
import { featureCard, predictions, tokenCard } from "../prompt/cards";
import { code } from "../prompt/code";
import { FeatureTable } from "../prompt/table";
import { TokenLine } from "../prompt/tokens";
import { ranges } from "../prompt/data";
import { Superseded, type Store } from "../store/types";
import { About } from "../ui/about";
import { debounce, fill, h } from "../ui/dom";
import { count, number, plural } from "../ui/format";
import { Frame } from "../ui/frame";
import { tokenSpan } from "../ui/token";
import { mounter, widget } from "../ui/view";

class PromptView {
  readonly #frame: Frame;
  readonly #about: About;
  #reading: Reading | null = null;
  #table: SaeTable | null = null;
  #line: TokenLine | null = null;
  #hovered: number | null = null; // feature under the pointer: its values shade the tokens
  #generation = 0;
  #reads = 0;

  readonly #saeSelect = h("select", { "aria-label": "SAE", onchange: () => this.#chooseSae() });
  readonly #sortSelect = h("select", {
    "aria-label": "Sort features",
    title: "Order of the features. Density-corrected is value × ln(1/density): rare features rise",
    onchange: () => this.#store.set({ sort: this.#sortSelect.value }),
  });
  readonly #dense = h("input", {
    type: "checkbox",
    onchange: () => this.#store.set({ hide_dense: this.#dense.checked }),
  });
  readonly #text = h("textarea", { rows: 1, spellcheck: "false", "aria-label": "Text to read", class: "wb-mono" });
  readonly #form = h(
    "form",
    { class: "wb-read", onsubmit: (event: Event) => this.#read(event) },
    this.#text,
    h("button", { type: "submit" }, "Read"),
  );
  readonly #strip = h("div", { class: "wb-strip-area" });
  readonly #next = h("div", { class: "wb-next" });
  readonly #features: FeatureTable;
  readonly #nothing = h("div", { class: "wb-empty", hidden: true });
  readonly #refresh = debounce(() => this.#draw());
  readonly #undo: (() => void)[] = [];

  readonly #store: Store;

  constructor(
    root: HTMLElement,
    store: Store,
  ) {
    this.#store = store;
    this.#frame = new Frame(root, "Prompt", store);
    for (const [value, words] of Object.entries(SORTS)) this.#sortSelect.append(h("option", { value }, words));
    this.#about = new About(
      this.#frame,
      store,
      () => this.#code(),
      () => store.mode === "live" && this.#reading?.can_read === true && store.connection !== "lost",
    );
    fill(
      this.#frame.head,
      h("span", { class: "wb-title" }, "Prompt"),
      this.#saeSelect,
      this.#sortSelect,
      h("label", { class: "wb-muted wb-check-label" }, this.#dense, " hide dense (> 1%)"),
      this.#about.badge,
    );
    this.#features = new FeatureTable({
      pick: (feature) => this.#pick(feature),
      clear: () => this.#store.set({ features_picked: [] }),
      hover: (feature, element) => this.#hoverFeature(feature, element),
    });
    this.#text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        this.#form.requestSubmit();
      }
    });
    this.#text.addEventListener("input", () => this.#fitText());
    for (const name of ["sort", "hide_dense", "tokens_selected", "features_picked", "focus"]) {
      this.#undo.push(store.on(name, this.#refresh));
    }
    // A new reading can bring a new SAE in the same message: then loading it is the reading's.
    this.#undo.push(
      store.on("sae", () => {
        const generation = this.#generation;
        queueMicrotask(() => {
          if (generation === this.#generation) void this.#loadSae();
        });
      }),
    );
    this.#undo.push(store.on("initial", () => void this.#load()));
    this.#undo.push(store.onConnection(() => this.#showMode()), () => this.#about.dispose());
    this.#frame.loading("Reading\u2026");
    void this.#load();
  }

  dispose(): void {
    for (const undo of this.#undo) undo();
    this.#frame.dispose();
  }

  /** Take the reading; a newer one that arrives meanwhile wins. */
  async #load(): Promise<void> {
    const generation = (this.#generation += 1);
    try {
      const reading = await this.#store.initial<Reading>();
      if (generation !== this.#generation) return;
      this.#reading = reading;
      this.#hovered = null;
      this.#frame.card.hide(true);
      this.#frame.clearErrors("Could not show the reading");
      this.#lay(reading);
      this.#about.show(reading.provenance, true);
      await this.#loadSae();
    } catch (error) {
      if (error instanceof Superseded || generation !== this.#generation) return;
      this.#frame.error(error, "Could not show the reading");
      if (!this.#reading) this.#frame.empty("Nothing to show.");
    }
  }

  async #loadSae(): Promise<void> {
    const reading = this.#reading;
    if (!reading) return;
    const name = this.#store.get<string | null>("sae");
    const head = reading.saes.find((sae) => sae.sae === name) ?? reading.saes[0];
    if (!head) {
      this.#table = null;
      return this.#draw();
    }
    if (this.#table?.data.sae === head.sae && this.#table.special === reading.special.data) return this.#draw();
    const special = reading.special.data;
    const loading = `Loading ${head.sae}`;
    try {
      const embedded = reading.first?.sae === head.sae ? reading.first : null;
      if (!embedded) this.#frame.working(loading);
      const data = embedded ?? (await this.#store.request<SaeData>("sae", { name: head.sae }));
      if (reading !== this.#reading || (this.#store.get<string | null>("sae") ?? head.sae) !== head.sae) return;
      this.#table = new SaeTable(data, special, reading.tokens.length);
      this.#frame.clearErrors("Could not load the SAE's values");
    } catch (error) {
      this.#frame.error(error, "Could not load the SAE's values");
    } finally {
      this.#frame.done(loading);
    }
    this.#draw();
  }

  #lay(reading: Reading): void {
    fill(
      this.#saeSelect,
      ...reading.saes.map((sae) =>
        h("option", { value: sae.sae, title: `${sae.architecture} at ${sae.site}` }, `${sae.sae} \u00b7 ${count(sae.d_sae)} features`),
      ),
    );
    this.#saeSelect.disabled = reading.saes.length === 0;
    if (!reading.saes.length) fill(this.#saeSelect, h("option", {}, "no SAE attached"));
    this.#text.value = reading.text;
    this.#line = new TokenLine(reading, {
      select: (positions) => this.#store.set({ tokens_selected: positions }),
      focus: (position) => this.#store.set({ focus: position }),
      hover: (position, element) => this.#hoverToken(position, element),
    });
    fill(this.#strip, this.#line.element);
    if (!reading.tokens.length) fill(this.#strip, h("div", { class: "wb-empty" }, "The text has no tokens."));
    fill(
      this.#frame.body,
      reading.can_read ? this.#form : null,
      this.#strip,
      h("div", { class: "wb-columns" }, h("div", { class: "wb-main" }, this.#features.element, this.#nothing), this.#next),
    );
    this.#fitText();
    this.#showMode();
  }

  #fitText(): void {
    this.#text.rows = Math.min(6, Math.max(1, this.#text.value.split("\n").length));
  }

  #showMode(): void {
    const lost = this.#store.connection === "lost";
    for (const control of this.#form.querySelectorAll<HTMLButtonElement | HTMLTextAreaElement>("button, textarea")) {
      control.disabled = lost;
    }
    this.#saeSelect.disabled = !this.#reading?.saes.length;
  }

  #positions(): number[] {
    return this.#store.get<number[]>("tokens_selected") ?? [];
  }

  #picked(): string[] {
    return this.#store.get<string[]>("features_picked") ?? [];
  }

  /** Picked features that belong to the SAE on screen, by index. */
  #pickedHere(): number[] {
    const start = `${this.#table?.data.sae}/`;
    return this.#picked()
      .filter((ref) => ref.startsWith(start))
      .map((ref) => Number(ref.slice(start.length)));
  }

  #draw(): void {
    const [reading, line, table] = [this.#reading, this.#line, this.#table];
    if (!reading || !line) return;
    const sort = this.#store.get<Sort>("sort");
    const hideDense = this.#store.get<boolean>("hide_dense");
    const selected = this.#positions();
    const focus = Math.min(this.#store.get<number>("focus") ?? 0, reading.tokens.length - 1);
    this.#sortSelect.value = sort;
    this.#dense.checked = hideDense;
    if (table) this.#saeSelect.value = table.data.sae;
    this.#shade(focus);
    const result = table ? rows(table, reading.tokens.length, { selected, sort, hideDense }) : { rows: [], hidden: 0 };
    if (table) {
      this.#features.show({ table, rows: result.rows, sort, tokens: reading.tokens.length, picked: new Set(this.#picked()) });
    }
    this.#features.element.hidden = result.rows.length === 0;
    this.#nothing.hidden = result.rows.length > 0;
    this.#nothing.textContent = !reading.saes.length
      ? "No SAE is attached to this session. Attach one with wb.open(model, saes=[\u2026])."
      : !table
        ? ""
        : result.hidden
          ? `All ${count(result.hidden)} active features here are dense (> 1% of tokens). Untick "hide dense" to see them.`
          : "No feature of this SAE is active here.";
    this.#drawNext(reading, focus);
    this.#drawFoot(selected, result.rows.length, result.hidden);
  }

  #shade(focus = Math.min(this.#store.get<number>("focus") ?? 0, (this.#reading?.tokens.length ?? 1) - 1)): void {
    const [line, table, reading] = [this.#line, this.#table, this.#reading];
    if (!line || !reading) return;
    const hideDense = this.#store.get<boolean>("hide_dense");
    const features = this.#hovered !== null ? [this.#hovered] : this.#pickedHere();
    const shades = table ? table.shades(features, hideDense) : [];
    line.show(shades, scale(shades, reading.special.data), this.#positions(), focus);
    fill(this.#frame.legend, h("span", { class: "wb-legend" }), this.#legend());
  }

  #legend(): string {
    const [table, reading] = [this.#table, this.#reading];
    if (!table || !reading) return "";
    const features = this.#hovered !== null ? [this.#hovered] : this.#pickedHere();
    const shades = table.shades(features, this.#store.get<boolean>("hide_dense"));
    const what =
      features.length === 0 ? "strongest feature" : features.length === 1 ? `${table.data.sae}/${features[0]}` : `${features.length} picked features`;
    return `0 to ${number(scale(shades, reading.special.data))} \u00b7 ${what}`;
  }

  #drawNext(reading: Reading, focus: number): void {
    const list = reading.next_tokens[focus] ?? [];
    fill(
      this.#next,
      h("div", { class: "wb-sub" }, "next token after ", tokenSpan(reading.tokens[focus] ?? "")),
      list.length ? predictions(list, 10) : h("div", { class: "wb-muted" }, "not recorded"),
    );
    this.#next.hidden = reading.tokens.length === 0;
  }

  #drawFoot(selected: readonly number[], shown: number, hidden: number): void {
    const [reading, table] = [this.#reading, this.#table];
    if (!reading) return;
    const picked = this.#picked().length;
    const words = [
      plural(reading.tokens.length, "token"),
      selected.length ? `selected ${ranges(selected)}` : "none selected",
      table ? plural(shown, "feature") + (hidden ? ` (${count(hidden)} dense hidden)` : "") : "",
      picked ? `${count(picked)} picked` : "",
      this.#store.mode === "snapshot" ? "snapshot" : "",
    ].filter(Boolean);
    this.#frame.status.textContent = words.join(" \u00b7 ");
    this.#frame.legend.hidden = !table;
  }

  #pick(feature: number): void {
    if (!this.#table) return;
    this.#store.set({ features_picked: toggle(this.#picked(), `${this.#table.data.sae}/${feature}`) });
  }

  #chooseSae(): void {
    this.#hovered = null;
    this.#store.set({ sae: this.#saeSelect.value });
  }

  #hoverToken(position: number | null, element: HTMLElement | null): void {
    if (position === null || !element || !this.#reading) return this.#frame.card.hide();
    this.#frame.card.show(
      element,
      tokenCard(this.#reading, this.#table, position, this.#store.get<boolean>("hide_dense"), this.#pickedHere()),
    );
  }

  #hoverFeature(feature: number | null, element: HTMLElement | null): void {
    this.#hovered = feature;
    this.#shade();
    if (feature === null || !element || !this.#table || !this.#reading) return this.#frame.card.hide();
    const sort = this.#store.get<Sort>("sort");
    const all = rows(this.#table, this.#reading.tokens.length, { selected: this.#positions(), sort, hideDense: false });
    const value = all.rows.find((row) => row.feature === feature)?.value ?? 0;
    this.#frame.card.show(element, featureCard(this.#reading, this.#table, feature, value));
  }

  #read(event: Event): void {
    event.preventDefault();
    const stop = (): void => this.#store.cancel("read");
    const mine = (this.#reads += 1);
    const done = (): void => {
      if (mine === this.#reads) this.#frame.done("Reading"); // a newer request keeps its line
    };
    this.#frame.working("Reading", null, stop);
    this.#store
      .request("read", { text: this.#text.value }, { onProgress: (progress) => this.#frame.working("Reading", progress, stop) })
      .then(() => {
        done();
        this.#frame.clearErrors("Could not read this text");
      })
      .catch((error: Error) => {
        done();
        this.#frame.error(error, "Could not read this text");
      });
  }

  #code(): string {
    const reading = this.#reading;
    if (!reading) return "";
    return code(reading.code, {
      text: reading.text,
      sae: this.#table?.data.sae ?? null,
      sort: this.#store.get<Sort>("sort"),
      hideDense: this.#store.get<boolean>("hide_dense"),
      tokens: this.#positions(),
      picked: this.#picked(),
    });
  }
}

function render(root: HTMLElement, store: Store): () => void {
  const view = new PromptView(root, store);
  return () => view.dispose();
}

export const mount = mounter(render);
export default widget(render);
