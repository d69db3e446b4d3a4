import { describe, expect, it } from "vitest";
import { counts, moved, nextOpen, verdict } from "../src/judge/data";

const features = ["a/1", "a/2", "a/3"];

describe("judgements", () => {
  it("are changed, taken back and counted", () => {
    let state = moved({ ticked: [], seen: [] }, "a/2", "irrelevant");
    expect(state).toEqual({ ticked: ["a/2"], seen: ["a/2"] });
    state = moved(state, "a/1", "kept");
    expect(counts(state, features)).toEqual({ open: 1, kept: 1, irrelevant: 1 });
    expect(features.map((feature) => verdict(state, feature))).toEqual(["kept", "irrelevant", "open"]);
    state = moved(state, "a/2", "kept");
    expect(state.ticked).toEqual([]);
    state = moved(state, "a/2", "open");
    expect(state).toEqual({ ticked: [], seen: ["a/1"] });
    // What Python ticked counts as judged.
    expect(verdict({ ticked: ["a/3"], seen: [] }, "a/3")).toBe("irrelevant");
  });

  it("go on to the next open one, from the start again, and stay at the end", () => {
    expect(nextOpen({ ticked: [], seen: ["a/2"] }, features, 0)).toBe(2);
    expect(nextOpen({ ticked: [], seen: ["a/2", "a/3"] }, features, 1)).toBe(0);
    expect(nextOpen({ ticked: [], seen: features }, features, 1)).toBe(2);
    expect(nextOpen({ ticked: [], seen: features }, features, 2)).toBe(2);
  });
});
