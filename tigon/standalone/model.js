// What calls model.wasm: `const model = await load(); const { output } = model.run({ data })`.
// Written by tigon's export_wasm, for browsers and Node; it depends on nothing. Types: model.d.ts.

const MODULE = "model.wasm";
const WEIGHTS = null; // the file's name, where they are not in the module

// As model.h says them for addresses of 32 bits: bytes of structures, and where their fields are.
const OPTIONS = { bytes: 64, largest: 4, weights: 12, weightsBytes: 16, seed: 24, message: 52 };
const ARRAY = { bytes: 80, data: 0, size: 4, dtype: 8, dimensions: 12, shape: 16 };
const DESCRIPTION = { bytes: 88, name: 0, dtype: 4, dimensions: 8, shape: 16 };
const MESSAGE = 512;
const KINDS = { inputs: 0, outputs: 1, extents: 2, states: 3 };
const BAD_ARGUMENT = 1;
const NO_MEMORY = 4;
const NO_SUCH = 7;

// By code. A float of two bytes is given by its bits.
const TYPES = [
  ["float32", Float32Array],
  ["float64", Float64Array],
  ["float16", Uint16Array],
  ["uint8", Uint8Array],
  ["int32", Int32Array],
  ["int8", Int8Array],
  ["int64", BigInt64Array],
  ["bool", Uint8Array],
  ["int16", Int16Array],
  ["uint16", Uint16Array],
  ["uint32", Uint32Array],
  ["uint64", BigUint64Array],
  ["bfloat16", Uint16Array],
];

// The least module that has a vector of 128 bits in it.
const VECTORS = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15,
  253, 98, 11,
]);

export class ModelError extends Error {
  constructor(status, message) {
    super(message);
    this.name = "ModelError";
    this.status = status;
  }
}

/** Elements with the shape of the array that they are, in row-major order. */
export function shaped(values, shape) {
  return Object.assign(values, { shape: Object.freeze([...shape]) });
}

/** An instance of the model in memory of its own. `source`: where the module is, or its content. */
export async function load(source = new URL(MODULE, import.meta.url), options = {}) {
  const module = source instanceof WebAssembly.Module ? source : await compiled(source);
  const { exports } = await WebAssembly.instantiate(module);
  const code = new Code(exports);
  if (WEIGHTS !== null)
    code.weights = code.keep(await content(options.weights ?? new URL(WEIGHTS, import.meta.url)));
  return new Model(code, options);
}

async function compiled(source) {
  const bytes = await content(source);
  if (!WebAssembly.validate(VECTORS))
    throw new Error("this engine has no vectors (WebAssembly SIMD), which the module needs");
  return WebAssembly.compile(bytes);
}

async function content(source) {
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return source;
  let response = source;
  if (!(typeof Response !== "undefined" && source instanceof Response)) {
    const here = globalThis.document?.baseURI ?? globalThis.location?.href; // pages, and workers
    const url = new URL(source, here ?? `file://${process.cwd()}/`);
    if (url.protocol === "file:") return (await import("node:fs/promises")).readFile(url);
    response = await fetch(url);
  }
  if (!response.ok) throw new Error(`${response.url}: ${response.status} ${response.statusText}`);
  return response.arrayBuffer();
}

// The functions of a module and their memory, whose buffer is another one after it has grown.
class Code {
  #view;

  constructor(exports) {
    this.call = exports;
    this.weights = { place: 0, bytes: 0 };
    this.#view = new DataView(exports.memory.buffer);
  }

  get view() {
    if (this.#view.buffer !== this.call.memory.buffer)
      this.#view = new DataView(this.call.memory.buffer);
    return this.#view;
  }

  bytes(place, count) {
    return new Uint8Array(this.call.memory.buffer, place, count);
  }

  allocate(count) {
    const place = this.call.allocate(count) >>> 0;
    if (!place) throw new ModelError(NO_MEMORY, `there is no memory for ${count} bytes`);
    this.bytes(place, count).fill(0);
    return place;
  }

  keep(given) {
    const bytes = ArrayBuffer.isView(given)
      ? new Uint8Array(given.buffer, given.byteOffset, given.byteLength)
      : new Uint8Array(given);
    const place = this.allocate(bytes.length);
    this.bytes(place, bytes.length).set(bytes);
    return { place, bytes: bytes.length };
  }

  text(place) {
    const bytes = new Uint8Array(this.call.memory.buffer, place);
    return new TextDecoder().decode(bytes.slice(0, bytes.indexOf(0)));
  }

  setLong(place, number) {
    this.view.setInt32(place, number, true);
    this.view.setInt32(place + 4, Math.floor(number / 2 ** 32), true);
  }

  long(place) {
    return Number(this.view.getBigInt64(place, true));
  }

  shape(structure, layout) {
    const count = this.view.getInt32(structure + layout.dimensions, true);
    return Array.from({ length: count }, (_, axis) => this.long(structure + layout.shape + 8 * axis));
  }

  describe(kind) {
    const place = this.allocate(DESCRIPTION.bytes);
    const found = [];
    while (this.call.describe(KINDS[kind], found.length, place) !== NO_SUCH) {
      const name = this.text(this.view.getUint32(place + DESCRIPTION.name, true));
      if (kind === "extents") {
        found.push({ name, likely: this.long(place + DESCRIPTION.shape) });
      } else {
        const [dtype] = TYPES[this.view.getInt32(place + DESCRIPTION.dtype, true)];
        found.push({ name, dtype, shape: this.shape(place, DESCRIPTION) });
      }
    }
    this.call.release(place, DESCRIPTION.bytes);
    return found;
  }
}

/** Memory to run in, states and random numbers: one instance. */
export class Model {
  #code;
  #handle = 0;
  #given;
  #made;
  #memory = new Map(); // of inputs and outputs: place and bytes, by structure

  constructor(code, options = {}) {
    this.#code = code;
    this.extents = code.describe("extents");
    for (const kind of ["inputs", "outputs", "states"]) {
      this[kind] = code.describe(kind);
      for (const each of this[kind])
        each.shape = each.shape.map((n) => (n >= 0 ? n : (this.extents[-1 - n]?.name ?? null)));
    }
    this.#create(options);
    this.#given = code.allocate(ARRAY.bytes * Math.max(1, this.inputs.length));
    this.#made = code.allocate(ARRAY.bytes * Math.max(1, this.outputs.length));
  }

  #create({ largest = {}, seed = 0 }) {
    const code = this.#code;
    const names = this.extents.map((extent) => extent.name);
    for (const name of Object.keys(largest))
      if (!names.includes(name))
        throw new ModelError(BAD_ARGUMENT, `largest: expected ${listed(names)}; given ${name}`);
    const bytes = OPTIONS.bytes + MESSAGE + 8 * names.length;
    const place = code.allocate(bytes);
    const message = place + OPTIONS.bytes;
    const sizes = message + MESSAGE;
    const made = code.allocate(4);
    const { view } = code;
    this.extents.forEach(({ name, likely }, i) => code.setLong(sizes + 8 * i, largest[name] ?? likely));
    view.setUint32(place, OPTIONS.bytes, true);
    view.setUint32(place + OPTIONS.largest, sizes, true);
    view.setUint32(place + OPTIONS.weights, code.weights.place, true);
    view.setUint32(place + OPTIONS.weightsBytes, code.weights.bytes, true);
    view.setBigInt64(place + OPTIONS.seed, BigInt(seed), true);
    view.setUint32(place + OPTIONS.message, message, true);
    view.setUint32(place + OPTIONS.message + 4, MESSAGE, true);
    const status = code.call.create(place, made);
    const said = code.text(message);
    this.#handle = code.view.getUint32(made, true);
    code.call.release(made, 4);
    code.call.release(place, bytes);
    if (status) throw new ModelError(status, said);
  }

  /** Another instance in the same memory, with the same weights. */
  instance(options = {}) {
    return new Model(this.#code, options);
  }

  /** What an operator has noticed in the last run that its caller should know; or nothing. */
  get notice() {
    return this.#code.text(this.#code.call.last_error(this.#handle));
  }

  run(inputs) {
    const { call } = this.#code;
    this.#expectAlive("run");
    this.#expectNames(inputs);
    this.inputs.forEach((described, i) => this.#put(described, i, inputs[described.name]));
    const places = this.outputs.map((_, i) => this.#made + ARRAY.bytes * i);
    for (const place of places) this.#code.view.setUint32(place + ARRAY.data, 0, true);
    this.#check(call.run(this.#handle, this.#given, this.#made)); // only tells shapes
    const found = places.map((place) => this.#room(place));
    this.#check(call.run(this.#handle, this.#given, this.#made));
    const results = {};
    this.outputs.forEach(({ name, dtype }, i) => {
      const { place, count, shape } = found[i];
      results[name] = shaped(new (typeOf(dtype))(call.memory.buffer, place, count).slice(), shape);
    });
    return results;
  }

  /** A state of this instance, such as a weight that is trained: a copy. */
  state(name) {
    const { place, type, count, shape } = this.#stateAt(name);
    return shaped(new type(this.#code.call.memory.buffer, place, count).slice(), shape);
  }

  setState(name, values) {
    const { place, type, count } = this.#stateAt(name);
    expectType(name, values, type, count);
    new type(this.#code.call.memory.buffer, place, count).set(values);
  }

  /** From now on random numbers are those that follow this seed. */
  seed(seed) {
    this.#expectAlive("seed");
    this.#check(this.#code.call.seed(this.#handle, BigInt(seed)));
  }

  /** Gives memory back; the instance is not to be used any more. */
  destroy() {
    if (!this.#handle) return;
    const { call } = this.#code;
    for (const { place, bytes } of this.#memory.values()) call.release(place, bytes);
    call.release(this.#given, ARRAY.bytes * Math.max(1, this.inputs.length));
    call.release(this.#made, ARRAY.bytes * Math.max(1, this.outputs.length));
    call.destroy(this.#handle);
    this.#memory.clear();
    this.#handle = 0;
  }

  #expectAlive(asked) {
    if (!this.#handle) throw new ModelError(BAD_ARGUMENT, `${asked}: this instance was destroyed`);
  }

  #expectNames(inputs) {
    const names = this.inputs.map((input) => input.name);
    const given = Object.keys(inputs ?? {});
    if (names.length !== given.length || !names.every((name) => given.includes(name)))
      throw new ModelError(BAD_ARGUMENT, `run: expected ${listed(names)}; given ${listed(given)}`);
  }

  #put(described, number, values) {
    const { name, dtype } = described;
    const type = typeOf(dtype);
    expectType(name, values, type);
    const shape = values.shape ?? likelyShape(described, values.length);
    const count = shape.reduce((product, extent) => product * extent, 1);
    if (count !== values.length || shape.length > 8)
      throw new ModelError(
        BAD_ARGUMENT,
        `${name}: expected ${count} elements of shape (${shape}); given ${values.length}`,
      );
    const structure = this.#given + ARRAY.bytes * number;
    const place = this.#reserve(structure, values.byteLength);
    new type(this.#code.call.memory.buffer, place, count).set(values);
    const { view } = this.#code;
    view.setInt32(structure + ARRAY.dtype, TYPES.findIndex(([each]) => each === dtype), true);
    view.setInt32(structure + ARRAY.dimensions, shape.length, true);
    shape.forEach((extent, axis) => this.#code.setLong(structure + ARRAY.shape + 8 * axis, extent));
  }

  // Memory for a result whose shape is told.
  #room(structure) {
    const type = TYPES[this.#code.view.getInt32(structure + ARRAY.dtype, true)][1];
    const shape = this.#code.shape(structure, ARRAY);
    const count = shape.reduce((product, extent) => product * extent, 1);
    return { place: this.#reserve(structure, count * type.BYTES_PER_ELEMENT), count, shape };
  }

  #reserve(structure, bytes) {
    const code = this.#code;
    let own = this.#memory.get(structure);
    if (!own || own.bytes < bytes) {
      const place = code.allocate(Math.max(8, bytes));
      if (own) code.call.release(own.place, own.bytes);
      this.#memory.set(structure, (own = { place, bytes: Math.max(8, bytes) }));
    }
    code.view.setUint32(structure + ARRAY.data, own.place, true);
    code.view.setUint32(structure + ARRAY.size, own.bytes, true);
    return own.place;
  }

  #stateAt(name) {
    this.#expectAlive("state");
    const code = this.#code;
    const number = this.states.findIndex((state) => state.name === name);
    const names = this.states.map((state) => state.name);
    if (number < 0)
      throw new ModelError(BAD_ARGUMENT, `state: expected ${listed(names)}; given ${name}`);
    const structure = code.allocate(ARRAY.bytes);
    this.#check(code.call.state(this.#handle, number, structure));
    const place = code.view.getUint32(structure + ARRAY.data, true);
    const type = TYPES[code.view.getInt32(structure + ARRAY.dtype, true)][1];
    const shape = code.shape(structure, ARRAY);
    code.call.release(structure, ARRAY.bytes);
    return { place, type, count: shape.reduce((product, extent) => product * extent, 1), shape };
  }

  #check(status) {
    if (status) throw new ModelError(status, this.notice);
  }
}

function typeOf(dtype) {
  return TYPES.find(([name]) => name === dtype)[1];
}

function listed(names) {
  return names.length ? names.join(", ") : "nothing";
}

function expectType(name, values, type, count = values?.length) {
  if (values instanceof type && values.length === count) return;
  const given = values?.constructor?.name ?? String(values);
  const wanted = values instanceof type ? `${count} elements; given ${values.length}` : null;
  throw new ModelError(BAD_ARGUMENT, `${name}: expected ${wanted ?? `a ${type.name}; given ${given}`}`);
}

// Of elements without a shape: the one that has as many, if one axis at most is open.
function likelyShape({ name, shape }, count) {
  const open = shape.filter((extent) => typeof extent !== "number").length;
  const fixed = shape.reduce((product, n) => (typeof n === "number" ? product * n : product), 1);
  if (open > 1)
    throw new ModelError(BAD_ARGUMENT, `${name}: several axes are open; pass shaped(values, shape)`);
  return shape.map((extent) => (typeof extent === "number" ? extent : Math.floor(count / fixed)));
}
