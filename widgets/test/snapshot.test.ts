import { describe, expect, it } from "vitest";
import { SnapshotStore, type Snapshot } from "../src/store/snapshot";
import { NotRecorded } from "../src/store/types";

const snapshot: Snapshot = {
  format: "workbench-view",
  version: 1,
  view: "prompt",
  state: { sort: "max", tokens_selected: [1] },
  initial: { tokens: ["a"] },
  records: [{ kind: "sae", params: { name: "a", k: 2 }, data: { n: 1 } }],
};

describe("a snapshot", () => {
  it("answers what was recorded, whatever the order of parameters", async () => {
    const store = new SnapshotStore(snapshot);
    expect(await store.request("sae", { k: 2, name: "a" })).toEqual({ n: 1 });
    expect(await store.initial()).toEqual({ tokens: ["a"] });
  });

  it("says what was not recorded", async () => {
    const store = new SnapshotStore(snapshot);
    await expect(store.request("sae", { name: "b" })).rejects.toBeInstanceOf(NotRecorded);
    await expect(store.request("read", { text: "x" })).rejects.toThrow('"read" is not in this snapshot');
  });

  it("keeps state of its own and announces only changes", () => {
    const store = new SnapshotStore(snapshot);
    let calls = 0;
    const off = store.on("sort", () => (calls += 1));
    store.set({ sort: "max" });
    expect(calls).toBe(0);
    store.set({ sort: "selected" });
    expect([calls, store.get("sort"), snapshot.state["sort"]]).toEqual([1, "selected", "max"]);
    off();
    store.set({ sort: "max" });
    expect(calls).toBe(1);
  });
});
