// Draws a scene on a canvas. The picture of all nodes and edges is kept as two bitmaps, larger than
// the screen; while the hand moves they are shifted and scaled, and a sharp picture is made behind
// them in slices of a few milliseconds. Only what is pointed at is drawn anew in every frame.

import { region, type Box, type Camera } from "./camera";
import { isBox, boxText, RADIUS } from "./layout";
import { bendOf, type Scene } from "./scene";

export interface Palette {
  surface: string;
  box: string;
  ink: string;
  muted: string;
  line: string;
  accent: string;
  pos: string;
  neg: string;
  bar: string;
  font: string;
}

/** What nodes and edges are drawn with: a canvas's context, or one that writes SVG. */
export interface Pen {
  fillStyle: string;
  strokeStyle: string;
  lineWidth: number;
  globalAlpha: number;
  font: string;
  textAlign: CanvasTextAlign;
  textBaseline: CanvasTextBaseline;
  beginPath(): void;
  moveTo(x: number, y: number): void;
  lineTo(x: number, y: number): void;
  bezierCurveTo(ax: number, ay: number, bx: number, by: number, x: number, y: number): void;
  rect(x: number, y: number, width: number, height: number): void;
  roundRect(x: number, y: number, width: number, height: number, r: number): void;
  arc(x: number, y: number, r: number, from: number, to: number): void;
  setLineDash(pattern: number[]): void;
  fill(): void;
  stroke(): void;
  fillText(text: string, x: number, y: number, room?: number): void;
}

const VARIABLES: Record<Exclude<keyof Palette, "font">, string> = {
  surface: "--wb-surface",
  box: "--wb-surface-2",
  ink: "--wb-ink",
  muted: "--wb-ink-2",
  line: "--wb-line",
  accent: "--wb-accent",
  pos: "--wb-pos",
  neg: "--wb-neg",
  bar: "--wb-bar",
};

/** The view's colours as a canvas understands them. */
export function palette(root: HTMLElement): Palette {
  const probe = document.createElement("span");
  root.append(probe);
  const found: Record<string, string> = {};
  for (const [name, variable] of Object.entries(VARIABLES)) {
    probe.style.color = `var(${variable})`;
    found[name] = getComputedStyle(probe).color;
  }
  found["font"] = getComputedStyle(probe).fontFamily;
  probe.remove();
  return found as unknown as Palette;
}

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

interface EdgeStyle {
  strokeStyle: string;
  lineWidth: number;
  globalAlpha: number;
}

export function edgeStyle(scene: Scene, camera: Camera, strength: number, positive: boolean, colours: Palette, strong = false): EdgeStyle {
  // Thousands of edges at once are drawn fainter: what stands out is where they gather.
  const crowd = Math.min(1, Math.sqrt(400 / Math.max(1, scene.shown.weight.length)));
  const faint = strong ? 0.45 : 0.22 * Math.max(0.3, crowd);
  return {
    strokeStyle: positive ? colours.pos : colours.neg,
    lineWidth: (0.8 + 2.4 * strength * strength) * Math.min(1.3, Math.max(0.6, camera.scale)) * (strong ? 1 : Math.max(0.6, crowd)),
    globalAlpha: Math.min(1, faint + 0.55 * strength * strength),
  };
}

export function trace(path: Pick<Pen, "moveTo" | "bezierCurveTo">, scene: Scene, camera: Camera, edge: number): void {
  const { x, y } = scene.layout;
  const [a, b] = [scene.shown.source[edge]!, scene.shown.target[edge]!];
  const bend = bendOf(y[a]!, y[b]!) * camera.scale;
  const [x1, y1] = [x[a]! * camera.scale + camera.x, y[a]! * camera.scale + camera.y];
  const [x2, y2] = [x[b]! * camera.scale + camera.x, y[b]! * camera.scale + camera.y];
  path.moveTo(x1, y1);
  path.bezierCurveTo(x1, y1 - bend, x2, y2 + bend, x2, y2);
}

/** Colour and opacity of a node: its sign, and its strength. */
function nodeStyle(scene: Scene, item: number, colours: Palette): { colour: string; alpha: number } {
  const effect = scene.shown.effect[item]!;
  const colour = !scene.graph.data.signed ? colours.bar : effect >= 0 ? colours.pos : colours.neg;
  return { colour, alpha: effect === 0 ? 0 : 0.3 + 0.65 * scene.strength(effect, scene.largestEffect) };
}

function outline(context: Pen, scene: Scene, camera: Camera, item: number, grow = 0): void {
  const x = scene.layout.x[item]! * camera.scale + camera.x;
  const y = scene.layout.y[item]! * camera.scale + camera.y;
  const size = Math.min(1.4, camera.scale);
  const r = Math.max(1.5, RADIUS * size) + grow;
  const kind = scene.shown.kind[item]!;
  if (isBox(kind)) {
    const half = scene.layout.half[item]! * Math.min(1.2, camera.scale) + grow;
    context.roundRect(x - half, y - r - 1, 2 * half, 2 * r + 2, Math.min(kind === 2 ? 3 : 7, r));
  } else if (kind === 1) polygon(context, x, y, r, 4, 0);
  else if (kind === 3) context.rect(x - r * 0.86, y - r * 0.86, r * 1.72, r * 1.72);
  else if (kind === 4) polygon(context, x, y, r * 1.1, 6, 0);
  else {
    context.moveTo(x + r, y);
    context.arc(x, y, r, 0, 2 * Math.PI);
  }
}

function polygon(context: Pen, x: number, y: number, r: number, corners: number, turn: number): void {
  for (let i = 0; i <= corners; i += 1) {
    const angle = turn + (2 * Math.PI * i) / corners;
    if (i === 0) context.moveTo(x + r * Math.cos(angle), y + r * Math.sin(angle));
    else context.lineTo(x + r * Math.cos(angle), y + r * Math.sin(angle));
  }
}

export function drawNode(context: Pen, scene: Scene, camera: Camera, item: number, colours: Palette): void {
  const kind = scene.shown.kind[item]!;
  const { colour, alpha } = nodeStyle(scene, item, colours);
  const presence = scene.graph.data.compare?.presence.data[scene.shown.node[item]!] ?? 3;
  context.beginPath();
  outline(context, scene, camera, item);
  context.fillStyle = colours.surface;
  context.fill();
  if (isBox(kind)) {
    context.fillStyle = colours.box;
    context.fill();
  }
  context.globalAlpha = isBox(kind) ? alpha * 0.35 : alpha;
  context.fillStyle = colour;
  context.fill();
  context.globalAlpha = 1;
  context.lineWidth = presence === 3 ? 1 : 1.5;
  context.strokeStyle = presence !== 3 ? colours.ink : kind === 0 ? colours.surface : colours.muted;
  if (presence === 1) context.setLineDash([2, 2]);
  context.stroke();
  context.setLineDash([]);
  if (!isBox(kind) || camera.scale < 0.5) return;
  context.font = `${Math.round(11 * Math.min(1.2, camera.scale))}px ${colours.font}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillStyle = colours.ink;
  const room = 2 * scene.layout.half[item]! * Math.min(1.2, camera.scale) - 6;
  context.fillText(boxText(scene.graph, scene.shown, scene.supernodes, item), scene.layout.x[item]! * camera.scale + camera.x, scene.layout.y[item]! * camera.scale + camera.y + 0.5, room);
}
