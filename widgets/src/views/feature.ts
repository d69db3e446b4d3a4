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
  type Choice,
  type Context,
  type Group,
  type Page,
  type Tried,
  type Window,
} from "../feature/data";
import { ActivationHistogram, binCard } from "../feature/histogram";
import { contextCard, effects, neighbours, sources, weights } from "../feature/panels";
import { OwnText } from "../feature/text";
import { decode, type NdArray } from "../store/arrays";
import { Superseded, type Store } from "../store/types";
import { copyText, download } from "../ui/clipboard";
import { debounce, fill, h } from "../ui/dom";
import { count, number, percent, plural, printable } from "../ui/format";
import { Frame } from "../ui/frame";
import { badge, fillBadge, provenanceCard, type Check } from "../ui/provenance";
import { mounter, widget } from "../ui/view";

const WINDOWS: Record<Window, string> = { "5": "\u00b15 tokens", "10": "\u00b110 tokens", whole: "all tokens kept" };
const DESTINATIONS: [string, string, string][] = [
  ["list", "Add to list", "added to the list"],
  ["steering", "Steer", "sent to steering"],
  ["circuit", "Add to circuit", "added to the circuit"],
];
/** How long the pointer rests on a context before its ablation is measured, in milliseconds. */
const REST = 150;

class FeatureView {
  readonly #store: Store;
  readonly #frame: Frame;
  readonly #undo: (() => void)[] = [];
  #page: Page | null = null;
  #groups: Group[] = [];
  #histogram: ActivationHistogram | null = null;
  #check: Check = { state: "unchecked" };
  #generation = 0;
  #allEffects = false;
  #said = "";
  #sampled = false;
  #effects = new Map<string, NdArray | string>();
  #rest: ReturnType<typeof setTimeout> | null = null;

  readonly #back = this.#step("\u2039", "Back", -1);
  readonly #forward = this.#step("\u203a", "Forward", 1);
  readonly #ref = h("span", { class: "wb-title wb-mono", tabindex: -1 });
  readonly #label = h("input", { type: "text", class: "wb-label", "aria-label": "Label", maxlength: 200, placeholder: "no label" });
  readonly #badge = badge(
    (button, pinned) => this.#showProvenance(button, pinned),
    () => this.#frame.card.hide(),
  );
  readonly #copied = h("button", { class: "wb-quiet", type: "button", onclick: () => void this.#copyCode() }, "Copy as code");
  readonly #choice = h("select", { "aria-label": "Contexts shown", onchange: () => this.#store.set({ group: this.#choice.value }) });
  readonly #window = h("select", { "aria-label": "Tokens on each side", onchange: () => this.#store.set({ window: this.#window.value }) });
  readonly #duplicates = h("input", { type: "checkbox", onchange: () => this.#store.set({ hide_duplicates: this.#duplicates.checked }) });
  readonly #send = h("span", { class: "wb-send" });
  readonly #brushWords = h("div", { class: "wb-caption wb-brush-words" });
  readonly #near = h("div", { class: "wb-panels" });
  readonly #logits = h("div", { class: "wb-logits" });
  readonly #contexts = new ContextList({
    pick: (context) => this.#toggle("contexts_picked", key(context)),
    brush: (stretches) => this.#store.set({ tokens_brushed: stretches }),
    clear: () => this.#store.set({ contexts_picked: [], tokens_brushed: [] }),
    hover: (group, context, at, element) => this.#hover(group, context, at, element),
    leave: () => this.#leave(),
    all: (group) => this.#store.set({ group: group.kind }),
  });
  readonly #text = new OwnText({
    read: (text) => this.#read(text),
    hover: (context, at, element) => this.#frame.card.show(element, contextCard(context, at, null)),
    leave: () => this.#frame.card.hide(),
  });
  readonly #refresh = debounce(() => this.#draw());
  readonly #reload = debounce(() => void this.#load());

  constructor(root: HTMLElement, store: Store) {
    this.#store = store;
    this.#frame = new Frame(root, "Feature", store);
    fill(this.#frame.head, this.#back, this.#forward, this.#ref, this.#label, this.#badge);
    this.#frame.actions.prepend(this.#copied);
    if (store.mode === "live") {
      const exported = h("button", { class: "wb-quiet", type: "button", onclick: () => void this.#export() }, "Export");
      exported.title = "Download this view as one HTML file that needs no kernel and no network";
      this.#frame.actions.append(exported);
    }
    for (const [value, words] of Object.entries(WINDOWS)) this.#window.append(h("option", { value }, words));
    this.#label.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.#label.blur();
      if (event.key === "Escape") {
        event.stopPropagation();
        this.#label.value = this.#page?.label ?? "";
        this.#label.blur();
      }
    });
    this.#label.addEventListener("change", () => void this.#setLabel());
    this.#frame.root.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#closeCard();
    });
    const outside = (event: Event): void => {
      const target = event.composedPath()[0] as Node;
      if (!this.#frame.card.element.contains(target) && !this.#badge.contains(target)) this.#closeCard(false);
    };
    document.addEventListener("pointerdown", outside);
    this.#undo.push(() => document.removeEventListener("pointerdown", outside));
    const drawn = ["group", "window", "hide_duplicates", "brush", "marked", "text", "history", "place", "features_picked", "_brushed", "_tried"];
    for (const name of drawn) this.#undo.push(store.on(name, this.#refresh));
    for (const name of ["contexts_picked", "tokens_brushed"]) this.#undo.push(store.on(name, () => this.#mark()));
    for (const name of ["initial", "feature"]) this.#undo.push(store.on(name, this.#reload));
    this.#undo.push(store.onConnection(() => this.#refresh()));
    this.#frame.loading("Opening the feature\u2026");
    void this.#load();
  }

  dispose(): void {
    if (this.#rest !== null) clearTimeout(this.#rest);
    for (const undo of this.#undo) undo();
    this.#frame.dispose();
  }

  // Which feature

  async #load(): Promise<void> {
    const generation = (this.#generation += 1);
    try {
      const wanted = this.#store.get<string>("feature");
      const first = await this.#store.initial<Page>();
      const page = first.feature === wanted || this.#store.mode === "live" ? first : await this.#store.request<Page>("page", { feature: wanted });
      if (generation !== this.#generation) return;
      const other = this.#page?.feature !== page.feature;
      const moved = other && this.#page !== null;
      this.#page = page;
      this.#groups = unpack(page.groups);
      this.#effects.clear();
      if (other) this.#check = { state: "unchecked" };
      if (moved) this.#said = "";
      this.#frame.card.hide(true);
      this.#frame.clearErrors("Could not show the feature");
      this.#lay(page);
      this.#draw();
      if (moved && this.#frame.body.contains(document.activeElement)) this.#ref.focus();
      if (moved && this.#live && this.#store.get<string>("text")) this.#read(this.#store.get<string>("text"));
    } catch (error) {
      if (error instanceof Superseded || generation !== this.#generation) return;
      this.#frame.error(error, "Could not show the feature");
      if (!this.#page) this.#frame.empty("Nothing to show.");
    }
  }

  get #live(): boolean {
    return this.#store.mode === "live" && this.#page?.live === true && this.#store.connection !== "lost";
  }

  #step(sign: string, words: string, by: number): HTMLButtonElement {
    return h("button", { class: "wb-quiet wb-step", type: "button", title: words, "aria-label": words, onclick: () => this.#go(by) }, sign);
  }

  #go(by: number): void {
    const place = this.#store.get<number>("place") + by;
    const feature = this.#store.get<string[]>("history")[place];
    if (feature !== undefined) this.#open(feature, place);
  }

  #open(feature: string, place: number | null = null, fresh = false): void {
    if (this.#store.mode === "snapshot") {
      const history = this.#store.get<string[]>("history");
      const next = place === null ? visit(history, this.#store.get<number>("place"), feature) : { history, place };
      return this.#store.set({ ...next, feature, brush: [], contexts_picked: [], tokens_brushed: [], ...this.#withoutBrush() });
    }
    const words = fresh ? "Refreshing" : `Opening ${feature}`;
    this.#work(words, "feature", "Could not open the feature", { feature, place, fresh });
  }

  #withoutBrush(): Record<string, unknown> {
    return this.#store.get<Choice>("group") === "brush" ? { group: "overview" } : {};
  }

  /** Ask for something whose answer comes as state; say so while it lasts. */
  #work(words: string, kind: string, failed: string, params: Record<string, unknown>): void {
    const stop = (): void => this.#store.cancel(kind);
    this.#frame.working(words, null, stop);
    this.#store
      .request(kind, params, { onProgress: (progress) => this.#frame.working(words, progress, stop) })
      .then(() => {
        this.#frame.working(null);
        this.#frame.clearErrors(failed);
      })
      .catch((error: Error) => {
        if (!(error instanceof Superseded)) this.#draw();
        this.#frame.working(null);
        this.#frame.error(error, failed);
      });
  }

  // Drawing

  #lay(page: Page): void {
    const total = page.fires;
    const plot = new ActivationHistogram(page.histogram, { name: "Activations, log count", axis: "activation" }, {
      brush: (bins) => this.#brush(bins),
      hover: (element, bin) => this.#hoverBin(plot, element, bin, total),
    });
    this.#histogram = plot;
    let tokens = 0;
    for (const amount of page.logit_histogram.counts.data) tokens += amount;
    const effect = new ActivationHistogram(page.logit_histogram, { name: "Logit effects on all tokens, log count", axis: "logits per unit", signed: true }, {
      brush: null,
      hover: (element, bin) => this.#hoverBin(effect, element, bin, tokens),
    });
    const facts = [
      `density ${percent(page.density)}`,
      `max ${number(page.maximum)}`,
      `mean ${number(page.mean)}`,
      `fires in ${compact(page.fires)} of ${compact(page.counted_tokens)} tokens${page.complete ? "" : " so far"}`,
      `${page.architecture}, ${count(page.d_sae)} features`,
      page.out_site === page.site ? "" : `${page.site} \u2192 ${page.out_site}`,
    ].filter(Boolean);
    const exact = `fires on ${count(page.fires)} of ${plural(page.counted_tokens, "counted token")} (density ${page.density ?? "unknown"}), max ${page.maximum}, mean ${page.mean}; BOS, EOS, padding and template are not counted`;
    fill(
      this.#frame.body,
      page.complete ? null : this.#partial(page),
      h("div", { class: "wb-facts-line" }, h("span", { class: "wb-muted", title: exact }, facts.join(" \u00b7 ")), this.#send),
      page.description ? h("div", { class: "wb-description" }, printable(page.description)) : null,
      h(
        "div",
        { class: "wb-feature-columns" },
        h("div", { class: "wb-side" }, h("div", { class: "wb-activations" }, h("div", { class: "wb-sub" }, "activations, log count"), plot.element, this.#brushWords), this.#logits),
        h(
          "div",
          { class: "wb-main" },
          h(
            "div",
            { class: "wb-controls" },
            h("span", { class: "wb-title" }, "Contexts"),
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
    fill(this.#logits, h("div", { class: "wb-effect-lists" }), h("div", { class: "wb-sub", title: "Direct effect of one unit of activation on every token's logit, through the final norm's gain and the unembedding" }, "logit effects, log count"), effect.element);
    this.#logits.hidden = !page.raises.length && !page.lowers.length;
    this.#contexts.element.scrollTop = 0;
  }

  #partial(page: Page): HTMLElement {
    return h(
      "div",
      { class: "wb-state wb-info wb-partial", role: "status" },
      h("b", {}, "Partial"),
      h("span", { class: "wb-message" }, `The index is still being built: these figures rest on the ${compact(page.counted_tokens)} tokens read so far.`),
      this.#live ? h("button", { class: "wb-quiet", type: "button", onclick: () => this.#open(page.feature, null, true) }, "Refresh") : null,
    );
  }

  #draw(): void {
    const page = this.#page;
    if (!page) return;
    const [get, live] = [this.#store, this.#live];
    const history = get.get<string[]>("history") ?? [];
    const place = get.get<number>("place") ?? 0;
    this.#back.disabled = place <= 0 || (get.mode === "live" && !live);
    this.#forward.disabled = place >= history.length - 1 || (get.mode === "live" && !live);
    this.#back.title = place > 0 ? `Back to ${history[place - 1]}` : "Back";
    this.#forward.title = place < history.length - 1 ? `Forward to ${history[place + 1]}` : "Forward";
    this.#ref.textContent = page.feature;
    if (document.activeElement !== this.#label) this.#label.value = page.label === null ? "" : printable(page.label);
    this.#label.title = page.label === null ? "" : printable(page.label);
    this.#label.readOnly = get.mode === "snapshot" || get.connection === "lost";
    fillBadge(this.#badge, page.provenance, this.#check);
    this.#drawSend();
    this.#drawEffects(page);
    this.#drawContexts(page);
    this.#drawNear(page);
    const tried = this.#tried();
    this.#histogram?.show(get.get<number[]>("brush") ?? [], get.get<number | null>("marked") ?? null);
    this.#text.show(get.get<string>("text") ?? "", tried, page.maximum, page.gaps, { live: get.mode === "live" && page.live, lost: get.connection === "lost" });
    fill(this.#frame.legend, h("span", { class: "wb-legend" }), `0 to ${number(page.maximum)}`);
    this.#drawFoot();
  }

  #drawSend(): void {
    const picked = (this.#store.get<string[]>("features_picked") ?? []).length;
    const on = this.#store.mode === "live";
    fill(
      this.#send,
      ...(on
        ? DESTINATIONS.map(([destination, words, done]) =>
            h(
              "button",
              {
                type: "button",
                disabled: this.#store.connection === "lost",
                title: picked ? `${words}: the ${plural(picked, "picked feature")}` : `${words}: this feature`,
                onclick: () => void this.#sendTo(destination, words, done),
              },
              picked ? `${words} (${picked})` : words,
            ),
          )
        : []),
    );
  }

  #drawEffects(page: Page): void {
    const holder = this.#logits.querySelector(".wb-effect-lists");
    if (!holder) return;
    const largest = Math.max(0, ...[...page.raises, ...page.lowers].map(([, , value]) => Math.abs(value)));
    const more = Math.max(page.raises.length, page.lowers.length);
    fill(
      holder,
      effects("raises, logits per unit", page.raises, largest, this.#allEffects),
      effects("lowers", page.lowers, largest, this.#allEffects),
      more > 5
        ? h(
            "button",
            {
              class: "wb-quiet wb-more",
              type: "button",
              "aria-expanded": String(this.#allEffects),
              onclick: () => {
                this.#allEffects = !this.#allEffects;
                this.#drawEffects(page);
                (holder.querySelector(".wb-more") as HTMLElement | null)?.focus();
              },
            },
            this.#allEffects ? "show 5 each" : `show ${more} each`,
          )
        : null,
    );
  }

  /** The contexts of the brushed range: sampled for it, or else what the page has of it. */
  #brushed(): Group | null {
    this.#sampled = false;
    const brush = this.#store.get<number[]>("brush") ?? [];
    if (!brush.length || !this.#page) return null;
    const sampled = decode(this.#store.get<unknown>("_brushed") ?? null) as Brushed | null;
    if (sampled && sampled.feature === this.#page.feature && String(sampled.brush) === String(brush)) {
      this.#sampled = sampled.fresh;
      return unpack(sampled.packed)[0] ?? null;
    }
    return onPage(this.#groups, brush[0] as number, brush[1] as number);
  }

  #tried(): Tried | null {
    const tried = decode(this.#store.get<unknown>("_tried") ?? null) as Tried | null;
    return tried && tried.feature === this.#page?.feature ? tried : null;
  }

  #allGroups(): Group[] {
    const brushed = this.#brushed();
    return brushed ? [...this.#groups, brushed] : this.#groups;
  }

  #drawContexts(page: Page): void {
    const groups = this.#allGroups();
    const options = choices(groups);
    const wanted = this.#store.get<Choice>("group");
    const choice = options.some(([value]) => value === wanted) ? wanted : "overview";
    fill(this.#choice, ...options.map(([value, words]) => h("option", { value }, words)));
    this.#choice.value = choice;
    const window = this.#store.get<Window>("window");
    this.#window.value = window;
    const hide = this.#store.get<boolean>("hide_duplicates");
    this.#duplicates.checked = hide;
    this.#contexts.show({
      sections: sections(groups, choice, window, hide),
      window,
      largest: page.maximum,
      gaps: page.gaps,
      picked: new Set(this.#store.get<string[]>("contexts_picked") ?? []),
      stretches: this.#store.get<number[][]>("tokens_brushed") ?? [],
      nothing: page.fires
        ? "No contexts were kept for this feature."
        : `This feature did not fire on any of the ${compact(page.counted_tokens)} counted tokens.`,
    });
    const brushed = groups.find((group) => group.kind === "brush");
    const local = brushed && !this.#sampled ? " of those on this page" : "";
    const marked = this.#store.get<number | null>("marked");
    fill(
      this.#brushWords,
      brushed
        ? h(
            "span",
            {},
            `brushed ${number(brushed.low)} to ${number(brushed.high)} \u00b7 ${plural(brushed.contexts.length, "context")}${local}`,
            h("button", { class: "wb-quiet", type: "button", onclick: () => this.#brush(null) }, "Clear"),
          )
        : page.fires
          ? this.#live
            ? "Drag over bars to sample contexts from that range."
            : "Drag over bars to see this page's contexts from that range."
          : "",
      marked !== null && marked !== undefined && marked > 0 ? h("span", { class: "wb-marked" }, ` line: ${number(marked)}, current text`) : null,
    );
  }

  #mark(): void {
    this.#contexts.mark(new Set(this.#store.get<string[]>("contexts_picked") ?? []), this.#store.get<number[][]>("tokens_brushed") ?? []);
    this.#drawFoot();
  }

  #drawNear(page: Page): void {
    const focused = (document.activeElement as HTMLElement | null)?.getAttribute?.("aria-label");
    const inside = this.#near.contains(document.activeElement);
    const picked = new Set(this.#store.get<string[]>("features_picked") ?? []);
    const snapshot = this.#store.mode === "snapshot";
    const actions = {
      open: this.#live || snapshot ? (feature: string) => this.#open(feature) : null,
      pick: (feature: string) => this.#toggle("features_picked", feature),
      picked,
      openable: (feature: string) => !snapshot || page.openable.includes(feature),
    };
    const top = this.#groups.find((group) => group.kind === "top")?.contexts[0] ?? null;
    fill(
      this.#near,
      neighbours("nearest decoder directions, cosine", "Within its SAE and across resident SAEs on spaces of the same width", page.similar, (value) => number(value), actions),
      neighbours("fire where it fires, share", "Fraction of this feature's tokens on which the other fires too", page.cofiring, (value) => percent(value), actions),
      weights(page),
      sources(page, top),
    );
    if (inside && focused) [...this.#near.querySelectorAll<HTMLElement>("[aria-label]")].find((e) => e.getAttribute("aria-label") === focused)?.focus();
  }

  #drawFoot(): void {
    const contexts = (this.#store.get<string[]>("contexts_picked") ?? []).length;
    const stretches = this.#store.get<number[][]>("tokens_brushed") ?? [];
    const tokens = stretches.reduce((sum, [, first, last]) => sum + (last ?? 0) - (first ?? 0) + 1, 0);
    const picked = (this.#store.get<string[]>("features_picked") ?? []).length;
    const words = [
      contexts ? `${plural(contexts, "context")} picked` : "no context picked",
      tokens ? `${plural(tokens, "token")} brushed` : "",
      picked ? `${plural(picked, "feature")} picked` : "",
      this.#store.mode === "snapshot" ? "snapshot" : "",
      this.#said,
    ].filter(Boolean);
    this.#frame.status.textContent = words.join(" \u00b7 ");
  }

  // What a person does

  #toggle(name: string, item: string): void {
    const present = this.#store.get<string[]>(name) ?? [];
    this.#store.set({ [name]: present.includes(item) ? present.filter((one) => one !== item) : [...present, item] });
  }

  #brush(bins: [number, number] | null): void {
    const page = this.#page;
    if (!page) return;
    if (!bins) return this.#store.set({ brush: [], ...this.#withoutBrush() });
    const edges = page.histogram.edges.data;
    const [low, high] = [Math.max(0, edges[bins[0]] as number), edges[bins[1] + 1] as number];
    if (this.#live) this.#work("Sampling contexts", "resample", "Could not sample this range", { feature: page.feature, low, high });
    else this.#store.set({ brush: [low, high], group: "brush" });
  }

  #read(text: string): void {
    if (text.trim() === "") return this.#store.set({ text: "", marked: null });
    this.#work("Reading", "try_text", "Could not read this text", { text });
  }

  async #setLabel(): Promise<void> {
    if (this.#label.readOnly) return;
    try {
      const { told } = await this.#store.request<{ told: number }>("set_label", { text: this.#label.value });
      this.#said = told ? "label kept" : "label changed in this view only: register view.on_label(callback) to keep it";
      this.#frame.clearErrors("Could not set the label");
      this.#drawFoot();
    } catch (error) {
      this.#frame.error(error, "Could not set the label");
      this.#label.value = this.#page?.label ?? "";
    }
  }

  async #sendTo(destination: string, words: string, done: string): Promise<void> {
    try {
      const { told, features } = await this.#store.request<{ told: number; features: string[] }>("send_to", { destination });
      const what = features.length === 1 ? String(features[0]) : plural(features.length, "feature");
      this.#frame.clearErrors(words);
      this.#said = told ? `${what} ${done}` : "";
      if (!told) {
        this.#frame.notice({
          level: "info",
          title: words,
          message: `Nothing in the notebook takes features yet. view.selection holds ${what}; register view.on_send(callback) to receive it.`,
        });
      }
      this.#drawFoot();
    } catch (error) {
      this.#frame.error(error, words);
    }
  }

  #hoverBin(plot: ActivationHistogram, element: HTMLElement | null, bin: number, total: number): void {
    if (!element) this.#frame.card.hide();
    else this.#frame.card.show(element, binCard(plot, bin, total));
  }

  #leave(): void {
    if (this.#rest !== null) clearTimeout(this.#rest);
    this.#rest = null;
    this.#frame.card.hide();
  }

  /** A token's card; where there is a kernel, with what ablating the feature does to the loss. */
  #hover(group: Group, context: Context, at: number, element: HTMLElement): void {
    if (this.#rest !== null) clearTimeout(this.#rest);
    const name = `${group.place} ${key(context)}`;
    const known = this.#effects.get(name);
    const effect = (found: NdArray | string | undefined): number | string | null =>
      found === undefined ? (this.#live ? "\u2026" : null) : typeof found === "string" ? found : Number.isNaN(found.data[at]) ? "\u2013 (nothing before it)" : (found.data[at] ?? null);
    this.#frame.card.show(element, contextCard(context, at, effect(known)));
    if (known !== undefined || !this.#live || !this.#page) return;
    const { feature } = this.#page;
    const index = (this.#allGroups().find((one) => one.place === group.place)?.contexts ?? []).findIndex((one) => key(one) === key(context));
    this.#rest = setTimeout(() => {
      this.#store
        .request<{ effect: NdArray }>("loss_effect", { feature, group: group.place, index })
        .then((answer) => answer.effect)
        .catch((error: Error) => (error instanceof Superseded ? null : `not measured: ${error.message}`))
        .then((found) => {
          if (found === null || feature !== this.#page?.feature) return;
          this.#effects.set(name, found);
          if (this.#frame.card.anchoredTo === element) this.#frame.card.show(element, contextCard(context, at, effect(found)));
        });
    }, REST);
  }

  #showProvenance(button: HTMLElement, pinned: boolean): void {
    if (!this.#page) return;
    const run = this.#live ? () => void this.#selfCheck() : null;
    if (pinned && button.getAttribute("aria-expanded") === "true") return this.#closeCard();
    this.#frame.card.show(button, provenanceCard(this.#page.provenance, this.#check, run), pinned);
    if (pinned) {
      button.setAttribute("aria-expanded", "true");
      this.#frame.card.element.querySelector("button")?.focus();
    }
  }

  #closeCard(refocus = true): void {
    const open = this.#badge.getAttribute("aria-expanded") === "true";
    this.#badge.setAttribute("aria-expanded", "false");
    this.#frame.card.hide(true);
    if (open && refocus) {
      this.#badge.focus();
      this.#frame.card.hide(true);
    }
  }

  async #selfCheck(): Promise<void> {
    this.#setCheck({ state: "running" });
    try {
      const answer = await this.#store.request<{ same: boolean; detail: string }>("check");
      this.#setCheck({ state: answer.same ? "same" : "differs", detail: answer.detail });
      if (!answer.same) this.#frame.notice({ level: "warning", title: "Self-check differs", message: answer.detail });
      else this.#frame.clearErrors("Self-check differs");
      this.#frame.clearErrors("Self-check failed");
    } catch (error) {
      this.#setCheck({ state: "unchecked" });
      this.#frame.error(error, "Self-check failed");
    }
  }

  #setCheck(check: Check): void {
    this.#check = check;
    if (!this.#page) return;
    fillBadge(this.#badge, this.#page.provenance, check);
    if (this.#badge.getAttribute("aria-expanded") === "true") {
      this.#badge.setAttribute("aria-expanded", "false");
      this.#showProvenance(this.#badge, true);
    }
  }

  async #copyCode(): Promise<void> {
    if (!this.#page) return;
    const text = code(this.#page.code, {
      feature: this.#page.feature,
      group: this.#choice.value as Choice,
      window: this.#store.get<Window>("window"),
      hideDuplicates: this.#store.get<boolean>("hide_duplicates"),
      brush: this.#store.get<number[]>("brush") ?? [],
      text: this.#store.get<string>("text") ?? "",
      contexts: this.#store.get<string[]>("contexts_picked") ?? [],
      tokens: this.#store.get<number[][]>("tokens_brushed") ?? [],
      picked: this.#store.get<string[]>("features_picked") ?? [],
    });
    const done = await copyText(text, this.#frame.root);
    this.#frame.card.show(this.#copied, [h("div", { class: "wb-sub" }, done ? "Copied" : "Copy this"), h("pre", { class: "wb-mono wb-code" }, text)], true);
  }

  async #export(): Promise<void> {
    try {
      const page = await this.#store.request<{ name: string; html: string }>("export");
      download(page.name, page.html, "text/html");
      this.#frame.clearErrors("Export failed");
    } catch (error) {
      this.#frame.error(error, "Export failed");
    }
  }
}

function render(root: HTMLElement, store: Store): () => void {
  const view = new FeatureView(root, store);
  return () => view.dispose();
}

export const mount = mounter(render);
export default widget(render);
