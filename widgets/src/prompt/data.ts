// The prompt view's science-free logic: which rows, in which order, with which values.
// `workbench/widgets/prompt_table.py` states the same rules in Python, for `view.table`; a browser
// test compares the two.

import type { NdArray } from "../store/arrays";
import type { Start } from "./code";

export type Sort = "selected" | "max" | "corrected";
export const SORTS: Record<Sort, string> = {
  selected: "at selected tokens",
  max: "max value",
  corrected: "density-corrected",
};
export const DENSE = 0.01;

export type Prediction = [token: string, id: number, probability: number];

/** What the view needs at once; the pairs of each SAE come on request. */
export interface Reading {
  text: string;
  tokens: string[];
  token_ids: NdArray;
  special: NdArray;
  log_prob: NdArray;
  next_tokens: Prediction[][];
  gaps: boolean;
  saes: SaeHead[];
  first: SaeData | null;
  provenance: { summary: string; facts: [string, string][] };
  code: Start;
  can_read: boolean;
}

export interface SaeHead {
  sae: string;
  site: string;
  d_sae: number;
  architecture: string;
  active: number;
}

export interface SaeData {
  sae: string;
  position: NdArray;
  feature: NdArray;
  value: NdArray;
  features: NdArray;
  density: NdArray;
  max_activation: NdArray;
  labels: (string | null)[];
  raises: string[][];
  lowers: string[][];
}

/** One SAE's active pairs by feature, so that rows and shades are look-ups. */
export class SaeTable {
  readonly refs: string[];
  readonly byFeature: Map<number, Map<number, number>> = new Map();
  readonly indexOf = new Map<number, number>();
  readonly #strongest: { value: number; feature: number }[][] = [];

  constructor(
    readonly data: SaeData,
    readonly special: ArrayLike<number>,
    tokens: number,
  ) {
    this.refs = Array.from(data.features.data, (feature) => `${data.sae}/${feature}`);
    data.features.data.forEach((feature, i) => {
      this.indexOf.set(feature, i);
      this.byFeature.set(feature, new Map());
    });
    for (let i = 0; i < tokens; i += 1) this.#strongest.push([]);
    const { position, feature, value } = data;
    for (let i = 0; i < value.data.length; i += 1) {
      const at = position.data[i] as number;
      const which = feature.data[i] as number;
      const strength = value.data[i] as number;
      this.byFeature.get(which)?.set(at, strength);
      this.#strongest[at]?.push({ value: strength, feature: which });
    }
  }

  density(feature: number): number {
    return this.data.density.data[this.indexOf.get(feature) ?? -1] ?? NaN;
  }

  maxActivation(feature: number): number {
    return this.data.max_activation.data[this.indexOf.get(feature) ?? -1] ?? NaN;
  }

  label(feature: number): string | null {
    return this.data.labels[this.indexOf.get(feature) ?? -1] ?? null;
  }

  raises(feature: number): string[] {
    return this.data.raises[this.indexOf.get(feature) ?? -1] ?? [];
  }

  lowers(feature: number): string[] {
    return this.data.lowers[this.indexOf.get(feature) ?? -1] ?? [];
  }

  at(feature: number, position: number): number {
    return this.byFeature.get(feature)?.get(position) ?? 0;
  }

  /** Unknown density counts as not dense: it is shown rather than hidden on a guess. */
  dense(feature: number): boolean {
    return this.density(feature) > DENSE;
  }

  /** The strongest features at a token, largest first. */
  top(position: number, hideDense: boolean, limit: number): { value: number; feature: number }[] {
    return (this.#strongest[position] ?? []).filter((item) => !(hideDense && this.dense(item.feature))).slice(0, limit);
  }

  /** Per token the shown value: of the given features, or of the strongest one when there are none. */
  shades(features: number[], hideDense: boolean): Float64Array {
    const out = new Float64Array(this.#strongest.length);
    for (let at = 0; at < out.length; at += 1) {
      if (features.length === 0) out[at] = this.top(at, hideDense, 1)[0]?.value ?? 0;
      else for (const feature of features) out[at] = Math.max(out[at] as number, this.at(feature, at));
    }
    return out;
  }
}

export interface Row {
  feature: number;
  value: number;
  corrected: number;
}

/** Positions over which values are taken: the selected ones, or all that are not special tokens. */
export function scope(selected: readonly number[], special: ArrayLike<number>, tokens: number): number[] {
  if (selected.length) return [...selected];
  return Array.from({ length: tokens }, (_, i) => i).filter((i) => !special[i]);
}

/** The table's rows in order, and how many features the dense filter hides. */
export function rows(
  table: SaeTable,
  tokens: number,
  options: { selected: readonly number[]; sort: Sort; hideDense: boolean },
): { rows: Row[]; hidden: number } {
  const selected = options.sort === "max" ? [] : options.selected;
  const positions = scope(selected, table.special, tokens);
  const out: Row[] = [];
  let hidden = 0;
  for (const [feature, values] of table.byFeature) {
    let value = 0;
    for (const position of positions) value = Math.max(value, values.get(position) ?? 0);
    if (value <= 0) continue;
    if (options.hideDense && table.dense(feature)) {
      hidden += 1;
      continue;
    }
    const density = table.density(feature);
    out.push({ feature, value, corrected: density > 0 ? value * Math.log(1 / density) : NaN });
  }
  const key = (row: Row): number => (options.sort === "corrected" ? row.corrected : row.value);
  out.sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1; // unknown density last
    return y - x || b.value - a.value || a.feature - b.feature;
  });
  return { rows: out, hidden };
}

/** The largest value among ordinary tokens: special ones (a BOS token above all) would dwarf it. */
export function scale(shades: ArrayLike<number>, special: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < shades.length; i += 1) if (!special[i]) largest = Math.max(largest, shades[i] as number);
  return largest;
}

export function range(from: number, to: number): number[] {
  const [low, high] = from < to ? [from, to] : [to, from];
  return Array.from({ length: high - low + 1 }, (_, i) => low + i);
}

export function toggle<T>(items: readonly T[], item: T): T[] {
  return items.includes(item) ? items.filter((other) => other !== item) : [...items, item];
}

/** Sorted without repeats, as token selections are kept. */
export function normalise(positions: readonly number[], tokens: number): number[] {
  return [...new Set(positions)].filter((at) => at >= 0 && at < tokens).sort((a, b) => a - b);
}

/** "4", "4–6", "4, 6–8": positions as a person writes them. */
export function ranges(positions: readonly number[]): string {
  const parts: string[] = [];
  for (let i = 0; i < positions.length; ) {
    let j = i;
    while (j + 1 < positions.length && positions[j + 1] === (positions[j] as number) + 1) j += 1;
    parts.push(i === j ? `${positions[i]}` : `${positions[i]}\u2013${positions[j]}`);
    i = j + 1;
  }
  return parts.join(", ");
}

/** Strip cells: at most `most`, each the largest value of the tokens it stands for. */
export function bins(values: ArrayLike<number>, most: number): number[] {
  const cells = Math.min(most, values.length);
  const out = new Array<number>(cells).fill(0);
  for (let i = 0; i < values.length; i += 1) {
    const cell = Math.min(cells - 1, Math.floor((i * cells) / values.length));
    out[cell] = Math.max(out[cell] as number, values[i] as number);
  }
  return out;
}
