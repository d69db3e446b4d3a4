// "Copy as code": the Python that gives the same view again.

import { pythonString } from "../ui/format";
import type { Choice, Window } from "./data";

export interface ViewState {
  feature: string;
  group: Choice;
  window: Window;
  hideDuplicates: boolean;
  brush: readonly number[];
  text: string;
  contexts: readonly string[];
  tokens: readonly (readonly number[])[];
  picked: readonly string[];
}

const strings = (items: readonly string[]): string => `[${items.map(pythonString).join(", ")}]`;

export function code(setup: readonly string[], state: ViewState): string {
  const lines = [...setup, `view = s.feature(${pythonString(state.feature)}).view()`];
  // A brush shows its own group: what is set by hand comes after it.
  if (state.brush.length) lines.push(`view.brush = [${state.brush.join(", ")}]`);
  lines.push(`view.group = ${pythonString(state.group)}`);
  lines.push(`view.window = ${pythonString(state.window)}`);
  lines.push(`view.hide_duplicates = ${state.hideDuplicates ? "True" : "False"}`);
  if (state.text) lines.push(`view.text = ${pythonString(state.text)}`);
  if (state.contexts.length) lines.push(`view.contexts_picked = ${strings(state.contexts)}`);
  if (state.tokens.length) lines.push(`view.tokens_brushed = [${state.tokens.map((s) => `[${s.join(", ")}]`).join(", ")}]`);
  if (state.picked.length) lines.push(`view.features_picked = ${strings(state.picked)}`);
  return `${[...lines, "view"].join("\n")}\n`;
}
