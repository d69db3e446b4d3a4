// Requests to the kernel: acknowledged, answered, replaced by newer ones, or found to be lost.
//
// Each request is {id, kind, params, channel}. Python replies, in this order,
//   {id, ack: true}                                     the handler has it
//   {id, progress: {done, total, note}} · {id, chunk}   while it works
//   {id, ok: true, data} · {id, ok: false, error: {type, message}}
//
// No timeouts end a request: a long job is not a dead one. That the kernel is gone is known from
// signs that cannot be mistaken: the front end says so, sending throws, or the kernel reports that
// it has *finished processing* a message (status "idle" with that message as parent) although the
// view's Python side never acknowledged it: nobody there knows this view any more.

import { decode } from "./arrays";
import {
  Disconnected,
  RemoteError,
  Superseded,
  type Connection,
  type Progress,
  type RequestOptions,
} from "./types";

export type Bytes = ArrayBuffer | DataView | Uint8Array;

export interface Callbacks {
  iopub: { status: (message: unknown) => void };
}

export interface Transport {
  send(content: unknown, callbacks: Callbacks): void;
}

export interface Clock {
  set(callback: () => void, milliseconds: number): unknown;
  clear(handle: unknown): void;
}

interface Pending {
  id: string;
  kind: string;
  channel: string;
  acked: boolean;
  patience?: unknown;
  options: RequestOptions;
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
}

interface Queued {
  kind: string;
  params: Record<string, unknown>;
  pending: Pending;
}

/** After this long without an acknowledgement the view says that it is waiting for the kernel. */
export const PATIENCE = 400;
/** While a request is open, the kernel is asked this often whether it still knows the view. */
export const HEARTBEAT = 5000;

const realClock: Clock = {
  set: (callback, milliseconds) => setTimeout(callback, milliseconds),
  clear: (handle) => clearTimeout(handle as number),
};

export class Requests {
  connection: Connection = "live";
  readonly #prefix: string;
  #count = 0;
  readonly #open = new Map<string, Pending>();
  readonly #current = new Map<string, Pending>();
  readonly #queued = new Map<string, Queued>();
  readonly #pings = new Map<string, boolean>();
  #heartbeat: unknown = null;
  readonly #listeners = new Set<(connection: Connection) => void>();

  readonly #transport: Transport;
  readonly #clock: Clock;

  constructor(
    transport: Transport,
    clock: Clock = realClock,
    prefix: string = Math.random().toString(36).slice(2, 10),
  ) {
    this.#transport = transport;
    this.#clock = clock;
    this.#prefix = prefix;
  }

  onConnection(callback: (connection: Connection) => void): () => void {
    this.#listeners.add(callback);
    return () => this.#listeners.delete(callback);
  }

  request(kind: string, params: Record<string, unknown>, options: RequestOptions): Promise<unknown> {
    const channel = options.channel ?? kind;
    return new Promise((resolve, reject) => {
      const id = `${this.#prefix}-${(this.#count += 1)}`;
      const pending: Pending = { id, kind, channel, acked: false, options, resolve, reject };
      if (this.connection === "lost") return reject(new Disconnected());
      const running = this.#current.get(channel);
      if (running && options.policy === "coalesce") {
        this.#queued.get(channel)?.pending.reject(new Superseded());
        this.#queued.set(channel, { kind, params, pending });
        return;
      }
      // The kernel cancels what runs on this channel when the new request arrives there.
      if (running) this.#settle(running, () => running.reject(new Superseded()));
      this.#post(kind, params, pending);
    });
  }

  /** Stop what runs on `channel`, here and in the kernel. */
  cancel(channel: string): void {
    const queued = this.#queued.get(channel);
    this.#queued.delete(channel);
    queued?.pending.reject(new Superseded());
    const running = this.#current.get(channel);
    if (!running) return;
    this.#settle(running, () => running.reject(new Superseded()));
    this.#send({ id: running.id, kind: "cancel", params: {}, channel }, () => undefined);
  }

  /** Ask the kernel whether it still knows this view; one believed lost only when `anyway`. */
  ping(anyway = false): void {
    if (this.connection === "lost" && !anyway) return;
    const id = `${this.#prefix}-p${(this.#count += 1)}`;
    this.#pings.set(id, false);
    this.#send({ id, kind: "ping", params: {}, channel: "ping" }, () => this.#processed(id));
  }

  /** A message from Python; true when it was for one of these requests. */
  receive(content: unknown, buffers: Bytes[] = []): boolean {
    const message = content as Record<string, unknown> | null;
    const id = message?.["id"];
    if (!message || typeof id !== "string" || !id.startsWith(`${this.#prefix}-`)) return false;
    if (this.#pings.has(id)) {
      this.#pings.set(id, true);
      this.#setConnection("live");
      return true;
    }
    const pending = this.#open.get(id);
    if (!pending) return true; // late words about a request that was replaced
    this.#acknowledge(pending);
    if ("progress" in message) pending.options.onProgress?.(message["progress"] as Progress);
    else if ("chunk" in message) pending.options.onChunk?.(decode(message["chunk"], buffers));
    else if (message["ok"] === true) {
      this.#settle(pending, () => {
        try {
          pending.resolve(decode(message["data"], buffers));
        } catch (error) {
          pending.reject(error as Error);
        }
      });
    } else if (message["ok"] === false) {
      const error = (message["error"] ?? {}) as { type?: string; message?: string };
      const failure =
        error.type === "Superseded"
          ? new Superseded()
          : new RemoteError(error.type ?? "Error", error.message ?? "no message");
      this.#settle(pending, () => pending.reject(failure));
    }
    return true;
  }

  /** The kernel is known to be gone: every open request ends, and the view says so. */
  lost(): void {
    for (const { pending } of this.#queued.values()) pending.reject(new Disconnected());
    this.#queued.clear();
    for (const pending of [...this.#open.values()]) {
      this.#settle(pending, () => pending.reject(new Disconnected()));
    }
    this.#setConnection("lost");
  }

  dispose(): void {
    this.lost();
    this.#listeners.clear();
    this.#clock.clear(this.#heartbeat);
  }

  #post(kind: string, params: Record<string, unknown>, pending: Pending): void {
    const { id, channel } = pending;
    this.#open.set(id, pending);
    this.#current.set(channel, pending);
    pending.patience = this.#clock.set(() => this.#impatient(pending), PATIENCE);
    this.#beat();
    const policy = pending.options.policy ?? "replace";
    this.#send({ id, kind, params, channel, policy }, () => this.#processed(id));
  }

  #send(content: Record<string, unknown>, idle: () => void): void {
    const status = (message: unknown): void => {
      const body = message as { content?: { execution_state?: string } };
      if (body.content?.execution_state === "idle") idle();
    };
    try {
      this.#transport.send(content, { iopub: { status } });
    } catch (error) {
      console.warn("workbench: sending to the kernel failed:", (error as Error).message);
      this.lost();
    }
  }

  /** The kernel has finished with message `id`. Without an acknowledgement the view is unknown. */
  #processed(id: string): void {
    if (this.#pings.has(id)) {
      const answered = this.#pings.get(id);
      this.#pings.delete(id);
      if (!answered) this.lost();
      return;
    }
    const pending = this.#open.get(id);
    // The acknowledgement may still be on its way through the front end's own queue: ask again
    // before believing that the view is unknown.
    if (pending && !pending.acked) this.ping();
  }

  #acknowledge(pending: Pending): void {
    if (pending.acked) return;
    pending.acked = true;
    this.#clock.clear(pending.patience);
    this.#setConnection("live");
  }

  #impatient(pending: Pending): void {
    if (!pending.acked && this.connection === "live") this.#setConnection("waiting");
  }

  #settle(pending: Pending, finish: () => void): void {
    this.#open.delete(pending.id);
    this.#clock.clear(pending.patience);
    if (this.#current.get(pending.channel) === pending) {
      this.#current.delete(pending.channel);
      const next = this.#queued.get(pending.channel);
      if (next) {
        this.#queued.delete(pending.channel);
        if (this.connection !== "lost") this.#post(next.kind, next.params, next.pending);
        else next.pending.reject(new Disconnected());
      }
    }
    if (this.connection === "waiting" && ![...this.#open.values()].some((open) => !open.acked)) {
      this.#setConnection("live");
    }
    finish();
  }

  #beat(): void {
    if (this.#heartbeat !== null) return;
    this.#heartbeat = this.#clock.set(() => {
      this.#heartbeat = null;
      if (this.#open.size === 0) return;
      this.ping();
      this.#beat();
    }, HEARTBEAT);
  }

  #setConnection(connection: Connection): void {
    if (connection === this.connection) return;
    this.connection = connection;
    for (const listener of this.#listeners) listener(connection);
  }
}
