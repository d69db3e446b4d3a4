// The store of a view in an exported page: state in memory, requests answered from what was
// recorded when the page was written.

import { decode, requestKey } from "./arrays";
import { NotRecorded, type Connection, type Off, type Store } from "./types";

export interface Recorded {
  kind: string;
  params: Record<string, unknown>;
  data: unknown;
}

export interface Snapshot {
  format: "workbench-view";
  version: number;
  view: string;
  state: Record<string, unknown>;
  initial: unknown;
  records: Recorded[];
}

export class SnapshotStore implements Store {
  readonly mode = "snapshot";
  readonly connection: Connection = "static";
  readonly #state: Record<string, unknown>;
  readonly #answers = new Map<string, unknown>();
  readonly #listeners = new Map<string, Set<() => void>>();

  readonly #snapshot: Snapshot;

  constructor(snapshot: Snapshot) {
    this.#snapshot = snapshot;
    this.#state = { ...snapshot.state };
    for (const { kind, params, data } of snapshot.records) {
      this.#answers.set(requestKey(kind, params), data);
    }
  }

  get<T>(name: string): T {
    return this.#state[name] as T;
  }

  set(patch: Record<string, unknown>): void {
    const changed = Object.keys(patch).filter((name) => this.#state[name] !== patch[name]);
    Object.assign(this.#state, patch);
    for (const name of changed) for (const callback of this.#listeners.get(name) ?? []) callback();
  }

  on(name: string, callback: () => void): Off {
    const callbacks = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, callbacks.add(callback));
    return () => callbacks.delete(callback);
  }

  async initial<T>(): Promise<T> {
    return decode(this.#snapshot.initial) as T;
  }

  async request<T>(kind: string, params: Record<string, unknown> = {}): Promise<T> {
    const key = requestKey(kind, params);
    if (!this.#answers.has(key)) throw new NotRecorded(kind);
    return decode(this.#answers.get(key)) as T;
  }

  cancel(): void {
    // Recorded answers come at once: nothing is ever running.
  }

  onConnection(): Off {
    return () => undefined;
  }

  onNotice(): Off {
    return () => undefined;
  }

  dispose(): void {
    this.#listeners.clear();
  }
}
