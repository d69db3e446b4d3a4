import { describe, expect, it } from "vitest";
import { code } from "../src/feature/code";
import { title } from "../src/feature/contexts";
import {
  axis,
  binOf,
  bounds,
  brushedBins,
  choices,
  compact,
  distinct,
  inStretch,
  key,
  logHeight,
  onPage,
  sections,
  unpack,
  visit,
  type Context,
  type Group,
  type Kind,
  type Packed,
  type State,
} from "../src/feature/data";
import { tick } from "../src/feature/histogram";
import { dots, signed } from "../src/feature/parts";

const packed: Packed = {
  groups: [
    { kind: "top", name: "top", low: 1, high: 3, total: 2, contexts: [[7, 4, 1, 3], [9, 0, 0, 1]] },
    { kind: "silent", name: "does not fire", low: 0, high: 0, total: null, contexts: [[2, 5, 1, 2]] },
  ],
  strings: [" a", " cat", " sat"],
  string: { shape: [6], data: new Int32Array([0, 1, 2, 1, 0, 2]) },
  ids: { shape: [6], data: new Int32Array([10, 11, 12, 11, 10, 12]) },
  values: { shape: [6], data: new Float32Array([0, 3, 0.5, 2, 0, 0]) },
};

/** A context of one-letter tokens, for the capital one of them. */
function context(document: number, text: string, value: number, start = 0): Context {
  const peak = [...text].findIndex((letter) => letter !== letter.toLowerCase());
  const values = [...text].map((_, at) => (at === peak ? value : 0));
  return { document, start, peak, tokens: [...text], ids: values, values };
}

function group(kind: Kind, contexts: Context[], low = 0, high = 1): Group {
  return { kind, place: 0, name: kind, low, high, total: null, contexts };
}

describe("contexts", () => {
  it("come out of the flat arrays as they went in", () => {
    const [top, silent] = unpack(packed);
    expect(top?.contexts[0]).toMatchObject({ document: 7, start: 4, peak: 1, tokens: [" a", " cat", " sat"] });
    expect(Array.from(top?.contexts[0]?.values ?? [])).toEqual([0, 3, 0.5]);
    expect(top?.contexts[1]).toMatchObject({ tokens: [" cat"] });
    expect(silent?.contexts[0]).toMatchObject({ tokens: [" a", " sat"] });
    expect(Array.from(silent?.contexts[0]?.ids ?? [])).toEqual([10, 12]);
    expect([top?.place, silent?.place]).toEqual([0, 1]);
  });

  it("are named by document and position, as Python names them", () => {
    expect(unpack(packed)[0]?.contexts.map(key)).toEqual(["7:5", "9:0"]);
  });

  it("show so many tokens on each side, and stop at the ends", () => {
    const long = context(1, "abcdefghijklMnopqrstuvwxyz", 1);
    expect(bounds(long, "5")).toEqual([7, 18]);
    expect(bounds(long, "10")).toEqual([2, 23]);
    expect(bounds(long, "whole")).toEqual([0, 26]);
    expect(bounds(context(1, "aBc", 1), "10")).toEqual([0, 3]);
  });

  it("are duplicates when what is shown is the same, and only then", () => {
    const far = [context(1, "xxxxxxabcdeFghijk", 3), context(2, "yyyyyyabcdeFghijk", 2), context(3, "abcdeFghijk", 1)];
    expect(distinct(far, "5")).toMatchObject({ hidden: 2 });
    expect(distinct(far, "5").shown[0]?.document).toBe(1);
    expect(distinct(far, "10")).toMatchObject({ hidden: 0 });
    // The same words around another peak are another context.
    expect(distinct([context(1, "aBcd", 1), context(2, "abCd", 1)], "whole").hidden).toBe(0);
    // Tokens are compared, not their concatenation.
    const joined: Context = { ...context(3, "aBcd", 1), tokens: ["a", "B", "cd"] };
    expect(distinct([context(1, "aBcd", 1), joined], "whole").hidden).toBe(0);
  });
});

describe("sections", () => {
  const top = group("top", Array.from({ length: 9 }, (_, i) => context(i, `${"abcdefghi"[i]}X`, 9 - i)));
  const width = group("width", [context(20, "aX", 1)]);
  const quantile = group("quantile", [context(30, "aX", 3), context(31, "bX", 2), context(32, "cX", 1)]);
  const silent = group("silent", [context(40, "aX", 0)]);

  it("of the overview are the first of each kind, with true quantiles before equal widths", () => {
    const shown = sections([top, width, quantile, silent], "overview", "10", true);
    expect(shown.map((s) => [s.group.kind, s.contexts.length, s.more])).toEqual([["top", 6, 3], ["quantile", 2, 1], ["silent", 1, 0]]);
    const without = sections([top, width, silent], "overview", "10", true);
    expect(without.map((s) => s.group.kind)).toEqual(["top", "width", "silent"]);
  });

  it("of one kind are all of it", () => {
    expect(sections([top, width, quantile, silent], "top", "10", true).map((s) => [s.contexts.length, s.more])).toEqual([[9, 0]]);
    expect(sections([top], "brush", "10", true)).toEqual([]);
  });

  it("count the duplicates they hide, and show them when asked", () => {
    const twice = group("top", [context(1, "aX", 2), context(2, "aX", 1)]);
    expect(sections([twice], "top", "10", true)[0]).toMatchObject({ duplicates: 1 });
    expect(sections([twice], "top", "10", false)[0]).toMatchObject({ duplicates: 0, contexts: twice.contexts });
  });

  it("offer only what there is, and say how many intervals of which sort", () => {
    expect(choices([top, quantile, quantile, silent])).toEqual([
      ["overview", "overview"],
      ["top", "top 9"],
      ["quantile", "2 true quantiles"],
      ["silent", "does not fire"],
    ]);
    expect(choices([])).toEqual([["overview", "overview"]]);
  });

  it("are titled so that equal width and equal counts are not confused", () => {
    expect(title({ ...width, name: "activation 1\u20132" })).toBe("activation 1\u20132 (equal width)");
    expect(title({ ...quantile, name: "quantile 0.50\u20130.75 (equal counts)" })).toContain("equal counts");
  });

  it("of a brushed range without a kernel are the page's own contexts in it, each once", () => {
    const found = onPage([top, group("quantile", [context(2, "cX", 7), context(50, "zX", 6.5)]), silent], 6, 7);
    expect(found.contexts.map((c) => c.document)).toEqual([2, 50, 3]);
  });
});

describe("histograms", () => {
  it("are drawn on a logarithmic axis where the edges are, and only there", () => {
    const log = axis([0.1, 1, 10, 100]);
    expect(log.log).toBe(true);
    expect([0, 0.1, 1, 100, 1000].map((v) => log.at(v))).toEqual([0, 0, expect.closeTo(1 / 3), 1, 1]);
    const linear = axis([0, 2, 4, 8]);
    expect(linear.log).toBe(false);
    expect([-1, 0, 2, 9].map((v) => linear.at(v))).toEqual([0, 0, 0.25, 1]);
    expect(axis([1, 2, 3, 4]).log).toBe(false);
    expect(axis([0, 0]).at(0)).toBe(0);
  });

  it("give an empty bin no height and a single token some", () => {
    expect(logHeight(0, 1000)).toBe(0);
    expect(logHeight(1, 1000)).toBeGreaterThan(0.05);
    expect(logHeight(1000, 1000)).toBe(1);
    expect(logHeight(0, 0)).toBe(0);
  });

  it("put an edge into the bin it opens, and the last edge into the last bin", () => {
    expect([0, 0.5, 1, 2.9, 3, 99].map((v) => binOf([0, 1, 2, 3], v))).toEqual([0, 0, 1, 2, 2, 2]);
  });

  it("know which bins a brush covers", () => {
    const edges = [0, 1, 2, 3];
    for (const [first, last] of [[0, 0], [1, 2], [0, 2], [2, 2]] as const) {
      expect(brushedBins(edges, [edges[first] as number, edges[last + 1] as number])).toEqual([first, last]);
    }
    expect(brushedBins(edges, [0.5, 1.5])).toEqual([0, 1]);
    expect(brushedBins(edges, [])).toBeNull();
  });

  it("label their ends shortly", () => {
    expect([tick(0), tick(8.1), tick(81), tick(810), tick(-1.4)]).toEqual(["0", "8.10", "81.0", "810", "\u22121.40"]);
  });
});

describe("history", () => {
  it("forgets what was ahead when something else is opened", () => {
    expect(visit(["a", "b", "c"], 1, "d")).toEqual({ history: ["a", "b", "d"], place: 2 });
    expect(visit(["a"], 0, "a")).toEqual({ history: ["a"], place: 0 });
  });
});

describe("words", () => {
  it("are compact where figures are large", () => {
    expect([0, 8611, 34_000, 2_100_000, 3e9].map(compact)).toEqual(["0", "8,611", "34.0 k", "2.1 M", "3.0 G"]);
    expect([signed(1.31), signed(-1.22), signed(0)]).toEqual(["+1.31", "\u22121.22", "0.00"]);
    expect(dots("a", false, "", null, "b")).toBe("a \u00b7 b");
  });

  it("find brushed tokens by document and both ends", () => {
    const brushed = [[3, 5, 7]];
    expect([[3, 4], [3, 5], [3, 7], [3, 8], [4, 6]].map(([d, p]) => inStretch(brushed, d as number, p as number))).toEqual([
      false,
      true,
      true,
      false,
      false,
    ]);
  });
});

describe("copied code", () => {
  const state: State = {
    feature: "resid_post.2/417",
    history: ["resid_post.2/417"],
    place: 0,
    group: "overview",
    window: "10",
    hide_duplicates: true,
    brush: [],
    text: "",
    marked: null,
    contexts_picked: [],
    tokens_brushed: [],
    features_picked: [],
  };

  it("says what is set and nothing else", () => {
    expect(code(["s = wb.open('demo')"], state)).toBe(
      [
        "s = wb.open('demo')",
        'view = s.feature("resid_post.2/417").view()',
        'view.group = "overview"',
        'view.window = "10"',
        "view.hide_duplicates = True",
        "view",
        "",
      ].join("\n"),
    );
  });

  it("sets the brush before the group it would change, and quotes what was typed", () => {
    const lines = code([], {
      ...state,
      brush: [1.5, 3],
      group: "top",
      text: 'a "b"\n',
      hide_duplicates: false,
      contexts_picked: ["7:5"],
      tokens_brushed: [[7, 4, 5]],
      features_picked: ["mlp_out.2/1"],
    }).split("\n");
    expect(lines.slice(1, 3)).toEqual(["view.brush = [1.5, 3]", 'view.group = "top"']);
    expect(lines).toContain('view.text = "a \\"b\\"\\n"');
    expect(lines).toContain("view.hide_duplicates = False");
    expect(lines).toContain('view.contexts_picked = ["7:5"]');
    expect(lines).toContain("view.tokens_brushed = [[7, 4, 5]]");
    expect(lines).toContain('view.features_picked = ["mlp_out.2/1"]');
  });
});
