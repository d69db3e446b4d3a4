import { describe, expect, it } from "vitest";
import { axes, diverging, nearest, places, verdict, type Cell, type Reading } from "../src/entities/data";

const cell = (layer: number | null, kind: string): Cell => ({ side: "known", sae: kind, kind, layer, feature: null, separation: 0 });

describe("the entity view", () => {
  it("places tokens by each feature's share of its largest activation on names", () => {
    const reading = {
      tokens: ["a", "b", "c"],
      values: { shape: [2, 3], data: [2, 0, 1, 0, 8, 9] }, // known, then unknown
      meter: { scale: [4, 8], known: [], unknown: [], auroc: {} },
    } as unknown as Reading;
    expect(places(reading)).toEqual([-0.5, 1, 0.875]);
    // A feature that never fires on names tells nothing.
    reading.meter.scale = [4, 0];
    expect(places(reading)).toEqual([-0.5, 0, -0.25]);
    reading.meter.scale = [1, 0];
    expect(places(reading)[0]).toBe(-1);
  });

  it("orders layers from the deepest down, the embedding last", () => {
    const found = axes([cell(0, "mlp_out"), cell(null, "embed"), cell(2, "mlp_out"), cell(0, "resid_post")]);
    expect(found).toEqual({ layers: [2, 0, null], kinds: ["mlp_out", "embed", "resid_post"] });
  });

  it("finds the nearest computed strength", () => {
    expect([0.3, 0.1, 5, -1].map((wanted) => nearest([0, 0.25, 0.5], wanted))).toEqual([0.25, 0, 0.5, 0]);
  });

  it("paints unknown and known apart, and nothing for nothing", () => {
    expect(diverging(0)).toBe("");
    expect(diverging(1)).toContain("--wb-pos) 42%");
    expect(diverging(-0.5)).toContain("--wb-neg) 21%");
    expect(diverging(-7)).toContain("--wb-neg) 42%");
  });

  it("says what an answer does", () => {
    const answer = (refused: boolean, correct: boolean | null) => verdict({ text: "", refused, correct });
    expect(answer(true, false)).toBe("refuses");
    expect(answer(false, null)).toBe("answers");
    expect(answer(false, true)).toBe("answers, right");
    expect(answer(false, false)).toBe("answers, wrong");
  });
});
