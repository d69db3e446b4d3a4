import { describe, expect, it } from "vitest";
import { chosen, conceptRows, keyOf, kindsOf, methodRows, ordered, scaleOf, shade, type Concepts, type Probe, type Texts } from "../src/direction/data";

const probe = (kind: string, k: number, merit: number, ranking = "a", source = kind): Probe => ({
  kind, k, merit, ranking, source, site: source, units: [], value: merit, low: 0, high: 1, auroc: null, direction: kind === "dense",
});

describe("probes", () => {
  it("are chosen in validation, by kind, k and ranking, the first of equals", () => {
    const probes = [probe("dense", 64, 0.7, ""), probe("features", 2, 0.5), probe("features", 2, 0.8), probe("features", 1, 0.4), probe("features", 1, 0.4), probe("features", 1, 0.9, "b")];
    expect(chosen(probes, "a")).toEqual([3, 2, 0]);
    expect(chosen(probes, "b")).toEqual([5, 0]);
    expect(kindsOf(probes)).toEqual(["features", "dense"]);
  });
});

describe("methods", () => {
  const concepts: Concepts = {
    names: ["x", "y"],
    methods: ["m", "n"],
    n_test: [4, 4],
    auroc: { data: [0.5, 0.75, NaN, 1] },
    low: { data: [0.25, 0.5, NaN, 0.75] },
    high: { data: [0.75, 1, NaN, 1] },
    notes: [["", ""], ["no feature", ""]],
    directions: [[true, true], [false, true]],
  };

  it("are ranked within a concept, those that could not be used last and with their reason", () => {
    const names = new Map([["m", "Method M"]]);
    expect(conceptRows(concepts, 0, names).map((row) => [row.key, row.name, row.value])).toEqual([["n", "n", 0.75], ["m", "Method M", 0.5]]);
    const last = conceptRows(concepts, 1, names)[1]!;
    expect([last.key, last.value, last.note, last.direction]).toEqual(["m", null, "no feature", false]);
  });

  it("are drilled into, concept by concept", () => {
    expect(methodRows(concepts, "n").map((row) => [row.key, row.value, row.low])).toEqual([["x", 0.75, 0.5], ["y", 1, 0.75]]);
  });

  it("are named in requests as Python names directions", () => {
    const state = { method: "m", concept: "x", probe: 3 };
    expect(keyOf("concept", state)).toBe("m");
    expect(keyOf("comparison", state)).toBe("x/m");
    expect(keyOf("comparison", { ...state, concept: "" })).toBe("");
    expect(keyOf("probes", state)).toBe("3");
  });
});

describe("scores", () => {
  it("are shaded from the median to either end", () => {
    const scale = scaleOf([4, null, 0, 1, 2, NaN])!;
    expect(scale).toEqual({ low: 0, middle: 1, high: 4 });
    expect([0, 0.5, 1, 2.5, 4, 9].map((value) => shade(scale, value))).toEqual([-1, -0.5, 0, 0.5, 1, 1]);
    expect(shade({ low: 0, middle: 0, high: 0 }, 0)).toBe(0);
    expect(scaleOf([null, NaN])).toBeNull();
  });

  it("order texts, of one label where asked, ties as they came", () => {
    const texts: Texts = { tokens: [["a"], ["b"], ["c"], ["d"]], positive: [true, false, true, false], starts: { data: [0, 1, 2, 3, 4] }, scores: { m: { data: [1, 3, 2, 3] } }, token_scores: {}, left_out: 0 };
    expect(ordered(texts, "m", "all", false)).toEqual([1, 3, 2, 0]);
    expect(ordered(texts, "m", "positive", true)).toEqual([0, 2]);
    expect(ordered(texts, "gone", "negative", false)).toEqual([1, 3]);
  });
});
