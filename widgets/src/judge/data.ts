// Judgements: which features have been judged, and how.

export type Verdict = "open" | "kept" | "irrelevant";

export interface Judgements {
  ticked: readonly string[];
  seen: readonly string[];
}

export function verdict(state: Judgements, feature: string): Verdict {
  if (state.ticked.includes(feature)) return "irrelevant";
  return state.seen.includes(feature) ? "kept" : "open";
}

/** The judgements with one feature's changed. */
export function moved(state: Judgements, feature: string, to: Verdict): { ticked: string[]; seen: string[] } {
  const without = (names: readonly string[]): string[] => names.filter((name) => name !== feature);
  return {
    ticked: to === "irrelevant" ? [...without(state.ticked), feature] : without(state.ticked),
    seen: to === "open" ? without(state.seen) : [...without(state.seen), feature],
  };
}

/** The next feature that is not judged yet, from `at` on and then from the start; the next one where all are. */
export function nextOpen(state: Judgements, features: readonly string[], at: number): number {
  for (let step = 1; step <= features.length; step += 1) {
    const next = (at + step) % features.length;
    if (verdict(state, features[next]!) === "open") return next;
  }
  return Math.min(at + 1, features.length - 1);
}

export function counts(state: Judgements, features: readonly string[]): Record<Verdict, number> {
  const found: Record<Verdict, number> = { open: 0, kept: 0, irrelevant: 0 };
  for (const feature of features) found[verdict(state, feature)] += 1;
  return found;
}
