// Reads pictures of digits (PGM) and prints which ones they are. The network is a library that
// `net.export_native("digits")` wrote:
//
//     npm ci
//     node digit.js OUTPUT/digits.so first.pgm second.pgm
import { readFileSync } from "node:fs";
import { Model } from "./model.js";

// The picture as numbers from 0 to 1, with its shape.
function readPicture(path) {
  const text = readFileSync(path, "latin1"); // a character for each byte
  const [head, kind, width, height, white] =
    text.match(/^(P[25])\s+(\d+)\s+(\d+)\s+(\d+)\s/) ?? [];
  if (!head) throw new Error(`${path}: expected a picture as PGM`);
  const rest = text.slice(head.length);
  const values = kind === "P5" ? Buffer.from(rest, "latin1") : rest.trim().split(/\s+/);
  if (values.length < width * height) throw new Error(`${path}: ends early`);
  const pixels = Float32Array.from(values.slice(0, width * height), (value) => value / white);
  return { pixels, shape: [1, 1, Number(height), Number(width)] };
}

const [path, ...pictures] = process.argv.slice(2);
const model = new Model(path);
for (const picture of pictures) {
  const { pixels, shape } = readPicture(picture);
  const scores = model.run(pixels, shape);
  console.log(scores.indexOf(Math.max(...scores)));
}
model.close();
