// Two statistics against each other: points where there are few, a grid of counts where there are
// many. A rectangle is brushed by pointer or by keyboard.

import { facts, fill, h } from "../ui/dom";
import { count, plural, printable } from "../ui/format";
import { Axis } from "./axis";
import { figure, short, type Brush, type PlotData } from "./data";

const HEIGHT = 236;
const NEAR = 9; // pixels from a point at which it is meant
const DRAG = 4; // pixels the pointer moves before a press is a brush
const STEPS = 24; // steps of the keyboard's cross along an axis

export interface PlotActions {
  brush(brush: Brush | null): void;
  open(ref: string): void;
  hover(anchor: HTMLElement | null, content: Node[]): void;
}

export class Plot {
  readonly element: HTMLElement;
  readonly #canvas = h("canvas", { "aria-hidden": "true" });
  readonly #brushed = h("div", { class: "wb-plot-brush", hidden: true });
  readonly #cross = h("div", { class: "wb-plot-cross", hidden: true });
  readonly #anchor = h("div", { class: "wb-plot-anchor" });
  readonly #ticks = h("div", { "aria-hidden": "true" });
  readonly #area: HTMLElement;
  readonly #actions: PlotActions;
  readonly #watch: ResizeObserver;
  #data: PlotData | null = null;
  #saes: readonly string[] = [];
  #axes: [Axis, Axis] | null = null;
  #picked = new Set<string>();
  #brush: Brush | null = null;
  #drag: { x: number; y: number; moved: boolean } | null = null;
  #at: [number, number] = [0.5, 0.5];
  #from: [number, number] | null = null;

  constructor(actions: PlotActions) {
    this.#actions = actions;
    this.#area = h(
      "div",
      {
        class: "wb-plot-area",
        role: "application",
        tabindex: 0,
        onpointerdown: (event: PointerEvent) => this.#down(event),
        onpointermove: (event: PointerEvent) => this.#moved(event),
        onpointerup: (event: PointerEvent) => this.#up(event),
        onpointercancel: () => this.#cancel(),
        onpointerleave: () => this.#actions.hover(null, []),
        onblur: () => {
          this.#cross.hidden = true;
          this.#actions.hover(null, []);
        },
        onkeydown: (event: KeyboardEvent) => this.#key(event),
      },
      this.#canvas,
      this.#brushed,
      this.#cross,
      this.#anchor,
    );
    this.element = h("div", { class: "wb-plot" }, this.#area, this.#ticks);
    this.#watch = new ResizeObserver(() => this.draw());
    this.#watch.observe(this.#area);
  }

  dispose(): void {
    this.#watch.disconnect();
  }

  show(data: PlotData, saes: readonly string[]): void {
    [this.#data, this.#saes] = [data, saes];
    this.#axes = [new Axis(data.x), new Axis(data.y)];
    this.#area.ariaLabel = `${data.y.column} against ${data.x.column}, ${plural(data.shown, "feature")}. Arrow keys move, Shift and arrow keys brush, Escape clears.`;
    this.draw();
  }

  mark(brush: readonly number[], picked: readonly string[]): void {
    this.#brush = brush.length === 4 ? (brush as Brush) : null;
    const changed = picked.length !== this.#picked.size || picked.some((ref) => !this.#picked.has(ref));
    this.#picked = new Set(picked);
    if (changed) this.draw();
    else this.#placeBrush();
  }

  /** What the colours mean: counts of the fullest cell, 0 where points are drawn. */
  get most(): number {
    let most = 0;
    for (const amount of this.#data?.counts.data ?? []) most = Math.max(most, amount);
    return most;
  }

  draw(): void {
    const [data, axes] = [this.#data, this.#axes];
    const width = this.#area.clientWidth;
    if (!data || !axes || !width) return;
    const sharp = window.devicePixelRatio || 1;
    this.#canvas.width = Math.round(width * sharp);
    this.#canvas.height = Math.round(HEIGHT * sharp);
    const paper = this.#canvas.getContext("2d");
    if (!paper) return;
    paper.setTransform(sharp, 0, 0, sharp, 0, 0);
    const style = getComputedStyle(this.element);
    const ink = (name: string): string => style.getPropertyValue(name).trim();
    if (data.counts.data.length) this.#drawCells(paper, data, width, ink("--wb-act"));
    else this.#drawPoints(paper, data, axes, width, ink);
    this.#drawTicks(axes, width);
    this.#placeBrush();
  }

  #drawCells(paper: CanvasRenderingContext2D, data: PlotData, width: number, hue: string): void {
    const [high = 0, wide = 0] = data.counts.shape;
    const most = Math.log1p(this.most);
    for (let row = 0; row < high; row += 1) {
      const [top, bottom] = [HEIGHT * (1 - (row + 1) / high), HEIGHT * (1 - row / high)].map(Math.round) as [number, number];
      for (let column = 0; column < wide; column += 1) {
        const amount = data.counts.data[row * wide + column] ?? 0;
        if (!amount) continue;
        const [left, right] = [(width * column) / wide, (width * (column + 1)) / wide].map(Math.round) as [number, number];
        paper.fillStyle = `rgba(${hue}, ${(0.12 + (0.88 * Math.log1p(amount)) / most).toFixed(3)})`;
        paper.fillRect(left, top, right - left, bottom - top);
      }
    }
  }

  #drawPoints(paper: CanvasRenderingContext2D, data: PlotData, [x, y]: [Axis, Axis], width: number, ink: (name: string) => string): void {
    const amount = data.feature.data.length;
    const dot = (at: number, size: number): void => {
      const [left, up] = [data.points.data[2 * at] ?? NaN, data.points.data[2 * at + 1] ?? NaN];
      paper.beginPath();
      paper.arc(width * x.at(left), HEIGHT * (1 - y.at(up)), size, 0, 2 * Math.PI);
      paper.fill();
    };
    paper.fillStyle = `rgba(${ink("--wb-act")}, ${amount > 1500 ? 0.45 : 0.7})`;
    for (let at = 0; at < amount; at += 1) dot(at, amount > 1500 ? 1.6 : 2.2);
    if (!this.#picked.size) return;
    paper.fillStyle = ink("--wb-accent");
    for (let at = 0; at < amount; at += 1) if (this.#picked.has(this.#ref(at))) dot(at, 3.2);
  }

  #drawTicks([x, y]: [Axis, Axis], width: number): void {
    const room = Math.max(2, Math.floor(width / 70));
    fill(
      this.#ticks,
      ...x.ticks(room).map((tick) => this.#tick("wb-tick-x", "left", x.at(tick), short(tick))),
      ...y.ticks(5).map((tick) => this.#tick("wb-tick-y", "bottom", y.at(tick), short(tick))),
      h("span", { class: "wb-axis-x" }, `${x.data.column}${x.data.log ? " (log axis)" : ""}`),
      h("span", { class: "wb-axis-y" }, `${y.data.column}${y.data.log ? " (log axis)" : ""}`),
    );
  }

  #tick(name: string, side: "left" | "bottom", share: number, words: string): HTMLElement {
    const tick = h("span", { class: name }, words);
    tick.style.setProperty("--at", share.toFixed(4));
    tick.dataset["side"] = side;
    return tick;
  }

  #placeBrush(): void {
    const [brush, axes] = [this.#brush, this.#axes];
    this.#brushed.hidden = !brush || !axes;
    if (brush && axes) this.#placeBox([axes[0].at(brush[0]), axes[1].at(brush[2])], [axes[0].at(brush[1]), axes[1].at(brush[3])]);
  }

  #placeBox(one: [number, number], other: [number, number]): void {
    const clip = (share: number): number => Math.min(1, Math.max(0, share));
    const [left, right] = [Math.min(one[0], other[0]), Math.max(one[0], other[0])].map(clip) as [number, number];
    const [low, high] = [Math.min(one[1], other[1]), Math.max(one[1], other[1])].map(clip) as [number, number];
    const { style } = this.#brushed;
    style.left = `${100 * left}%`;
    style.width = `${100 * (right - left)}%`;
    style.bottom = `${100 * low}%`;
    style.height = `${100 * (high - low)}%`;
    this.#brushed.hidden = false;
  }

  #ref(at: number): string {
    const data = this.#data as PlotData;
    return `${this.#saes[data.sae.data[at] ?? 0]}/${data.feature.data[at]}`;
  }

  // Pointer

  #share(event: PointerEvent): [number, number] {
    const box = this.#area.getBoundingClientRect();
    const clip = (share: number): number => Math.min(1, Math.max(0, share));
    return [clip((event.clientX - box.left) / Math.max(1, box.width)), clip(1 - (event.clientY - box.top) / Math.max(1, box.height))];
  }

  #down(event: PointerEvent): void {
    if (event.button !== 0 || !this.#axes) return;
    const [x, y] = this.#share(event);
    this.#drag = { x, y, moved: false };
    this.#at = [x, y];
    this.#from = null;
    this.#area.setPointerCapture(event.pointerId);
  }

  #moved(event: PointerEvent): void {
    const [x, y] = this.#share(event);
    const drag = this.#drag;
    if (!drag) return this.#point(x, y);
    const [wide, high] = [Math.abs(x - drag.x) * this.#area.clientWidth, Math.abs(y - drag.y) * HEIGHT];
    if (!drag.moved && Math.max(wide, high) < DRAG) return;
    drag.moved = true;
    this.#actions.hover(null, []);
    this.#placeBox([drag.x, drag.y], [x, y]);
  }

  #up(event: PointerEvent): void {
    const drag = this.#drag;
    this.#drag = null;
    if (!drag) return;
    const [x, y] = this.#share(event);
    if (drag.moved) return this.#commit([drag.x, drag.y], [x, y]);
    const near = this.#nearest(x, y);
    if (near !== null) this.#actions.open(this.#ref(near));
    else if (this.#brush) this.#actions.brush(null);
  }

  #cancel(): void {
    this.#drag = null;
    this.#placeBrush();
  }

  #commit(one: [number, number], other: [number, number]): void {
    if (!this.#axes) return;
    const [x, y] = this.#axes;
    const brush: Brush = [
      x.value(Math.min(one[0], other[0])),
      x.value(Math.max(one[0], other[0])),
      y.value(Math.min(one[1], other[1])),
      y.value(Math.max(one[1], other[1])),
    ];
    this.#actions.brush(brush);
  }

  // What is at a place

  #nearest(x: number, y: number): number | null {
    const [data, axes] = [this.#data, this.#axes];
    if (!data || !axes) return null;
    let [best, found]: [number, number | null] = [NEAR * NEAR, null];
    for (let at = 0; at < data.feature.data.length; at += 1) {
      const across = (axes[0].at(data.points.data[2 * at] ?? NaN) - x) * this.#area.clientWidth;
      const up = (axes[1].at(data.points.data[2 * at + 1] ?? NaN) - y) * HEIGHT;
      const distance = across * across + up * up;
      if (distance < best) [best, found] = [distance, at];
    }
    return found;
  }

  #point(x: number, y: number): void {
    const [data, axes] = [this.#data, this.#axes];
    if (!data || !axes) return;
    const near = this.#nearest(x, y);
    this.#area.classList.toggle("wb-on-point", near !== null);
    const cell = near === null ? this.#cell(x, y) : null;
    if (near === null && !cell) return this.#actions.hover(null, []);
    const [left, up] = near === null ? [x, y] : [axes[0].at(data.points.data[2 * near] ?? 0), axes[1].at(data.points.data[2 * near + 1] ?? 0)];
    this.#anchor.style.left = `${100 * left}%`;
    this.#anchor.style.bottom = `${100 * up}%`;
    this.#actions.hover(this.#anchor, cell ?? this.#card(near as number));
  }

  #card(at: number): Node[] {
    const { x, y, points, label } = this.#data as PlotData;
    const words = label[at];
    return [
      facts(
        ["feature", this.#ref(at)],
        ["label", words ? printable(words) : "no label"],
        [x.column, figure(x.column, points.data[2 * at])],
        [y.column, figure(y.column, points.data[2 * at + 1])],
      ),
    ];
  }

  #cell(x: number, y: number): Node[] | null {
    const [data, axes] = [this.#data as PlotData, this.#axes as [Axis, Axis]];
    const [high = 0, wide = 0] = data.counts.shape;
    if (!high || !wide) return null;
    const [column, row] = [Math.min(wide - 1, Math.floor(x * wide)), Math.min(high - 1, Math.floor(y * high))];
    const amount = data.counts.data[row * wide + column] ?? 0;
    if (!amount) return null;
    const range = (axis: Axis, at: number, of: number): string =>
      `${figure(axis.data.column, axis.value(at / of))} to ${figure(axis.data.column, axis.value((at + 1) / of))}`;
    return [facts(["features", count(amount)], [data.x.column, range(axes[0], column, wide)], [data.y.column, range(axes[1], row, high)])];
  }

  // Keyboard

  #key(event: KeyboardEvent): void {
    const steps: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };
    const step = steps[event.key];
    if (step) {
      if (event.shiftKey) this.#from ??= [...this.#at];
      else this.#from = null;
      const move = (share: number, by: number): number => Math.min(1, Math.max(0, share + by / STEPS));
      this.#at = [move(this.#at[0], step[0]), move(this.#at[1], step[1])];
      this.#cross.hidden = false;
      this.#cross.style.left = `${100 * this.#at[0]}%`;
      this.#cross.style.bottom = `${100 * this.#at[1]}%`;
      if (this.#from) this.#commit(this.#from, this.#at);
      else this.#point(this.#at[0], this.#at[1]);
    } else if (event.key === "Enter" || event.key === " ") {
      const near = this.#nearest(this.#at[0], this.#at[1]);
      if (near !== null) this.#actions.open(this.#ref(near));
    } else if (event.key === "Escape" && this.#brush) this.#actions.brush(null);
    else return;
    event.preventDefault();
  }
}
