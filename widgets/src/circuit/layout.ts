// Where nodes stand: tokens across, layers upwards. World units are pixels at scale 1.

import { GROUP, type Graph, type Shown, type Supernode } from "./data";

export interface Band {
  label: string;
  /** Middle and half of the extent, across for a token, upwards for a site. */
  at: number;
  half: number;
}

export interface Layout {
  x: Float32Array;
  y: Float32Array;
  /** Half of each item's width. */
  half: Float32Array;
  rows: Band[];
  columns: Band[];
  width: number;
  height: number;
}

export const RADIUS = 7;
const ITEM = 20; // across and upwards, for one round node
const GAP = 18; // between rows, for the edges
const COLUMN_GAP = 14;
const LETTER = 6.2;
const LONGEST = 16;

/** Text as it stands inside a box. */
export function boxText(graph: Graph, shown: Shown, supernodes: readonly Supernode[], item: number): string {
  const group = shown.group[item]!;
  const node = shown.node[item]!;
  const text = group >= 0 ? supernodes[group]!.name : graph.label(node) || graph.data.names[node]!;
  const letters = [...text];
  return letters.length > LONGEST ? `${letters.slice(0, LONGEST - 1).join("")}\u2026` : text;
}

export function isBox(kind: number): boolean {
  return kind === 2 || kind === 5 || kind === GROUP;
}

function halfOf(graph: Graph, shown: Shown, supernodes: readonly Supernode[], item: number): number {
  return isBox(shown.kind[item]!) ? (boxText(graph, shown, supernodes, item).length * LETTER + 12) / 2 : RADIUS + 1;
}

/**
 * Lay the shown items out to fill about `width` × `height`. Each token and site have a cell; within
 * one, nodes stand by falling magnitude and wrap. Summed over positions there is one wide cell per
 * site, in which negative effects stand left and positive ones right. Of a few ways to wrap, the one
 * that fits at the largest scale is taken.
 */
export function layout(graph: Graph, shown: Shown, supernodes: readonly Supernode[], width: number, height: number): Layout {
  const positions = new Set([...graph.data.tokens.keys(), ...graph.data.position.data]).size;
  const share = Math.max(120, width / Math.max(1, positions) - COLUMN_GAP);
  let [best, largest] = [place(graph, shown, supernodes, width, height, share), 0];
  for (const factor of [1, 1.6, 2.6, 4, 7]) {
    const found = factor === 1 ? best : place(graph, shown, supernodes, width, height, share * factor);
    const scale = Math.min(width / found.width, height / found.height);
    if (scale > 1.02 * largest) [best, largest] = [found, scale];
    if (scale >= 1) break;
  }
  return best;
}

function place(graph: Graph, shown: Shown, supernodes: readonly Supernode[], width: number, height: number, share: number): Layout {
  const count = shown.node.length;
  const half = Float32Array.from(shown.node, (_, item) => halfOf(graph, shown, supernodes, item));
  const position = (item: number): number => graph.data.position.data[shown.node[item]!]!;
  const site = (item: number): number => graph.data.site.data[shown.node[item]!]!;
  const items = [...shown.node.keys()];
  const used = (values: number[]): number[] => [...new Set(values)].sort((a, b) => a - b);
  const rows = used(items.map(site));
  // Every token keeps its column, also where nothing of it is left: the text stays readable.
  const columns = used([...graph.data.tokens.keys(), ...items.map(position)]);
  const cells = new Map<number, number[]>();
  const rowOf = new Map(rows.map((at, row) => [at, row]));
  const columnOf = new Map(columns.map((at, column) => [at, column]));
  for (const item of items) {
    const key = rowOf.get(site(item))! * columns.length + columnOf.get(position(item))!;
    const cell = cells.get(key);
    if (cell) cell.push(item);
    else cells.set(key, [item]);
  }
  const widest = (cell: number[]): number => Math.max(...cell.map((item) => 2 * half[item]! + 4));
  const total = (cell: number[]): number => cell.reduce((sum, item) => sum + 2 * half[item]! + 4, 0);
  const columnWidth = columns.map((at, column) => {
    const token = graph.data.tokens[at];
    let need = token === undefined ? 0 : Math.min(LONGEST, token.length) * LETTER + 8;
    for (let row = 0; row < rows.length; row += 1) {
      const cell = cells.get(row * columns.length + column);
      if (cell) need = Math.max(need, widest(cell), Math.min(total(cell), share));
    }
    return Math.max(ITEM, need);
  });
  const lines = new Map<number, number[][]>();
  const rowHeight = rows.map((_, row) => {
    let most = 1;
    columns.forEach((_column, column) => {
      const key = row * columns.length + column;
      const cell = cells.get(key);
      if (!cell) return;
      const wrapped = wrap(order(cell, shown, columns.length === 1), half, columnWidth[column]! + 0.5);
      lines.set(key, wrapped);
      most = Math.max(most, wrapped.length);
    });
    return most * ITEM;
  });
  const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);
  const spareX = Math.max(COLUMN_GAP, (width - sum(columnWidth)) / Math.max(1, columns.length));
  const spareY = Math.max(GAP, Math.min(46, (height - sum(rowHeight)) / Math.max(1, rows.length)));
  const out: Layout = {
    x: new Float32Array(count),
    y: new Float32Array(count),
    half,
    rows: [],
    columns: [],
    width: sum(columnWidth) + spareX * columns.length,
    height: sum(rowHeight) + spareY * rows.length,
  };
  let left = 0;
  columns.forEach((at, column) => {
    const wide = columnWidth[column]! + spareX;
    out.columns.push({ label: graph.data.tokens[at] ?? "", at: left + wide / 2, half: wide / 2 });
    left += wide;
  });
  let bottom = out.height;
  rows.forEach((at, row) => {
    const high = rowHeight[row]! + spareY;
    const middle = bottom - high / 2;
    out.rows.push({ label: graph.data.sites[at] ?? "", at: middle, half: high / 2 });
    bottom -= high;
    columns.forEach((_column, column) => {
      const wrapped = lines.get(row * columns.length + column) ?? [];
      wrapped.forEach((line, number) => {
        let x = out.columns[column]!.at - total(line) / 2;
        for (const item of line) {
          x += half[item]! + 2;
          out.x[item] = x;
          out.y[item] = middle + (number - (wrapped.length - 1) / 2) * ITEM;
          x += half[item]! + 2;
        }
      });
    });
  });
  return out;
}

function order(cell: number[], shown: Shown, alone: boolean): number[] {
  // Error nodes stand last: they are what the features leave over.
  const late = (item: number): number => Number(shown.kind[item] === 1);
  const by = alone
    ? (a: number, b: number): number => shown.effect[a]! - shown.effect[b]!
    : (a: number, b: number): number => late(a) - late(b) || Math.abs(shown.effect[b]!) - Math.abs(shown.effect[a]!);
  return [...cell].sort((a, b) => by(a, b) || a - b);
}

function wrap(cell: number[], half: Float32Array, width: number): number[][] {
  const lines: number[][] = [];
  let room = -1;
  for (const item of cell) {
    const need = 2 * half[item]! + 4;
    if (room < need) {
      lines.push([]);
      room = width;
    }
    lines[lines.length - 1]!.push(item);
    room -= need;
  }
  return lines;
}
