// "Copy as code": the Python that gives the same view again.

import { pythonString } from "../ui/format";
import type { Sort } from "./data";

export interface ViewState {
  text: string;
  sae: string | null;
  sort: Sort;
  hideDense: boolean;
  tokens: readonly number[];
  picked: readonly string[];
}

export interface Start {
  setup: readonly string[];
  /** The messages read, as Python; null where a plain text was. */
  conversation: string | null;
  options: string;
}

export function code(start: Start, state: ViewState): string {
  const read = start.conversation ?? pythonString(state.text);
  const lines = [...start.setup, `view = s.read(${read}${start.options}).view()`];
  if (state.sae !== null) lines.push(`view.sae = ${pythonString(state.sae)}`);
  lines.push(`view.sort = ${pythonString(state.sort)}`);
  lines.push(`view.hide_dense = ${state.hideDense ? "True" : "False"}`);
  if (state.tokens.length) lines.push(`view.tokens_selected = [${state.tokens.join(", ")}]`);
  if (state.picked.length) lines.push(`view.features_picked = [${state.picked.map(pythonString).join(", ")}]`);
  return `${[...lines, "view"].join("\n")}\n`;
}
