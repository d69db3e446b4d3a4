// The picture of everything shown as SVG or PNG, drawn by the same hand as the canvas on screen.

import type { Camera } from "./camera";
import { drawNode, edgeStyle, trace, type Palette, type Pen } from "./draw";
import type { Scene } from "./scene";

const SPACE = "http://www.w3.org/2000/svg";
const PLAIN: Camera = { scale: 1, x: 0, y: 0 };
const LEFT = 100;
const MARGIN = 24;
const ANCHORS: Record<string, string> = { center: "middle", left: "start" };

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

/** The part of a canvas's context that drawing a circuit needs, writing SVG elements. */
class SvgPen implements Pen {
  fillStyle = "";
  strokeStyle = "";
  lineWidth = 1;
  globalAlpha = 1;
  font = "";
  textAlign: CanvasTextAlign = "left";
  textBaseline: CanvasTextBaseline = "middle";
  #path = "";
  #dash = "";
  #into: Element;
  readonly #root: Element;

  constructor(root: Element) {
    this.#into = this.#root = root;
  }

  /** What follows stands for one thing, which is called `title`. */
  group(title: string): void {
    this.#into = this.#add(this.#root, "g", {});
    this.#add(this.#into, "title", {}).textContent = title;
  }

  #add(parent: Element, tag: string, attributes: Record<string, string | number>): Element {
    const element = document.createElementNS(SPACE, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
    parent.append(element);
    return element;
  }

  beginPath(): void {
    this.#path = "";
  }

  moveTo(x: number, y: number): void {
    this.#path += `M${round(x)} ${round(y)}`;
  }

  lineTo(x: number, y: number): void {
    this.#path += `L${round(x)} ${round(y)}`;
  }

  bezierCurveTo(...at: number[]): void {
    this.#path += `C${at.map(round).join(" ")}`;
  }

  rect(x: number, y: number, width: number, height: number): void {
    this.#path += `M${round(x)} ${round(y)}h${round(width)}v${round(height)}h${round(-width)}z`;
  }

  roundRect(x: number, y: number, width: number, height: number, r: number): void {
    const [w, t, c] = [round(width - 2 * r), round(height - 2 * r), round(r)];
    const corner = (dx: number, dy: number): string => `a${c} ${c} 0 0 1 ${dx * c} ${dy * c}`;
    this.#path += `M${round(x + r)} ${round(y)}h${w}${corner(1, 1)}v${t}${corner(-1, 1)}h${-w}${corner(-1, -1)}v${-t}${corner(1, -1)}z`;
  }

  /** Whole circles only. */
  arc(x: number, y: number, r: number): void {
    this.#path += `M${round(x + r)} ${round(y)}a${r} ${r} 0 1 1 ${-2 * r} 0a${r} ${r} 0 1 1 ${2 * r} 0`;
  }

  setLineDash(pattern: number[]): void {
    this.#dash = pattern.join(" ");
  }

  fill(): void {
    this.#add(this.#into, "path", { d: this.#path, fill: this.fillStyle, "fill-opacity": round(this.globalAlpha) });
  }

  stroke(): void {
    this.#add(this.#into, "path", {
      d: this.#path,
      fill: "none",
      stroke: this.strokeStyle,
      "stroke-width": round(this.lineWidth),
      "stroke-opacity": round(this.globalAlpha),
      ...(this.#dash ? { "stroke-dasharray": this.#dash } : {}),
    });
  }

  fillText(text: string, x: number, y: number): void {
    this.#add(this.#into, "text", { x: round(x), y: round(y + 4), fill: this.fillStyle, "text-anchor": ANCHORS[this.textAlign]! }).textContent = text;
  }
}

function size(scene: Scene): [width: number, height: number] {
  return [scene.layout.width + LEFT + MARGIN, scene.layout.height + 2 * MARGIN];
}

function picture(pen: Pen, scene: Scene, colours: Palette, begin: (item: number) => void): void {
  const { layout, shown } = scene;
  const camera: Camera = { ...PLAIN, x: LEFT, y: MARGIN };
  const [width, height] = size(scene);
  const labels = (colour: string, align: CanvasTextAlign): void => {
    pen.fillStyle = colour;
    pen.textAlign = align;
    pen.font = `11px ${colours.font}`;
    pen.textBaseline = "middle";
  };
  pen.beginPath();
  pen.rect(0, 0, width, height);
  pen.fillStyle = colours.surface;
  pen.fill();
  labels(colours.muted, "left");
  for (const row of layout.rows) pen.fillText(row.label, 8, row.at + MARGIN);
  labels(colours.ink, "center");
  for (const column of layout.columns) if (column.label) pen.fillText(column.label, column.at + LEFT, layout.height + 1.5 * MARGIN);
  for (const bin of scene.bins) {
    Object.assign(pen, edgeStyle(scene, PLAIN, bin.level, bin.positive, colours));
    for (const edge of bin.edges) {
      pen.beginPath();
      trace(pen, scene, camera, edge);
      pen.stroke();
    }
  }
  pen.globalAlpha = 1;
  for (let item = 0; item < shown.node.length; item += 1) {
    begin(item);
    drawNode(pen, scene, camera, item, colours);
  }
}

/** A complete SVG document of everything shown, whatever part of it is on screen. */
export function svg(scene: Scene, colours: Palette): string {
  const root = document.createElementNS(SPACE, "svg");
  const [width, height] = size(scene);
  for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${Math.ceil(width)} ${Math.ceil(height)}`, "font-family": colours.font, "font-size": 11 })) {
    root.setAttribute(name, String(value));
  }
  const pen = new SvgPen(root);
  const { graph, shown } = scene;
  picture(pen, scene, colours, (item) => pen.group(`${graph.data.names[shown.node[item]!]} ${graph.label(shown.node[item]!)}`.trim()));
  return new XMLSerializer().serializeToString(root);
}

/** The same picture as a PNG, `ratio` pixels to one of the screen, smaller where it would not fit. */
export async function png(scene: Scene, colours: Palette, ratio = 2): Promise<Blob> {
  const [width, height] = size(scene);
  const scale = Math.min(ratio, 16_000 / width, 16_000 / height);
  const canvas = document.createElement("canvas");
  canvas.width = Math.ceil(width * scale);
  canvas.height = Math.ceil(height * scale);
  const context = canvas.getContext("2d")!;
  context.setTransform(scale, 0, 0, scale, 0, 0);
  picture(context as Pen, scene, colours, () => undefined);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the browser could not make a PNG of this size"))), "image/png");
  });
}
