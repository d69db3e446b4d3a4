// The picture as SVG, from the same geometry as the canvas; and as PNG, from the canvas's own hand.

import type { Camera } from "./camera";
import { bendOf, type Scene } from "./scene";
import { boxText, isBox, RADIUS } from "./layout";
import { drawNode, edgeStyle, nodeStyle, type Palette } from "./paint";

const SPACE = "http://www.w3.org/2000/svg";
const PLAIN: Camera = { scale: 1, x: 0, y: 0 };
const LEFT = 100;
const MARGIN = 24;

type Attributes = Record<string, string | number>;

function make(tag: string, attributes: Attributes, text?: string): SVGElement {
  const element = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, typeof value === "number" ? String(Math.round(value * 100) / 100) : value);
  }
  if (text !== undefined) element.textContent = text;
  return element;
}

/** A complete SVG document of everything shown, whatever part of it is on screen. */
export function svg(scene: Scene, colours: Palette): string {
  const { layout, shown } = scene;
  const [width, height] = [layout.width + LEFT + MARGIN, layout.height + 2 * MARGIN];
  const root = make("svg", { xmlns: SPACE, width, height, viewBox: `0 0 ${Math.ceil(width)} ${Math.ceil(height)}`, "font-family": colours.font, "font-size": 11 });
  root.append(make("title", {}, scene.graph.data.title), make("rect", { width, height, fill: colours.surface }));
  for (const row of layout.rows) root.append(make("text", { x: 8, y: row.at + 4 + MARGIN, fill: colours.muted }, row.label));
  const world = make("g", { transform: `translate(${LEFT} ${MARGIN})` });
  for (const column of layout.columns) {
    if (column.label) world.append(make("text", { x: column.at, y: layout.height + 16, "text-anchor": "middle", fill: colours.ink }, column.label));
  }
  for (const bin of scene.bins) {
    for (const edge of bin.edges) {
      const [a, b] = [shown.source[edge]!, shown.target[edge]!];
      const [x1, y1, x2, y2] = [layout.x[a]!, layout.y[a]!, layout.x[b]!, layout.y[b]!].map((value) => Math.round(value * 10) / 10) as [number, number, number, number];
      const bend = bendOf(y1, y2);
      const style = edgeStyle(scene, PLAIN, bin.level, bin.positive, colours);
      world.append(
        make("path", {
          d: `M${x1} ${y1}C${x1} ${y1 - bend} ${x2} ${y2 + bend} ${x2} ${y2}`,
          fill: "none",
          stroke: style.strokeStyle,
          "stroke-width": style.lineWidth,
          "stroke-opacity": style.globalAlpha,
        }),
      );
    }
  }
  for (let item = 0; item < layout.x.length; item += 1) world.append(...nodeShapes(scene, item, colours));
  root.append(world);
  return new XMLSerializer().serializeToString(root);
}

function nodeShapes(scene: Scene, item: number, colours: Palette): SVGElement[] {
  const { layout, shown, graph } = scene;
  const [x, y, half] = [layout.x[item]!, layout.y[item]!, layout.half[item]!];
  const { colour, alpha } = nodeStyle(scene, item, colours);
  const kind = shown.kind[item]!;
  const box = isBox(kind);
  const shape: [string, Attributes] = box
    ? ["rect", { x: x - half, y: y - RADIUS - 1, width: 2 * half, height: 2 * RADIUS + 2, rx: kind === 2 ? 3 : 7 }]
    : kind === 0
      ? ["circle", { cx: x, cy: y, r: RADIUS }]
      : kind === 3
        ? ["rect", { x: x - 6, y: y - 6, width: 12, height: 12 }]
        : ["polygon", { points: corners(x, y, kind === 4 ? 6 : 4) }];
  const back = make(shape[0], { ...shape[1], fill: box ? colours.box : colours.surface, stroke: kind === 0 ? colours.surface : colours.muted });
  const front = make(shape[0], { ...shape[1], fill: colour, "fill-opacity": box ? alpha * 0.35 : alpha });
  const title = make("title", {}, `${graph.data.names[shown.node[item]!]} ${graph.label(shown.node[item]!)}`.trim());
  front.append(title);
  const text = box ? [make("text", { x, y: y + 4, "text-anchor": "middle", fill: colours.ink, "pointer-events": "none" }, boxText(graph, shown, scene.supernodes, item))] : [];
  return [back, front, ...text];
}

function corners(x: number, y: number, count: number): string {
  return Array.from({ length: count }, (_, i) => {
    const angle = (2 * Math.PI * i) / count;
    return `${(x + RADIUS * Math.cos(angle)).toFixed(1)},${(y + RADIUS * Math.sin(angle)).toFixed(1)}`;
  }).join(" ");
}

/** The same picture as a PNG, `ratio` pixels to one of the screen, smaller where it would not fit. */
export async function png(scene: Scene, colours: Palette, ratio = 2): Promise<Blob> {
  const { layout, shown } = scene;
  const [width, height] = [layout.width + LEFT + MARGIN, layout.height + 2 * MARGIN];
  const scale = Math.min(ratio, 16_000 / width, 16_000 / height);
  const canvas = document.createElement("canvas");
  canvas.width = Math.ceil(width * scale);
  canvas.height = Math.ceil(height * scale);
  const context = canvas.getContext("2d")!;
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.fillStyle = colours.surface;
  context.fillRect(0, 0, width, height);
  context.font = `11px ${colours.font}`;
  context.textBaseline = "middle";
  context.fillStyle = colours.muted;
  for (const row of layout.rows) context.fillText(row.label, 8, row.at + MARGIN);
  context.translate(LEFT, MARGIN);
  for (const bin of scene.bins) {
    Object.assign(context, edgeStyle(scene, PLAIN, bin.level, bin.positive, colours));
    for (const edge of bin.edges) {
      const [a, b] = [shown.source[edge]!, shown.target[edge]!];
      const [x1, y1, x2, y2] = [layout.x[a]!, layout.y[a]!, layout.x[b]!, layout.y[b]!];
      context.beginPath();
      context.moveTo(x1, y1);
      context.bezierCurveTo(x1, y1 - bendOf(y1, y2), x2, y2 + bendOf(y1, y2), x2, y2);
      context.stroke();
    }
  }
  context.globalAlpha = 1;
  for (let item = 0; item < layout.x.length; item += 1) drawNode(context, scene, PLAIN, item, colours);
  context.font = `11px ${colours.font}`;
  context.textAlign = "center";
  context.fillStyle = colours.ink;
  for (const column of layout.columns) context.fillText(column.label, column.at, layout.height + 12);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the browser could not make a PNG of this size"))), "image/png");
  });
}
