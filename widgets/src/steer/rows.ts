// The interventions: a slider each, with what it does, where, and whether it is heard.

import { div, fill, h, options, quiet, span } from "../ui/dom";
import { printable } from "../ui/format";
import { KINDS, PHASES, STEPS, UNITS, placeOf, reach, signed, strengthAt, typed, wherePut, type Positions, type Row } from "./data";

export interface Hands {
  /** A strength while it moves. */
  slide(id: string, strength: number): void;
  /** The hand let go. */
  rest(): void;
  change(id: string, fields: Partial<Row>): void;
  remove(id: string): void;
  solo(id: string): void;
  /** Whether anything but sliders can be changed, and whether this slider can. */
  editable(): boolean;
  movable(id: string): boolean;
}

class Line {
  readonly element = div("wb-steer-row");
  readonly #range = h("input", { type: "range", min: -STEPS, max: STEPS, step: 1 });
  readonly #value = h("input", { type: "text", class: "wb-num", size: 6, inputmode: "decimal" });
  readonly #unit = h("select", {});
  readonly #name = span("wb-mono wb-clip");
  readonly #label = span("wb-muted wb-clip wb-grow");
  readonly #mute: HTMLButtonElement;
  readonly #solo: HTMLButtonElement;
  readonly #more: HTMLButtonElement;
  readonly #drop: HTMLButtonElement;
  readonly #editor = div("wb-steer-edit");
  readonly #what = h("select", { "aria-label": "What is done" });
  readonly #phase = h("select", { "aria-label": "Tokens it acts on" });
  readonly #text = h("input", { type: "text", placeholder: "anywhere", "aria-label": "Text in the prompt it acts on" });
  readonly #part = h("select", { "aria-label": "Part of that text" });
  readonly #when = h("input", { type: "text", placeholder: "always", "aria-label": "Feature that must be active, as sae/index > value" });
  readonly #error = h("select", { "aria-label": "The SAE's error term" });
  #row: Row;
  #drawn = "";

  constructor(row: Row, hands: Hands) {
    this.#row = row;
    const change = (fields: Partial<Row>): void => hands.change(this.#row.id, fields);
    this.#range.addEventListener("input", () => {
      const strength = strengthAt(Number(this.#range.value), reach(this.#row));
      this.#said(strength);
      hands.slide(this.#row.id, strength);
    });
    this.#range.addEventListener("change", () => hands.rest());
    this.#value.addEventListener("change", () => {
      const strength = typed(this.#value.value);
      if (strength === null) return this.#said(this.#row.strength);
      hands.slide(this.#row.id, strength);
      hands.rest();
    });
    this.#unit.addEventListener("change", () => change({ unit: this.#unit.value }));
    this.#mute = quiet("Mute", () => change({ muted: !this.#row.muted }));
    this.#solo = quiet("Solo", () => hands.solo(this.#row.id));
    this.#drop = quiet("\u00d7", () => hands.remove(this.#row.id), { title: "Remove" });
    this.#more = quiet("", () => this.#toggle(), { class: "wb-quiet wb-caption wb-clip", "aria-expanded": "false" });
    this.#what.addEventListener("change", () => change({ what: this.#what.value, unit: null }));
    this.#error.addEventListener("change", () => change({ error: this.#error.value }));
    const moved = (): void => change({ positions: this.#positions() });
    for (const input of [this.#phase, this.#text, this.#part, this.#when]) input.addEventListener("change", moved);
    options(this.#phase, Object.entries(PHASES));
    options(this.#part, [["whole", "whole"], ["last", "its last token"], ["onwards", "from its last token on"]]);
    options(this.#error, [["keep", "kept"], ["drop", "dropped"]]);
    const field = (name: string, ...inputs: HTMLElement[]): HTMLElement => h("label", {}, span("wb-muted", name), ...inputs);
    fill(
      this.#editor,
      field("does", this.#what),
      field("tokens", this.#phase),
      field("text", this.#text, this.#part),
      field("only where", this.#when),
      field("error term", this.#error),
    );
    this.#editor.hidden = true;
    fill(
      this.element,
      div("wb-steer-name", this.#name, this.#label, this.#mute, this.#solo, this.#drop),
      div("wb-steer-slide", this.#range, this.#value, this.#unit),
      this.#more,
      this.#editor,
    );
    this.show(row, false, false, hands);
  }

  show(row: Row, solo: boolean, silent: boolean, hands: Hands): void {
    this.#row = row;
    const name = printable(row.target);
    const [editable, movable] = [hands.editable(), hands.movable(row.id)];
    this.element.dataset["row"] = row.id;
    this.element.classList.toggle("wb-steer-silent", silent);
    this.#name.textContent = name;
    this.#name.title = name;
    this.#label.textContent = this.#label.title = row.label === row.target ? "" : printable(row.label);
    for (const [button, on] of [[this.#mute, row.muted], [this.#solo, solo]] as const) {
      button.setAttribute("aria-pressed", String(on));
      button.disabled = !editable;
    }
    this.#mute.setAttribute("aria-label", `Mute ${name}`);
    this.#solo.setAttribute("aria-label", `Solo ${name}`);
    this.#drop.setAttribute("aria-label", `Remove ${name}`);
    this.#drop.disabled = !editable;
    const units = row.kinds[row.what] ?? [];
    options(this.#unit, units.map((unit) => [unit, UNITS[unit] ?? unit] as const));
    this.#unit.value = row.unit ?? "";
    this.#unit.disabled = !editable || units.length < 2;
    this.#unit.title = row.reference === null ? "Unit of the strength" : `Unit of the strength; largest activation ${row.reference.toPrecision(3)}`;
    this.#unit.setAttribute("aria-label", `Unit of ${name}`);
    this.#range.parentElement!.hidden = !row.graded;
    this.#range.setAttribute("aria-label", `Strength of ${name}`);
    this.#value.setAttribute("aria-label", `Strength of ${name}, typed`);
    this.#range.disabled = this.#value.disabled = !movable;
    this.#range.value = String(placeOf(row.strength, reach(row)));
    this.#said(row.strength);
    const dropped = row.error === "drop" ? "error term dropped" : row.target.includes("/") ? "error term kept" : "";
    this.#more.textContent = [KINDS[row.what] ?? row.what, wherePut(row.positions), dropped].filter(Boolean).join(" \u00b7 ");
    this.#more.title = "Change what is done, and where";
    this.#fields(row, editable);
  }

  /** The editor's fields; what is being typed there is left alone until the row itself changes. */
  #fields(row: Row, editable: boolean): void {
    const now = JSON.stringify([row.what, row.positions, row.error, editable]);
    const typing = this.#editor.contains((this.element.getRootNode() as Document).activeElement);
    if (typing && now === this.#drawn) return;
    this.#drawn = now;
    options(this.#what, Object.keys(row.kinds).map((kind) => [kind, KINDS[kind] ?? kind] as const));
    this.#what.value = row.what;
    this.#phase.value = row.positions.phase;
    this.#text.value = row.positions.text ?? "";
    this.#part.value = row.positions.part ?? "whole";
    this.#part.hidden = !row.positions.text;
    this.#when.value = row.positions.when ? `${row.positions.when.feature} > ${row.positions.when.above}` : "";
    this.#error.value = row.error;
    for (const input of this.#editor.querySelectorAll<HTMLInputElement | HTMLSelectElement>("input, select")) input.disabled = !editable;
  }

  #said(strength: number): void {
    if (document.activeElement !== this.#value || typed(this.#value.value) !== strength) this.#value.value = signed(strength);
    this.#range.setAttribute("aria-valuetext", `${signed(strength)} ${UNITS[this.#row.unit ?? ""] ?? ""}`);
  }

  #positions(): Positions {
    const kept = { ...this.#row.positions, phase: this.#phase.value, text: this.#text.value.trim() || undefined, part: this.#part.value };
    const [feature, above] = this.#when.value.split(">").map((part) => part.trim());
    const when = feature ? { feature, above: typed(above ?? "0") ?? 0 } : undefined;
    return { ...kept, when } as Positions;
  }

  #toggle(): void {
    this.#editor.hidden = !this.#editor.hidden;
    this.#more.setAttribute("aria-expanded", String(!this.#editor.hidden));
  }
}

export class Rows {
  readonly element = h("div", { class: "wb-steer-rows", role: "group", "aria-label": "Interventions" });
  readonly #lines = new Map<string, Line>();
  readonly #hands: Hands;

  constructor(hands: Hands) {
    this.#hands = hands;
  }

  show(rows: readonly Row[], solo: readonly string[]): void {
    const wanted = new Set(rows.map((row) => row.id));
    for (const [id, line] of this.#lines) {
      if (wanted.has(id)) continue;
      line.element.remove();
      this.#lines.delete(id);
    }
    rows.forEach((row, at) => {
      let line = this.#lines.get(row.id);
      if (!line) this.#lines.set(row.id, (line = new Line(row, this.#hands)));
      line.show(row, solo.includes(row.id), row.muted || (solo.length > 0 && !solo.includes(row.id)), this.#hands);
      if (this.element.children[at] !== line.element) this.element.insertBefore(line.element, this.element.children[at] ?? null);
    });
  }
}
