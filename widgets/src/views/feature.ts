// The feature view: where a feature fires, what it writes, what is near it, and your own text.

import { code } from "../feature/code";
import { ContextList } from "../feature/contexts";
import {
  choices,
  compact,
  key,
  onPage,
  sections,
  unpack,
  visit,
  type Brushed,
  type Group,
  type Page,
  type State,
  type Tried,
  type Window,
} from "../feature/data";
import { ActivationHistogram } from "../feature/histogram";
import { TokenCards } from "../feature/hover";
import { Head } from "../feature/head";
import { figures, partial } from "../feature/layout";
import { contextCard, LogitEffects, near, redraw } from "../feature/panels";
import { div, dots, quiet, span, sub } from "../feature/parts";
import { Sending } from "../feature/sending";
import { OwnText } from "../feature/text";
import { decode } from "../store/arrays";
import { Superseded, type Progress, type Store } from "../store/types";
import { About } from "../ui/about";
import { debounce, fill, h, options } from "../ui/dom";
import { number, plural, printable } from "../ui/format";
import { Frame } from "../ui/frame";
import { mounter, widget } from "../ui/view";

const WINDOWS: Record<Window, string> = { "5": "\u00b15 tokens", "10": "\u00b110 tokens", whole: "all tokens kept" };
/** State that changes the picture, and state that only marks what is in it. */
const DRAWN = ["group", "window", "hide_duplicates", "brush", "marked", "text", "history", "place", "features_picked", "_brushed", "_tried"];
const MARKED = ["contexts_picked", "tokens_brushed"];

class FeatureView {
  readonly #store: Store;
  readonly #frame: Frame;
  readonly #about: About;
  readonly #cards: TokenCards;
  readonly #undo: (() => void)[] = [];
  /** The words under which the newest request of each kind is shown. */
  readonly #newest = new Map<string, string>();
  #page: Page | null = null;
  #groups: Group[] = [];
  #histogram: ActivationHistogram | null = null;
  #generation = 0;
  #said = "";

  readonly #head = new Head(
    (by) => this.#go(by),
    (text) => void this.#setLabel(text),
  );
  readonly #choice = h("select", { "aria-label": "Contexts shown", onchange: () => this.#set({ group: this.#choice.value }) });
  readonly #window = h("select", { "aria-label": "Tokens on each side", onchange: () => this.#set({ window: this.#window.value }) });
  readonly #duplicates = h("input", { type: "checkbox", onchange: () => this.#set({ hide_duplicates: this.#duplicates.checked }) });
  readonly #send: Sending;
  readonly #brushWords = div("wb-caption wb-brush-words");
  readonly #lists = new LogitEffects();
  readonly #near = div("wb-panels");
  readonly #contexts = new ContextList({
    pick: (context) => this.#toggle("contexts_picked", key(context)),
    brush: (stretches) => this.#set({ tokens_brushed: stretches }),
    clear: () => this.#set({ contexts_picked: [], tokens_brushed: [] }),
    hover: (group, context, at, element) => this.#cards.show(group, context, at, element),
    leave: () => this.#cards.leave(),
    all: (group) => this.#set({ group: group.kind }),
  });
  readonly #text = new OwnText({
    read: (text) => this.#read(text),
    hover: (context, at, element) => this.#frame.card.show(element, contextCard(context, at, null)),
    leave: () => this.#cards.leave(),
  });
  readonly #refresh = debounce(() => this.#draw());
  readonly #reload = debounce(() => void this.#load());

  constructor(root: HTMLElement, store: Store) {
    this.#store = store;
    this.#frame = new Frame(root, "Feature", store);
    this.#about = new About(
      this.#frame,
      store,
      () => code(this.#page?.code ?? [], this.#state),
      () => this.#live,
    );
    this.#send = new Sending(this.#frame, store, (said) => {
      this.#said = said;
      this.#drawFoot();
    });
    this.#cards = new TokenCards(this.#frame, store, () => this.#page?.feature, () => this.#live);
    fill(this.#frame.head, ...this.#head.elements, this.#about.badge);
    options(this.#window, Object.entries(WINDOWS));
    for (const name of DRAWN) this.#undo.push(store.on(name, this.#refresh));
    for (const name of MARKED) this.#undo.push(store.on(name, () => this.#mark()));
    for (const name of ["initial", "feature"]) this.#undo.push(store.on(name, this.#reload));
    this.#undo.push(store.onConnection(this.#refresh), () => this.#about.dispose(), () => this.#cards.leave());
    this.#frame.loading("Opening the feature\u2026");
    void this.#load();
  }

  dispose(): void {
    for (const undo of this.#undo) undo();
    this.#frame.dispose();
  }

  get #state(): State {
    const state = {} as Record<string, unknown>;
    for (const name of ["feature", ...DRAWN, ...MARKED]) state[name] = this.#store.get(name);
    return state as unknown as State;
  }

  #set(patch: Partial<Record<keyof State, unknown>>): void {
    this.#store.set(patch);
  }

  /** Whether Python can be asked. */
  get #live(): boolean {
    return this.#store.mode === "live" && this.#page?.live === true && this.#store.connection !== "lost";
  }

  // Which feature

  async #load(): Promise<void> {
    const generation = (this.#generation += 1);
    const failed = "Could not show the feature";
    try {
      const { feature, text } = this.#state;
      const first = await this.#store.initial<Page>();
      const recorded = this.#store.mode === "snapshot" && first.feature !== feature;
      const page = recorded ? await this.#store.request<Page>("page", { feature }) : first;
      if (generation !== this.#generation) return;
      const moved = this.#page !== null && this.#page.feature !== page.feature;
      this.#page = page;
      this.#groups = unpack(page.groups);
      this.#cards.clear();
      if (moved) this.#said = "";
      this.#frame.card.hide(true);
      this.#frame.clearErrors(failed);
      const inside = this.#frame.body.contains(document.activeElement);
      this.#lay(page);
      this.#about.show(page.provenance, moved);
      this.#draw();
      void this.#attribute(page);
      if (moved && inside) this.#head.focus();
      if (moved && this.#live && text) this.#read(text);
    } catch (error) {
      if (error instanceof Superseded || generation !== this.#generation) return;
      this.#frame.error(error, failed);
      if (!this.#page) this.#frame.empty("Nothing to show.");
    }
  }

  #go(by: number): void {
    const { history, place } = this.#state;
    const feature = history[place + by];
    if (feature !== undefined) this.#open(feature, place + by);
  }

  #open(feature: string, place: number | null = null, fresh = false): void {
    if (this.#store.mode === "live") {
      return this.#work(fresh ? "Refreshing" : `Opening ${feature}`, "feature", "Could not open the feature", { feature, place, fresh });
    }
    const state = this.#state;
    const next = place === null ? visit(state.history, state.place, feature) : { place };
    this.#set({ ...next, feature, contexts_picked: [], tokens_brushed: [], ...this.#unbrushed() });
  }

  #unbrushed(): Partial<State> {
    return { brush: [], ...(this.#state.group === "brush" ? { group: "overview" } : {}) };
  }

  /** Ask for something whose answer comes as state; say so while it lasts. */
  #work(words: string, kind: string, failed: string, params: Record<string, unknown>): void {
    const done = (): void => this.#frame.done(words);
    const stop = (): void => {
      this.#store.cancel(kind);
      done();
    };
    const show = (progress: Progress | null): void => this.#frame.working(words, progress, stop);
    this.#newest.set(kind, words);
    show(null);
    this.#store.request(kind, params, { onProgress: show }).then(
      () => {
        done();
        this.#frame.clearErrors(failed);
      },
      (error: Error) => {
        const replaced = error instanceof Superseded;
        // The line of a request that replaced this one under the same words stays.
        if (!replaced || this.#newest.get(kind) !== words) done();
        if (!replaced) this.#draw(); // what was shown as about to come is not coming
        this.#frame.error(error, failed);
      },
    );
  }

  // Drawing

  #lay(page: Page): void {
    const plot = new ActivationHistogram(
      page.histogram,
      { name: "Activations, log count", axis: "activation" },
      { brush: (bins) => this.#brush(bins), hover: this.#hoverBin },
    );
    this.#histogram = plot;
    const logits = new ActivationHistogram(
      page.logit_histogram,
      { name: "Logit effects on all tokens, log count", axis: "logits per unit" },
      { brush: null, hover: this.#hoverBin },
    );
    fill(
      this.#frame.body,
      partial(page, this.#live ? () => this.#open(page.feature, null, true) : null),
      div("wb-facts-line", figures(page), this.#send.element),
      page.description && div("wb-description", printable(page.description)),
      div("wb-feature-columns",
        div("wb-side",
          page.fires > 0 && h("div", {}, sub("activations, log count"), plot.element, this.#brushWords),
          page.raises.length + page.lowers.length > 0 &&
            div("wb-logits",
              this.#lists.element,
              sub("logit effects, log count", "Direct effect of one unit of activation on every token's logit, through the final norm's gain and the unembedding"),
              logits.element,
            ),
        ),
        div("wb-main",
          div("wb-controls",
            span("wb-title", "Contexts"),
            this.#choice,
            this.#window,
            h("label", { class: "wb-muted" }, this.#duplicates, " hide duplicates"),
          ),
          this.#contexts.element,
          this.#text.element,
        ),
      ),
      this.#near,
    );
    this.#contexts.element.scrollTop = 0;
  }

  #draw(): void {
    const page = this.#page;
    if (!page) return;
    const state = this.#state;
    const { connection, mode } = this.#store;
    this.#head.show(page, state, mode === "live" && !this.#live, mode === "snapshot" || connection === "lost");
    if (mode === "live") this.#send.show(state.features_picked, connection === "lost");
    this.#lists.show(page);
    this.#drawContexts(page, state);
    this.#drawNear(page, state);
    this.#histogram?.show(state.brush, state.marked);
    const live = mode === "live" && page.live;
    this.#text.show(state.text, this.#stored<Tried>("_tried"), page.maximum ?? 0, { live, lost: connection === "lost" });
    fill(this.#frame.legend, span("wb-legend"), `0 to ${number(page.maximum)}`);
    this.#frame.legend.hidden = !page.maximum;
    this.#drawFoot();
  }

  /** What Python computed for a gesture, where it is this feature's. */
  #stored<T extends { feature: string }>(name: string): T | null {
    const stored = decode(this.#store.get(name) ?? null) as T | null;
    return stored?.feature === this.#page?.feature ? stored : null;
  }

  /** The contexts of the brushed range: sampled for it, or else what the page has of it. */
  #brushed(): { group: Group; fresh: boolean } | null {
    const { brush } = this.#state;
    if (!brush.length) return null;
    const stored = this.#stored<Brushed>("_brushed");
    const group = stored && String(stored.brush) === String(brush) ? unpack(stored.packed)[0] : undefined;
    return group ? { group, fresh: stored?.fresh ?? false } : { group: onPage(this.#groups, brush[0] ?? 0, brush[1] ?? 0), fresh: false };
  }

  #drawContexts(page: Page, state: State): void {
    const brushed = this.#brushed();
    const groups = brushed ? [...this.#groups, brushed.group] : this.#groups;
    const offered = choices(groups);
    const choice = offered.some(([value]) => value === state.group) ? state.group : "overview";
    options(this.#choice, offered);
    this.#choice.value = choice;
    this.#window.value = state.window;
    this.#duplicates.checked = state.hide_duplicates;
    this.#contexts.show({
      sections: sections(groups, choice, state.window, state.hide_duplicates),
      window: state.window,
      largest: page.maximum ?? 0,
      gaps: page.gaps,
      picked: state.contexts_picked,
      stretches: state.tokens_brushed,
      nothing:
        page.fires || !page.counted_tokens
          ? "No contexts."
          : `This feature fired on none of the ${compact(page.counted_tokens)} counted tokens.`,
    });
    const hint = `Drag over bars to ${this.#live ? "sample" : "filter by"} a range.`;
    const said =
      brushed &&
      `brushed ${number(brushed.group.low)} to ${number(brushed.group.high)} \u00b7 ${plural(brushed.group.contexts.length, "context")}${brushed.fresh ? "" : " of this page"} `;
    fill(
      this.#brushWords,
      said ?? (page.fires ? hint : ""),
      brushed && quiet("Clear", () => this.#brush(null)),
      state.marked ? span("wb-marked", `${number(state.marked)} on the current text`) : null,
    );
  }

  #mark(): void {
    const state = this.#state;
    this.#contexts.mark(state.contexts_picked, state.tokens_brushed);
    this.#drawFoot();
  }

  #drawNear(page: Page, { features_picked: picked }: State): void {
    const snapshot = this.#store.mode === "snapshot";
    redraw(this.#near, near(page, {
      open: this.#live || snapshot ? (feature: string) => this.#open(feature) : null,
      pick: (feature: string) => this.#toggle("features_picked", feature),
      picked,
      openable: (feature: string) => !snapshot || page.openable.includes(feature),
    }));
  }

  /** Where an attention feature's activation came from takes a run: it is asked for when painted. */
  async #attribute(page: Page): Promise<void> {
    if (page.sourced || !this.#live) return;
    await this.#frame.attempt("Could not attribute to heads", async () => {
      Object.assign(page, await this.#store.request<Pick<Page, "sources">>("sources", { feature: page.feature }));
    });
    page.sourced = true;
    if (page === this.#page) this.#drawNear(page, this.#state);
  }

  #drawFoot(): void {
    const state = this.#state;
    let tokens = 0;
    for (const [, first = 0, last = -1] of state.tokens_brushed) tokens += last - first + 1;
    this.#frame.status.textContent = dots(
      state.contexts_picked.length ? `${plural(state.contexts_picked.length, "context")} picked` : "no context picked",
      tokens > 0 && `${plural(tokens, "token")} brushed`,
      state.features_picked.length > 0 && `${plural(state.features_picked.length, "feature")} picked`,
      this.#store.mode === "snapshot" && "snapshot",
      this.#said,
    );
  }

  // What a person does

  #toggle(name: "contexts_picked" | "features_picked", item: string): void {
    const present = this.#state[name];
    this.#set({ [name]: present.includes(item) ? present.filter((one) => one !== item) : [...present, item] });
  }

  #brush(bins: [number, number] | null): void {
    const page = this.#page;
    if (!page) return;
    if (!bins) return this.#set(this.#unbrushed());
    const edges = page.histogram.edges.data;
    const [low, high] = [Math.max(0, edges[bins[0]] ?? 0), edges[bins[1] + 1] ?? 0];
    if (this.#live) this.#work("Sampling contexts", "resample", "Could not sample this range", { feature: page.feature, low, high });
    else this.#set({ brush: [low, high], group: "brush" });
  }

  #read(text: string): void {
    if (text.trim() === "") return this.#set({ text: "", marked: null });
    this.#work("Reading", "try_text", "Could not read this text", { text });
  }

  #setLabel(text: string): Promise<void> {
    return this.#frame.attempt("Could not set the label", async () => {
      const { where } = await this.#store.request<{ where: string }>("set_label", { text });
      this.#said = `label kept in ${where}`;
    }).then(() => this.#draw());
  }

  readonly #hoverBin = (element: HTMLElement | null, card: Node[]): void => {
    if (element) this.#frame.card.show(element, card);
    else this.#frame.card.hide();
  };
}

function render(root: HTMLElement, store: Store): () => void {
  const view = new FeatureView(root, store);
  return () => view.dispose();
}

export const mount = mounter(render);
export default widget(render);
