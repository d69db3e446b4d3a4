// The picture of a circuit: a canvas that is panned, zoomed, pointed at and walked by keyboard.

import { h } from "../ui/dom";
import { fit, held, pan, reveal, toWorld, zoom, type Box, type Camera } from "./camera";
import { palette, type Palette } from "./draw";
import { Painter, type Marks } from "./paint";
import type { Scene } from "./scene";

export interface StageActions {
  focus(item: number): void;
  toggle(item: number): void;
  box(items: number[]): void;
  hover(item: number, anchor: HTMLElement): void;
  leave(): void;
  key(key: string, item: number): boolean;
  resized(): void;
}

const LEFT = 92; // for the names of sites
const FOOT = 22; // for the tokens
const STEP = 1.25;
const NOTHING: Marks = { focus: -1, hover: -1, picked: new Set(), named: new Set(), found: new Set(), measured: new Map(), hulls: [], drag: null };

export class Stage {
  readonly element = h("div", { class: "wb-stage" });
  readonly canvas = h("canvas", {
    class: "wb-canvas",
    tabindex: 0,
    role: "application",
    "aria-roledescription": "graph",
    "aria-keyshortcuts": "ArrowLeft ArrowRight ArrowUp ArrowDown Enter Space P G A + - 0 Escape",
  });
  readonly zoom = h("span", { class: "wb-zoom", role: "group", "aria-label": "Zoom" });
  readonly #anchor = h("div", { class: "wb-anchor", "aria-hidden": "true" });
  readonly #painter: Painter;
  #colours: Palette;
  #scene: Scene | null = null;
  #camera: Camera = { scale: 1, x: 0, y: 0 };
  #untouched = true;
  #asked = 0;
  #moving = 0;
  #marks = NOTHING;
  #drag: { x: number; y: number; camera: Camera; box: boolean; moved: boolean; item: number } | null = null;
  readonly #undo: (() => void)[] = [];

  readonly #root: HTMLElement;
  readonly #actions: StageActions;

  constructor(root: HTMLElement, actions: StageActions) {
    this.#root = root;
    this.#actions = actions;
    this.#colours = palette(root);
    this.#painter = new Painter(this.canvas, this.#colours);
    const button = (text: string, label: string, act: () => void): HTMLElement =>
      h("button", { class: "wb-quiet", type: "button", title: label, "aria-label": label, onclick: act }, text);
    this.zoom.append(
      button("+", "Zoom in", () => this.#zoomMiddle(STEP)),
      button("\u2212", "Zoom out", () => this.#zoomMiddle(1 / STEP)),
      button("Fit", "Show the whole graph", () => this.fit()),
    );
    this.element.append(this.canvas, this.#anchor);
    this.canvas.addEventListener("pointerdown", (event) => this.#down(event));
    this.canvas.addEventListener("pointermove", (event) => this.#move(event));
    this.canvas.addEventListener("pointerup", (event) => this.#up(event));
    this.canvas.addEventListener("pointercancel", () => this.#cancel());
    this.canvas.addEventListener("pointerleave", () => this.#hover(-1));
    this.canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
    const sized = new ResizeObserver(() => this.#resize());
    sized.observe(this.element);
    const themed = new MutationObserver(() => this.#theme());
    themed.observe(root, { attributes: true, attributeFilter: ["data-wb-theme"] });
    this.#undo.push(() => sized.disconnect(), () => themed.disconnect());
  }

  get palette(): Palette {
    return this.#colours;
  }

  get camera(): Camera {
    return this.#camera;
  }

  /** How much room the graph has, in pixels. */
  get room(): [number, number] {
    const box = this.#inset();
    return [Math.max(100, box.right - box.left), Math.max(80, box.bottom - box.top)];
  }

  show(scene: Scene): void {
    this.#scene = scene;
    // Items are numbered anew.
    this.#marks = { ...NOTHING, drag: this.#marks.drag };
    this.#painter.show(scene);
    if (this.#untouched) this.#camera = fit(scene.layout.width, scene.layout.height, this.#inset());
    this.draw();
  }

  mark(marks: Partial<Marks>): void {
    this.#marks = { ...this.#marks, ...marks };
    this.draw();
  }

  fit(): void {
    this.#untouched = true;
    if (this.#scene) this.#camera = fit(this.#scene.layout.width, this.#scene.layout.height, this.#inset());
    this.draw();
  }

  /** Bring an item on screen. */
  reveal(item: number): void {
    const layout = this.#scene?.layout;
    if (!layout || item < 0) return;
    this.#camera = reveal(this.#camera, layout.x[item]!, layout.y[item]!, this.#inset());
    this.draw();
  }

  draw(): void {
    if (!this.#asked) this.#asked = requestAnimationFrame(() => this.#frame());
  }

  dispose(): void {
    cancelAnimationFrame(this.#asked);
    for (const undo of this.#undo) undo();
  }

  #frame(): void {
    this.#asked = 0;
    const moving = performance.now() - this.#moving < 150;
    if (this.#painter.frame(this.#camera, this.#marks, this.#inset(), moving)) this.draw();
  }

  #inset(): Box {
    const { clientWidth, clientHeight } = this.element;
    const foot = this.#scene?.graph.data.tokens.length ? FOOT : 0;
    const left = Math.min(LEFT, clientWidth * 0.24);
    return { left, top: 0, right: clientWidth, bottom: clientHeight - foot };
  }

  #resize(): void {
    this.#painter.resize(this.element.clientWidth, this.element.clientHeight, window.devicePixelRatio || 1);
    // A view that is made before it is part of the page has no colours yet.
    if (!this.#colours.surface) this.#theme();
    this.#actions.resized();
    if (this.#untouched) this.fit();
    else this.draw();
  }

  #theme(): void {
    this.#colours = palette(this.#root);
    this.#painter.colours(this.#colours);
    this.draw();
  }

  #look(camera: Camera): void {
    const layout = this.#scene?.layout;
    if (!layout) return;
    this.#untouched = false;
    this.#moving = performance.now();
    const kept = held(camera, layout.width, layout.height, this.#inset());
    // Whole pixels, so that a shifted picture is as sharp as a new one.
    this.#camera = { scale: kept.scale, x: Math.round(kept.x), y: Math.round(kept.y) };
    this.draw();
  }

  #zoomMiddle(factor: number): void {
    const box = this.#inset();
    this.#look(zoom(this.#camera, factor, (box.left + box.right) / 2, (box.top + box.bottom) / 2));
  }

  #at(event: MouseEvent): number {
    if (!this.#scene) return -1;
    const [x, y] = toWorld(this.#camera, event.offsetX, event.offsetY);
    return this.#scene.hit(x, y, 3 / Math.min(1, this.#camera.scale));
  }

  #down(event: PointerEvent): void {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.#drag = { x: event.offsetX, y: event.offsetY, camera: this.#camera, box: event.shiftKey, moved: false, item: this.#at(event) };
    this.#hover(-1);
  }

  #move(event: PointerEvent): void {
    const drag = this.#drag;
    if (!drag) return this.#hover(this.#at(event));
    const [dx, dy] = [event.offsetX - drag.x, event.offsetY - drag.y];
    if (!drag.moved && Math.hypot(dx, dy) < 4) return;
    drag.moved = true;
    if (!drag.box) return this.#look(pan(drag.camera, dx, dy));
    this.mark({ drag: this.#rubber(drag, event) });
  }

  #rubber(drag: { x: number; y: number }, event: MouseEvent): Box {
    return {
      left: Math.min(drag.x, event.offsetX),
      right: Math.max(drag.x, event.offsetX),
      top: Math.min(drag.y, event.offsetY),
      bottom: Math.max(drag.y, event.offsetY),
    };
  }

  #up(event: PointerEvent): void {
    const drag = this.#drag;
    this.#cancel();
    if (!drag) return;
    if (drag.moved && drag.box && this.#scene) {
      const box = this.#rubber(drag, event);
      const [left, top] = toWorld(this.#camera, box.left, box.top);
      const [right, bottom] = toWorld(this.#camera, box.right, box.bottom);
      this.#actions.box(this.#scene.inside({ left, top, right, bottom }));
    } else if (!drag.moved) {
      const add = event.shiftKey || event.ctrlKey || event.metaKey;
      if (add && drag.item >= 0) this.#actions.toggle(drag.item);
      else if (!add) this.#actions.focus(drag.item);
    }
  }

  #cancel(): void {
    this.#drag = null;
    if (this.#marks.drag) this.mark({ drag: null });
  }

  #hover(item: number): void {
    if (item === this.#marks.hover) return;
    this.mark({ hover: item });
    this.canvas.style.cursor = item >= 0 ? "pointer" : "";
    const layout = this.#scene?.layout;
    if (item < 0 || !layout) return this.#actions.leave();
    const { scale, x, y } = this.#camera;
    this.#anchor.style.transform = `translate(${layout.x[item]! * scale + x - 8}px, ${layout.y[item]! * scale + y - 10}px)`;
    this.#actions.hover(item, this.#anchor);
  }

  /** The wheel zooms once the graph has the focus; until then it scrolls the page. */
  #wheel(event: WheelEvent): void {
    const mine = event.ctrlKey || event.metaKey || this.canvas.matches(":focus") || document.fullscreenElement !== null;
    if (!mine) return;
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.#hover(-1);
    this.#look(zoom(this.#camera, Math.exp(-Math.max(-120, Math.min(120, event.deltaY * lines)) * 0.0022), event.offsetX, event.offsetY));
  }

  #key(event: KeyboardEvent): void {
    const scene = this.#scene;
    if (!scene || event.ctrlKey || event.metaKey || event.altKey) return;
    const focus = this.#marks.focus;
    const ways: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const way = ways[event.key];
    if (way && event.shiftKey) this.#look(pan(this.#camera, -40 * way[0], -40 * way[1]));
    else if (way) {
      const next = focus >= 0 ? scene.toward(focus, ...way) : scene.shown.node.length - 1;
      if (next >= 0) {
        this.#actions.focus(next);
        this.reveal(next);
      }
    } else if (event.key === "+" || event.key === "=") this.#zoomMiddle(STEP);
    else if (event.key === "-") this.#zoomMiddle(1 / STEP);
    else if (event.key === "0") this.fit();
    else if (!this.#actions.key(event.key, focus)) return;
    event.preventDefault();
  }
}
