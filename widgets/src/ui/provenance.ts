// The badge that says what the numbers of a view rest on, with everything in its card.

import { div, facts, h, span } from "./dom";

/** Facts by heading, in the order in which they are shown. */
export interface Provenance {
  summary: string;
  facts: [string, string][];
}

export type Check =
  | { state: "unchecked" }
  | { state: "running" }
  | { state: "same"; detail: string }
  | { state: "differs"; detail: string };

const MARKS: Record<Check["state"], string> = {
  unchecked: "",
  running: "\u2026",
  same: "\u2713",
  differs: "\u2260",
};

export function badge(onOpen: (button: HTMLElement, pinned: boolean) => void, onLeave: () => void): HTMLButtonElement {
  const open = (event: Event): void => onOpen(event.currentTarget as HTMLElement, event.type === "click");
  return h("button", {
    class: "wb-badge",
    "aria-expanded": "false",
    onclick: open,
    onpointerenter: open,
    onfocus: open,
    onpointerleave: onLeave,
    onblur: onLeave,
  });
}

export function fillBadge(button: HTMLElement, provenance: Provenance, check: Check): void {
  button.replaceChildren(
    h("span", { class: `wb-check wb-check-${check.state}`, "aria-hidden": "true" }, MARKS[check.state]),
    provenance.summary,
  );
  button.setAttribute("aria-label", `Provenance: ${provenance.summary}. Self-check: ${words(check)}`);
}

export function words(check: Check): string {
  if (check.state === "unchecked") return "not run";
  if (check.state === "running") return "running";
  return check.detail;
}

export function provenanceCard(provenance: Provenance, check: Check, run: (() => void) | null): Node[] {
  const outcome = span(`wb-check-${check.state}`, words(check));
  return [
    facts(...provenance.facts, ["Self-check", outcome]),
    run
      ? h("button", { onclick: run, disabled: check.state === "running" }, "Recompute and compare")
      : div("wb-caption", "Recomputing needs the notebook's kernel."),
  ];
}
