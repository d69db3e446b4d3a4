// Axes of a plot: where a value lies, which value lies somewhere, and ticks a person can read.

import type { AxisData } from "./data";

export class Axis {
  readonly #low: number;
  readonly #span: number;

  constructor(readonly data: AxisData) {
    const ends = data.log ? [Math.log(data.low), Math.log(data.high)] : [data.low, data.high];
    this.#low = ends[0] as number;
    this.#span = (ends[1] as number) - this.#low || 1;
  }

  /** Share of the axis below a value: 0 at its low end, 1 at its high one. */
  at(value: number): number {
    return ((this.data.log ? Math.log(value) : value) - this.#low) / this.#span;
  }

  /** The value at a share of the axis; the ends are exact, so that brushing to them leaves none out. */
  value(share: number): number {
    if (share <= 0) return this.data.low;
    if (share >= 1) return this.data.high;
    const place = this.#low + share * this.#span;
    return this.data.log ? Math.exp(place) : place;
  }

  /** Round values on the axis, about `most` of them. */
  ticks(most: number): number[] {
    const { low, high, log } = this.data;
    if (log) {
      const powers: number[] = [];
      const [from, to] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
      const step = Math.max(1, Math.ceil((to - from + 1) / most));
      for (let power = from; power <= to; power += step) powers.push(10 ** power);
      if (powers.length > 1) return powers;
    }
    const rough = (high - low) / Math.max(1, most);
    const unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * unit).find((size) => size >= rough) ?? 10 * unit;
    const found: number[] = [];
    for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + 1e-9 * step; tick += step) found.push(Math.abs(tick) < step / 1e6 ? 0 : tick);
    return found;
  }
}
