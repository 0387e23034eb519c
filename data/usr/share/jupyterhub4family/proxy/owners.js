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

const ANSWER_WITHIN = 5000; // milliseconds for the program that asks the kernel; a busy computer starts it in one
const NOT_NEEDED = 60000; // after which it ends
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

// The uids of all whose sockets a connection to 127.0.0.1:port would reach, wherever they listen; all are looked through.
function owners(port) {
  const found = [[], [], []];
  for (const table of TABLES.filter(fs.existsSync)) {
    for (const one of fs.readFileSync(table, "latin1").split("\n").map(parse)) {
      if (one.isListening && one.port === port && one.rank !== undefined) found[one.rank].push(one.uid);
    }
  }
  return [...new Set(found.find((uids) => uids.length) || [])];
}

// Asks the kernel for the one socket that a connection would reach, which node cannot: the program `owner-of-port` can.
// It is started when it is needed, and ends when it has not been for a while.
class Kernel {
  constructor(program, log) {
    this.program = program;
    this.log = log;
    this.waiting = [];
    this.askNotBefore = 0;
  }

  // A promise of the owner's uid as text, "" if nobody listens; rejected if it cannot be told.
  ownerOf(port) {
    if (!this.child && Date.now() < this.askNotBefore) return Promise.reject(new Error("not so soon again"));
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
    const time = this.waiting.length ? ANSWER_WITHIN : NOT_NEEDED;
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
      this.log.warn("%s does not tell whose ports are (%s): all are looked through, which takes longer", this.program, why);
      this.askNotBefore = Date.now() + NOT_NEEDED;
      this.waiting.splice(0).forEach(({ reject }) => reject(new Error("it does not tell")));
    };
    child.on("error", end);
    child.on("close", end);
    if (!child.stdin) throw new Error("there is no descriptor left");
    child.stdin.on("error", () => {}); // "close" comes, too
    readline.createInterface({ input: child.stdout }).on("line", (line) => {
      if (this.child !== child || !this.waiting.length) return;
      if (!/^\d*$/.test(line)) return end(line);
      this.waiting.shift().resolve(line);
      this.expect();
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
  const looked = () => {
    const found = owners(Number(port));
    return found.length === 1 ? found[0] : "";
  };
  return kernel.ownerOf(Number(port)).catch(looked).then((found) => found !== "" && isUidOf(account, found));
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

module.exports = { Kernel, MOST_LINES, guardPorts, isUidOf, owner, owners };
