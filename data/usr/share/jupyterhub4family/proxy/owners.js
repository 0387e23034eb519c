// Runs as jupyterhub, in the proxy: a member's address leads to that member's own program or nowhere. A server that has
// ended leaves its port to whoever is quick, while the open pages of its owner go on asking there with their cookies.
"use strict";

const fs = require("fs");
const os = require("os");
const readline = require("readline");
const { spawn, spawnSync } = require("child_process");

// The kernel's tables of TCP sockets (proc(5)), and how they write what a connection to 127.0.0.1 reaches: sockets on
// that address, else on all of IPv4, else on all of IPv6.
const TABLES = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
const LINE = 150; // bytes of each line of the first one
const MOST_LINES = 40; // looked at for a request, ten microseconds each: who listens at more ports costs nobody more
const LISTENING = "0A";
const LITTLE = os.endianness() === "LE";
const RANKS = new Map([
  [LITTLE ? "0100007F" : "7F000001", 0],
  [LITTLE ? "0000000000000000FFFF00000100007F" : "00000000000000000000FFFF7F000001", 0],
  ["0".repeat(8), 1],
  ["0".repeat(32), 2],
]);

const ANSWER_WITHIN = 15000; // milliseconds for the program that asks the kernel, which has to be started first
const NOT_NEEDED = 3600000; // after which it ends: a start costs a slow disk seconds
const START_AGAIN = 3000; // after one that has ended though it was needed
const LATE = 50; // milliseconds after which an answer may be about somebody else
const TRIES = 3;
const ID_AGAIN = 1000; // between two questions for the same account's number

function parse(line) {
  const [, local, , state, , , , uid] = line.trim().split(/\s+/);
  const [address, port] = (local || "").split(":");
  return { rank: RANKS.get(address), port: parseInt(port, 16), isListening: state === LISTENING, uid };
}

// Whose socket listens on 127.0.0.1:port itself, as text; "" if it is not among the first that the kernel tells of. It
// tells first who listens, and is asked for one line at a time: to look through all the rest takes it milliseconds, for
// each request of each browser.
function owner(port) {
  const file = fs.openSync(TABLES[0]);
  try {
    const line = Buffer.alloc(LINE);
    const next = () => line.toString("latin1", 0, fs.readSync(file, line, 0, LINE, null));
    next(); // the headings
    for (let count = 0, found; count < MOST_LINES && (found = parse(next())).isListening; count += 1) {
      // Two accounts cannot have the very same address.
      if (found.rank === 0 && found.port === port) return found.uid;
    }
    return "";
  } finally {
    fs.closeSync(file);
  }
}

// All sockets that listen where a connection to 127.0.0.1 reaches them, by port: three lists of uids, by rank. Looked
// through once for all who ask in the same moment: of a hundred thousand that takes a third of a second.
let listeners = null;
function allListeners() {
  if (listeners) return listeners;
  const found = new Map();
  for (const table of TABLES.filter(fs.existsSync)) {
    for (const one of fs.readFileSync(table, "latin1").split("\n").map(parse)) {
      if (!one.isListening || one.rank === undefined) continue;
      if (!found.has(one.port)) found.set(one.port, [[], [], []]);
      found.get(one.port)[one.rank].push(one.uid);
    }
  }
  listeners = found;
  setImmediate(() => (listeners = null));
  return found;
}

// The uids of all whose sockets a connection to 127.0.0.1:port would reach, wherever they listen.
function owners(port) {
  const ranks = allListeners().get(port) || [];
  return [...new Set(ranks.find((uids) => uids.length) || [])];
}

// Asks the kernel for the one socket that a connection would reach, which node cannot: the program `owner-of-port` can.
// It is started when it is needed, and ends when it has not been for long.
class Kernel {
  constructor(program, log, answerWithin = ANSWER_WITHIN) {
    Object.assign(this, { program, log, answerWithin });
    this.waiting = [];
    this.startNotBefore = 0;
  }

  // A promise of the owner's uid as text, "" if nobody listens; rejected if it cannot be told.
  ownerOf(port) {
    if (!this.child && Date.now() < this.startNotBefore) return Promise.reject(new Error("not so soon again"));
    return new Promise((resolve, reject) => {
      if (!this.child) this.child = this.start();
      this.waiting.push({ resolve, reject });
      // The oldest question counts: new ones give nobody more time.
      if (this.waiting.length === 1) this.expect();
      this.child.stdin.write(`${port}\n`);
    });
  }

  // Either an answer, or the end of a program that is not needed any more.
  expect() {
    const { child } = this;
    clearTimeout(this.timer);
    const time = this.waiting.length ? this.answerWithin : NOT_NEEDED;
    this.timer = setTimeout(() => (this.waiting.length ? child.kill("SIGKILL") : this.release()), time).unref();
  }

  // Who asks from now on asks another one.
  release() {
    this.child.stdin.end();
    this.child = null;
  }

  start() {
    const child = spawn(this.program, [], { stdio: ["pipe", "pipe", "inherit"] });
    const end = (why) => {
      if (this.child !== child) return;
      this.child = null;
      clearTimeout(this.timer);
      child.stdin.end();
      if (!this.waiting.length) return;
      this.log.warn("%s has ended (%s): all ports are looked through, which takes longer", this.program, why);
      this.startNotBefore = Date.now() + START_AGAIN;
      this.waiting.splice(0).forEach(({ reject }) => reject(new Error("it has ended")));
    };
    child.on("error", end);
    child.on("close", end);
    if (!child.stdin) throw new Error("there is no descriptor left");
    child.stdin.on("error", () => {}); // "close" comes, too
    readline.createInterface({ input: child.stdout }).on("line", (line) => {
      if (this.child !== child || !this.waiting.length) return;
      const { resolve, reject } = this.waiting.shift();
      this.expect();
      if (/^\d*$/.test(line)) return resolve(line);
      this.log.warn("%s cannot tell whose a port is: all are looked through, which takes longer", this.program);
      return reject(new Error(line));
    });
    child.unref();
    [child.stdin, child.stdout].forEach((pipe) => pipe.unref());
    return child;
  }
}

// Remembered, and asked anew when it does not fit: an account may have been made again. `id` knows what NSS knows.
const uids = new Map();
function isUidOf(name, uid) {
  const known = uids.get(name);
  if (known && known.uid === uid) return true;
  if (known && Date.now() < known.askNotBefore) return false;
  const done = spawnSync("/usr/bin/id", ["-u", "--", name], { encoding: "latin1", timeout: 10000 });
  const found = done.status === 0 ? done.stdout.trim() : "";
  uids.set(name, { uid: found, askNotBefore: Date.now() + ID_AGAIN });
  return found !== "" && found === uid;
}

// Whether what listens where this route leads is the member's: true, false, or a promise of that. Routes of others, and
// to elsewhere, pass.
function isTheirs({ prefix, target }, kernel) {
  const [, name] = /^\/user\/([^/]+)/.exec(prefix) || [];
  const { hostname, port } = new URL(target);
  if (!name || hostname !== "127.0.0.1") return true;
  const account = decodeURIComponent(name);
  const uid = owner(Number(port));
  if (uid) return isUidOf(account, uid);
  return asked(account, Number(port), kernel);
}

async function asked(account, port, kernel, late = LATE) {
  for (let left = TRIES; left > 0; left -= 1) {
    const began = performance.now();
    let uid;
    try {
      uid = await kernel.ownerOf(port);
    } catch (error) {
      const found = owners(port);
      return found.length === 1 && isUidOf(account, found[0]);
    }
    if (uid === "" || !isUidOf(account, uid)) return false;
    // While a busy computer lets an answer lie about, the port may change hands.
    if (performance.now() - began < late) break;
  }
  return true;
}

// program: the file of `owner-of-port`
function guardPorts(proxy, log, program) {
  const kernel = new Kernel(program, log);
  // What was looked at is what is reached: another look could find another route, and takes its time, too.
  const targetForReq = proxy.targetForReq.bind(proxy);
  proxy.targetForReq = async (request) => request.judged || targetForReq(request);
  const handleProxy = proxy.handleProxy.bind(proxy);
  proxy.handleProxy = async (kind, request, response, ...more) => {
    // An address that makes no sense is complained about there.
    const match = await proxy.targetForReq(request).catch(() => null);
    let isRight = !match || isTheirs(match, kernel);
    if (isRight instanceof Promise) {
      // Nobody else listens to a web socket yet; without a listener its end would be ours.
      if (kind === "ws") response.on("error", () => response.destroy());
      isRight = await isRight;
      if (response.destroyed) return undefined;
    }
    if (isRight) {
      request.judged = match;
      return handleProxy(kind, request, response, ...more);
    }
    log.warn("%s leads to %s, where no server of this member's listens", match.prefix, match.target);
    proxy.handleProxyError(503, kind, request, response);
    if (kind === "ws") response.destroySoon();
  };
}

module.exports = { Kernel, asked, guardPorts, isUidOf };
