// What `web.py` runs: one network as our module and in ONNX Runtime, in turns, on one thread.
// Arguments: the module's script, the model, the folder of onnxruntime-web, the shape, rounds.
import { readFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { pathToFileURL } from "node:url";

const [script, model, runtime, shapeText, roundsText] = process.argv.slice(2);
const shape = shapeText.split(",").map(Number);
const rounds = Number(roundsText);
const count = shape.reduce((product, extent) => product * extent, 1);
const data = Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898) % 1);

const { load, shaped } = await import(pathToFileURL(script));
const began = performance.now();
const own = await load();
const input = { [own.inputs[0].name]: shaped(data, shape) };
const run = () => own.run(input)[own.outputs[0].name];
const ours = run();
const first = performance.now() - began;

const ort = await import(pathToFileURL(`${runtime}/dist/ort.wasm.mjs`));
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const begun = performance.now();
const session = await ort.InferenceSession.create(readFileSync(model), { executionProviders: ["wasm"] });
const feed = { [session.inputNames[0]]: new ort.Tensor("float32", data, shape) };
const runTheirs = async () => (await session.run(feed))[session.outputNames[0]].data;
const theirs = await runTheirs();
const theirFirst = performance.now() - begun;

const BLOCK = 5;
let apart = 0;
ours.forEach((value, i) => (apart = Math.max(apart, Math.abs(value - theirs[i]))));

// By processor time, which is what computing takes, whoever else uses the machine.
const spent = () => (({ user, system }) => (user + system) / 1000)(process.cpuUsage());
const times = { tigon: [], onnxruntime: [] };
for (let round = 0; round < rounds; ++round) {
  for (const [name, call] of [["tigon", run], ["onnxruntime", runTheirs]]) {
    const end = performance.now() + 150;
    for (let block = 0; block < 3 || performance.now() < end; ++block) {
      const start = spent();
      for (let turn = 0; turn < BLOCK; ++turn) await call();
      if (round > 2) times[name].push((spent() - start) / BLOCK); // compiled in full by then
    }
  }
}
const numbers = Object.fromEntries(
  Object.entries(times).map(([name, found]) => {
    found.sort((a, b) => a - b);
    return [name, { median: found[found.length >> 1], least: found[0] }];
  }),
);
console.log(JSON.stringify({ apart, first, theirFirst, ...numbers, node: process.version }));
