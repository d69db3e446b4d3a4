// Arrays travel as raw bytes: beside a message, inside a trait, or as base64 in a page.
// All three carry the same descriptor {"$dtype", "shape"} and decode here to typed arrays.

export type TypedArray =
  | Float32Array
  | Float64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Uint8Array;

export interface NdArray<T extends TypedArray = TypedArray> {
  shape: number[];
  data: T;
}

type Bytes = ArrayBuffer | DataView | Uint8Array;

const CONSTRUCTORS: Record<string, new (buffer: ArrayBuffer) => TypedArray> = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int16: Int16Array,
  uint16: Uint16Array,
  uint8: Uint8Array,
};

function fromBase64(text: string): ArrayBuffer {
  const raw = atob(text);
  const out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) out[i] = raw.charCodeAt(i);
  return out.buffer;
}

/** The bytes on their own, copied: a view into a message may not be aligned for its type. */
function aligned(bytes: Bytes): ArrayBuffer {
  if (bytes instanceof ArrayBuffer) return bytes;
  const copy = new Uint8Array(bytes.byteLength);
  copy.set(new Uint8Array(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength));
  return copy.buffer;
}

function decodeArray(value: Record<string, unknown>, buffers: Bytes[]): NdArray {
  const dtype = String(value["$dtype"]);
  const make = CONSTRUCTORS[dtype];
  if (!make) throw new Error(`array of unknown type "${dtype}"`);
  const bytes =
    typeof value["base64"] === "string"
      ? fromBase64(value["base64"])
      : typeof value["buffer"] === "number"
        ? buffers[value["buffer"]]
        : (value["data"] as Bytes | undefined);
  if (!bytes) throw new Error(`array of type ${dtype} came without its bytes`);
  const data = new make(aligned(bytes));
  const shape = value["shape"] as number[];
  const size = shape.reduce((product, n) => product * n, 1);
  if (size !== data.length) {
    throw new Error(`array of shape [${shape.join(", ")}] came with ${data.length} values`);
  }
  return { shape, data };
}

/** Replace every array descriptor inside `value` by its typed array. */
export function decode(value: unknown, buffers: Bytes[] = []): unknown {
  if (Array.isArray(value)) return value.map((item) => decode(item, buffers));
  if (value === null || typeof value !== "object") return value;
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return value;
  const record = value as Record<string, unknown>;
  if ("$dtype" in record) return decodeArray(record, buffers);
  return Object.fromEntries(Object.entries(record).map(([key, item]) => [key, decode(item, buffers)]));
}

/** A key that is equal for equal parameters whatever the order of their names. */
export function requestKey(kind: string, params: unknown): string {
  const ordered = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(ordered);
    if (value === null || typeof value !== "object") return value;
    const record = value as Record<string, unknown>;
    return Object.fromEntries(
      Object.keys(record)
        .sort()
        .map((key) => [key, ordered(record[key])]),
    );
  };
  return `${kind} ${JSON.stringify(ordered(params ?? {}))}`;
}
