// What an entity study sends, and the arithmetic of its colours and sliders.

export type Side = "known" | "unknown";

export interface Entity {
  name: string;
  type: string;
  label: string;
  split: string;
  question: string;
}

export interface Cell {
  side: Side;
  sae: string;
  kind: string;
  layer: number | null;
  feature: string | null;
  separation: number;
}

export interface Reading {
  tokens: string[];
  special: { data: ArrayLike<number> };
  values: { shape: number[]; data: ArrayLike<number> };
  gaps: boolean;
  entity: number | null;
  name: [number, number] | null;
  focus: number;
  meter: { scale: [number, number]; known: number[]; unknown: number[]; auroc: Record<string, number | null> };
}

export interface Answer {
  text: string;
  refused: boolean;
  correct: boolean | null;
}

export interface Pushed {
  plain: Answer;
  pushed: Answer;
  before: { shape: number[]; data: ArrayLike<number> };
  after: { shape: number[]; data: ArrayLike<number> };
}

/** Where each token lies between known (-1) and unknown (+1): each activation as a share of its largest on names. */
export function places(reading: Reading): number[] {
  const count = reading.tokens.length;
  const share = (side: 0 | 1, at: number): number => {
    const most = reading.meter.scale[side];
    return most > 0 ? reading.values.data[side * count + at]! / most : 0;
  };
  return reading.tokens.map((_, at) => Math.max(-1, Math.min(1, share(1, at) - share(0, at))));
}

/** Layers from the deepest down, and kinds of SAE in the order in which they come. */
export function axes(cells: readonly Cell[]): { layers: (number | null)[]; kinds: string[] } {
  const layers = [...new Set(cells.map((cell) => cell.layer))];
  const depth = (layer: number | null): number => layer ?? -1;
  return { layers: layers.sort((a, b) => depth(b) - depth(a)), kinds: [...new Set(cells.map((cell) => cell.kind))] };
}

export function nearest(strengths: readonly number[], wanted: number): number {
  return strengths.reduce((best, one) => (Math.abs(one - wanted) < Math.abs(best - wanted) ? one : best), strengths[0] ?? 0);
}

/** A share of one of two hues, faint enough for text on top: orange above 0 (unknown), blue below (known). */
export function diverging(value: number): string {
  const share = Math.round(Math.min(1, Math.abs(value)) * 42);
  return share === 0 ? "" : `color-mix(in srgb, var(${value > 0 ? "--wb-pos" : "--wb-neg"}) ${share}%, var(--wb-surface))`;
}

export function verdict(answer: Answer): string {
  if (answer.refused) return "refuses";
  if (answer.correct === null) return "answers";
  return answer.correct ? "answers, right" : "answers, wrong";
}
