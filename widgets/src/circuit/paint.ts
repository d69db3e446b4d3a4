// Draws a scene on a canvas. The picture of all nodes and edges is kept as two bitmaps, larger than
// the screen; while the hand moves they are shifted and scaled, and a sharp picture is made behind
// them in slices of a few milliseconds. Only what is pointed at is drawn anew in every frame.

import { region, type Box, type Camera } from "./camera";
import { drawNode, edgeStyle, outline, trace, type Palette, type Pen } from "./draw";
import { boxText, isBox, RADIUS } from "./layout";
import type { Scene } from "./scene";

/** What stands out, by item. */
export interface Marks {
  focus: number;
  hover: number;
  picked: ReadonlySet<number>;
  named: ReadonlySet<number>;
  found: ReadonlySet<number>;
  /** Measured change of each item when the focus was ablated, as a share of the largest. */
  measured: ReadonlyMap<number, number>;
  hulls: { name: string; items: number[] }[];
  drag: Box | null;
}

const SLICE = 150; // edges between two looks at the clock
const WHOLE = 1500; // edges that are drawn in one go
const SPARE = 400; // pixels beyond the screen on each side of the bitmaps, at most half of it
const BLUR = 1.35; // by which factor a bitmap may be scaled while the hand moves

interface Bitmaps {
  /** The edges, and once they are `whole` the nodes above them: most frames need this one only. */
  edges: HTMLCanvasElement;
  nodes: HTMLCanvasElement;
  whole: boolean;
  camera: Camera;
}

export class Painter {
  readonly #canvas: HTMLCanvasElement;
  #scene: Scene | null = null;
  #colours: Palette;
  #front: Bitmaps | null = null;
  #job: { bitmaps: Bitmaps; steps: Generator<void> } | null = null;
  #stale = true;
  #width = 0;
  #height = 0;
  #ratio = 1;

  constructor(canvas: HTMLCanvasElement, colours: Palette) {
    this.#canvas = canvas;
    this.#colours = colours;
  }

  colours(colours: Palette): void {
    this.#colours = colours;
    this.#stale = true;
  }

  show(scene: Scene): void {
    this.#scene = scene;
    this.#stale = true;
  }

  resize(width: number, height: number, ratio: number): void {
    if (width === this.#width && height === this.#height && ratio === this.#ratio) return;
    [this.#width, this.#height, this.#ratio] = [width, height, ratio];
    this.#canvas.width = Math.max(1, Math.round(width * ratio));
    this.#canvas.height = Math.max(1, Math.round(height * ratio));
    this.#front = null;
    this.#stale = true;
  }

  get #spare(): [number, number] {
    return [Math.min(SPARE, this.#width / 2), Math.min(SPARE, this.#height / 2)];
  }

  /** Draw a frame; true while it is not sharp yet, so that the caller asks again. */
  frame(camera: Camera, marks: Marks, inset: Box, moving: boolean): boolean {
    const scene = this.#scene;
    const context = this.#canvas.getContext("2d");
    if (!scene || !context || !this.#width) return false;
    this.#refine(scene, camera, moving);
    const { surface } = this.#colours;
    context.setTransform(this.#ratio, 0, 0, this.#ratio, 0, 0);
    context.fillStyle = surface;
    context.fillRect(0, 0, this.#width, this.#height);
    this.#rows(context, scene, camera, inset);
    const centre = marks.hover >= 0 ? marks.hover : marks.focus;
    const quiet = centre >= 0;
    // Scaled roughly while the hand moves.
    context.imageSmoothingEnabled = !moving;
    this.#blit(context, "edges", camera, quiet ? 0.22 : 1);
    this.#hulls(context, scene, camera, marks);
    const near = centre >= 0 ? this.#linked(context, scene, camera, centre) : new Set<number>();
    if (quiet || !this.#front?.whole) this.#blit(context, "nodes", camera, quiet ? 0.45 : 1);
    for (const item of near) drawNode(context as Pen, scene, camera, item, this.#colours);
    this.#marks(context, scene, camera, marks, near);
    this.#axes(context, scene, camera, inset);
    if (marks.drag) this.#rubber(context, marks.drag);
    return this.#job !== null || this.#stale || this.#front?.camera.scale !== camera.scale;
  }

  #refine(scene: Scene, camera: Camera, moving: boolean): void {
    const small = scene.shown.weight.length <= WHOLE;
    const deadline = performance.now() + (moving ? 4 : 10);
    const factor = this.#front ? camera.scale / this.#front.camera.scale : 0;
    // A sharp picture can wait for the hand to rest; a blurred one, or a missing border, cannot.
    const poor = moving ? factor > BLUR || factor < 1 / BLUR : factor !== 1;
    const moved = !this.#front || poor || !this.#covered(this.#front.camera, camera);
    if (this.#job && (this.#stale || far(this.#job.bitmaps.camera, camera, this.#width, this.#height))) this.#job = null;
    if (!this.#job && (this.#stale || moved)) {
      this.#job = this.#start(scene, camera);
      this.#stale = false;
    }
    if (!this.#job) return;
    let done = false;
    do done = this.#job.steps.next().done === true;
    while (!done && (small || performance.now() < deadline));
    // The very first picture is shown while it grows.
    if (done || !this.#front) {
      this.#front = this.#job.bitmaps;
      if (done) this.#job = null;
    }
  }

  #start(scene: Scene, camera: Camera): { bitmaps: Bitmaps; steps: Generator<void> } {
    const make = (): HTMLCanvasElement => {
      const canvas = document.createElement("canvas");
      canvas.width = Math.ceil((this.#width + 2 * this.#spare[0]) * this.#ratio);
      canvas.height = Math.ceil((this.#height + 2 * this.#spare[1]) * this.#ratio);
      return canvas;
    };
    const bitmaps = { edges: make(), nodes: make(), camera, whole: false };
    return { bitmaps, steps: this.#steps(scene, bitmaps) };
  }

  *#steps(scene: Scene, bitmaps: Bitmaps): Generator<void> {
    const { edges, nodes, camera } = bitmaps;
    const [spareX, spareY] = this.#spare;
    const box = region(camera, { left: -spareX, top: -spareY, right: this.#width + spareX, bottom: this.#height + spareY });
    const prepare = (canvas: HTMLCanvasElement): CanvasRenderingContext2D => {
      // Kept in plain memory: there, asking for one pixel ends a slice, and its cost is known.
      const context = canvas.getContext("2d", { willReadFrequently: true })!;
      context.setTransform(this.#ratio, 0, 0, this.#ratio, spareX * this.#ratio, spareY * this.#ratio);
      return context;
    };
    const above = prepare(nodes);
    let drawn = 0;
    for (const item of scene.nodesIn(box)) {
      drawNode(above as Pen, scene, camera, item, this.#colours);
      if ((drawn += 1) % SLICE === 0) yield;
    }
    const context = prepare(edges);
    for (const bin of scene.bins) {
      const style = edgeStyle(scene, camera, bin.level, bin.positive, this.#colours);
      Object.assign(context, style);
      for (let from = 0; from < bin.edges.length; from += SLICE) {
        const path = new Path2D();
        for (const edge of bin.edges.subarray(from, from + SLICE)) {
          if (scene.touches(edge, box)) trace(path, scene, camera, edge);
        }
        context.stroke(path);
        context.getImageData(0, 0, 1, 1);
        yield;
      }
    }
    context.resetTransform();
    context.globalAlpha = 1;
    context.drawImage(nodes, 0, 0);
    context.getImageData(0, 0, 1, 1);
    bitmaps.whole = true;
  }

  /** Whether the bitmaps made for `made` still reach a little beyond the screen at `now`. */
  #covered(made: Camera, now: Camera): boolean {
    const factor = now.scale / made.scale;
    const [spareX, spareY] = this.#spare;
    const [dx, dy] = [now.x - (made.x + spareX) * factor, now.y - (made.y + spareY) * factor];
    const [wide, high] = [(this.#width + 2 * spareX) * factor, (this.#height + 2 * spareY) * factor];
    const reach = 40;
    return dx <= -reach && dy <= -reach && dx + wide >= this.#width + reach && dy + high >= this.#height + reach;
  }

  #blit(context: CanvasRenderingContext2D, which: "edges" | "nodes", camera: Camera, alpha: number): void {
    const front = this.#front;
    if (!front) return;
    const factor = camera.scale / front.camera.scale;
    const [spareX, spareY] = this.#spare;
    context.globalAlpha = alpha;
    context.drawImage(
      front[which],
      camera.x - (front.camera.x + spareX) * factor,
      camera.y - (front.camera.y + spareY) * factor,
      (front[which].width / this.#ratio) * factor,
      (front[which].height / this.#ratio) * factor,
    );
    context.globalAlpha = 1;
  }

  #linked(context: CanvasRenderingContext2D, scene: Scene, camera: Camera, centre: number): Set<number> {
    const { source, target, weight } = scene.shown;
    const near = new Set([centre]);
    for (let e = 0; e < source.length; e += 1) {
      if (source[e] !== centre && target[e] !== centre) continue;
      near.add(source[e]!).add(target[e]!);
      const path = new Path2D();
      trace(path, scene, camera, e);
      Object.assign(context, edgeStyle(scene, camera, scene.strength(weight[e]!, scene.largestWeight), weight[e]! > 0, this.#colours, true));
      context.stroke(path);
    }
    context.globalAlpha = 1;
    return near;
  }

  #marks(context: CanvasRenderingContext2D, scene: Scene, camera: Camera, marks: Marks, near: ReadonlySet<number>): void {
    const ring = (item: number, colour: string, width: number, grow: number): void => {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      outline(context as Pen, scene, camera, item, grow);
      context.stroke();
    };
    for (const item of marks.found) ring(item, this.#colours.muted, 1.5, 3);
    for (const item of marks.picked) ring(item, this.#colours.accent, 1.5, 3);
    for (const [item, share] of marks.measured) ring(item, share > 0 ? this.#colours.pos : this.#colours.neg, 1 + 3 * Math.sqrt(Math.abs(share)), 4);
    if (marks.focus >= 0) ring(marks.focus, this.#colours.accent, 2, 4);
    if (marks.hover >= 0) ring(marks.hover, this.#colours.ink, 1, 3);
    const named = [...marks.named, ...(near.size <= 12 ? near : [])];
    const taken: Box[] = [];
    for (const item of new Set(named)) this.#name(context, scene, camera, item, taken);
  }

  /** A label beside its node, left out where it would cover another. */
  #name(context: CanvasRenderingContext2D, scene: Scene, camera: Camera, item: number, taken: Box[]): void {
    if (isBox(scene.shown.kind[item]!)) return;
    const text = boxText(scene.graph, scene.shown, scene.supernodes, item);
    context.font = `11px ${this.#colours.font}`;
    const wide = context.measureText(text).width;
    const right = scene.layout.x[item]! * camera.scale + camera.x + RADIUS * Math.min(1.4, camera.scale) + 5;
    const y = scene.layout.y[item]! * camera.scale + camera.y;
    const left = right + wide > this.#width ? right - wide - 2 * (RADIUS + 5) : right;
    const box = { left, right: left + wide, top: y - 7, bottom: y + 7 };
    if (taken.some((other) => other.left < box.right && other.right > box.left && other.top < box.bottom && other.bottom > box.top)) return;
    taken.push(box);
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    context.lineWidth = 3;
    context.strokeStyle = this.#colours.surface;
    context.strokeText(text, left, y);
    context.fillStyle = this.#colours.ink;
    context.fillText(text, left, y);
  }

  #hulls(context: CanvasRenderingContext2D, scene: Scene, camera: Camera, marks: Marks): void {
    const { x, y, half } = scene.layout;
    context.font = `11px ${this.#colours.font}`;
    context.textAlign = "left";
    context.textBaseline = "alphabetic";
    for (const { name, items } of marks.hulls) {
      if (!items.length) continue;
      const left = Math.min(...items.map((i) => x[i]! - half[i]!)) * camera.scale + camera.x - 5;
      const right = Math.max(...items.map((i) => x[i]! + half[i]!)) * camera.scale + camera.x + 5;
      const top = (Math.min(...items.map((i) => y[i]!)) - RADIUS) * camera.scale + camera.y - 5;
      const bottom = (Math.max(...items.map((i) => y[i]!)) + RADIUS) * camera.scale + camera.y + 5;
      context.strokeStyle = this.#colours.muted;
      context.lineWidth = 1;
      context.setLineDash([3, 3]);
      context.beginPath();
      context.roundRect(left, top, right - left, bottom - top, 6);
      context.stroke();
      context.setLineDash([]);
      context.fillStyle = this.#colours.muted;
      context.fillText(name, left + 2, top - 3);
    }
  }

  #rows(context: CanvasRenderingContext2D, scene: Scene, camera: Camera, inset: Box): void {
    context.strokeStyle = this.#colours.line;
    context.lineWidth = 1;
    context.beginPath();
    for (const row of scene.layout.rows.slice(0, -1)) {
      const y = Math.round((row.at - row.half) * camera.scale + camera.y) + 0.5;
      context.moveTo(inset.left, y);
      context.lineTo(this.#width, y);
    }
    context.globalAlpha = 0.6;
    context.stroke();
    context.globalAlpha = 1;
  }

  /** Names of sites at the left and tokens at the foot stay in place whatever is on screen. */
  #axes(context: CanvasRenderingContext2D, scene: Scene, camera: Camera, inset: Box): void {
    const { surface, muted, ink, line, font } = this.#colours;
    context.fillStyle = surface;
    context.fillRect(0, 0, inset.left, this.#height);
    context.textBaseline = "middle";
    context.font = `11px ${font}`;
    context.textAlign = "left";
    context.fillStyle = muted;
    let last = Infinity;
    for (const row of scene.layout.rows) {
      const y = row.at * camera.scale + camera.y;
      if (y > inset.bottom - 6 || y < 6 || last - y < 12) continue;
      context.fillText(row.label, 8, y, inset.left - 10);
      last = y;
    }
    if (inset.bottom >= this.#height) return;
    context.fillStyle = surface;
    context.fillRect(0, inset.bottom, this.#width, this.#height - inset.bottom);
    context.strokeStyle = line;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(0, inset.bottom + 0.5);
    context.lineTo(this.#width, inset.bottom + 0.5);
    context.stroke();
    context.save();
    context.beginPath();
    context.rect(inset.left, inset.bottom, this.#width, this.#height);
    context.clip();
    context.textAlign = "center";
    context.fillStyle = ink;
    for (const column of scene.layout.columns) {
      const x = column.at * camera.scale + camera.x;
      const room = 2 * column.half * camera.scale - 2;
      if (room > 7) context.fillText(column.label, x, (inset.bottom + this.#height) / 2 + 1, room);
    }
    context.restore();
  }

  #rubber(context: CanvasRenderingContext2D, box: Box): void {
    context.fillStyle = context.strokeStyle = this.#colours.accent;
    context.lineWidth = 1;
    context.globalAlpha = 0.12;
    context.fillRect(box.left, box.top, box.right - box.left, box.bottom - box.top);
    context.globalAlpha = 1;
    context.strokeRect(box.left, box.top, box.right - box.left, box.bottom - box.top);
  }
}

/** Whether a picture begun for `a` would be of no use at `b`. */
function far(a: Camera, b: Camera, width: number, height: number): boolean {
  const factor = b.scale / a.scale;
  if (factor > 1.8 || factor < 0.55) return true;
  const [dx, dy] = [b.x - a.x * factor, b.y - a.y * factor];
  return Math.abs(dx) > width || Math.abs(dy) > height;
}
