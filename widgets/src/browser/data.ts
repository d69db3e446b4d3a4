// What the feature browser is sent, as rows; and what can be done with rows without a kernel.

import type { NdArray } from "../store/arrays";
import { count, number, percent } from "../ui/format";
import type { Provenance } from "../ui/provenance";

export interface NumberColumn {
  name: string;
  title: string;
}

export interface Packed {
  first: number;
  sae: NdArray;
  feature: NdArray;
  numbers: Record<string, NdArray>;
  flags: Record<string, NdArray>;
  label: (string | null)[];
  why: string[] | null;
  colour: (string | null)[];
}

export type Condition = [column: string, operator: string, value: string | number | boolean | string[]];
export type Brush = [xLow: number, xHigh: number, yLow: number, yHigh: number];

/** State that decides which rows there are. */
export interface Asked {
  search: string;
  kind: string;
  where: Condition[];
  order_by: string;
  descending: boolean;
  x: string;
  y: string;
  brush: number[];
  only: string[];
}

export interface State extends Asked {
  columns: string[];
  plot: "scatter" | "none";
  features_picked: string[];
  feature: string;
}

export interface Answer {
  version: number;
  chips: string[];
  state: Asked;
  count: number;
  order_by: string;
  hits: number | null;
  most_hits: number;
  means: string | null;
  selected: number;
  block: Packed;
}

export interface AxisData {
  column: string;
  low: number;
  high: number;
  log: boolean;
}

export interface PlotData {
  x: AxisData;
  y: AxisData;
  sae: NdArray;
  feature: NdArray;
  label: (string | null)[];
  points: NdArray;
  counts: NdArray;
  shown: number;
  left_out: number;
}

export interface About {
  saes: string[];
  features: number;
  counted_tokens: number;
  partial: boolean;
  numbers: NumberColumn[];
  lists: string[];
  live: boolean;
  provenance: Provenance;
  kinds: [kind: string, words: string, hint: string][];
  table: Answer;
  plot?: PlotData | null;
}

export interface Row {
  ref: string;
  label: string | null;
  why: string | null;
  colour: string | null;
  dead: boolean;
  dense: boolean;
  numbers: Record<string, number>;
}

export function unpack(packed: Packed, saes: readonly string[]): Row[] {
  return packed.label.map((label, at) => {
    const numbers: Record<string, number> = {};
    for (const [name, values] of Object.entries(packed.numbers)) numbers[name] = values.data[at] ?? NaN;
    return {
      ref: `${saes[packed.sae.data[at] ?? 0]}/${packed.feature.data[at]}`,
      label,
      why: packed.why?.[at] ?? null,
      colour: packed.colour[at] ?? null,
      dead: packed.flags["dead"]?.data[at] === 1,
      dense: packed.flags["dense"]?.data[at] === 1,
      numbers,
    };
  });
}

/** Rows known of one answer: those near where one looks, the rest asked for again. */
export class Known {
  readonly #rows = new Map<number, Row>();

  constructor(
    readonly count: number,
    readonly most = 6000,
  ) {}

  row(index: number): Row | undefined {
    return this.#rows.get(index);
  }

  add(first: number, rows: readonly Row[]): void {
    if (this.#rows.size > this.most) {
      for (const at of [...this.#rows.keys()]) if (Math.abs(at - first) > this.most / 2) this.#rows.delete(at);
    }
    rows.forEach((row, at) => this.#rows.set(first + at, row));
  }

  /** What to ask for so that rows `first` to before `last` are known; null where they are. */
  missing(first: number, last: number, block = 150): [first: number, count: number] | null {
    for (let at = first; at < Math.min(last, this.count); at += 1) {
      if (this.#rows.has(at)) continue;
      // Some before as well, unless they are known: one may scroll either way.
      const from = this.#rows.has(at - 1) ? at : Math.max(0, at - block / 3);
      return [from, Math.min(block, this.count - from)];
    }
    return null;
  }
}

export function figure(column: string, value: number | undefined): string {
  if (value === undefined || Number.isNaN(value)) return "\u2013";
  if (column === "density") return percent(value);
  if (Number.isInteger(value) && column === "count") return count(value);
  return number(value, column.startsWith("map_") ? 3 : 2);
}

/** A number in short: three figures, tiny and huge ones by their powers of ten. */
export function short(value: number): string {
  const size = Math.abs(value);
  const text = size && (size < 1e-3 || size >= 1e5) ? value.toExponential(1).replace(/(\.0)?e\+?/, "e") : String(Number(value.toPrecision(3)));
  return text.replaceAll("-", "\u2212");
}

/** Whether two states ask for the same rows. */
export function sameQuestion(one: Asked, other: Asked): boolean {
  const key = (state: Asked): string => {
    const axes = state.brush.length ? [state.x, state.y] : [];
    return JSON.stringify([state.search, state.kind, state.where, state.order_by, state.descending, axes, state.brush, state.only]);
  };
  return key(one) === key(other);
}

export function inside(row: Row, state: Asked): boolean {
  if (!state.brush.length) return true;
  const [left, right, low, high] = state.brush as Brush;
  const [x, y] = [row.numbers[state.x] ?? NaN, row.numbers[state.y] ?? NaN];
  return x >= left && x <= right && y >= low && y <= high;
}

/** Rows of a page sorted and brushed where there is no kernel; those without a value come last. */
export function arrange(rows: readonly Row[], state: Asked, orderBy: string): Row[] {
  const value = (row: Row): number => row.numbers[orderBy] ?? NaN;
  const sign = state.descending ? -1 : 1;
  const kept = rows.filter((row) => inside(row, state));
  if (!rows.some((row) => orderBy in row.numbers)) return kept;
  return kept.sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
    return sign * (a - b);
  });
}
