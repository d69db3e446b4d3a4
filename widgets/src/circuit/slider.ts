// A slider over how many of the strongest are shown.

import { h } from "../ui/dom";
import { count, plural } from "../ui/format";
import { countAt, stepAt, thresholdFor } from "./data";

export interface Slider {
  element: HTMLElement;
  /** How many are above the threshold, how many of these are shown, how many there are. */
  show(left: number, shown: number, total: number): void;
}

export function slider(what: "nodes" | "edges", ranks: () => Float32Array | null, set: (threshold: number) => void): Slider {
  const range = h("input", { type: "range", min: 0, max: 1000, step: 1, "aria-label": `Strongest ${what} shown` });
  const figure = h("span", { class: "wb-num wb-left" });
  range.addEventListener("input", () => {
    const ranked = ranks();
    if (ranked) set(thresholdFor(ranked, countAt(Number(range.value), ranked.length)));
  });
  return {
    element: h("label", { class: "wb-muted wb-slider" }, what, range, figure),
    show: (left, shown, total) => {
      // While it is dragged the handle is where the hand is.
      if (countAt(Number(range.value), total) !== left) range.value = String(stepAt(left, total));
      figure.textContent = count(shown);
      range.setAttribute("aria-valuetext", `${count(shown)} of ${plural(total, what.slice(0, -1))}`);
      range.title = `${count(left)} of ${count(total)} are above the threshold`;
    },
  };
}
