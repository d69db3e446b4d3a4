import { describe, expect, it } from "vitest";
import { Axis } from "../src/browser/axis";
import { arrange, figure, inside, Known, sameQuestion, short, unpack, type Asked, type Packed, type Row } from "../src/browser/data";
import { MOST_PIXELS, placeOf, scrollOf, spread } from "../src/ui/bigrows";

const asked: Asked = { search: "", kind: "label", where: [], order_by: "", descending: true, x: "density", y: "max", brush: [], only: [] };

function row(ref: string, numbers: Record<string, number>): Row {
  return { ref, label: null, why: null, colour: null, dead: false, dense: false, numbers };
}

describe("rows of any number", () => {
  const few = { real: 25 * 1000, view: 350 };
  const many = { real: 25 * 1_000_000, view: 350 };

  it("have a scroll bar that is honest while browsers can hold it", () => {
    expect(spread(few)).toBe(25_000);
    expect(placeOf(1234, few)).toBe(1234);
    expect(scrollOf(1234, few)).toBe(1234);
  });

  it("have one that stands for shares beyond, and reaches both ends exactly", () => {
    expect(spread(many)).toBe(MOST_PIXELS);
    const most = MOST_PIXELS - many.view;
    expect(placeOf(0, many)).toBe(0);
    expect(placeOf(most, many)).toBe(many.real - many.view);
    expect(placeOf(most + 50, many)).toBe(many.real - many.view);
    expect(placeOf(most / 2, many)).toBeCloseTo((many.real - many.view) / 2, 3);
    for (const place of [0, 25, 1e6, 2.4e7]) expect(placeOf(scrollOf(place, many), many)).toBeCloseTo(place, 3);
  });

  it("need no scrolling where they fit", () => {
    expect(placeOf(0, { real: 100, view: 350 })).toBe(0);
    expect(scrollOf(0, { real: 100, view: 350 })).toBe(0);
  });
});

describe("known rows", () => {
  const rows = (amount: number): Row[] => Array.from({ length: amount }, (_, at) => row(`a/${at}`, {}));

  it("are asked for in blocks around what is in sight, and only once", () => {
    const known = new Known(1_000_000);
    known.add(0, rows(150));
    expect(known.missing(0, 14)).toBeNull();
    // Going on, the block begins where knowledge ends.
    expect(known.missing(140, 154)).toEqual([150, 150]);
    // Elsewhere, some rows before come too.
    expect(known.missing(5000, 5014)).toEqual([4950, 150]);
    known.add(4950, rows(150));
    expect(known.missing(4950, 5100)).toBeNull();
  });

  it("are never asked for beyond the last", () => {
    const known = new Known(160);
    expect(known.missing(155, 170)).toEqual([105, 55]);
    known.add(105, rows(55));
    expect(known.missing(150, 170)).toBeNull();
    expect(new Known(0).missing(0, 14)).toBeNull();
  });

  it("far away are forgotten", () => {
    const known = new Known(1_000_000, 300);
    for (const first of [0, 150, 300, 100_000]) known.add(first, rows(150));
    expect(known.row(0)).toBeUndefined();
    expect(known.row(100_010)?.ref).toBe("a/10");
  });
});

describe("blocks", () => {
  it("come out as rows", () => {
    const packed: Packed = {
      first: 0,
      sae: { shape: [2], data: new Int32Array([1, 0]) },
      feature: { shape: [2], data: new Int32Array([7, 3]) },
      numbers: { max: { shape: [2], data: new Float64Array([2.5, NaN]) } },
      flags: { dead: { shape: [2], data: new Uint8Array([0, 1]) } },
      label: ["cats", null],
      why: null,
      colour: [null, "#e69f00"],
    };
    const [one, two] = unpack(packed, ["a", "b"]);
    expect(one).toMatchObject({ ref: "b/7", label: "cats", dead: false, numbers: { max: 2.5 } });
    expect(two).toMatchObject({ ref: "a/3", label: null, dead: true, colour: "#e69f00" });
    expect(two?.numbers["max"]).toBeNaN();
  });
});

describe("rows of a page", () => {
  const rows = [row("a/0", { max: 1, density: 0.1 }), row("a/1", { max: NaN, density: 0 }), row("a/2", { max: 3, density: 0.2 })];
  const refs = (state: Partial<Asked>, by: string): string[] => arrange(rows, { ...asked, ...state }, by).map(({ ref }) => ref);

  it("are sorted with those without a value last, both ways", () => {
    expect(refs({}, "max")).toEqual(["a/2", "a/0", "a/1"]);
    expect(refs({ descending: false }, "max")).toEqual(["a/0", "a/2", "a/1"]);
  });

  it("keep their order where the column is not here", () => {
    expect(refs({}, "label")).toEqual(["a/0", "a/1", "a/2"]);
  });

  it("are brushed, both ends included, and those without a value are outside", () => {
    expect(refs({ brush: [0.1, 0.2, 0, 3] }, "max")).toEqual(["a/2", "a/0"]);
    expect(refs({ brush: [0.15, 0.2, 0, 3] }, "max")).toEqual(["a/2"]);
    expect(inside(rows[1] as Row, { ...asked, brush: [0, 1, 0, 9] })).toBe(false);
  });
});

describe("questions", () => {
  it("are the same whatever axes stand there, unless something is brushed on them", () => {
    expect(sameQuestion(asked, { ...asked, x: "mean" })).toBe(true);
    expect(sameQuestion({ ...asked, brush: [0, 1, 0, 1] }, { ...asked, x: "mean", brush: [0, 1, 0, 1] })).toBe(false);
    expect(sameQuestion(asked, { ...asked, order_by: "max" })).toBe(false);
    expect(sameQuestion(asked, { ...asked, where: [["dead", "=", false]] })).toBe(false);
  });
});

describe("axes", () => {
  const linear = new Axis({ column: "max", low: -2, high: 8, log: false });
  const log = new Axis({ column: "density", low: 3e-5, high: 0.5, log: true });

  it("give back the value that lies at a place", () => {
    for (const axis of [linear, log]) for (const share of [0.1, 0.5, 0.9]) expect(axis.at(axis.value(share))).toBeCloseTo(share, 9);
    expect(log.value(0)).toBe(3e-5);
    expect(log.value(1.2)).toBe(0.5);
  });

  it("have round ticks inside their ends", () => {
    expect(linear.ticks(5)).toEqual([-2, 0, 2, 4, 6, 8]);
    expect(log.ticks(6).map(short)).toEqual(["1e\u22124", "0.001", "0.01", "0.1"]);
    expect(log.ticks(2).length).toBeLessThanOrEqual(2);
    const narrow = new Axis({ column: "max", low: 2, high: 4.5, log: true });
    for (const tick of narrow.ticks(4)) expect(tick >= 2 && tick <= 4.5).toBe(true);
    expect(narrow.ticks(4).length).toBeGreaterThan(1);
  });
});

describe("figures", () => {
  it("are short and keep their sign and size", () => {
    expect(short(0.00003662)).toBe("3.7e\u22125");
    expect(short(-12.345)).toBe("\u221212.3");
    expect(short(0)).toBe("0");
    expect(short(2e6)).toBe("2e6");
    expect(figure("density", 0.0123)).toBe("1.23%");
    expect(figure("count", 12345)).toBe("12,345");
    expect(figure("max", NaN)).toBe("\u2013");
    expect(figure("map_x", 0.12345)).toBe("0.123");
  });
});
