// Runs as jupyterhub, in the proxy: a member's address leads to that member's own program or nowhere. A server that has
// ended leaves its port to whoever is quick, while the open pages of its owner go on asking there with their cookies.
"use strict";

const fs = require("fs");
const os = require("os");
const { spawnSync } = require("child_process");

// The kernel's tables of TCP sockets (proc(5)), and how they write what a connection to 127.0.0.1 reaches: sockets on
// that address, else on all of IPv4, else on all of IPv6.
const TABLES = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
const LINE = 150; // bytes of each line of the first one
const LISTENING = "0A";
const LITTLE = os.endianness() === "LE";
const RANKS = new Map([
  [LITTLE ? "0100007F" : "7F000001", 0],
  [LITTLE ? "0000000000000000FFFF00000100007F" : "00000000000000000000FFFF7F000001", 0],
  ["0".repeat(8), 1],
  ["0".repeat(32), 2],
]);

function parse(line) {
  const [, local, , state, , , , uid] = line.trim().split(/\s+/);
  const [address, port] = (local || "").split(":");
  return { rank: RANKS.get(address), port: parseInt(port, 16), isListening: state === LISTENING, uid };
}

// Whose socket listens on 127.0.0.1:port itself, as text; "" if none does. The kernel tells first who listens, and is
// asked for one line at a time: to look through all the rest takes it milliseconds, for each request of each browser.
function owner(port) {
  const file = fs.openSync(TABLES[0]);
  try {
    const line = Buffer.alloc(LINE);
    const next = () => line.toString("latin1", 0, fs.readSync(file, line, 0, LINE, null));
    next(); // the headings
    for (let found; (found = parse(next())).isListening; ) {
      // Two accounts cannot have the very same address.
      if (found.rank === 0 && found.port === port) return found.uid;
    }
    return "";
  } finally {
    fs.closeSync(file);
  }
}

// The uids of all whose sockets a connection to 127.0.0.1:port would reach, for servers that listen everywhere.
function owners(port) {
  const found = [[], [], []];
  for (const table of TABLES.filter(fs.existsSync)) {
    for (const one of fs.readFileSync(table, "latin1").split("\n").map(parse)) {
      if (one.isListening && one.port === port && one.rank !== undefined) found[one.rank].push(one.uid);
    }
  }
  return [...new Set(found.find((uids) => uids.length) || [])];
}

// Remembered, and asked anew when it does not fit: an account may have been made again. `id` knows what NSS knows.
const uids = new Map();
function isUidOf(name, uid) {
  if (uids.get(name) === uid) return true;
  const done = spawnSync("/usr/bin/id", ["-u", "--", name], { encoding: "latin1", timeout: 10000 });
  if (done.status !== 0) return false;
  uids.set(name, done.stdout.trim());
  return uids.get(name) === uid;
}

// Whether everything that listens where this route leads is the member's. Routes of others, and to elsewhere, pass.
function isTheirs({ prefix, target }) {
  const [, name] = /^\/user\/([^/]+)/.exec(prefix) || [];
  const { hostname, port } = new URL(target);
  if (!name || hostname !== "127.0.0.1") return true;
  const account = decodeURIComponent(name);
  const uid = owner(Number(port));
  if (uid) return isUidOf(account, uid);
  const found = owners(Number(port));
  return found.length === 1 && isUidOf(account, found[0]);
}

function guardPorts(proxy, log) {
  // What was looked at is what is reached: another look could find another route, and takes its time, too.
  const targetForReq = proxy.targetForReq.bind(proxy);
  proxy.targetForReq = async (request) => request.judged || targetForReq(request);
  const handleProxy = proxy.handleProxy.bind(proxy);
  proxy.handleProxy = async (kind, request, response, ...more) => {
    // An address that makes no sense is complained about there.
    const match = await proxy.targetForReq(request).catch(() => null);
    if (!match || isTheirs(match)) {
      request.judged = match;
      return handleProxy(kind, request, response, ...more);
    }
    log.warn("%s leads to %s, where no server of this member's listens", match.prefix, match.target);
    proxy.handleProxyError(503, kind, request, response);
    if (kind === "ws") response.destroySoon();
  };
}

module.exports = { guardPorts, isUidOf, owner, owners };
