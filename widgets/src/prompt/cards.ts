// What hovering or focusing a token or a feature shows, and the panel of next-token predictions.

import { h } from "../ui/dom";
import { number, percent, plural, printable } from "../ui/format";
import { tokenSpan } from "../ui/token";
import type { Prediction, Reading, SaeTable } from "./data";

export function predictions(list: readonly Prediction[], limit: number): HTMLElement {
  const largest = Math.max(...list.map((item) => item[2]), 0);
  const table = h("div", { class: "wb-bars", role: "list" });
  for (const [token, id, probability] of list.slice(0, limit)) {
    const bar = h("i", { class: "wb-bar" });
    bar.style.width = largest > 0 ? `${(100 * probability) / largest}%` : "0";
    table.append(
      h(
        "div",
        { class: "wb-bar-row", role: "listitem", title: `token id ${id}, probability ${probability.toPrecision(4)}` },
        tokenSpan(token, "wb-mono wb-clip"),
        h("span", { class: "wb-bar-track" }, bar),
        h("span", { class: "wb-num" }, percent(probability)),
      ),
    );
  }
  return table;
}

function fact(name: string, ...value: (Node | string)[]): Node[] {
  return [h("dt", {}, name), h("dd", {}, ...value)];
}

export function tokenCard(
  reading: Reading,
  table: SaeTable | null,
  at: number,
  hideDense: boolean,
  picked: readonly number[],
): Node[] {
  const logProb = reading.log_prob.data[at] ?? NaN;
  const facts = h(
    "dl",
    { class: "wb-facts" },
    ...fact("token", tokenSpan(reading.tokens[at] ?? "")),
    ...fact("position", `${at} of ${reading.tokens.length}`),
    ...fact("token id", String(reading.token_ids.data[at])),
    ...(Number.isNaN(logProb)
      ? fact("log-prob", "\u2013 (nothing before it)")
      : fact("log-prob", `${number(logProb)} nats (p ${percent(Math.exp(logProb))})`)),
  );
  const out: Node[] = [facts];
  if (table) {
    const top = picked.length
      ? picked.map((feature) => ({ feature, value: table.at(feature, at) }))
      : table.top(at, hideDense, 4);
    out.push(h("div", { class: "wb-sub" }, picked.length ? "picked features" : "strongest features"));
    if (!top.length) out.push(h("div", { class: "wb-muted" }, "none active"));
    for (const { feature, value } of top) {
      out.push(
        h(
          "div",
          { class: "wb-card-row" },
          h("span", { class: "wb-mono" }, String(feature)),
          h("span", { class: "wb-clip wb-muted" }, printable(table.label(feature) ?? "")),
          h("span", { class: "wb-num" }, number(value)),
        ),
      );
    }
  }
  const next = reading.next_tokens[at] ?? [];
  if (next.length) out.push(h("div", { class: "wb-sub" }, "next token"), predictions(next, 3));
  return out;
}

function tokenList(tokens: readonly string[]): (Node | string)[] {
  if (!tokens.length) return ["\u2013"];
  return tokens.flatMap((token, i) => (i ? [" ", tokenSpan(token)] : [tokenSpan(token)]));
}

export function featureCard(reading: Reading, table: SaeTable, feature: number, value: number): Node[] {
  const values = table.byFeature.get(feature) ?? new Map<number, number>();
  const density = table.density(feature);
  return [
    h(
      "dl",
      { class: "wb-facts" },
      ...fact("feature", h("span", { class: "wb-mono" }, `${table.data.sae}/${feature}`)),
      ...fact("label", printable(table.label(feature) ?? "no label")),
      ...fact("value", number(value, 4)),
      ...fact("max seen", number(table.maxActivation(feature), 4)),
      ...fact("density", density >= 0 ? `${percent(density)} of counted tokens` : "unknown"),
      ...fact("corrected", density > 0 ? `${number(value * Math.log(1 / density), 4)} = value × ln(1/density)` : "density unknown"),
      ...fact("active at", plural(values.size, "token")),
      ...fact("raises", ...tokenList(table.raises(feature))),
      ...fact("lowers", ...tokenList(table.lowers(feature))),
    ),
    h("div", { class: "wb-sub" }, "value by token"),
    h(
      "div",
      { class: "wb-values" },
      ...[...values]
        .sort((a, b) => b[1] - a[1])
        .slice(0, 8)
        .map(([at, amount]) =>
          h("span", {}, h("span", { class: "wb-muted wb-num" }, `${at} `), tokenSpan(reading.tokens[at] ?? ""), ` ${number(amount)}`),
        ),
    ),
  ];
}
