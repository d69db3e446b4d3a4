// What the direction view is sent, and what follows from it without a page.

import type { Provenance } from "../ui/provenance";

export interface Row {
  key: string;
  name: string;
  value: number | null;
  low: number | null;
  high: number | null;
  note: string;
  direction: boolean;
  /** The feature whose activations are the scores. */
  feature?: string;
  /** How many concepts it could be used on, where not all. */
  usable?: string;
  published?: number | null;
}

export interface Numbers {
  data: ArrayLike<number>;
}

export interface Texts {
  tokens: string[][];
  positive: boolean[];
  starts: Numbers;
  scores: Record<string, Numbers>;
  token_scores: Record<string, Numbers>;
  left_out: number;
}

export interface Concepts {
  names: string[];
  methods: string[];
  n_test: number[];
  auroc: Numbers;
  low: Numbers;
  high: Numbers;
  notes: string[][];
  directions: boolean[][];
}

export interface Probe {
  kind: string;
  source: string;
  site: string;
  ranking: string;
  k: number;
  units: number[];
  value: number | null;
  low: number | null;
  high: number | null;
  auroc: number | null;
  merit: number | null;
  direction: boolean;
}

export interface Page {
  kind: "concept" | "comparison" | "direction" | "probes";
  title: string;
  heading: string;
  measure: string;
  summary: string;
  rows: Row[];
  texts: Texts | null;
  concepts: Concepts | null;
  probes: Probe[] | null;
  facts: [string, string][];
  gaps: boolean;
  live: boolean;
  provenance: Provenance;
}

export interface Selected {
  method: string;
  concept: string;
  probe: number;
}

export interface Near {
  feature: string;
  cosine: number | null;
  label: string | null;
}

export interface Scored {
  tokens: string[];
  values: (number | null)[];
  gaps: boolean;
}

/** What requests call the selection; empty where it has neither direction nor features. */
export function keyOf(kind: Page["kind"], state: Selected): string {
  if (kind === "concept") return state.method;
  if (kind === "comparison") return state.concept ? `${state.concept}/${state.method}` : "";
  return kind === "probes" ? String(state.probe) : "";
}

function finite(value: number | undefined): number | null {
  return value === undefined || !Number.isFinite(value) ? null : value;
}

/** One concept's row of every method, best first, those that could not be used at the end. */
export function conceptRows(concepts: Concepts, concept: number, names: Map<string, string>): Row[] {
  const rows = concepts.methods.map((method, at) => cell(concepts, concept, at, method, names.get(method) ?? method));
  return rows.sort((a, b) => (b.value ?? -1) - (a.value ?? -1));
}

/** One method's row of every concept, in the order of the concepts. */
export function methodRows(concepts: Concepts, method: string): Row[] {
  const at = concepts.methods.indexOf(method);
  return concepts.names.map((name, concept) => cell(concepts, concept, at, name, name));
}

function cell(concepts: Concepts, concept: number, method: number, key: string, name: string): Row {
  const place = concept * concepts.methods.length + method;
  return {
    key,
    name,
    value: finite(concepts.auroc.data[place]),
    low: finite(concepts.low.data[place]),
    high: finite(concepts.high.data[place]),
    note: concepts.notes[concept]?.[method] ?? "",
    direction: concepts.directions[concept]?.[method] ?? false,
  };
}

/** For each kind of unit and each k, the probe that was best in validation; in order of the two. */
export function chosen(probes: readonly Probe[], ranking: string): number[] {
  const best = new Map<string, number>();
  probes.forEach((probe, at) => {
    if (probe.kind !== "dense" && probe.ranking !== ranking) return;
    const key = `${probe.kind} ${probe.k}`;
    const held = best.get(key);
    if (held === undefined || (probe.merit ?? -1) > (probes[held]!.merit ?? -1)) best.set(key, at);
  });
  const kinds = kindsOf(probes);
  return [...best.values()].sort((a, b) => kinds.indexOf(probes[a]!.kind) - kinds.indexOf(probes[b]!.kind) || probes[a]!.k - probes[b]!.k);
}

export function kindsOf(probes: readonly Probe[]): string[] {
  return [...new Set(probes.map((probe) => probe.kind))].sort((a, b) => Number(a === "dense") - Number(b === "dense"));
}

export function rankingsOf(probes: readonly Probe[]): string[] {
  return [...new Set(probes.filter((probe) => probe.kind !== "dense").map((probe) => probe.ranking))];
}

export function probeName(probe: Probe): string {
  return probe.kind === "dense" ? `dense \u00b7 ${probe.site}` : `${probe.kind} k=${probe.k} \u00b7 ${probe.source}`;
}

/** Scores as shades: none at the median, full at either end. */
export interface Scale {
  low: number;
  middle: number;
  high: number;
}

export function scaleOf(values: ArrayLike<number | null>): Scale | null {
  const sorted = Array.from(values).filter((value): value is number => value !== null && Number.isFinite(value)).sort((a, b) => a - b);
  if (!sorted.length) return null;
  return { low: sorted[0]!, middle: sorted[Math.floor((sorted.length - 1) / 2)]!, high: sorted.at(-1)! };
}

/** From -1 (lowest) over 0 (median) to 1 (highest). */
export function shade(scale: Scale, value: number): number {
  const above = value >= scale.middle;
  const span = above ? scale.high - scale.middle : scale.middle - scale.low;
  return span > 0 ? Math.max(-1, Math.min(1, (value - scale.middle) / span)) : 0;
}

export type Which = "all" | "positive" | "negative";

/** Texts in order of a method's scores. */
export function ordered(texts: Texts, method: string, which: Which, lowest: boolean): number[] {
  const scores = texts.scores[method]?.data;
  const shown = texts.tokens.map((_, at) => at).filter((at) => which === "all" || texts.positive[at] === (which === "positive"));
  if (!scores) return shown;
  return shown.sort((a, b) => (lowest ? 1 : -1) * (scores[a]! - scores[b]!) || a - b);
}
