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

/** By the name the array's type has in Python: that of the constructor without "Array". */
const CONSTRUCTORS: Record<string, new (buffer: ArrayBuffer) => TypedArray> = Object.fromEntries(
  [Float32Array, Float64Array, Int32Array, Uint32Array, Int16Array, Uint16Array, Uint8Array].map((made) => [
    made.name.slice(0, -5).toLowerCase(),
    made,
  ]),
);

function fromBase64(text: string): ArrayBuffer {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer;
}

/** The bytes on their own, copied: a view into a message may not be aligned for its type. */
function aligned(bytes: Bytes): ArrayBuffer {
  if (bytes instanceof ArrayBuffer) return bytes;
  return (bytes.buffer as ArrayBuffer).slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
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
  const ordered = (_: string, value: unknown): unknown =>
    value === null || typeof value !== "object" || Array.isArray(value) ? value : Object.fromEntries(Object.entries(value).sort());
  return `${kind} ${JSON.stringify(params ?? {}, ordered)}`;
}
