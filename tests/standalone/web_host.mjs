// Runs what stdin says, as JSON: { module, steps }; each step is a call of the
// instance, of another one or of load, and its result, or error, goes to stdout. Arrays are
// { dtype, shape, bytes }, in base 64; without a shape it is left to follow.
import { pathToFileURL } from "node:url";
import { readFileSync } from "node:fs";

const job = JSON.parse(readFileSync(0, "utf8"));
const { load, shaped } = await import(pathToFileURL(job.module));

const CLASSES = {
  float32: Float32Array, float64: Float64Array, float16: Uint16Array, bfloat16: Uint16Array,
  bool: Uint8Array, uint8: Uint8Array, int8: Int8Array, int16: Int16Array, uint16: Uint16Array,
  int32: Int32Array, uint32: Uint32Array, int64: BigInt64Array, uint64: BigUint64Array,
};

function array({ dtype, shape, bytes }) {
  const buffer = Uint8Array.from(Buffer.from(bytes, "base64")).buffer;
  const values = new CLASSES[dtype](buffer);
  return shape ? shaped(values, shape) : values;
}

function given(value) {
  if (value === null || typeof value !== "object") return value;
  if ("bytes" in value) return array(value);
  if ("file" in value) return new Uint8Array(readFileSync(value.file));
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, given(each)]));
}

function told(value) {
  if (typeof value === "bigint") return Number(value);
  if (ArrayBuffer.isView(value)) {
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    return { class: value.constructor.name, shape: value.shape, bytes: bytes.toString("base64") };
  }
  if (value === null || typeof value !== "object") return value ?? null;
  if (Array.isArray(value)) return value.map(told);
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, told(each)]));
}

const found = [];
const instances = [];
for (const { call, of = 0, arguments: values = [] } of job.steps) {
  try {
    const known = values.map(given);
    let result = null;
    if (call === "load") instances.push(await load(...known.map((each) => each ?? undefined)));
    else if (call === "instance") instances.push(instances[of].instance(...known));
    else if (typeof instances[of][call] === "function") result = instances[of][call](...known);
    else result = instances[of][call];
    found.push({ result: told(result) });
  } catch (error) {
    found.push({ error: error.message });
  }
}
process.stdout.write(JSON.stringify(found));
