// "Copy as code": the Python that gives the same view again.

import { pythonString } from "../ui/format";
import type { State } from "./data";

/** A literal that Python reads; true for JSON's lists and numbers as well as for strings. */
function literal(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "string") return pythonString(value);
  return typeof value === "boolean" ? (value ? "True" : "False") : String(value);
}

export function code(setup: readonly string[], state: State): string {
  const lines = [...setup, `view = s.feature(${literal(state.feature)}).view()`];
  // A brush shows its own group: which group is shown is said after it.
  const names = ["brush", "group", "window", "hide_duplicates", "text", "contexts_picked", "tokens_brushed", "features_picked"] as const;
  for (const name of names) {
    const value = state[name];
    if (typeof value === "boolean" || value.length) lines.push(`view.${name} = ${literal(value)}`);
  }
  return `${[...lines, "view"].join("\n")}\n`;
}
