// F1 of probes against their number of units, one line per source; those chosen stand out.

import { div, fill, setAttribute, span } from "../ui/dom";
import { number, printable } from "../ui/format";
import { chosen, kindsOf, probeName, type Probe } from "./data";

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [380, 170, 28, 26, 6];
const SVG = "http://www.w3.org/2000/svg";

function s(tag: string, attributes: Record<string, string | number>, ...children: (Node | string)[]): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  element.append(...children);
  return element;
}

export class Curve {
  readonly element = div("wb-dir-curve");
  readonly #pick: (probe: number) => void;

  constructor(pick: (probe: number) => void) {
    this.#pick = pick;
  }

  show(probes: readonly Probe[], ranking: string, selected: number): void {
    const sparse = probes.map((probe, at) => ({ probe, at })).filter(({ probe }) => probe.kind !== "dense" && probe.ranking === ranking && probe.value !== null);
    const best = new Set(chosen(probes, ranking));
    const ks = [...new Set(sparse.map(({ probe }) => probe.k))].sort((a, b) => a - b);
    const kinds = kindsOf(probes);
    const [low, high] = [Math.log(ks[0] ?? 1), Math.log(ks.at(-1) ?? 1)];
    const x = (k: number): number => LEFT + 8 + ((Math.log(k) - low) / (high - low || 1)) * (WIDTH - LEFT - 20);
    const y = (value: number): number => TOP + (1 - value) * (HEIGHT - BOTTOM - TOP);
    const plot = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": "F1 on held-out rows against the number of units" });
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      plot.append(s("line", { x1: LEFT, x2: WIDTH - 4, y1: y(share), y2: y(share), class: "wb-dir-grid" }), s("text", { x: LEFT - 4, y: y(share) + 3, "text-anchor": "end" }, String(share)));
    }
    for (const k of ks) plot.append(s("text", { x: x(k), y: HEIGHT - 14, "text-anchor": "middle" }, String(k)));
    plot.append(s("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 2, "text-anchor": "middle" }, "k, units a probe reads"));
    for (const at of best) {
      const probe = probes[at]!;
      if (probe.kind !== "dense" || probe.value === null) continue;
      const line = s("line", { x1: LEFT, x2: WIDTH - 4, y1: y(probe.value), y2: y(probe.value), class: this.#name(kinds, probe, "wb-dir-dense"), "data-probe": at }, s("title", {}, this.#words(probe)));
      line.addEventListener("click", () => this.#pick(at));
      plot.append(line);
    }
    const lines = grouped(sparse);
    for (const points of lines.values()) {
      const path = [...points].sort((a, b) => a.probe.k - b.probe.k).map(({ probe }) => `${x(probe.k).toFixed(1)},${y(probe.value!).toFixed(1)}`);
      plot.append(s("polyline", { points: path.join(" "), class: this.#name(kinds, points[0]!.probe, "wb-dir-source") }, s("title", {}, printable(points[0]!.probe.source))));
    }
    // Those chosen last, above all others.
    for (const { probe, at } of [...sparse].sort((a, b) => Number(best.has(a.at)) - Number(best.has(b.at)))) {
      const own = best.has(at);
      const [px, py] = [x(probe.k), y(probe.value!)];
      if ((own || at === selected) && probe.low !== null && probe.high !== null) {
        plot.append(s("line", { x1: px, x2: px, y1: y(probe.low), y2: y(probe.high), class: this.#name(kinds, probe, "wb-dir-interval-line") }));
      }
      const name = `${own ? "wb-dir-chosen" : "wb-dir-other"}${at === selected ? " wb-dir-now" : ""}`;
      const dot = s("circle", { cx: px, cy: py, r: own ? 3.5 : 2.2, class: this.#name(kinds, probe, name), "data-probe": at }, s("title", {}, `${this.#words(probe)}${own ? ", chosen" : ""}`));
      dot.addEventListener("click", () => this.#pick(at));
      plot.append(dot);
    }
    const legend = kinds.map((kind, at) => span("wb-dir-swatch-line", span(`wb-dir-swatch wb-dir-k${at % 4}`), kind));
    fill(this.element, div("wb-sub", "F1 against k"), plot, div("wb-caption wb-dir-line", ...legend, span("wb-muted", "large points: the source best in validation, with 95% intervals")));
  }

  #name(kinds: string[], probe: Probe, name: string): string {
    return `${name} wb-dir-k${kinds.indexOf(probe.kind) % 4}`;
  }

  #words(probe: Probe): string {
    return `${printable(probeName(probe))}: F1 ${number(probe.value, 3)} [${number(probe.low, 3)}, ${number(probe.high, 3)}], AUROC ${number(probe.auroc, 3)}`;
  }
}

function grouped(points: { probe: Probe; at: number }[]): Map<string, { probe: Probe; at: number }[]> {
  const found = new Map<string, { probe: Probe; at: number }[]>();
  for (const point of points) {
    const key = `${point.probe.kind} ${point.probe.source}`;
    found.set(key, [...(found.get(key) ?? []), point]);
  }
  return found;
}
