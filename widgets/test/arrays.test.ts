import { describe, expect, it } from "vitest";
import { decode, requestKey, type NdArray } from "../src/store/arrays";

const base64 = (array: ArrayBufferView): string =>
  btoa(String.fromCharCode(...new Uint8Array(array.buffer, array.byteOffset, array.byteLength)));

describe("decode", () => {
  it("reads the three ways an array travels alike", () => {
    const values = new Int32Array([1, -2, 3, 4]);
    const head = { $dtype: "int32", shape: [2, 2] };
    const shifted = new Uint8Array(17); // the same bytes at an odd offset, as in a message frame
    shifted.set(new Uint8Array(values.buffer), 1);
    const message = decode({ a: { ...head, buffer: 0 } }, [new DataView(shifted.buffer, 1, 16)]);
    const trait = decode({ a: { ...head, data: new DataView(values.buffer) } });
    const page = decode({ a: { ...head, base64: base64(values) } });
    for (const got of [message, trait, page] as { a: NdArray }[]) {
      expect([...got.a.data]).toEqual([1, -2, 3, 4]);
      expect(got.a.shape).toEqual([2, 2]);
    }
  });

  it("keeps NaN in arrays and leaves plain data alone", () => {
    const got = decode([{ $dtype: "float64", shape: [1], base64: base64(new Float64Array([NaN])) }, null, "x", 3]) as [
      NdArray,
      ...unknown[],
    ];
    expect(got[0].data[0]).toBeNaN();
    expect(got.slice(1)).toEqual([null, "x", 3]);
  });

  it("refuses what it cannot read", () => {
    expect(() => decode({ $dtype: "int64", shape: [1], base64: "" })).toThrow('unknown type "int64"');
    expect(() => decode({ $dtype: "uint8", shape: [1] })).toThrow("without its bytes");
    expect(() => decode({ $dtype: "uint8", shape: [2], base64: btoa("a") })).toThrow("came with 1 values");
  });
});

describe("requestKey", () => {
  it("does not depend on the order of names, but on everything else", () => {
    expect(requestKey("k", { a: 1, b: { c: [1, 2], d: null } })).toBe(requestKey("k", { b: { d: null, c: [1, 2] }, a: 1 }));
    expect(requestKey("k", { a: 1 })).not.toBe(requestKey("k", { a: "1" }));
    expect(requestKey("k", { a: [1, 2] })).not.toBe(requestKey("k", { a: [2, 1] }));
    expect(requestKey("k", {})).not.toBe(requestKey("l", {}));
  });
});
