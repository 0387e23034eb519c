// Runs as jupyterhub, in the proxy: sends static files smaller. Style sheets, scripts and drawings only, from the folders
// of such files: what holds a secret beside words that somebody else has chosen must not be compressed, as its length
// would tell about the secret (BREACH). So no page ever is, and nothing that an API says (docs/adr/0030-first-page.md).
//
// Whoever is asked answers as always, after the gate. If the answer is, by name, size and date, a file that lies
// compressed on the disk, that is sent in its place; anything else of a member's own version is compressed on its way.
"use strict";

const { pipeline } = require("stream");
const zlib = require("zlib");
const gate = require("./gate.js");
const { isUidOf } = require("./owners.js");
const { Turns } = require("./turns.js");

// The addresses of static files, written so that nobody takes them for others: no dots in a row, no escapes.
const NAME = "[A-Za-z0-9_~@+-][A-Za-z0-9._~@+-]*";
const OF_MEMBER = new RegExp(`^/((?:static|lab/extensions|lab/api/themes|custom)(?:/${NAME})+)(?:\\?[^#]*)?$`);
const OF_HUB = new RegExp(`^/hub/((?:static|trust/static)(?:/${NAME})+)(?:\\?[^#]*)?$`);
const AS_THEY_COME = /^(?:text\/(?:css|javascript)|application\/(?:x-)?javascript|image\/svg\+xml)\s*(?:;|$)/i;
const FROM_DISK = /^(?:text\/(?:css|javascript)|application\/(?:(?:x-)?javascript|json)|image\/(?:svg\+xml|x-icon|vnd\.microsoft\.icon))\s*(?:;|$)/i;
const SMALLEST = 1024;
const LARGEST = 16 << 20; // bytes of a file that is compressed as it comes
// Compressing as it comes: 18 ms of the processor for a megabyte, 400 KB of memory for each that is under way, of one
// member's servers and of all. Beyond it they come as they are. A server may take as long as it likes for an answer, so
// members are counted, and not the addresses that they have.
const TURNS = { all: 12, one: 6 };
// Bytes at once, and for each second: in the long run it takes a twelfth of one processor.
const BURST = 64 << 20;
const RATE = 4 << 20;
// Milliseconds that a server has for the rest of an answer that nobody needs; without its end it would have one of our
// descriptors for each request, and no connection of a browser to count it by.
const REST = 2000;
// JupyterLab's own files, whose names change with what is in them.
const OF_LAB = /^\/user\/([A-Za-z0-9_~-][^/?#]*)\/(?:[^/?#]+\/)?(static\/lab\/[A-Za-z0-9_~-]+\.[0-9a-f]{12,}\.js)(?:\?v=[0-9a-f]+)?$/;

// Which of ours a browser takes, the better one first.
function encodingsFor(header) {
  const qualities = new Map();
  for (const one of (header || "").toLowerCase().split(",")) {
    const [, name, quality] = /^\s*([a-z0-9*_-]+)\s*(?:;\s*q=\s*([0-9.]+)\s*)?$/.exec(one) || [];
    if (name) qualities.set(name === "x-gzip" ? "gzip" : name, quality === undefined ? 1 : Number(quality));
  }
  return ["br", "gzip"].filter((name) => (qualities.get(name) ?? qualities.get("*") ?? 0) > 0);
}

// What a request asks for: null, or { isForHub, name } with the name of the file below hub or server. `prefix` is the
// route that it was passed on by.
function staticFile(url, prefix) {
  if (prefix === "/") {
    const [, name] = OF_HUB.exec(url) || [];
    return name ? { isForHub: true, name } : null;
  }
  // Names with escapes in them are not worth their reading.
  if (!/^\/user\/[\w~-][\w.~-]*(?:\/[\w~-][\w.~-]*)?$/.test(prefix || "") || !url.startsWith(`${prefix}/`)) return null;
  const [, name] = OF_MEMBER.exec(url.slice(prefix.length)) || [];
  return name ? { isForHub: false, name } : null;
}

// Bytes that may be compressed as they come.
class Budget {
  constructor(clock = () => performance.now()) {
    Object.assign(this, { clock, left: BURST, filled: clock() });
  }

  take(bytes) {
    const now = this.clock();
    this.left = Math.min(BURST, this.left + ((now - this.filled) / 1000) * RATE);
    this.filled = now;
    if (bytes > this.left) return false;
    this.left -= bytes;
    return true;
  }
}

class Compression {
  constructor(files) {
    this.files = files;
    this.turns = new Turns(TURNS);
    this.budget = new Budget();
  }

  // See whether an answer can be sent smaller; before its headers are passed on.
  consider(answer, request) {
    const asked = staticFile(request.url, request.judged && request.judged.prefix);
    if (!asked || !["GET", "HEAD"].includes(request.method) || ![200, 206, 304].includes(answer.statusCode)) return;
    const { headers } = answer;
    addVary(headers); // what others are sent under this address may be something else
    const encodings = encodingsFor(request.headers["accept-encoding"]);
    if (!encodings.length || answer.statusCode !== 200 || !isPlain(headers) || request.headers.range !== undefined) return;
    if (request.httpVersion === "1.0") return;
    const size = Number(headers["content-length"]);
    if (!(size >= SMALLEST)) return;
    const kind = headers["content-type"] || "";
    const file = this.files.find(asked.isForHub, asked.name);
    const isFile = file && file.size === size && file.modified === headers["last-modified"] && FROM_DISK.test(kind);
    const encoding = isFile && encodings.find((one) => file[one]);
    if (encoding) sendFile(answer, request, encoding, file);
    else if (!asked.isForHub && encodings.includes("gzip") && AS_THEY_COME.test(kind) && size <= LARGEST) {
      this.compress(answer, request, size);
    }
  }

  // gzip, whatever else a browser takes: brotli needs six times the memory for it.
  compress(answer, request, size) {
    if (request.method === "HEAD") return encode(answer.headers, "gzip");
    const release = this.turns.takeNow(request.judged.prefix.split("/")[2], null);
    if (!release) return;
    if (!this.budget.take(size)) return release();
    encode(answer.headers, "gzip");
    passOn(answer, (response) => {
      if (response.destroyed) {
        answer.destroy(); // node 24's pipeline would throw
        return release();
      }
      const coder = zlib.createGzip({ level: 6 });
      pipeline(answer, coder, response, release); // however it ends
    });
    // Somebody who has gone already is sent nothing.
    setImmediate(() => Object.hasOwn(answer, "pipe") && release());
  }
}

// Whether an answer is one that may be changed on its way.
function isPlain(headers) {
  const isCoded = headers["content-encoding"] !== undefined && headers["content-encoding"] !== "identity";
  return !isCoded && !headers["transfer-encoding"] && !/no-transform/i.test(headers["cache-control"] || "");
}

// The headers of a coded answer: whatever was said of its bytes holds no more.
function encode(headers, encoding, size) {
  headers["content-encoding"] = encoding;
  if (size === undefined) delete headers["content-length"];
  else headers["content-length"] = String(size);
  for (const name of ["accept-ranges", "content-md5", "digest", "content-digest", "repr-digest"]) delete headers[name];
  if (headers.etag && !headers.etag.startsWith("W/")) headers.etag = `W/${headers.etag}`;
}

function addVary(headers) {
  const known = headers.vary || "";
  if (!/(?:^|,)\s*(?:accept-encoding|\*)\s*(?:,|$)/i.test(known)) headers.vary = known ? `${known}, Accept-Encoding` : "Accept-Encoding";
}

// http-proxy joins an answer and the browser's by `pipe`, once: what is done in its place.
function passOn(answer, send) {
  answer.pipe = (response) => {
    delete answer.pipe;
    send(response);
    return response;
  };
}

function sendFile(answer, request, encoding, file) {
  encode(answer.headers, encoding, file[encoding][1]);
  passOn(answer, (response) => {
    answer.resume(); // nobody needs what it would have sent; the connection can be used again
    if (request.method === "HEAD") return response.end();
    return write(file, encoding, response, () => {
      if (answer.complete || answer.destroyed) return;
      const timer = setTimeout(() => answer.destroy(), REST).unref();
      answer.once("close", () => clearTimeout(timer));
    });
  });
}

function write(file, encoding, response, done = () => {}) {
  if (response.destroyed) return done(); // node 24's pipeline would throw
  return pipeline(file.store.read(...file[encoding]), response, done);
}

// Send JupyterLab's files to whoever waits for their server, while it starts: they are in the browser when its page asks
// for them. Only to the owner, and only what cannot be another file: its name tells what is in it.
class Prefetch {
  constructor(files, options) {
    Object.assign(this, { files, options });
  }

  // The file that is to be sent; null if this is for whoever is asked.
  fileFor(request, match) {
    const [, owner, name] = OF_LAB.exec(request.url) || [];
    if (!owner || request.method !== "GET" || !match || match.prefix !== "/") return null;
    const now = Math.floor(Date.now() / 1000);
    if (!gate.isOwners(request, decodeURIComponent(owner), { ...this.options, isUidOf, now })) return null;
    return this.files.find(false, name);
  }

  send(request, response, file) {
    const encoding = encodingsFor(request.headers["accept-encoding"]).find((one) => file[one]);
    if (!encoding) return false;
    request.isAnswered = true; // if anything goes wrong from here on, nobody tries to answer again
    response.writeHead(200, {
      "Content-Type": "text/javascript",
      "Content-Encoding": encoding,
      "Content-Length": file[encoding][1],
      "Last-Modified": file.modified,
      "Cache-Control": "public, max-age=31536000, immutable", // as jupyter-server says it
      Vary: "Accept-Encoding",
      "X-Content-Type-Options": "nosniff",
    });
    write(file, encoding, response);
    return true;
  }
}

// options: { key, isSecure }, as the gate has them.
function guardSize(proxy, log, files, options) {
  const compression = new Compression(files);
  proxy.proxy.on("proxyRes", (answer, request, response) => {
    try {
      compression.consider(answer, request);
    } catch (error) {
      // An error that nobody catches would end the proxy, for everybody.
      log.error("An answer could not be made smaller: %s", error);
      response.destroy();
    }
  });
  const prefetch = new Prefetch(files, options);
  const handleProxy = proxy.handleProxy.bind(proxy);
  proxy.handleProxy = async (kind, request, response, ...more) => {
    const match = kind === "web" && OF_LAB.test(request.url) && (await proxy.targetForReq(request).catch(() => null));
    const file = match && prefetch.fileFor(request, match);
    if (file && prefetch.send(request, response, file)) return request.answered && request.answered();
    return handleProxy(kind, request, response, ...more);
  };
}

module.exports = { Budget, Compression, Prefetch, encodingsFor, guardSize, passOn, staticFile };
