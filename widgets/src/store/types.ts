// What a view may ask of the world. A view is `render(root, store)`; whether a kernel or an
// embedded snapshot answers is the store's business, never the view's.

export type Off = () => void;

/** How far the kernel is from answering. `static` is a snapshot: there is no kernel to wait for. */
export type Connection = "live" | "waiting" | "lost" | "static";

export interface Progress {
  done: number;
  total: number | null;
  note: string;
}

export interface RequestOptions {
  /** Requests of one channel replace each other: only the newest is answered. Default: the kind. */
  channel?: string;
  /**
   * `replace` cancels the running request (long work: generation, reading a text); `coalesce` lets
   * it finish and sends only the newest one after it (previews while a slider moves).
   */
  policy?: "replace" | "coalesce";
  onProgress?: (progress: Progress) => void;
  /** Parts of an answer that streams; the answer itself still comes at the end. */
  onChunk?: (data: unknown) => void;
}

export interface Notice {
  level: "error" | "warning" | "info";
  title: string;
  message: string;
}

export interface Store {
  readonly mode: "live" | "snapshot";
  get<T>(name: string): T;
  set(patch: Record<string, unknown>): void;
  on(name: string, callback: () => void): Off;
  /** What the view needs for its first picture. Changes are announced as `on("initial", ...)`. */
  initial<T>(): Promise<T>;
  request<T>(kind: string, params?: Record<string, unknown>, options?: RequestOptions): Promise<T>;
  /** Stop what runs on `channel`. */
  cancel(channel: string): void;
  readonly connection: Connection;
  onConnection(callback: (connection: Connection) => void): Off;
  onNotice(callback: (notice: Notice) => void): Off;
  dispose(): void;
}

/** An error of a request: one raised by the Python handler, with its message, or one of those below. */
export class RemoteError extends Error {
  constructor(readonly type: string, message: string) {
    super(message);
    this.name = type;
  }
}

/** The request was replaced by a newer one or cancelled; views ignore it. */
export class Superseded extends RemoteError {
  constructor() {
    super("Superseded", "a newer request replaced this one");
  }
}

/** The kernel that knew this view is gone. */
export class Disconnected extends RemoteError {
  constructor() {
    super("Disconnected", "The kernel that made this view is gone. Run its cell again.");
  }
}

/** A snapshot was asked for something that was not recorded in it. */
export class NotRecorded extends RemoteError {
  constructor(kind: string) {
    super("NotRecorded", `"${kind}" is not in this snapshot; it needs the notebook's kernel.`);
  }
}
