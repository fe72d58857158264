// A library that `net.export_native` wrote, called by way of koffi. How its structures lie in
// memory is read from its header, which lies beside it.
import { readFileSync } from "node:fs";
import { parse, resolve } from "node:path";
import koffi from "koffi";

const OUTPUT = 1, FLOAT32 = 0; // as in the header

/** One instance of a library that takes an array of floats and gives one. */
export class Model {
  #instance;
  #functions;
  #row; // of the output: how many numbers there are for each of the first axis

  /** Opens `digits.so`, say, which comes with `digits.h`. */
  constructor(path) {
    const { dir, name: prefix, base } = parse(resolve(path));
    const header = readFileSync(`${dir}/${prefix}.h`, "utf8");
    const structure = (name) => structureOf(header, `${prefix}_${name}`);
    const options = structure("options"), description = structure("description");
    const array = koffi.pointer(structure("array"));
    const library = koffi.load(`${dir}/${base}`);
    const of = (name, result, ...types) => library.func(`${prefix}_${name}`, result, types);
    const create = of("create", "int32", koffi.pointer(options), koffi.out(koffi.pointer("void*")));
    const described = koffi.out(koffi.pointer(description));
    const describe = of("describe", "int32", "int32", "int32", described);
    this.#functions = {
      run: of("run", "int32", "void*", array, array),
      lastError: of("last_error", "str", "void*"),
      destroy: of("destroy", "void", "void*"),
    };
    const message = Buffer.alloc(256), made = [null], output = {};
    const size = koffi.sizeof(options);
    if (create({ size, message, message_bytes: message.length }, made) !== 0)
      throw new Error(message.toString("utf8", 0, message.indexOf(0)));
    this.#instance = made[0];
    describe(OUTPUT, 0, output);
    const [, ...row] = output.shape.slice(0, output.dimensions);
    this.#row = row.reduce((count, extent) => count * Number(extent), 1);
  }

  /** What the network gives for a Float32Array of this shape, whose first axis is the batch. */
  run(data, shape) {
    const scores = new Float32Array(shape[0] * this.#row);
    const dimensions = shape.length;
    const input = { data, bytes: data.byteLength, dtype: FLOAT32, dimensions, shape };
    const output = { data: scores, bytes: scores.byteLength };
    if (this.#functions.run(this.#instance, input, output) !== 0)
      throw new Error(this.#functions.lastError(this.#instance));
    return scores;
  }

  close() {
    this.#functions.destroy(this.#instance);
    this.#instance = null;
  }
}

/** The structure of that name, for koffi; functions in it are addresses. */
function structureOf(header, name) {
  const [, body] = header.match(new RegExp(`struct ${name} \\{(.*?)\\n\\} ${name};`, "s"));
  const members = body.replace(/\/\*.*?\*\//gs, "").match(/[^;]*\w[^;]*/g).map((member) => {
    const [, of] = member.match(/\(\*(\w+)\)/) ?? [];
    if (of) return [of, "void*"];
    const [, type, named, many] = member.match(/^\s*(.*?)\s*(\w+)(\[\w+\])?$/s);
    return [named, many ? koffi.array(type, 8) : type];
  });
  return koffi.struct(Object.fromEntries(members));
}
