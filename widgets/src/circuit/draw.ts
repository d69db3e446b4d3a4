// How single nodes and edges look, on a canvas or in an SVG.

import type { Camera } from "./camera";
import { boxText, isBox, RADIUS } from "./layout";
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

export function outline(context: Pen, scene: Scene, camera: Camera, item: number, grow = 0): void {
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
