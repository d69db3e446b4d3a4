// The pieces of the entity view: tokens, heatmaps, knowledge meter, answers.

import { div, facts, fill, h, span } from "../ui/dom";
import { number, percent, printable, spoken } from "../ui/format";
import { tokenContent } from "../ui/token";
import { axes, diverging, places, verdict, type Answer, type Cell, type Pushed, type Reading, type Side } from "./data";

/** Tokens coloured by what is recognised; a click moves the meter, and where the push begins. */
export function tokenLine(reading: Reading, at: number, pick: (at: number) => void): HTMLElement {
  const shades = places(reading);
  const count = reading.tokens.length;
  const items = reading.tokens.map((token, i) => {
    const [known, unknown] = [reading.values.data[i]!, reading.values.data[count + i]!];
    const words = `unknown ${number(unknown)}, known ${number(known)}`;
    const inName = reading.name !== null && i >= reading.name[0] && i <= reading.name[1];
    const item = h(
      "button",
      {
        class: `wb-tok${inName ? " wb-ent-name" : ""}${reading.special.data[i] ? " wb-special" : ""}`,
        "aria-label": `${spoken(token)}, position ${i}, ${words}`,
        "aria-pressed": String(i === at),
        title: words,
        onclick: () => pick(i),
      },
      ...tokenContent(token),
    );
    const shade = (item.style.background = diverging(shades[i]!));
    item.classList.toggle("wb-shaded", shade !== "");
    return item;
  });
  return h("div", { class: `wb-ent-tokens${reading.gaps ? " wb-gaps" : ""}`, role: "group", "aria-label": "Tokens" }, ...items);
}

/** Layer by kind of SAE: the worst type's separation of its best feature. A click reads that feature. */
export function separations(cells: readonly Cell[], side: Side, chosen: string, pick: ((feature: string) => void) | null): HTMLElement {
  const mine = cells.filter((cell) => cell.side === side);
  const { layers, kinds } = axes(mine);
  const sign = side === "unknown" ? 1 : -1;
  const rows = layers.map((layer) => {
    const boxes = kinds.map((kind) => {
      const cell = mine.find((one) => one.layer === layer && one.kind === kind);
      if (!cell) return h("td", {});
      const words = `${cell.sae}: ${cell.feature ?? "no feature"}, separation ${number(cell.separation)}`;
      const box = h(
        "button",
        { class: "wb-num", title: words, "aria-label": words, "aria-pressed": String(cell.feature === chosen), disabled: !cell.feature || !pick, onclick: () => cell.feature && pick?.(cell.feature) },
        cell.feature ? cell.separation.toFixed(2) : "\u2013",
      );
      box.style.background = diverging(sign * cell.separation);
      return h("td", {}, box);
    });
    return h("tr", {}, h("th", { scope: "row", class: "wb-num" }, layer === null ? "\u2013" : String(layer)), ...boxes);
  });
  const head = h("tr", {}, h("th", { scope: "col" }, "layer"), ...kinds.map((kind) => h("th", { scope: "col", title: kind, class: "wb-clip" }, printable(kind))));
  const table = h("table", { class: "wb-ent-heat", "aria-label": `Separation of ${side} features by layer` }, h("thead", {}, head), h("tbody", {}, ...rows));
  return div("wb-ent-part", div("wb-sub", `Best ${side} feature by layer: separation, the worst type\u2019s`), div("wb-ent-scroll", table));
}

/** Where the name lies among the study's known and unknown names. */
export function knowledge(reading: Reading, at: number): HTMLElement {
  const place = places(reading)[at] ?? 0;
  const { known, unknown, auroc } = reading.meter;
  const most = Math.max(...known, ...unknown, 1e-9);
  const strip = (side: Side, shares: number[]): HTMLElement => {
    const bars = shares.map((share, i) => {
      const bar = span(`wb-ent-bin wb-ent-${side}`);
      bar.style.height = `${(100 * Math.sqrt(share / most)).toFixed(1)}%`;
      bar.title = `${percent(share)} of ${side} names at ${number(-1 + (2 * (i + 0.5)) / shares.length)}`;
      return bar;
    });
    return div(`wb-ent-strip wb-ent-strip-${side}`, ...bars);
  };
  const needle = span("wb-ent-needle");
  needle.style.left = `${50 + 50 * place}%`;
  const count = reading.tokens.length;
  const words = place > 0.05 ? "reads as unknown" : place < -0.05 ? "reads as known" : "neither way";
  const areas = Object.values(auroc).filter((area): area is number => area !== null);
  return div(
    "wb-ent-part",
    div("wb-sub", "Knowledge meter at \u201c", h("b", {}, printable(reading.tokens[at] ?? "")), "\u201d"),
    h(
      "div",
      { class: "wb-ent-meter", role: "meter", "aria-label": "Known to unknown", "aria-valuemin": -1, "aria-valuemax": 1, "aria-valuenow": place.toFixed(2), "aria-valuetext": `${number(place)}, ${words}` },
      strip("unknown", unknown),
      strip("known", known),
      needle,
    ),
    div("wb-ent-ends wb-caption", span("", "known"), span("wb-num", `${number(place)}: ${words}`), span("", "unknown")),
    facts(
      ["unknown feature", `${number(reading.values.data[count + at])} of at most ${number(reading.meter.scale[1])} on names`],
      ["known feature", `${number(reading.values.data[at])} of at most ${number(reading.meter.scale[0])} on names`],
      areas.length > 0 && ["unknown feature\u2019s AUROC", `${number(Math.min(...areas), 3)} for the worst type, test names`],
    ),
  );
}

export function answerBox(title: string, answer: Answer | null): HTMLElement {
  return div(
    "wb-ent-answer",
    div("wb-sub", title),
    h("div", { class: "wb-ent-text", "aria-label": title }, answer ? printable(answer.text) : "\u2013"),
    span(`wb-caption${answer?.refused ? " wb-ent-refused" : ""}`, answer ? verdict(answer) : ""),
  );
}

/** Layers by heads: how much less or more the last position looks at the name. */
export function heads(pushed: Pushed | null): HTMLElement {
  const title = div("wb-sub", "Attention from the last token to the name, change by the push");
  if (!pushed) return div("wb-ent-part", title, div("wb-caption", "\u2013"));
  const [layers, count] = pushed.before.shape as [number, number];
  const change = Array.from(pushed.before.data, (value, i) => pushed.after.data[i]! - value);
  const most = Math.max(...change.map(Math.abs));
  const rows = Array.from({ length: layers }, (_, up) => layers - 1 - up).map((layer) =>
    h(
      "tr",
      {},
      h("th", { scope: "row", class: "wb-num" }, String(layer)),
      ...Array.from({ length: count }, (_, head) => {
        const i = layer * count + head;
        const words = `head ${layer}.${head}: ${number(pushed.before.data[i])} to ${number(pushed.after.data[i])}`;
        const cell = h("td", { title: words, "aria-label": words });
        // Towards blue where it looks there more, as at a known name.
        cell.style.background = diverging(-change[i]! / Math.max(most, 0.05));
        return cell;
      }),
    ),
  );
  const table = h("table", { class: "wb-ent-grid", "aria-label": "Attention change by layer and head" }, h("tbody", {}, ...rows));
  table.style.maxWidth = `${30 + 30 * count}px`;
  return div("wb-ent-part", title, table, div("wb-caption", `rows layers, columns heads \u00b7 orange: looks less, blue: more \u00b7 largest ${number(most)}`));
}

/** One slider with what it pushes along. */
export class Slider {
  readonly element = div("wb-ent-slider");
  readonly range = h("input", { type: "range", min: 0, step: "any" });
  readonly select = h("select", {});
  readonly #value = span("wb-num wb-ent-strength");

  constructor(readonly side: Side, slide: (strength: number) => void, rest: () => void, along: (push: string) => void) {
    this.range.setAttribute("aria-label", `Towards ${side}`);
    this.select.setAttribute("aria-label", `What is pushed towards ${side}`);
    this.range.addEventListener("input", () => slide(Number(this.range.value)));
    this.range.addEventListener("change", rest);
    this.select.addEventListener("change", () => along(this.select.value));
    fill(this.element, div("wb-ent-line", span(`wb-ent-key wb-ent-${side}`), span("", `Towards ${side}`), this.#value), this.range, this.select);
  }

  show(strength: number, most: number, push: string, pushes: readonly { name: string; layer: number | null }[], enabled: boolean, live: boolean): void {
    const known = pushes.some((one) => one.name === push);
    const all = known || !push ? pushes : [{ name: push, layer: null }, ...pushes];
    const words = (one: { name: string; layer: number | null }): string => (one.layer === null ? one.name : `${one.name} (layer ${one.layer})`);
    fill(this.select, ...all.map((one) => h("option", { value: one.name, selected: one.name === push }, printable(words(one)))));
    this.select.value = push;
    this.select.title = printable(push);
    this.range.max = String(Math.max(most, strength));
    this.range.value = String(strength);
    this.range.disabled = !enabled;
    this.select.disabled = !live;
    this.#value.textContent = `${number(strength)} \u00d7 \u2016x\u2016`;
    this.range.setAttribute("aria-valuetext", `${number(strength)} times the activation's norm`);
  }
}
