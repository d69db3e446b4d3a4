import { beforeEach, describe, expect, it } from "vitest";
import { HEARTBEAT, PATIENCE, Requests, type Callbacks, type Clock } from "../src/store/requests";
import { Disconnected, RemoteError, Superseded, type Connection } from "../src/store/types";

interface Sent {
  content: { id: string; kind: string; params: Record<string, unknown>; channel: string };
  callbacks: Callbacks;
}

class FakeClock implements Clock {
  now = 0;
  private timers: { at: number; callback: () => void }[] = [];
  set(callback: () => void, milliseconds: number): unknown {
    const timer = { at: this.now + milliseconds, callback };
    this.timers.push(timer);
    return timer;
  }
  clear(handle: unknown): void {
    this.timers = this.timers.filter((timer) => timer !== handle);
  }
  advance(milliseconds: number): void {
    const end = this.now + milliseconds;
    for (;;) {
      const next = this.timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.now = next.at;
      this.clear(next);
      next.callback();
    }
    this.now = end;
  }
}

let sent: Sent[];
let clock: FakeClock;
let requests: Requests;
let states: Connection[];
let broken: boolean;

const idle = (message: Sent): void => message.callbacks.iopub.status({ content: { execution_state: "idle" } });
const ack = (message: Sent): boolean => requests.receive({ id: message.content.id, ack: true });
const answer = (message: Sent, data: unknown): boolean => requests.receive({ id: message.content.id, ok: true, data });
const kinds = (): string[] => sent.map((message) => message.content.kind);

beforeEach(() => {
  sent = [];
  broken = false;
  clock = new FakeClock();
  states = [];
  requests = new Requests(
    {
      send: (content, callbacks) => {
        if (broken) throw new Error("Cannot send");
        sent.push({ content: content as Sent["content"], callbacks });
      },
    },
    clock,
    "me",
  );
  requests.onConnection((state) => states.push(state));
});

describe("answers", () => {
  it("resolve with decoded arrays", async () => {
    const promise = requests.request("sae", { name: "a" }, {});
    const bytes = new Float32Array([1.5, -2]).buffer;
    requests.receive({ id: sent[0]!.content.id, ok: true, data: { x: { $dtype: "float32", shape: [2], buffer: 0 } } }, [
      new DataView(bytes),
    ]);
    const data = (await promise) as { x: { shape: number[]; data: Float32Array } };
    expect([...data.x.data]).toEqual([1.5, -2]);
  });

  it("reject with the Python message", async () => {
    const promise = requests.request("read", {}, {});
    requests.receive({ id: sent[0]!.content.id, ok: false, error: { type: "TokenError", message: "too long" } });
    await expect(promise).rejects.toMatchObject({ name: "TokenError", message: "too long" });
    await expect(promise).rejects.toBeInstanceOf(RemoteError);
  });

  it("reject when the bytes do not fit the shape", async () => {
    const promise = requests.request("sae", {}, {});
    requests.receive({ id: sent[0]!.content.id, ok: true, data: { $dtype: "int32", shape: [3], buffer: 0 } }, [new ArrayBuffer(4)]);
    await expect(promise).rejects.toThrow("shape [3]");
  });

  it("of other pictures of the view are not taken", () => {
    expect(requests.receive({ id: "other-1", ok: true })).toBe(false);
    expect(requests.receive({ notice: {} })).toBe(false);
    expect(requests.receive(null)).toBe(false);
  });

  it("bring progress and chunks in order before the end", async () => {
    const seen: unknown[] = [];
    const promise = requests.request("generate", {}, { onProgress: (p) => seen.push(p.done), onChunk: (c) => seen.push(c) });
    const id = sent[0]!.content.id;
    requests.receive({ id, progress: { done: 1, total: 3, note: "" } });
    requests.receive({ id, chunk: " the" });
    requests.receive({ id, chunk: " end" });
    answer(sent[0]!, { text: " the end" });
    expect(await promise).toEqual({ text: " the end" });
    expect(seen).toEqual([1, " the", " end"]);
  });
});

describe("newest wins", () => {
  it("replace: the older request is superseded at once and its late answer ignored", async () => {
    const first = requests.request("read", { text: "a" }, {});
    const second = requests.request("read", { text: "b" }, {});
    await expect(first).rejects.toBeInstanceOf(Superseded);
    answer(sent[0]!, "late");
    answer(sent[1]!, "new");
    expect(await second).toBe("new");
  });

  it("coalesce: a thousand events send few requests and end with the last", async () => {
    const options = { policy: "coalesce" as const };
    const results = Array.from({ length: 1000 }, (_, i) =>
      requests.request("preview", { strength: i }, options).catch((error: Error) => error.name),
    );
    expect(sent.length).toBe(1);
    answer(sent[0]!, 0);
    expect(sent.length).toBe(2);
    expect(sent[1]!.content.params).toEqual({ strength: 999 });
    answer(sent[1]!, 999);
    const settled = await Promise.all(results);
    expect(settled[0]).toBe(0);
    expect(settled[999]).toBe(999);
    expect(settled.slice(1, 999).every((name) => name === "Superseded")).toBe(true);
  });

  it("channels do not disturb each other", async () => {
    const a = requests.request("sae", { name: "a" }, {});
    const b = requests.request("read", { text: "b" }, {});
    answer(sent[1]!, "b");
    answer(sent[0]!, "a");
    expect([await a, await b]).toEqual(["a", "b"]);
  });

  it("cancel tells the kernel which request to stop", async () => {
    const running = requests.request("read", {}, {});
    requests.cancel("read");
    await expect(running).rejects.toBeInstanceOf(Superseded);
    expect(sent[1]!.content).toMatchObject({ id: sent[0]!.content.id, kind: "cancel" });
  });
});

describe("a busy kernel", () => {
  it("is said to be waited for, and is not lost however long it takes", async () => {
    const promise = requests.request("sae", {}, {});
    clock.advance(PATIENCE);
    expect(states).toEqual(["waiting"]);
    clock.advance(3_600_000);
    expect(requests.connection).toBe("waiting");
    answer(sent[0]!, 1);
    expect(await promise).toBe(1);
    expect(states).toEqual(["waiting", "live"]);
  });

  it("working on a long job is alive: acknowledged, asked now and then, answered late", async () => {
    const promise = requests.request("read", {}, {});
    ack(sent[0]!);
    idle(sent[0]!);
    for (let beat = 1; beat <= 20; beat += 1) {
      clock.advance(HEARTBEAT);
      const ping = sent[sent.length - 1]!;
      expect(ping.content.kind).toBe("ping");
      ack(ping);
      idle(ping);
    }
    expect(states).toEqual([]);
    answer(sent[0]!, "done");
    expect(await promise).toBe("done");
  });
});

describe("a lost kernel", () => {
  it("is known when it finished a message that nobody acknowledged", async () => {
    const promise = requests.request("sae", {}, {});
    idle(sent[0]!);
    expect(states).toEqual([]); // the acknowledgement may still be under way: asked once more
    expect(kinds()).toEqual(["sae", "ping"]);
    idle(sent[1]!);
    await expect(promise).rejects.toBeInstanceOf(Disconnected);
    expect(states).toEqual(["lost"]);
  });

  it("is not believed when the acknowledgement was only slow", async () => {
    const promise = requests.request("sae", {}, {});
    idle(sent[0]!);
    ack(sent[0]!);
    ack(sent[1]!);
    idle(sent[1]!);
    answer(sent[0]!, 7);
    expect(await promise).toBe(7);
    expect(states).toEqual([]);
  });

  it("is known when sending throws", async () => {
    broken = true;
    await expect(requests.request("sae", {}, {})).rejects.toBeInstanceOf(Disconnected);
    expect(states).toEqual(["lost"]);
  });

  it("that dies during a long job is noticed by the next heartbeat", async () => {
    const promise = requests.request("read", {}, {});
    ack(sent[0]!);
    clock.advance(HEARTBEAT);
    idle(sent[1]!);
    await expect(promise).rejects.toBeInstanceOf(Disconnected);
  });

  it("ends waiting requests too, and later ones at once", async () => {
    const first = requests.request("p", {}, { policy: "coalesce" });
    const second = requests.request("p", {}, { policy: "coalesce" });
    requests.lost();
    await expect(first).rejects.toBeInstanceOf(Disconnected);
    await expect(second).rejects.toBeInstanceOf(Disconnected);
    await expect(requests.request("p", {}, {})).rejects.toBeInstanceOf(Disconnected);
  });

  it("that turns out to be there is live again", () => {
    requests.lost();
    requests.ping();
    expect(sent.length).toBe(0);
    requests.ping(true);
    ack(sent[0]!);
    idle(sent[0]!);
    expect(states).toEqual(["lost", "live"]);
  });
});
