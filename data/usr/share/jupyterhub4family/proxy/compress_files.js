// Runs as jupyterhub, started by the proxy (compressed_files.js) once for each template and each release, with the least
// priority: compresses their static files as well as it can be done, into one file beside them. What that needs of memory
// is gone when it ends.
//
//   node compress_files.js TARGET PREFIX=FOLDER…
//
// TARGET/files is one compressed file after the other, TARGET/index.json says where each begins, and the SHA-256 of all,
// as packages' lists write it (verify-tree compares it). Both reach the disk before they get their names: a power cut leaves none, not half of one.
"use strict";

const { createHash } = require("crypto");
const fs = require("fs");
const path = require("path");
const zlib = require("zlib");

const KINDS = /\.(?:js|css|svg|json|ico)$/;
const SMALLEST = 1024; // bytes; below, there is nothing to be gained
const LARGEST = 16 << 20;
const WORTH = 0.9; // of its size, at most, may be left of a file
const QUALITY = 9; // of brotli's 11: a tenth of the time, for a fifteenth more bytes
const QUALITY_OF_FIRST_PAGE = 10; // a sixteenth less than 9 for six times the time: two seconds in all
const LISTS = path.join(__dirname, "..", "first-page.json");

// All files below a folder that may be compressed, as paths within it. No link is followed.
function* filesBelow(directory, within = "") {
  for (const entry of fs.readdirSync(path.join(directory, within), { withFileTypes: true })) {
    const name = within ? `${within}/${entry.name}` : entry.name;
    if (entry.isDirectory()) yield* filesBelow(directory, name);
    else if (entry.isFile() && KINDS.test(name)) yield name;
  }
}

// The names of what everybody loads first: without the lists they are like all others.
function namesOfFirstPage() {
  try {
    return new Set(JSON.parse(fs.readFileSync(LISTS, "utf8")).flat().map((one) => path.basename(one.split("?")[0])));
  } catch (error) {
    return new Set();
  }
}

// encoding -> content, for whichever are worth it.
function compressed(content, quality) {
  const { BROTLI_PARAM_QUALITY, BROTLI_PARAM_SIZE_HINT } = zlib.constants;
  const params = { [BROTLI_PARAM_QUALITY]: quality, [BROTLI_PARAM_SIZE_HINT]: content.length };
  const found = {
    br: zlib.brotliCompressSync(content, { params }),
    gzip: zlib.gzipSync(content, { level: 9 }),
  };
  return Object.entries(found).filter(([, bytes]) => bytes.length <= WORTH * content.length);
}

// As servers write it in Last-Modified: whole seconds.
const httpDate = (milliseconds) => new Date(Math.floor(milliseconds / 1000) * 1000).toUTCString();

class Pack {
  constructor(file) {
    this.descriptor = fs.openSync(file, "w", 0o600);
    this.size = 0;
    this.digest = createHash("sha256");
    this.files = {};
    this.known = new Map(); // digest of a content -> where it lies
    this.ofFirstPage = namesOfFirstPage();
  }

  add(name, file) {
    const { size, mtimeMs } = fs.statSync(file);
    if (size < SMALLEST || size > LARGEST) return;
    const content = fs.readFileSync(file);
    const digest = createHash("sha256").update(content).digest("hex");
    const quality = this.ofFirstPage.has(path.basename(name)) ? QUALITY_OF_FIRST_PAGE : QUALITY;
    if (!this.known.has(digest)) this.known.set(digest, compressed(content, quality).map((one) => this.write(...one)));
    const places = Object.fromEntries(this.known.get(digest));
    if (Object.keys(places).length) this.files[name] = { size: content.length, modified: httpDate(mtimeMs), ...places };
  }

  write(encoding, bytes) {
    fs.writeFileSync(this.descriptor, bytes); // whole: on a full disk writeSync writes what fits, and is silent
    this.size += bytes.length;
    this.digest.update(bytes);
    return [encoding, [this.size - bytes.length, bytes.length]];
  }

  finish() {
    fs.fsyncSync(this.descriptor);
    fs.closeSync(this.descriptor);
    return { size: this.size, sha256: this.digest.digest("base64url"), files: this.files };
  }
}

function writeSynced(file, text) {
  const descriptor = fs.openSync(file, "w", 0o600);
  fs.writeFileSync(descriptor, text);
  fs.fsyncSync(descriptor);
  fs.closeSync(descriptor);
}

function main([target, ...folders]) {
  fs.writeFileSync("/proc/self/oom_score_adj", "800"); // if memory is short, this is what nobody misses
  const staging = `${target}.building`;
  fs.rmSync(staging, { recursive: true, force: true });
  fs.mkdirSync(staging, { mode: 0o700 });
  const pack = new Pack(path.join(staging, "files"));
  for (const folder of folders) {
    const [, prefix, directory] = /^([^=]*)=(.*)$/s.exec(folder);
    if (!fs.existsSync(directory)) continue;
    for (const name of filesBelow(directory)) pack.add(prefix + name, path.join(directory, name));
  }
  writeSynced(path.join(staging, "index.json"), JSON.stringify(pack.finish()));
  fs.rmSync(target, { recursive: true, force: true });
  fs.renameSync(staging, target);
}

try {
  main(process.argv.slice(2));
} catch (error) {
  console.error(error.message); // a full disk is no error of ours to be told at length
  process.exitCode = 1;
}
