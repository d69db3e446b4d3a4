// What can be drawn of a laid-out circuit, cut to what a piece of the screen shows, and what lies
// under the pointer.

import type { Box } from "./camera";
import type { Graph, Shown, Supernode } from "./data";
import { RADIUS, type Layout } from "./layout";

const CELL = 64; // world units of the grid that finds nodes
export const LEVELS = 6; // steps of strength in which edges are drawn

/** Edges of one sign and one step of strength: drawn in one go. */
export interface Bin {
  positive: boolean;
  /** Strength at the middle of the step, 0 to 1. */
  level: number;
  edges: Int32Array;
}

export class Scene {
  readonly graph: Graph;
  readonly shown: Shown;
  readonly supernodes: readonly Supernode[];
  readonly layout: Layout;
  /** From weak to strong, so that strong edges lie above. */
  readonly bins: Bin[];
  readonly largestEffect: number;
  readonly largestWeight: number;
  readonly #grid = new Map<number, number[]>();

  constructor(graph: Graph, shown: Shown, supernodes: readonly Supernode[], layout: Layout) {
    this.graph = graph;
    this.shown = shown;
    this.supernodes = supernodes;
    this.layout = layout;
    this.largestEffect = largest(shown.effect);
    this.largestWeight = largest(shown.weight);
    const sorted: number[][] = Array.from({ length: 2 * LEVELS }, () => []);
    for (let e = 0; e < shown.weight.length; e += 1) {
      const strength = this.strength(shown.weight[e]!, this.largestWeight);
      const level = Math.min(LEVELS - 1, Math.floor(strength * LEVELS));
      sorted[2 * level + Number(shown.weight[e]! > 0)]!.push(e);
    }
    this.bins = sorted.map((edges, at) => ({
      positive: at % 2 === 1,
      level: ((at >> 1) + 0.5) / LEVELS,
      edges: Int32Array.from(edges),
    }));
    for (let item = 0; item < layout.x.length; item += 1) {
      // A wide box lies in several cells.
      const last = Math.floor((layout.x[item]! + layout.half[item]!) / CELL);
      for (let column = Math.floor((layout.x[item]! - layout.half[item]!) / CELL); column <= last; column += 1) {
        const key = cell(column, Math.floor(layout.y[item]! / CELL));
        const list = this.#grid.get(key);
        if (list) list.push(item);
        else this.#grid.set(key, [item]);
      }
    }
  }

  /** Strength between 0 and 1, by the square root: weak ones stay visible beside strong ones. */
  strength(value: number, most: number): number {
    return most > 0 ? Math.sqrt(Math.min(1, Math.abs(value) / most)) : 0;
  }

  /** Whether the curve of an edge can touch the box: its ends and control points bound it. */
  touches(edge: number, box: Box): boolean {
    const { x, y } = this.layout;
    const [a, b] = [this.shown.source[edge]!, this.shown.target[edge]!];
    const [x1, y1, x2, y2] = [x[a]!, y[a]!, x[b]!, y[b]!];
    if (Math.max(x1, x2) < box.left || Math.min(x1, x2) > box.right) return false;
    const bend = bendOf(y1, y2);
    return Math.max(y1, y2 + bend) >= box.top && Math.min(y2, y1 - bend) <= box.bottom;
  }

  nodesIn(box: Box): number[] {
    const { x, y, half } = this.layout;
    const found: number[] = [];
    for (let item = 0; item < x.length; item += 1) {
      const wide = half[item]! + 4;
      if (x[item]! + wide < box.left || x[item]! - wide > box.right) continue;
      if (y[item]! + RADIUS + 4 < box.top || y[item]! - RADIUS - 4 > box.bottom) continue;
      found.push(item);
    }
    return found;
  }

  /** The item at a point of the world, -1 for none; `slack` widens small nodes. */
  hit(x: number, y: number, slack = 2): number {
    let [best, nearest] = [-1, Infinity];
    const reach = Math.ceil((RADIUS + slack) / CELL);
    const [column, row] = [Math.floor(x / CELL), Math.floor(y / CELL)];
    for (let i = -reach; i <= reach; i += 1) {
      for (let j = -reach; j <= reach; j += 1) {
        for (const item of this.#grid.get(cell(column + i, row + j)) ?? []) {
          const dx = Math.max(0, Math.abs(this.layout.x[item]! - x) - (this.layout.half[item]! - RADIUS - 1));
          const dy = Math.abs(this.layout.y[item]! - y);
          const distance = Math.hypot(dx, dy);
          if (distance <= RADIUS + slack && distance < nearest) [best, nearest] = [item, distance];
        }
      }
    }
    return best;
  }

  /** Items whose middle lies in a box. */
  inside(box: Box): number[] {
    const { x, y } = this.layout;
    return [...x.keys()].filter((item) => x[item]! >= box.left && x[item]! <= box.right && y[item]! >= box.top && y[item]! <= box.bottom);
  }

  /** The nearest item in a direction, -1 for none: how arrow keys walk. */
  toward(from: number, dx: number, dy: number): number {
    const { x, y } = this.layout;
    let [best, least] = [-1, Infinity];
    for (let item = 0; item < x.length; item += 1) {
      const [across, up] = [x[item]! - x[from]!, y[item]! - y[from]!];
      const along = across * dx + up * dy;
      if (item === from || along <= 0.5) continue;
      const aside = Math.abs(across * dy) + Math.abs(up * dx);
      const cost = along + 3 * aside;
      if (cost < least) [best, least] = [item, cost];
    }
    return best;
  }
}

export function bendOf(y1: number, y2: number): number {
  return Math.max(18, Math.min(46, Math.abs(y1 - y2) * 0.4));
}

function cell(column: number, row: number): number {
  return column * 65_536 + row;
}

function largest(values: Float32Array): number {
  let most = 0;
  for (const value of values) if (Math.abs(value) > most) most = Math.abs(value);
  return most;
}
