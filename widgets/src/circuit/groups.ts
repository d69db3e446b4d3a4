// Supernodes: made from what is picked, by shared label, or by similar decoders.

import type { Store } from "../store/types";
import { fill, h } from "../ui/dom";
import { plural } from "../ui/format";
import type { Graph, Supernode } from "./data";
import type { Ask } from "./files";

export interface GroupsHost {
  ask: Ask;
  live(): boolean;
  graph(): Graph | null;
}

export class Groups {
  readonly element = h("select", { "aria-label": "Supernodes", onchange: () => this.#choose() });
  readonly #store: Store;
  readonly #host: GroupsHost;

  constructor(store: Store, host: GroupsHost) {
    this.#store = store;
    this.#host = host;
  }

  #names(): string[] {
    return this.#store.get<string[]>("picked") ?? [];
  }

  #supernodes(): Supernode[] {
    return this.#store.get<Supernode[]>("supernodes") ?? [];
  }

  show(supernodes: readonly Supernode[]): void {
    const picked = this.#names().length;
    const option = (value: string, words: string, disabled = false): HTMLElement => h("option", { value, disabled }, words);
    fill(
      this.element,
      option("", supernodes.length ? `${plural(supernodes.length, "supernode")}` : "Group"),
      option("picked", picked > 1 ? `Group the ${picked} picked` : "Group what is picked", picked < 2),
      option("label", "Group by shared label"),
      option("similarity", "Group by similar decoder", !this.#host.graph()?.data.can.similarity || !this.#host.live()),
      option("collapse", "Collapse all", !supernodes.length),
      option("expand", "Expand all", !supernodes.length),
      option("none", "Ungroup all", !supernodes.length),
    );
    this.element.value = "";
  }

  #choose(): void {
    const how = this.element.value;
    this.element.value = "";
    const all = this.#supernodes();
    if (how === "picked") this.group();
    else if (how === "label") this.#groupByLabel();
    else if (how === "similarity") void this.#host.ask("Grouping", "group", { by: "similarity" }, "Could not group");
    else if (how === "none") this.#store.set({ supernodes: [] });
    else if (how) this.#store.set({ supernodes: all.map((one) => ({ ...one, collapsed: how === "collapse" })) });
  }

  /** Make one of what is picked. */
  group(): void {
    const picked = this.#names();
    const graph = this.#host.graph();
    if (picked.length < 2 || !graph) return;
    const rest = this.#supernodes()
      .map((one) => ({ ...one, nodes: one.nodes.filter((name) => !picked.includes(name)) }))
      .filter((one) => one.nodes.length > 0);
    const labels = new Set(picked.map((name) => graph.label(graph.byName.get(name) ?? -1)));
    const [only] = labels;
    const name = labels.size === 1 && only ? only : `group ${rest.length + 1}`;
    this.#store.set({ supernodes: [...rest, { name, nodes: picked, collapsed: true }], picked: [], focus: picked[0] });
  }

  /** Nodes of one label at one position stand for one thing; a snapshot finds them by itself. */
  #groupByLabel(): void {
    if (this.#host.live()) return void this.#host.ask("Grouping", "group", { by: "label" }, "Could not group");
    const graph = this.#host.graph();
    if (!graph) return;
    const groups = new Map<string, string[]>();
    graph.data.names.forEach((name, node) => {
      const label = graph.label(node);
      if (!label || graph.kind(node) !== 0) return;
      const key = `${graph.data.position.data[node]} ${label}`;
      groups.set(key, [...(groups.get(key) ?? []), name]);
    });
    const made = [...groups].filter(([, nodes]) => nodes.length > 1);
    this.#store.set({ supernodes: made.map(([key, nodes]) => ({ name: key.slice(key.indexOf(" ") + 1), nodes, collapsed: true })) });
  }
}
