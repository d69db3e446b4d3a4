import { describe, expect, it } from "vitest";
import type { NdArray } from "../src/store/arrays";
import { code } from "../src/prompt/code";
import { bins, normalise, range, ranges, rows, scale, scope, toggle, SaeTable, type SaeData } from "../src/prompt/data";

const array = (values: number[], kind: "int" | "float" = "int"): NdArray => ({
  shape: [values.length],
  data: kind === "int" ? new Int32Array(values) : new Float64Array(values),
});

// Five tokens, the first special. Feature 3 is dense, 9's density is unknown.
const data: SaeData = {
  sae: "resid_post.1",
  position: array([0, 1, 1, 2, 2, 3, 4]),
  feature: array([3, 5, 3, 5, 9, 7, 7]),
  value: array([90, 2, 1, 4, 3, 4, 1], "float"),
  features: array([3, 5, 7, 9]),
  density: array([0.5, 0.001, 0.009, NaN], "float"),
  max_activation: array([90, 4, 4, 3], "float"),
  labels: ["dense one", null, "seven", null],
  raises: [[], [" a"], [], []],
  lowers: [[], [], [], []],
};
const special = [1, 0, 0, 0, 0];
const table = new SaeTable(data, special, 5);
const order = (options: Parameters<typeof rows>[2]): number[] => rows(table, 5, options).rows.map((row) => row.feature);

describe("rows", () => {
  it("take the largest value at the selected tokens", () => {
    expect(rows(table, 5, { selected: [1, 2], sort: "selected", hideDense: false }).rows).toMatchObject([
      { feature: 5, value: 4 },
      { feature: 9, value: 3 },
      { feature: 3, value: 1 },
    ]);
  });

  it("leave special tokens out unless they are selected", () => {
    expect(rows(table, 5, { selected: [], sort: "selected", hideDense: false }).rows.find((row) => row.feature === 3)?.value).toBe(1);
    expect(rows(table, 5, { selected: [0], sort: "selected", hideDense: false }).rows).toMatchObject([{ feature: 3, value: 90 }]);
  });

  it("break ties by index", () => {
    expect(order({ selected: [], sort: "selected", hideDense: false })).toEqual([5, 7, 9, 3]);
  });

  it("by max ignore the selection", () => {
    expect(order({ selected: [4], sort: "max", hideDense: false })).toEqual([5, 7, 9, 3]);
    expect(order({ selected: [4], sort: "selected", hideDense: false })).toEqual([7]);
  });

  it("density-corrected are value × ln(1/density), unknown last", () => {
    const result = rows(table, 5, { selected: [], sort: "corrected", hideDense: false }).rows;
    expect(result.map((row) => row.feature)).toEqual([5, 7, 3, 9]);
    expect(result[0]!.corrected).toBeCloseTo(4 * Math.log(1000), 10);
    expect(result[3]!.corrected).toBeNaN();
  });

  it("hide and count dense features, never those of unknown density", () => {
    const result = rows(table, 5, { selected: [1, 2], sort: "selected", hideDense: true });
    expect(result.rows.map((row) => row.feature)).toEqual([5, 9]);
    expect(result.hidden).toBe(1);
  });
});

describe("shades", () => {
  it("are the strongest feature's, or the given ones'", () => {
    expect([...table.shades([], false)]).toEqual([90, 2, 4, 4, 1]);
    expect([...table.shades([], true)]).toEqual([0, 2, 4, 4, 1]);
    expect([...table.shades([5, 7], true)]).toEqual([0, 2, 4, 4, 1]);
    expect([...table.shades([9], true)]).toEqual([0, 0, 3, 0, 0]);
  });

  it("are scaled without special tokens", () => {
    expect(scale(table.shades([], false), special)).toBe(4);
    expect(scope([], special, 5)).toEqual([1, 2, 3, 4]);
  });
});

describe("selections", () => {
  it("are ranges, toggles and kept in order", () => {
    expect(range(4, 2)).toEqual([2, 3, 4]);
    expect(toggle([1, 2], 2)).toEqual([1]);
    expect(toggle([1], 2)).toEqual([1, 2]);
    expect(normalise([3, 1, 3, 9, -1], 5)).toEqual([1, 3]);
    expect(ranges([0, 2, 3, 4, 7])).toBe("0, 2\u20134, 7");
  });

  it("strips keep the largest of each bin", () => {
    expect(bins([1, 5, 2, 0, 9, 3], 3)).toEqual([5, 2, 9]);
    expect(bins([1, 2], 10)).toEqual([1, 2]);
    expect(bins([], 10)).toEqual([]);
  });
});

describe("copied code", () => {
  it("is the Python call that gives the same view", () => {
    const text = code({ setup: ["import workbench as wb", 's = wb.open("demo")'], conversation: null, options: ", saes=[1]" }, {
      text: 'a "quoted"\nline\\',
      sae: "resid_post.2",
      sort: "corrected",
      hideDense: false,
      tokens: [1, 2],
      picked: ["resid_post.2/4"],
    });
    expect(text).toBe(
      [
        "import workbench as wb",
        's = wb.open("demo")',
        'view = s.read("a \\"quoted\\"\\nline\\\\", saes=[1]).view()',
        'view.sae = "resid_post.2"',
        'view.sort = "corrected"',
        "view.hide_dense = False",
        "view.tokens_selected = [1, 2]",
        'view.features_picked = ["resid_post.2/4"]',
        "view",
        "",
      ].join("\n"),
    );
  });

  it("reads a conversation as it was given", () => {
    const messages = "[{'role': 'user', 'content': 'hello'}]";
    const text = code({ setup: [], conversation: messages, options: "" }, {
      text: "<bos> hello",
      sae: null,
      sort: "max",
      hideDense: true,
      tokens: [],
      picked: [],
    });
    expect(text.split("\n")[0]).toBe(`view = s.read(${messages}).view()`);
  });
});
