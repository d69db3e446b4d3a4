// The store of a view in a notebook: traits of the widget and requests to its Python side.

import { decode } from "./arrays";
import { Requests, type Bytes, type Callbacks } from "./requests";
import type { Connection, Notice, Off, RequestOptions, Store } from "./types";

/** The part of an anywidget model that views use. */
export interface WidgetModel {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(content: unknown, callbacks?: Callbacks, buffers?: ArrayBuffer[]): void;
  on(name: string, callback: (...args: never[]) => void): void;
  off(name: string, callback: (...args: never[]) => void): void;
}

/** A changed trait is followed by a ping no more often than this, so that no loss stays silent. */
const PING_EVERY = 2000;

export class LiveStore implements Store {
  readonly mode = "live";
  readonly #requests: Requests;
  readonly #notices = new Set<(notice: Notice) => void>();
  readonly #undo: Off[] = [];
  #pingTimer: ReturnType<typeof setTimeout> | null = null;

  readonly #model: WidgetModel;

  constructor(
    model: WidgetModel,
    el: HTMLElement,
  ) {
    this.#model = model;
    this.#requests = new Requests({
      send: (content, callbacks) => this.#model.send(content, callbacks),
    });
    this.#listen("msg:custom", (content: unknown, buffers: Bytes[]) => {
      if (this.#requests.receive(content, buffers)) return;
      const notice = (content as { notice?: Notice } | null)?.notice;
      if (notice) for (const callback of this.#notices) callback(notice);
    });
    // Jupyter front ends announce that a widget's comm went dead or came back, without saying
    // which: asking tells. A widget restored from a file without a kernel is marked from the start.
    this.#listen("comm_live_update", () => queueMicrotask(() => this.#requests.ping(true)));
    if (el.classList.contains("jupyter-widgets-disconnected")) this.#requests.lost();
    const look = (): void => this.#checkSoon();
    for (const event of ["pointerenter", "focusin"]) {
      el.addEventListener(event, look);
      this.#undo.push(() => el.removeEventListener(event, look));
    }
  }

  get connection(): Connection {
    return this.#requests.connection;
  }

  get<T>(name: string): T {
    return this.#model.get(name) as T;
  }

  set(patch: Record<string, unknown>): void {
    for (const [name, value] of Object.entries(patch)) this.#model.set(name, value);
    this.#model.save_changes();
    this.#checkSoon();
  }

  on(name: string, callback: () => void): Off {
    const event = `change:${name === "initial" ? "_initial" : name}`;
    this.#model.on(event, callback);
    return () => this.#model.off(event, callback);
  }

  async initial<T>(): Promise<T> {
    const stored = this.#model.get("_initial") as Record<string, unknown> | null;
    if (stored && !stored["$request"]) return decode(stored) as T;
    return this.request<T>("initial");
  }

  request<T>(kind: string, params: Record<string, unknown> = {}, options: RequestOptions = {}): Promise<T> {
    return this.#requests.request(kind, params, options) as Promise<T>;
  }

  cancel(channel: string): void {
    this.#requests.cancel(channel);
  }

  onConnection(callback: (connection: Connection) => void): Off {
    return this.#requests.onConnection(callback);
  }

  onNotice(callback: (notice: Notice) => void): Off {
    this.#notices.add(callback);
    return () => this.#notices.delete(callback);
  }

  dispose(): void {
    if (this.#pingTimer !== null) clearTimeout(this.#pingTimer);
    for (const off of this.#undo.splice(0)) off();
    this.#notices.clear();
    this.#requests.dispose();
  }

  #listen(event: string, callback: (...args: never[]) => void): void {
    this.#model.on(event, callback);
    this.#undo.push(() => this.#model.off(event, callback));
  }

  #checkSoon(): void {
    if (this.#pingTimer !== null || this.connection === "lost") return;
    this.#requests.ping();
    this.#pingTimer = setTimeout(() => {
      this.#pingTimer = null;
    }, PING_EVERY);
  }
}
