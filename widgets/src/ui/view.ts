// One renderer, two transports: turns `render(root, store)` into an anywidget and into a page.

import { LiveStore, type WidgetModel } from "../store/live";
import { SnapshotStore, type Snapshot } from "../store/snapshot";
import type { Store } from "../store/types";
import { h } from "./dom";

export type Render = (root: HTMLElement, store: Store) => () => void;

interface WidgetContext {
  model: WidgetModel;
  el: HTMLElement;
}

/** The anywidget definition of a view. */
export function widget(render: Render): { render(context: WidgetContext): () => void } {
  return {
    render({ model, el }) {
      el.classList.add("wb-host");
      const store = new LiveStore(model, el);
      const dispose = render(el, store);
      return () => {
        dispose();
        store.dispose();
      };
    },
  };
}

/** Show the snapshot embedded in `page` in place of the static table that stands in its root. */
export function mounter(render: Render): (root: HTMLElement, embedded: HTMLElement) => void {
  return (root, embedded) => {
    try {
      const snapshot = JSON.parse(embedded.textContent ?? "") as Snapshot;
      if (snapshot.format !== "workbench-view" || snapshot.version !== 1) {
        throw new Error(`this page holds "${snapshot.format}" version ${snapshot.version}; expected "workbench-view" version 1`);
      }
      const stage = document.createElement("div");
      render(stage, new SnapshotStore(snapshot));
      root.replaceChildren(stage);
    } catch (error) {
      // The static table stays readable below the message.
      root.prepend(h("p", { role: "alert" }, `The view could not start: ${(error as Error).message}`));
    }
  };
}
