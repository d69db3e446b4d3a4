// What is left out of the picture besides by threshold.

import { h } from "../ui/dom";
import { KINDS, KIND_WORDS, type Circuit } from "./data";

export interface FilterState {
  kinds: readonly string[];
  sites: readonly string[];
  sign: string;
  only: string;
}

export const UNFILTERED: FilterState = { kinds: [], sites: [], sign: "both", only: "all" };

/** How many filters are set. */
export function filtering(state: FilterState): number {
  return Number(state.kinds.length > 0) + Number(state.sites.length > 0) + Number(state.sign !== "both") + Number(state.only !== "all");
}

export function filterCard(data: Circuit, state: FilterState, change: (next: Partial<FilterState>) => void): Node[] {
  const here = new Set(data.kind.data);
  const box = (words: string, name: string, hidden: readonly string[], set: (names: string[]) => void): HTMLElement => {
    const input = h("input", { type: "checkbox", checked: !hidden.includes(name) });
    input.addEventListener("change", () => set(input.checked ? hidden.filter((other) => other !== name) : [...hidden, name]));
    return h("label", {}, input, words);
  };
  const choice = (label: string, value: string, options: [string, string][], set: (value: string) => void): HTMLElement => {
    const select = h("select", {}, ...options.map(([name, words]) => h("option", { value: name, selected: name === value }, words)));
    select.addEventListener("change", () => set(select.value));
    return h("label", { class: "wb-choice" }, h("span", { class: "wb-muted" }, label), select);
  };
  return [
    choice("nodes", state.only, [["all", "all"], ["linked", "linked to the one in focus"], ["pinned", "pinned"]], (only) => change({ only })),
    data.signed ? choice("effect", state.sign, [["both", "both signs"], ["positive", "positive"], ["negative", "negative"]], (sign) => change({ sign })) : h("span", {}),
    h("div", { class: "wb-sub" }, "kinds"),
    h("div", { class: "wb-boxes" }, ...KINDS.flatMap((kind, at) => (here.has(at) ? [box(KIND_WORDS[at]!, kind, state.kinds, (kinds) => change({ kinds }))] : []))),
    h("div", { class: "wb-sub" }, "sites"),
    h("div", { class: "wb-boxes" }, ...data.sites.map((site) => box(site, site, state.sites, (sites) => change({ sites })))),
    h("button", { type: "button", onclick: () => change(UNFILTERED) }, "Show everything"),
  ];
}
