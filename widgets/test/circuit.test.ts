import { describe, expect, it } from "vitest";
import { fit, held, pan, region, reveal, toWorld, zoom } from "../src/circuit/camera";
import { code } from "../src/circuit/code";
import { countAt, Graph, GROUP, links, nameOf, ranked, remaining, show, stepAt, thresholdFor, toggle, type Circuit, type Filter, type Shown } from "../src/circuit/data";
import { filtering, UNFILTERED } from "../src/circuit/filters";
import { layout } from "../src/circuit/layout";
import { bendOf, Scene } from "../src/circuit/scene";

type Row = [site: number, kind: number, position: number, effect: number, label?: string];
type Edge = [source: number, target: number, weight: number];

const SITES = ["embed", "mlp.0", "resid.0", "output"];
const ROWS: Row[] = [
  [0, 2, 0, 0.01, "The"],
  [0, 2, 1, 0.5, "cat"],
  [1, 0, 1, -0.4, "noun"],
  [2, 0, 1, 0.9, "plural noun"],
  [2, 0, 1, 0.2, "plural noun"],
  [2, 1, 1, 0.6],
  [3, 5, 1, 2, "are \u2212 is"],
];
const EDGES: Edge[] = [
  [1, 2, 0.3],
  [1, 3, 0.7],
  [2, 3, -0.2],
  [2, 4, 0.1],
  [3, 6, 0.9],
  [4, 6, 0.2],
  [5, 6, 0.6],
];

function circuit(rows: Row[] = ROWS, edges: Edge[] = EDGES, more: Partial<Circuit> = {}): Circuit {
  const column = <T>(data: T): { shape: number[]; data: T } => ({ shape: [rows.length], data });
  const effect = Float32Array.from(rows, (row) => row[3]);
  return {
    title: "t",
    summary: "s",
    metric: "m",
    tokens: ["The", "cat"],
    sites: SITES,
    names: rows.map((_, i) => `n${i}`),
    labels: rows.map((row) => row[4] ?? null),
    site: column(Int32Array.from(rows, (row) => row[0])),
    kind: column(Uint8Array.from(rows, (row) => row[1])),
    position: column(Int32Array.from(rows, (row) => row[2])),
    effect: column(effect),
    activation: column(effect),
    patch: column(effect),
    source: column(Int32Array.from(edges, (edge) => edge[0])),
    target: column(Int32Array.from(edges, (edge) => edge[1])),
    weight: column(Float32Array.from(edges, (edge) => edge[2])),
    facts: [],
    signed: true,
    compare: null,
    provenance: { summary: "", facts: [] },
    code: [],
    can: { dashboard: false, measure: false, faithfulness: false, similarity: false, open: false },
    ...more,
  };
}

const ALL: Filter = { nodeThreshold: 0, edgeThreshold: 0, hiddenKinds: [], hiddenSites: [], sign: "both", only: "all", pinned: [], focus: "" };
const graph = new Graph(circuit());
const nodes = (filter: Partial<Filter>): number[] => [...graph.nodes({ ...ALL, ...filter }).keys()].filter((i) => graph.nodes({ ...ALL, ...filter })[i]);

function made(rows: number, edges: number): { graph: Graph; shown: Shown; scene: Scene } {
  let seed = 7;
  const random = (): number => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const all: Row[] = Array.from({ length: rows }, () => [Math.floor(random() * 3), 0, Math.floor(random() * 2), random() - 0.5]);
  const between: Edge[] = Array.from({ length: edges }, () => [Math.floor(random() * rows), Math.floor(random() * rows), random() - 0.5]);
  const built = new Graph(circuit(all, between));
  const shown = show(built, ALL, []);
  return { graph: built, shown, scene: new Scene(built, shown, [], layout(built, shown, [], 800, 400)) };
}

describe("what is shown", () => {
  it("keeps nodes strictly above the threshold, and tokens and outputs at any", () => {
    expect(nodes({})).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(nodes({ nodeThreshold: 0.5 })).toEqual([0, 1, 3, 5, 6]);
    expect(nodes({ nodeThreshold: graph.effect[5]! })).toEqual([0, 1, 3, 6]);
    expect(nodes({ nodeThreshold: 10 })).toEqual([0, 1, 6]);
  });

  it("keeps what is pinned at every threshold and what is in focus through every filter", () => {
    expect(nodes({ nodeThreshold: 10, pinned: ["n4"] })).toEqual([0, 1, 4, 6]);
    expect(nodes({ hiddenKinds: ["feature"], pinned: ["n4"] })).toEqual([0, 1, 5, 6]);
    expect(nodes({ hiddenKinds: ["feature"], focus: "n4" })).toEqual([0, 1, 4, 5, 6]);
    expect(nodes({ hiddenSites: ["embed", "resid.0"] })).toEqual([2, 6]);
    expect(nodes({ sign: "negative" })).toEqual([0, 1, 2, 6]);
    expect(nodes({ only: "pinned", pinned: ["n2"] })).toEqual([2]);
    expect(nodes({ only: "linked", focus: "n3" })).toEqual([1, 2, 3, 6]);
    expect(nodes({ only: "linked", focus: "n3", edgeThreshold: 0.5 })).toEqual([1, 3, 6]);
    expect(filtering(UNFILTERED)).toBe(0);
    expect(filtering({ ...UNFILTERED, sign: "negative", sites: ["embed"] })).toBe(2);
  });

  it("draws edges above the threshold between nodes that are shown", () => {
    const shown = show(graph, { ...ALL, nodeThreshold: 0.5, edgeThreshold: 0.65 }, []);
    expect([...shown.edge]).toEqual([1, 4]);
    expect(shown.nodes).toBe(5);
  });

  it("draws a collapsed supernode in its members' place and sums their edges", () => {
    const pair = [{ name: "number", nodes: ["n3", "n4", "gone"], collapsed: true }];
    const shown = show(graph, ALL, pair);
    expect(shown.node.length).toBe(6);
    const item = shown.itemOf[3]!;
    expect(shown.itemOf[4]).toBe(item);
    expect([shown.kind[item], shown.group[item]]).toEqual([GROUP, 0]);
    expect(shown.effect[item]).toBeCloseTo(1.1);
    expect(nameOf(graph, shown, pair, item)).toBe("number");
    const out = links(shown, item, "out");
    expect(out.map((link) => [link.item, link.edge])).toEqual([[shown.itemOf[6], -1]]);
    expect(out[0]!.weight).toBeCloseTo(1.1);
    expect(links(shown, item, "in").map((link) => Math.round(100 * link.weight) / 100)).toEqual([0.7, -0.1]);
    // Members below the threshold are not in it; with none left it is not there.
    expect(show(graph, { ...ALL, nodeThreshold: 0.3 }, pair).effect[0]).toBeCloseTo(0.9);
    expect([...show(graph, { ...ALL, nodeThreshold: 5 }, pair).kind]).not.toContain(GROUP);
    expect(show(graph, ALL, [{ ...pair[0]!, collapsed: false }]).node.length).toBe(7);
  });

  it("shows one side of a comparison", () => {
    const f = (...values: number[]): { shape: number[]; data: Float32Array } => ({ shape: [7], data: Float32Array.from(values) });
    const compare = {
      names: ["a", "b"] as [string, string],
      presence: { shape: [7], data: new Uint8Array(7).fill(3) },
      effects: [f(1, 2, 3, 4, 5, 6, 7), f(7, 6, 5, 4, 3, 2, 1)] as [{ shape: number[]; data: Float32Array }, { shape: number[]; data: Float32Array }],
      weights: [f(1, 1, 1, 1, 1, 1, 1), f(2, 2, 2, 2, 2, 2, 2)] as [{ shape: number[]; data: Float32Array }, { shape: number[]; data: Float32Array }],
    };
    const data = circuit(ROWS, EDGES, { compare });
    expect(new Graph(data, 0).effect[3]).toBeCloseTo(0.9);
    expect(new Graph(data, 1).effect[0]).toBe(1);
    expect(new Graph(data, 2).weight[0]).toBe(2);
  });
});

describe("ranking", () => {
  it("lists edges by magnitude, of one sign where asked", () => {
    const shown = show(graph, ALL, []);
    expect(links(shown, 6, "in").map((link) => link.item)).toEqual([3, 5, 4]);
    expect(links(shown, 3, "in").map((link) => link.item)).toEqual([1, 2]);
    expect(links(shown, 3, "in", "negative").map((link) => link.item)).toEqual([2]);
    expect(links(shown, 3, "in", "positive").map((link) => link.item)).toEqual([1]);
    expect(links(shown, 6, "out")).toEqual([]);
  });

  it("lists nodes by magnitude and finds words in names and labels", () => {
    const shown = show(graph, ALL, []);
    expect(ranked(graph, shown, [])).toEqual([6, 3, 5, 1, 2, 4, 0]);
    expect(ranked(graph, shown, [], "noun PLURAL")).toEqual([3, 4]);
    expect(ranked(graph, shown, [], "n2")).toEqual([2]);
    expect(ranked(graph, shown, [], "nothing of the kind")).toEqual([]);
  });

  it("turns counts into thresholds and back", () => {
    for (let count = 0; count <= graph.n; count += 1) {
      expect(remaining(graph.nodeRank, thresholdFor(graph.nodeRank, count))).toBe(count);
    }
    const ties = Float32Array.from([3, 2, 2, 2, 1]);
    expect(remaining(ties, thresholdFor(ties, 3))).toBe(1);
    expect(remaining(ties, thresholdFor(ties, 4))).toBe(4);
    expect([countAt(0, 5000), countAt(1000, 5000)]).toEqual([0, 5000]);
    for (const count of [1, 2, 10, 86, 999]) expect(Math.abs(countAt(stepAt(count, 5000), 5000) - count) / count).toBeLessThan(0.01);
    expect(toggle(["a"], "b")).toEqual(["a", "b"]);
    expect(toggle(["a", "b"], "a")).toEqual(["b"]);
  });
});

describe("layout", () => {
  const shown = show(graph, ALL, []);
  const placed = layout(graph, shown, [], 700, 400);

  it("puts sites upwards and tokens across", () => {
    expect(placed.rows.map((row) => row.label)).toEqual(SITES);
    expect(placed.columns.map((column) => column.label)).toEqual(["The", "cat"]);
    const heights = placed.rows.map((row) => row.at);
    expect([...heights].sort((a, b) => b - a)).toEqual(heights);
    expect(placed.x[0]).toBeLessThan(placed.x[1]!);
    for (const item of [0, 1]) expect(placed.y[item]).toBeCloseTo(placed.rows[0]!.at);
    // Strong first, the error last.
    expect(placed.x[3]).toBeLessThan(placed.x[4]!);
    expect(placed.x[4]).toBeLessThan(placed.x[5]!);
  });

  it("fills the room, keeps everything inside, and lets nothing overlap", () => {
    for (const [n, positions] of [[5, 2], [300, 2], [900, 1]] as const) {
      const rows: Row[] = Array.from({ length: n }, (_, i) => [i % 3, 0, positions === 1 ? -1 : i % positions, Math.sin(i + 1)]);
      const many = new Graph(circuit(rows, [], positions === 1 ? { tokens: [] } : {}));
      const all = show(many, ALL, []);
      const out = layout(many, all, [], 700, 400);
      const taken = new Set<string>();
      for (let i = 0; i < n; i += 1) {
        expect(out.x[i]! - out.half[i]!).toBeGreaterThanOrEqual(0);
        expect(out.x[i]! + out.half[i]!).toBeLessThanOrEqual(out.width);
        expect(out.y[i]! - 7).toBeGreaterThanOrEqual(0);
        expect(out.y[i]! + 7).toBeLessThanOrEqual(out.height);
        taken.add(`${Math.round(out.x[i]! / 4)} ${Math.round(out.y[i]! / 4)}`);
      }
      expect(taken.size).toBe(n);
    }
    expect(placed.width).toBeCloseTo(700);
  });

  it("keeps the column of a token of which nothing is left", () => {
    const few = layout(graph, show(graph, { ...ALL, hiddenSites: ["embed"] }, []), [], 700, 400);
    expect(few.columns.map((column) => column.label)).toEqual(["The", "cat"]);
    expect(few.rows.map((row) => row.label)).toEqual(SITES.slice(1));
  });
});

describe("the camera", () => {
  const screen = { left: 90, top: 0, right: 690, bottom: 400 };

  it("fits, zooms about a point and pans", () => {
    const camera = fit(1200, 400, screen);
    expect(camera.scale).toBeCloseTo(0.5);
    expect(toWorld(camera, 90, 100)).toEqual([0, 0]);
    expect(fit(100, 100, screen).scale).toBe(1);
    const nearer = zoom(camera, 2, 300, 200);
    expect(nearer.scale).toBeCloseTo(1);
    const [before, after] = [toWorld(camera, 300, 200), toWorld(nearer, 300, 200)];
    expect(after[0]).toBeCloseTo(before[0]);
    expect(after[1]).toBeCloseTo(before[1]);
    expect(zoom(camera, 1e9, 0, 0).scale).toBe(6);
    expect(pan(camera, 5, -3)).toEqual({ scale: camera.scale, x: camera.x + 5, y: camera.y - 3 });
    expect(region(nearer, screen).right - region(nearer, screen).left).toBeCloseTo(600);
  });

  it("never loses the graph, and brings a point back with the least movement", () => {
    const lost = held({ scale: 1, x: 99_999, y: -99_999 }, 500, 300, screen);
    expect(lost.x).toBe(650);
    expect(lost.y).toBe(-260);
    const camera = { scale: 1, x: 90, y: 0 };
    expect(reveal(camera, 300, 200, screen)).toEqual(camera);
    expect(reveal(camera, 900, 200, screen).x).toBe(90 - (900 + 90 - 660));
    expect(reveal(camera, -100, 200, screen).x).toBe(90 + 130);
  });
});

describe("what lies where", () => {
  it("finds the node under a point as a search of all of them does", () => {
    const { scene } = made(200, 0);
    const { x, y } = scene.layout;
    for (let probe = 0; probe < 400; probe += 1) {
      const [px, py] = [(probe * 37) % scene.layout.width, (probe * 53) % scene.layout.height];
      let [best, nearest] = [-1, Infinity];
      for (let i = 0; i < x.length; i += 1) {
        const distance = Math.hypot(Math.max(0, Math.abs(x[i]! - px) - (scene.layout.half[i]! - 8)), y[i]! - py);
        if (distance <= 9 && distance < nearest) [best, nearest] = [i, distance];
      }
      const hit = scene.hit(px, py);
      expect(hit >= 0).toBe(best >= 0);
      if (best >= 0) expect(Math.hypot(x[hit]! - px, y[hit]! - py)).toBeCloseTo(Math.hypot(x[best]! - px, y[best]! - py));
    }
  });

  it("culls an edge only where its curve stays outside", () => {
    const { scene } = made(60, 400);
    const { x, y } = scene.layout;
    const box = { left: 150, top: 90, right: 420, bottom: 210 };
    let outside = 0;
    for (let e = 0; e < scene.shown.edge.length; e += 1) {
      const [a, b] = [scene.shown.source[e]!, scene.shown.target[e]!];
      const bend = bendOf(y[a]!, y[b]!);
      let inside = false;
      for (let t = 0; t <= 1; t += 1 / 64) {
        const [u, v] = [1 - t, t];
        const px = u ** 3 * x[a]! + 3 * u * u * v * x[a]! + 3 * u * v * v * x[b]! + v ** 3 * x[b]!;
        const py = u ** 3 * y[a]! + 3 * u * u * v * (y[a]! - bend) + 3 * u * v * v * (y[b]! + bend) + v ** 3 * y[b]!;
        inside ||= px > box.left && px < box.right && py > box.top && py < box.bottom;
      }
      if (inside) expect(scene.touches(e, box)).toBe(true);
      else outside += Number(!scene.touches(e, box));
    }
    expect(outside).toBeGreaterThan(0);
    const drawn = new Set(scene.nodesIn(box));
    for (const item of scene.inside(box)) expect(drawn.has(item)).toBe(true);
  });

  it("sorts every edge into one bin of its sign, weak ones first", () => {
    const { scene, shown } = made(60, 400);
    const seen = scene.bins.flatMap((bin) => [...bin.edges].map((edge) => [edge, bin.positive] as const));
    expect(seen.length).toBe(shown.edge.length);
    expect(new Set(seen.map(([edge]) => edge)).size).toBe(seen.length);
    for (const [edge, positive] of seen) expect(shown.weight[edge]! > 0).toBe(positive);
    expect(scene.bins.map((bin) => bin.level)).toEqual([...scene.bins.map((bin) => bin.level)].sort((a, b) => a - b));
  });

  it("walks to the nearest node in a direction", () => {
    const shown = show(graph, ALL, []);
    const scene = new Scene(graph, shown, [], layout(graph, shown, [], 700, 400));
    expect(scene.toward(0, 1, 0)).toBe(1);
    expect(scene.toward(1, -1, 0)).toBe(0);
    expect(scene.toward(1, 0, -1)).toBe(2);
    expect(scene.toward(6, 0, -1)).toBe(-1);
  });
});

describe("copy as code", () => {
  it("sets what differs from how the view opens, as Python", () => {
    const opened = { node_threshold: 0.1, picked: [], query: "", sign: "both", supernodes: [] };
    const state = { ...opened, node_threshold: 0.25, picked: ["a/1@2"], supernodes: [{ name: 'x "y"', nodes: ["a/1@2"], collapsed: true }] };
    expect(code(["import workbench as wb"], state, opened)).toBe(
      [
        "import workbench as wb",
        "view = circuit.view()",
        "view.node_threshold = 0.25",
        'view.picked = ["a/1@2"]',
        'view.supernodes = [{"name": "x \\"y\\"", "nodes": ["a/1@2"], "collapsed": True}]',
        "view",
        "",
      ].join("\n"),
    );
  });
});
