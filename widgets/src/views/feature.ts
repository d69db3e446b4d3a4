// The feature view: where a feature fires, what it writes, what is near it, and your own text.

import { About } from "../feature/about";
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
  type Context,
  type Group,
  type Page,
  type State,
  type Tried,
  type Window,
} from "../feature/data";
import { ActivationHistogram, binCard } from "../feature/histogram";
import { contextCard, effects, FEW, neighbours, sources, weights } from "../feature/panels";
import { div, dots, largestOf, quiet, signed, span, sub } from "../feature/parts";
import { OwnText } from "../feature/text";
import { decode, type NdArray } from "../store/arrays";
import { Superseded, type Progress, type Store } from "../store/types";
import { debounce, fill, h } from "../ui/dom";
import { count, number, percent, plural, printable } from "../ui/format";
import { Frame } from "../ui/frame";
import { mounter, widget } from "../ui/view";

const WINDOWS: Record<Window, string> = { "5": "\u00b15 tokens", "10": "\u00b110 tokens", whole: "all tokens kept" };
const DESTINATIONS = [["list", "Add to list"], ["steering", "Steer"], ["circuit", "Add to circuit"]] as const;
/** State that changes the picture, and state that only marks what is in it. */
const DRAWN = ["group", "window", "hide_duplicates", "brush", "marked", "text", "history", "place", "features_picked", "_brushed", "_tried"];
const MARKED = ["contexts_picked", "tokens_brushed"];
/** How long the pointer rests on a context before its ablation is measured, in milliseconds. */
const REST = 150;

class FeatureView {
  readonly #store: Store;
  readonly #frame: Frame;
  readonly #about: About;
  readonly #undo: (() => void)[] = [];
  readonly #effects = new Map<string, NdArray | string>();
  /** The words under which the newest request of each kind is shown. */
  readonly #newest = new Map<string, string>();
  #page: Page | null = null;
  #groups: Group[] = [];
  #histogram: ActivationHistogram | null = null;
  #generation = 0;
  #mostEffects = FEW;
  #said = "";
  #rest: ReturnType<typeof setTimeout> | undefined;

  readonly #back = quiet("\u2039", () => this.#go(-1), { class: "wb-quiet wb-step" });
  readonly #forward = quiet("\u203a", () => this.#go(1), { class: "wb-quiet wb-step" });
  readonly #ref = h("span", { class: "wb-title wb-mono", tabindex: -1 });
  readonly #label = h("input", { type: "text", class: "wb-label", "aria-label": "Label", maxlength: 200, placeholder: "no label" });
  readonly #choice = h("select", { "aria-label": "Contexts shown", onchange: () => this.#set({ group: this.#choice.value }) });
  readonly #window = h("select", { "aria-label": "Tokens on each side", onchange: () => this.#set({ window: this.#window.value }) });
  readonly #duplicates = h("input", { type: "checkbox", onchange: () => this.#set({ hide_duplicates: this.#duplicates.checked }) });
  readonly #send = span("wb-send");
  readonly #brushWords = div("wb-caption wb-brush-words");
  readonly #lists = div("wb-effect-lists");
  readonly #near = div("wb-panels");
  readonly #contexts = new ContextList({
    pick: (context) => this.#toggle("contexts_picked", key(context)),
    brush: (stretches) => this.#set({ tokens_brushed: stretches }),
    clear: () => this.#set({ contexts_picked: [], tokens_brushed: [] }),
    hover: (group, context, at, element) => this.#hover(group, context, at, element),
    leave: () => this.#leave(),
    all: (group) => this.#set({ group: group.kind }),
  });
  readonly #text = new OwnText({
    read: (text) => this.#read(text),
    hover: (context, at, element) => this.#frame.card.show(element, contextCard(context, at, null)),
    leave: () => this.#leave(),
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
    fill(this.#frame.head, this.#back, this.#forward, this.#ref, this.#label, this.#about.badge);
    for (const [value, words] of Object.entries(WINDOWS)) this.#window.append(h("option", { value }, words));
    this.#label.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#label.value = this.#page?.label ?? "";
      if (event.key === "Escape" || event.key === "Enter") this.#label.blur();
    });
    this.#label.addEventListener("change", () => void this.#setLabel());
    for (const name of DRAWN) this.#undo.push(store.on(name, this.#refresh));
    for (const name of MARKED) this.#undo.push(store.on(name, () => this.#mark()));
    for (const name of ["initial", "feature"]) this.#undo.push(store.on(name, this.#reload));
    this.#undo.push(store.onConnection(this.#refresh), () => this.#about.dispose(), () => clearTimeout(this.#rest));
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
      this.#effects.clear();
      if (moved) this.#said = "";
      this.#frame.card.hide(true);
      this.#frame.clearErrors(failed);
      const inside = this.#frame.body.contains(document.activeElement);
      this.#lay(page);
      this.#about.show(page.provenance, moved);
      this.#draw();
      if (moved && inside) this.#ref.focus();
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
      { brush: (bins) => this.#brush(bins), hover: (element, bin) => this.#hoverBin(plot, element, bin) },
    );
    this.#histogram = plot;
    const logits = new ActivationHistogram(
      page.logit_histogram,
      { name: "Logit effects on all tokens, log count", axis: "logits per unit" },
      { brush: null, hover: (element, bin) => this.#hoverBin(logits, element, bin) },
    );
    const indexed = page.counted_tokens > 0;
    const words = dots(
      indexed && `density ${percent(page.density)}`,
      indexed && `max ${number(page.maximum)}`,
      indexed && `mean ${number(page.mean)}`,
      indexed && `fires in ${compact(page.fires)} of ${compact(page.counted_tokens)} tokens`,
      `${page.architecture}, ${count(page.d_sae)} features`,
      page.out_site !== page.site && `${page.site} \u2192 ${page.out_site}`,
    );
    const exact = `Fires on ${count(page.fires)} of ${plural(page.counted_tokens, "counted token")}; max ${page.maximum}, mean ${page.mean}. BOS, EOS, padding and template are not counted.`;
    fill(
      this.#frame.body,
      !page.complete &&
        h(
          "div",
          { class: "wb-state wb-info wb-partial", role: "status" },
          h("b", {}, indexed ? "Partial" : "No index"),
          span(
            "wb-message",
            indexed
              ? `The index is still being built: these figures rest on the ${compact(page.counted_tokens)} tokens read so far.`
              : "This page holds what the weights say. Contexts and statistics come from a feature index; s.index(corpus) makes one.",
          ),
          this.#live && quiet("Refresh", () => this.#open(page.feature, null, true)),
        ),
      div("wb-facts-line", h("span", { class: "wb-muted", title: exact }, words), this.#send),
      page.description && div("wb-description", printable(page.description)),
      div("wb-feature-columns",
        div("wb-side",
          page.fires > 0 && h("div", {}, sub("activations, log count"), plot.element, this.#brushWords),
          page.raises.length + page.lowers.length > 0 &&
            div("wb-logits",
              this.#lists,
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
    const steps: [HTMLButtonElement, string, number][] = [[this.#back, "Back", -1], [this.#forward, "Forward", 1]];
    for (const [button, words, by] of steps) {
      const to = state.history[state.place + by];
      button.disabled = to === undefined || (mode === "live" && !this.#live);
      button.title = button.ariaLabel = to === undefined ? words : `${words} to ${to}`;
    }
    const label = page.label === null ? "" : printable(page.label);
    this.#ref.textContent = page.feature;
    if (document.activeElement !== this.#label) this.#label.value = label;
    this.#label.title = label;
    this.#label.readOnly = mode === "snapshot" || connection === "lost";
    this.#drawSend(state);
    this.#drawEffects(page);
    this.#drawContexts(page, state);
    this.#drawNear(page, state);
    this.#histogram?.show(state.brush, state.marked);
    const live = mode === "live" && page.live;
    this.#text.show(state.text, this.#stored<Tried>("_tried"), page.maximum ?? 0, { live, lost: connection === "lost" });
    fill(this.#frame.legend, span("wb-legend"), `0 to ${number(page.maximum)}`);
    this.#frame.legend.hidden = !page.maximum;
    this.#drawFoot();
  }

  #drawSend({ features_picked: picked }: State): void {
    if (this.#store.mode !== "live") return;
    const what = picked.length ? `the ${plural(picked.length, "picked feature")}` : "this feature";
    const buttons = DESTINATIONS.map(([destination, words]) =>
      quiet(picked.length ? `${words} (${picked.length})` : words, () => void this.#sendTo(destination, words), {
        class: "",
        title: `${words}: ${what}`,
        disabled: this.#store.connection === "lost",
      }),
    );
    fill(this.#send, ...buttons);
  }

  #drawEffects(page: Page): void {
    const { raises, lowers } = page;
    const largest = largestOf([...raises, ...lowers]);
    const all = Math.max(raises.length, lowers.length);
    const few = this.#mostEffects === FEW;
    const toggle = quiet(`show ${few ? all : FEW} each`, () => {
      this.#mostEffects = few ? all : FEW;
      this.#drawEffects(page);
      this.#lists.querySelector("button")?.focus();
    }, { class: "wb-quiet wb-more", "aria-expanded": String(!few) });
    fill(
      this.#lists,
      effects("raises, logits per unit", raises, largest, this.#mostEffects),
      effects("lowers, logits per unit", lowers, largest, this.#mostEffects),
      all > FEW && toggle,
    );
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
    const options = choices(groups);
    const choice = options.some(([value]) => value === state.group) ? state.group : "overview";
    fill(this.#choice, ...options.map(([value, words]) => h("option", { value }, words)));
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
    const focused = this.#near.contains(document.activeElement) && document.activeElement?.getAttribute("aria-label");
    const snapshot = this.#store.mode === "snapshot";
    const actions = {
      open: this.#live || snapshot ? (feature: string) => this.#open(feature) : null,
      pick: (feature: string) => this.#toggle("features_picked", feature),
      picked,
      openable: (feature: string) => !snapshot || page.openable.includes(feature),
    };
    fill(
      this.#near,
      neighbours("nearest directions, cosine", "Decoder directions within its SAE and across resident SAEs on spaces of the same width", page.similar, number, actions),
      neighbours("fire with it, share", "Fraction of this feature's tokens on which the other fires too", page.cofiring, percent, actions),
      weights(page),
      sources(page, this.#groups.find((group) => group.kind === "top")?.contexts[0]),
    );
    if (focused) this.#near.querySelector<HTMLElement>(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
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

  async #setLabel(): Promise<void> {
    const failed = "Could not set the label";
    try {
      const { where } = await this.#store.request<{ where: string }>("set_label", { text: this.#label.value });
      this.#said = `label kept in ${where}`;
      this.#frame.clearErrors(failed);
      this.#drawFoot();
    } catch (error) {
      this.#frame.error(error, failed);
      this.#label.value = this.#page?.label ?? "";
    }
  }

  async #sendTo(destination: string, words: string): Promise<void> {
    try {
      const { told, features, where } = await this.#store.request<{ told: number; features: string[]; where: string }>("send_to", { destination });
      const what = features.length === 1 ? features[0] : plural(features.length, "feature");
      this.#frame.clearErrors(words);
      this.#said = told ? `${what} sent to ${where}` : "";
      const message = `Nothing in the notebook takes features yet. view.selection holds ${what}; view.on_send(callback) would receive it.`;
      if (!told) this.#frame.notice({ level: "info", title: words, message });
      this.#drawFoot();
    } catch (error) {
      this.#frame.error(error, words);
    }
  }

  #hoverBin(plot: ActivationHistogram, element: HTMLElement | null, bin: number): void {
    if (element) this.#frame.card.show(element, binCard(plot, bin));
    else this.#frame.card.hide();
  }

  #leave(): void {
    clearTimeout(this.#rest);
    this.#frame.card.hide();
  }

  /** A token's card; where there is a kernel, with what ablating the feature does to the loss. */
  #hover(group: Group, context: Context, at: number, element: HTMLElement): void {
    clearTimeout(this.#rest);
    const { card } = this.#frame;
    const name = `${group.place} ${key(context)}`;
    const show = (): void => {
      const found = this.#effects.get(name);
      const change = typeof found === "object" ? (found.data[at] ?? NaN) : NaN;
      const words = Number.isNaN(change) ? "no loss here: nothing is before it" : `loss ${signed(change, 4)} nats at this token`;
      card.show(element, contextCard(context, at, !found ? (this.#live ? "\u2026" : null) : typeof found === "string" ? found : words));
    };
    show();
    if (this.#effects.has(name) || !this.#live) return;
    const feature = this.#page?.feature;
    const index = group.contexts.indexOf(context);
    this.#rest = setTimeout(() => {
      this.#store
        .request<{ effect: NdArray }>("loss_effect", { feature, group: group.place, index })
        .then(({ effect }) => effect)
        .catch((error: Error) => (error instanceof Superseded ? null : `not measured: ${error.message}`))
        .then((found) => {
          if (found === null || feature !== this.#page?.feature) return;
          this.#effects.set(name, found);
          if (card.anchoredTo === element) show();
        });
    }, REST);
  }
}

function render(root: HTMLElement, store: Store): () => void {
  const view = new FeatureView(root, store);
  return () => view.dispose();
}

export const mount = mounter(render);
export default widget(render);
