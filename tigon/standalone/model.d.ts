// Types of what calls model.wasm; written by tigon's export_wasm.

export type DType =
  | "float32" | "float64" | "float16" | "bfloat16" | "bool"
  | "int8" | "int16" | "int32" | "int64" | "uint8" | "uint16" | "uint32" | "uint64";

/** Elements with the shape of the array that they are, in row-major order. */
export type Shaped<T, S extends readonly number[] = readonly number[]> = T & { readonly shape: S };

/** Elements, with a shape where that does not follow from how many there are. */
export interface Inputs {
  // INPUTS
}

export interface Outputs {
  // OUTPUTS
}

export interface States {
  // STATES
}

/** The largest sizes of open extents; by default those of the export. */
export interface Largest {
  // LARGEST
}

export type Source = string | URL | Response | ArrayBuffer | ArrayBufferView | WebAssembly.Module;

export interface Options {
  largest?: Largest;
  /** Of random numbers. */
  seed?: number | bigint;
}

export interface LoadOptions extends Options {
  // WEIGHTS
}

/** A name in a shape is an open extent; null is a number that follows from others. */
export interface Described<N> {
  readonly name: N;
  readonly dtype: DType;
  readonly shape: readonly (number | string | null)[];
}

export class ModelError extends Error {
  /** As in the library for C: 1 an argument, 2 a size, 4 memory, 5 weights, 6 an operator. */
  readonly status: number;
}

/** Memory to run in, states and random numbers: one instance. */
export class Model {
  private constructor();
  readonly inputs: readonly Described<keyof Inputs>[];
  readonly outputs: readonly Described<keyof Outputs>[];
  readonly states: readonly Described<keyof States>[];
  readonly extents: readonly { readonly name: keyof Largest; readonly likely: number }[];
  /** What an operator has noticed in the last run that its caller should know; or nothing. */
  readonly notice: string;
  run(inputs: Inputs): Outputs;
  /** Another instance in the same memory, with the same weights. */
  instance(options?: Options): Model;
  /** A state of this instance, such as a weight that is trained: a copy. */
  state<N extends keyof States>(name: N): States[N];
  setState<N extends keyof States>(name: N, values: ArrayLike<number> | ArrayLike<bigint>): void;
  /** From now on random numbers are those that follow this seed. */
  seed(seed: number | bigint): void;
  /** Gives memory back; the instance is not to be used any more. */
  destroy(): void;
}

export function shaped<T, const S extends readonly number[]>(values: T, shape: S): Shaped<T, S>;

/** An instance in memory of its own. `source`: where the module is, or its content; by default it
 * is model.wasm beside this file. */
export function load(source?: Source, options?: LoadOptions): Promise<Model>;
