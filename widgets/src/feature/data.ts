// The feature view's logic without a DOM: contexts, windows, duplicates, histograms, history.

import type { NdArray } from "../store/arrays";

export type Kind = "top" | "width" | "quantile" | "brush" | "silent";
export type Choice = "overview" | Kind;
export type Window = "5" | "10" | "whole";
export type Effect = [token: string, id: number, value: number];
export type Neighbour = [feature: string, score: number, label: string | null];

export type NextToken = [token: string, id: number, before: number, after: number];

export interface Histogram {
  edges: NdArray;
  counts: NdArray;
}

export interface Packed {
  groups: {
    kind: Kind;
    name: string;
    low: number;
    high: number;
    total: number | null;
    contexts: [document: number, start: number, peak: number, length: number][];
  }[];
  strings: string[];
  string: NdArray;
  ids: NdArray;
  values: NdArray;
}

export interface Page {
  feature: string;
  site: string;
  out_site: string;
  d_sae: number;
  architecture: string;
  label: string | null;
  description: string | null;
  counted_tokens: number;
  fires: number;
  density: number | null;
  /** Null, as `mean` and `density`, where no index tells. */
  maximum: number | null;
  mean: number | null;
  histogram: Histogram;
  logit_histogram: Histogram;
  groups: Packed;
  gaps: boolean;
  raises: Effect[];
  lowers: Effect[];
  similar: Neighbour[];
  cofiring: Neighbour[];
  neurons: [neuron: number, value: number, share: number][];
  cosine: number | null;
  /** Contributions to the activation in the strongest context; `position` counts from its first token. */
  sources: [head: number, position: number, value: number, token: string][];
  /** Whether `sources` are all there are; otherwise they can be asked for. */
  sourced: boolean;
  reads_raised: Effect[];
  reads_lowered: Effect[];
  encoders: Neighbour[];
  stated_density: number | null;
  complete: boolean;
  provenance: { summary: string; facts: [string, string][] };
  code: string[];
  live: boolean;
  openable: string[];
}

/** The view's synchronised state, named as in Python. */
export interface State {
  feature: string;
  history: string[];
  place: number;
  group: Choice;
  window: Window;
  hide_duplicates: boolean;
  brush: number[];
  text: string;
  marked: number | null;
  contexts_picked: string[];
  tokens_brushed: number[][];
  features_picked: string[];
}

/** What was sampled from a brushed range of one feature. */
export interface Brushed {
  feature: string;
  brush: [number, number];
  /** Drawn from the corpus; otherwise they are the page's own contexts of that range. */
  fresh: boolean;
  packed: Packed;
}

export interface Tried {
  feature: string;
  text: string;
  tokens: string[];
  ids: NdArray;
  special: NdArray;
  values: NdArray;
  largest: number;
  gaps: boolean;
}

export interface Context {
  document: number;
  start: number;
  peak: number;
  tokens: string[];
  ids: ArrayLike<number>;
  values: ArrayLike<number>;
}

export interface Group {
  kind: Kind;
  /** Its number on the page, or "brush": how Python is told which context is meant. */
  place: number | "brush";
  name: string;
  low: number;
  high: number;
  total: number | null;
  contexts: Context[];
}

export function unpack(packed: Packed): Group[] {
  let at = 0;
  return packed.groups.map(({ contexts, ...group }, place) => ({
    ...group,
    place: group.kind === "brush" ? "brush" : place,
    contexts: contexts.map(([document, start, peak, length]) => {
      const end = at + length;
      const tokens = Array.from(packed.string.data.slice(at, end), (i) => packed.strings[i] ?? "");
      const context = { document, start, peak, tokens, ids: packed.ids.data.slice(at, end), values: packed.values.data.slice(at, end) };
      at = end;
      return context;
    }),
  }));
}

/** A context's name in the state: its document and the position it is for. */
export function key(context: Context): string {
  return `${context.document}:${context.start + context.peak}`;
}

export function valueOf(context: Context): number {
  return context.values[context.peak] ?? 0;
}

/** The first token shown and the one after the last. */
export function bounds(context: Context, window: Window): [number, number] {
  if (window === "whole") return [0, context.tokens.length];
  const width = Number(window);
  return [Math.max(0, context.peak - width), Math.min(context.tokens.length, context.peak + width + 1)];
}

/** Contexts whose shown tokens and place of the peak differ; how many repeat another. */
export function distinct(contexts: readonly Context[], window: Window): { shown: Context[]; hidden: number } {
  const seen = new Set<string>();
  const shown = contexts.filter((context) => {
    const [first, last] = bounds(context, window);
    const text = `${context.peak - first}\0${context.tokens.slice(first, last).join("\0")}`;
    if (seen.has(text)) return false;
    seen.add(text);
    return true;
  });
  return { shown, hidden: contexts.length - shown.length };
}

export interface Section {
  group: Group;
  contexts: Context[];
  /** Contexts left out because the overview is short. */
  more: number;
  duplicates: number;
}

const FEW = { top: 6, other: 2 };

/** What the list shows, in order. */
export function sections(groups: readonly Group[], choice: Choice, window: Window, hide: boolean): Section[] {
  const overview = choice === "overview";
  const intervals = groups.some((group) => group.kind === "quantile") ? "quantile" : "width";
  const kinds: Kind[] = overview ? ["top", intervals, "silent"] : [choice];
  return kinds.flatMap((kind) =>
    groups
      .filter((group) => group.kind === kind)
      .map((group) => {
        const { shown, hidden } = hide ? distinct(group.contexts, window) : { shown: group.contexts, hidden: 0 };
        const most = !overview ? shown.length : kind === "top" ? FEW.top : FEW.other;
        return { group, contexts: shown.slice(0, most), more: Math.max(0, shown.length - most), duplicates: hidden };
      }),
  );
}

/** The kinds of group to choose from, with how each is said. */
export function choices(groups: readonly Group[]): [Choice, string][] {
  const top = groups.find((group) => group.kind === "top");
  const count = (kind: Kind): number => groups.filter((group) => group.kind === kind).length;
  const all: [Choice, string][] = [
    ["overview", "overview"],
    ["top", `top ${top?.contexts.length}`],
    ["width", `${count("width")} equal-width intervals`],
    ["quantile", `${count("quantile")} true quantiles`],
    ["silent", "does not fire"],
    ["brush", "brushed range"],
  ];
  return all.filter(([choice]) => choice === "overview" || count(choice));
}

/** The contexts on the page whose activation lies in a range, each once, largest first. */
export function onPage(groups: readonly Group[], low: number, high: number): Group {
  const found = new Map<string, Context>();
  for (const context of groups.flatMap((group) => group.contexts)) {
    const value = valueOf(context);
    if (value > 0 && value >= low && value <= high) found.set(key(context), context);
  }
  const contexts = [...found.values()].sort((a, b) => valueOf(b) - valueOf(a));
  return { kind: "brush", place: "brush", name: "", low, high, total: null, contexts };
}

// Histograms

export interface Axis {
  log: boolean;
  /** Where a value lies, 0 to 1. */
  at(value: number): number;
}

/** Edges whose ratios are equal are drawn on a logarithmic axis, all others on a linear one. */
export function axis(edges: ArrayLike<number>): Axis {
  const low = edges[0] ?? 0;
  const high = edges[edges.length - 1] ?? 1;
  const clip = (x: number): number => Math.min(1, Math.max(0, x));
  const ratio = (i: number): number => (edges[i + 1] as number) / (edges[i] as number);
  let log = low > 0 && edges.length > 3 && ratio(0) > 1.001;
  for (let i = 1; log && i + 1 < edges.length; i += 1) log = Math.abs(ratio(i) / ratio(0) - 1) < 0.01;
  if (log) return { log, at: (value) => (value > 0 ? clip(Math.log(value / low) / Math.log(high / low)) : 0) };
  return { log, at: (value) => (high > low ? clip((value - low) / (high - low)) : 0) };
}

/** Height of a bar, 0 to 1, on a logarithmic scale on which an empty bin is 0. */
export function logHeight(count: number, most: number): number {
  return most > 0 ? Math.log1p(count) / Math.log1p(most) : 0;
}

/** The bin of a value; the last edge belongs to the last bin. */
export function binOf(edges: ArrayLike<number>, value: number): number {
  let bin = 0;
  while (bin < edges.length - 2 && value >= (edges[bin + 1] as number)) bin += 1;
  return bin;
}

/** First and last bin that a brush covers; null without one. */
export function brushedBins(edges: ArrayLike<number>, brush: readonly number[]): [number, number] | null {
  const [low, high] = brush;
  if (low === undefined || high === undefined || edges.length < 2) return null;
  const first = binOf(edges, low);
  let last = binOf(edges, high);
  if (last > first && high <= (edges[last] as number)) last -= 1;
  return [first, last];
}

/** Histories like a browser's: opening from the middle forgets what was ahead. */
export function visit(history: readonly string[], place: number, feature: string): { history: string[]; place: number } {
  if (history[place] === feature) return { history: [...history], place };
  const kept = [...history.slice(0, place + 1), feature];
  return { history: kept, place: kept.length - 1 };
}

/** A count in at most four figures: 8,611 · 24.1 k · 2.1 M. */
export function compact(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)} G`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)} k`;
  return value.toLocaleString("en");
}

/** Whether a token is inside a brushed stretch. */
export function inStretch(stretches: readonly (readonly number[])[], document: number, position: number): boolean {
  return stretches.some(([d, first, last]) => d === document && position >= (first ?? 0) && position <= (last ?? -1));
}
