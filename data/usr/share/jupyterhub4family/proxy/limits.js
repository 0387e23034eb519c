// Runs as jupyterhub, in the proxy: how much anybody in the network may have of it at once. One place for connections,
// requests, bodies and patience, so that no device keeps the others out, whatever it sends or leaves unsaid
// (docs/adr/0026-bounds.md). Who asks for more is made to wait, or loses the oldest of their own connections.
"use strict";

const fs = require("fs");
const http = require("http");
const { isIPv6 } = require("net");
const { Readable } = require("stream");
const { answerBroken } = require("./broken.js");
const { TRUST_SOCKET } = require("./gate.js");
const { Turns } = require("./turns.js");

// Connections. A browser has six, and one for each open notebook, terminal and console; twenty devices behind one
// address (a VPN, a proxy in front) have all of theirs. `silent` are those that have not brought a whole request yet.
const ADDRESS = { all: 400, silent: 150, rate: 40, burst: 300 };
// All of one /64 of IPv6, which is what a home has, or one device; and 127.0.0.1, if another proxy is in front.
const NETWORK = { all: 1200, silent: 400, rate: 120, burst: 900 };
const EVERYBODY = { all: 2000, silent: 700 };
const BACKLOG = 2048; // connections that the kernel keeps for us: of those beyond it, also the family's would be lost
const SPARE_FILES = 200; // descriptors for all that is no connection; each connection may need a second one, to a server

// Requests that are being answered. The others wait; what they wait for is one program with one processor.
const HUB_TURNS = { all: 40, one: 8, network: 32 };
// Passwords that wait to be looked at. They cost the hub nothing meanwhile, but would hold its other turns for as long as
// strangers come: it lets a hundred of those wait and sends the others away (hub/throttle.py), so that whoever logs in on
// a known device finds room here whatever they do.
const LOGIN_TURNS = { all: 400, one: 8, network: 320 };
// The login page, and JupyterHub's API where programs get a token for a password.
const LOGIN = /^\/hub\/+(?:login|api\/+users\/[^/]*\/tokens)\/*$/;
const HANDSHAKES = { all: 64, one: 8, network: 32 }; // three milliseconds of the processor each
// With a member's server. What one address has under way is what everybody's next step waits for: with 64 at a time, 900
// requests a second to a member's own server had a login, of thirty steps, take ten seconds.
const ALL_TURNS = { all: 96, one: 16, network: 48 };
const TURN = 2000; // milliseconds after which somebody else's turn begins, though a member's program has not answered, or
// somebody has not read all of the hub's answer
const STREAMS = { all: 400, one: 16, network: 64 }; // of the hub: each page of a start has one until the server is ready
const PIPELINED = 2; // requests on one connection before the first is answered: no browser has more than one
const OF_SERVER = 256; // requests that one server of a member's answers at a time; each has a descriptor

// Bytes of what is sent to the hub, which knows forms and a little JSON, as much as it takes from members' servers
// (hub/http_server.py): of a megabyte it would look at 140,000 fields, one after the other, while everybody waits.
const BODY = 64 << 10;
const LOGIN_BODY = 16 << 10; // name and password, with all their characters written as %xx
const BODIES = { one: 4 << 20, all: 32 << 20 }; // that are kept while they come, of an address and of everybody
const AHEAD = 1 << 20; // bytes of an answer that are kept for a client that does not read
const REST = 2 << 20; // bytes that are read of what is refused, so that whoever sends it comes to reading why
const AWHILE = 10; // seconds, for Retry-After

// Milliseconds.
const HEADERS = 15000; // for a whole head of a request, after the handshake; launch.js knows that one
const BODY_TIME = 10000; // for a whole body for the hub
const ANSWER = 30000; // until the hub says something, also in the middle of an answer
const STALLED = 60000; // for somebody to take, or to send, any of what is under way
const UPLOAD = 12 * 3600 * 1000; // for all of a member's upload; stalled ones are ended long before
const IDLE_AGENT = 20000; // that our own connections wait for use; the hub closes them after a minute (hub/http_server.py)
const LOOK_EVERY = 5000;

const SILENT = 0; // has not brought a whole request yet
const HEARD = 1; // has, but so could anybody
const AT_WORK = 2; // is answered by a member's server just now

const LOOPBACK = "127.0.0.1";
const HUB_ROUTES = new Set(["/", "/hub", "/hub/"]);

// What is counted together: one address, one network, or everybody.
class Group {
  constructor(limit, name) {
    Object.assign(this, { limit, name, tokens: limit.burst, filled: performance.now(), body: 0 });
    this.stages = [new Set(), new Set(), new Set()]; // connections; the oldest of each come first
  }

  get size() {
    return this.stages[SILENT].size + this.stages[HEARD].size + this.stages[AT_WORK].size;
  }

  // Whether one more connection comes not too soon after the others.
  takeToken() {
    if (!this.limit.rate) return true;
    const now = performance.now();
    this.tokens = Math.min(this.limit.burst, this.tokens + ((now - this.filled) / 1000) * this.limit.rate);
    this.filled = now;
    if (this.tokens < 1) return false;
    this.tokens -= 1;
    return true;
  }

  // No new connections for a second.
  wait() {
    this.tokens = Math.max(-this.limit.burst, Math.min(this.tokens, 0) - this.limit.rate);
  }

  // Whose place a new connection takes; null if there is room. A member whose server answers hundreds at a time, as a
  // program of theirs may have it, is no reason for others to wait: then it is one of these.
  oldest() {
    const [silent, heard, atWork] = this.stages;
    if (silent.size >= this.limit.silent) return first(silent);
    if (this.size < this.limit.all) return null;
    return ofGreediest(atWork, this.limit.all / 8) || first(silent) || first(heard) || ofGreediest(atWork, 0);
  }

  isForgotten() {
    return this.size === 0 && performance.now() - this.filled > (this.limit.burst / this.limit.rate) * 1000;
  }
}

const first = (set) => set.values().next().value;

// The oldest of those connections that the same member's server answers, if these are more than `most`.
function ofGreediest(connections, most) {
  const counts = new Map();
  for (const { owner } of connections) counts.set(owner, (counts.get(owner) || 0) + 1);
  const [[greediest, count] = [undefined, 0]] = [...counts].sort(([, one], [, other]) => other - one);
  return count > most ? [...connections].find(({ owner }) => owner === greediest) : undefined;
}

class Limits {
  // isForwarded: another proxy may stand in front of this one, and bring everybody's requests from 127.0.0.1.
  constructor(log, isForwarded) {
    this.log = log;
    this.isForwarded = isForwarded;
    this.backlog = BACKLOG;
    const room = Math.floor((openFiles() - SPARE_FILES) / 2);
    this.everybody = new Group({ ...EVERYBODY, all: Math.max(64, Math.min(EVERYBODY.all, room)) }, "everybody");
    this.groups = new Map(); // addresses and networks, by name
    this.connections = new Map(); // by both ends' address and port
    this.hubTurns = new Turns(HUB_TURNS);
    this.loginTurns = new Turns(LOGIN_TURNS);
    this.allTurns = new Turns(ALL_TURNS);
    this.streams = new Turns(STREAMS);
    this.handshakes = new Turns(HANDSHAKES);
    setInterval(() => this.look(), LOOK_EVERY).unref();
  }

  // Count the connections that `entrance` gets, and end those that are too many.
  watch(entrance) {
    entrance.prependListener("connection", (socket) => this.admit(socket));
  }

  // How long `server` waits for its clients. Before it listens.
  prepare(server) {
    server.headersTimeout = HEADERS;
    server.requestTimeout = UPLOAD;
    server.connectionsCheckingInterval = 2000;
    server.on("clientError", answerBroken);
    // Not a listener: of a connection that was just closed, node still reads the rest of what it has at hand, and
    // whatever the other listeners did for each of some hundred requests would be too much.
    const emit = server.emit.bind(server);
    server.emit = (event, ...values) => {
      if (event === "request" && !this.begin(...values)) return true;
      if (event === "upgrade" && !this.beginSocket(...values)) return true;
      return emit(event, ...values);
    };
  }

  // Have everything that `proxy` passes on wait its turn; after everybody else who changes how it handles requests.
  guard(proxy) {
    this.proxy = proxy;
    const kept = { keepAlive: true, timeout: IDLE_AGENT, maxFreeSockets: 64 };
    proxy.httpAgent = new http.Agent({ ...kept, maxSockets: OF_SERVER });
    // configurable-http-proxy has no agent for Unix sockets; http-proxy then asks the hub to close each connection after
    // its answer, and says so to the browser as well: a handshake of TLS for every request.
    const hubAgent = (http.globalAgent = new http.Agent(kept));
    const optionsFor = proxy.proxyOptsForTarget.bind(proxy);
    proxy.proxyOptsForTarget = (target) => ({ agent: hubAgent, ...optionsFor(target) });
    const handleProxy = proxy.handleProxy.bind(proxy);
    proxy.handleProxy = async (kind, request, response, ...more) => {
      try {
        if (await this.mayPass(kind, request, response)) await handleProxy(kind, request, response, ...more);
      } catch (error) {
        // No descriptor left, for instance. Of a web socket nobody else catches it, and node would end, for everybody.
        this.log.error("A request broke off: %s", (error && error.code) || error);
        if (kind === "ws" || request.isAnswered) response.destroy();
        else this.refuse(kind, request, response, 503);
      }
    };
    const web = proxy.proxy.web.bind(proxy.proxy);
    proxy.proxy.web = (request, response, options, failed) => {
      const buffer = request.wholeBody && Readable.from([request.wholeBody], { objectMode: false });
      return web(request, response, { ...options, ...(request.isForHub && { buffer, proxyTimeout: ANSWER }) }, failed);
    };
    proxy.proxy.on("proxyRes", (answer, request, response) => {
      if (!request.isForHub && answer.statusCode < 400) this.work(request);
      const { answered } = request;
      if (!request.isForHub) return answered();
      if (/event-stream/.test(answer.headers["content-type"])) {
        answered();
        return this.keepStream(request, response);
      }
      // The hub is at work until it has sent all of it; who reads slowly keeps nobody waiting for long.
      for (const event of ["end", "close"]) answer.once(event, answered);
      setTimeout(answered, TURN).unref();
    });
    proxy.proxyServer.on("secureConnection", (socket) => {
      const connection = this.connections.get(keyOf(socket));
      if (connection && connection.secured) connection.secured();
    });
    proxy.proxy.on("proxyReqWs", (asked, request, client) => {
      // What is no web socket after all is passed on as fast as it comes: a file of gigabytes to somebody who reads none.
      asked.once("response", (answer) => {
        answer.on("data", () => {
          if (client.writableLength <= AHEAD || answer.isPaused()) return;
          answer.pause();
          client.once("drain", () => answer.resume());
        });
        client.once("close", () => answer.destroy());
      });
      asked.once("upgrade", () => {
        request.answered();
        if (!request.isForHub) this.work(request);
      });
    });
  }

  // -- connections ----------------------------------------------------------------------------------------------

  admit(socket) {
    const groups = this.groupsOf(socket.remoteAddress);
    if (!groups) return socket.destroy(); // gone already
    for (const group of groups) {
      const refused = !group.takeToken() && "comes too fast";
      const victim = refused ? null : group.oldest();
      if (refused || victim === undefined) {
        this.log.warn("A connection of %s was refused: %s", groups[0].name, refused || `${group.name} has too many`);
        socket.destroy();
        return;
      }
      if (victim) {
        this.log.warn("The oldest idle connection of %s was closed for a new one", group.name);
        this.forget(victim);
        victim.socket.destroy();
      }
    }
    const connection = { key: keyOf(socket), socket, groups, stage: SILENT, pending: 0, done: -1, since: 0 };
    this.connections.set(connection.key, connection);
    for (const group of groups) group.stages[SILENT].add(connection);
    socket.once("close", () => this.forget(connection));
  }

  // Begin a handshake of TLS when it is this connection's turn.
  async secure(socket, server) {
    const connection = this.connections.get(keyOf(socket));
    const release = connection && (await this.takeTurn(this.handshakes, connection.groups));
    if (!release || socket.destroyed) {
      if (release) release();
      return socket.destroy();
    }
    connection.secured = release;
    setTimeout(release, TURN).unref();
    socket.once("close", release);
    server.emit("connection", socket);
  }

  takeTurn(turns, groups) {
    return turns.take(...this.namesOf(groups));
  }

  // An address and its network, as turns want them.
  namesOf(groups) {
    const [{ name }, { name: network }] = groups;
    return [name, this.isMany(name) ? name : groups.length > 2 ? network : null];
  }

  // A stream of the hub's goes on for minutes and has no turn, so there are only so many of an address.
  keepStream({ socket }, response) {
    const groups = this.groupsOf(socket.remoteAddress);
    const release = groups && this.streams.takeNow(...this.namesOf(groups));
    if (release) return response.once("close", release);
    if (groups) this.log.warn("A stream of %s was closed: it has too many", groups[0].name);
    return response.destroy();
  }

  forget(connection) {
    if (this.connections.get(connection.key) === connection) this.connections.delete(connection.key);
    for (const group of connection.groups) group.stages[connection.stage].delete(connection);
  }

  // A member's server answers.
  work({ socket, owner }) {
    const connection = this.connections.get(keyOf(socket));
    if (connection) connection.owner = owner;
    this.move(socket, AT_WORK);
  }

  // Later stages are only left when an answer has ended.
  move(socket, stage, isEnd = false) {
    const connection = this.connections.get(keyOf(socket));
    if (!connection || (isEnd ? connection.stage === stage : connection.stage >= stage)) return;
    for (const group of connection.groups) {
      group.stages[connection.stage].delete(connection);
      group.stages[stage].add(connection);
    }
    connection.stage = stage;
  }

  // The narrowest group first; null for somebody who has gone.
  groupsOf(remoteAddress) {
    const address = plainAddress(remoteAddress);
    if (!address) return null;
    const found = [this.group(address, this.isMany(address) ? NETWORK : ADDRESS)];
    if (isIPv6(address)) found.push(this.group(networkOf(address), NETWORK));
    return [...found, this.everybody];
  }

  // Whether there may be many devices behind an address.
  isMany(address) {
    return this.isForwarded && address === LOOPBACK;
  }

  group(name, limit) {
    if (!this.groups.has(name)) this.groups.set(name, new Group(limit, name));
    return this.groups.get(name);
  }

  // -- requests -------------------------------------------------------------------------------------------------

  // Whether a request that has come is to be looked at.
  begin(request, response) {
    const { socket } = request;
    if (socket.destroyed) return false;
    const connection = this.connections.get(keyOf(socket));
    if (!connection) return true;
    connection.stream = socket;
    connection.pending += 1;
    if (connection.pending > PIPELINED) {
      const [group] = connection.groups;
      this.log.warn("A connection of %s was closed: %d requests at once on it", group.name, PIPELINED);
      group.wait();
      socket.destroy();
      return false;
    }
    if (hasBody(request)) request.once("end", () => this.move(socket, HEARD));
    else this.move(socket, HEARD);
    connection.request = request;
    response.once("close", () => {
      connection.pending -= 1;
      if (connection.stage === AT_WORK) this.move(socket, HEARD, true);
    });
    return true;
  }

  // Whether a web socket that is asked for is to be looked at: not if other requests wait on the same connection.
  beginSocket(request, socket) {
    const connection = this.connections.get(keyOf(socket));
    if (!connection || connection.pending < PIPELINED) return !socket.destroyed;
    this.log.warn("A connection of %s was closed: a web socket behind requests", connection.groups[0].name);
    socket.destroy();
    return false;
  }

  // Whether a request may go on to where it leads; else it has been answered.
  async mayPass(kind, request, response) {
    if (request.socket.destroyed) return false;
    const client = kind === "ws" ? response : request.socket;
    if (kind === "ws") client.on("error", () => client.destroy()); // nobody else listens while it waits
    const match = await this.proxy.targetForReq(request).catch(() => null);
    request.isForHub = !match || HUB_ROUTES.has(match.prefix);
    request.owner = match && match.prefix.split("/")[2];
    const groups = this.groupsOf(request.socket.remoteAddress);
    if (!groups) return false;
    if (kind === "ws" && hasBody(request)) return this.refuse(kind, request, response, 400);
    // The hub's only web socket. Whatever else is asked of it as one it would answer as a page, or wait for a body that
    // never comes, and whoever does not read would have a turn for as long.
    if (kind === "ws" && request.isForHub && !TRUST_SOCKET.test(request.url)) {
      return this.refuse(kind, request, response, 404);
    }
    const turns = this.turnsFor(request);
    if (kind === "web" && request.isForHub && hasBody(request)) {
      const refused = await this.readBody(request, response, turns === this.loginTurns ? LOGIN_BODY : BODY);
      if (refused) return this.refuse(kind, request, response, refused);
    }
    const release = await this.takeTurn(turns, groups);
    if (!release) return this.refuse(kind, request, response, 429);
    if (client.destroyed || (kind === "web" && response.destroyed)) {
      release();
      return false;
    }
    if (kind === "ws") client.once("close", release);
    else response.once("close", release);
    // What goes on for long is no reason for others to wait: progress of a start, or a member's program that thinks.
    request.answered = release;
    if (!request.isForHub) {
      this.move(request.socket, HEARD); // also while a long upload goes on
      setTimeout(release, TURN).unref();
    }
    return true;
  }

  turnsFor({ isForHub, method, url }) {
    if (!isForHub) return this.allTurns;
    return method === "POST" && LOGIN.test(pathOf(url)) ? this.loginTurns : this.hubTurns;
  }

  // Read a body for the hub as a whole, at most so many bytes, so that the hub never waits for anybody. Returns the status
  // of a refusal, or 0.
  readBody(request, response, most) {
    const declared = Number(request.headers["content-length"] || 0);
    if (declared > most) return 413;
    const [group] = this.groupsOf(request.socket.remoteAddress) || [this.everybody];
    const holders = new Set([group, this.everybody]);
    const keep = (bytes) => holders.forEach((one) => (one.body += bytes));
    return new Promise((resolve) => {
      const chunks = [];
      let size = 0;
      const finish = (status) => {
        clearTimeout(timer);
        request.removeListener("data", take);
        request.removeListener("end", whole);
        request.removeListener("close", gone);
        if (status) keep(-size);
        else if (response.destroyed) keep(-size);
        else response.once("close", () => keep(-size)); // it is kept until the hub has it, at most until the answer
        resolve(status);
      };
      const take = (chunk) => {
        size += chunk.length;
        keep(chunk.length);
        if (size > most) {
          group.wait();
          return finish(413);
        }
        if (group.body > BODIES.one || this.everybody.body > BODIES.all) return finish(429);
        chunks.push(chunk);
      };
      const whole = () => {
        request.wholeBody = Buffer.concat(chunks);
        request.headers["content-length"] = String(size);
        for (const name of ["transfer-encoding", "expect"]) delete request.headers[name];
        finish(0);
      };
      const gone = () => finish(408);
      const timer = setTimeout(() => finish(408), BODY_TIME);
      request.on("data", take);
      request.once("end", whole);
      request.once("close", gone);
    });
  }

  // Answer in the place of whoever was asked, and read a little of what is still being sent: a browser that is cut off
  // while it sends does not read the answer.
  refuse(kind, request, response, status) {
    if (kind === "web" && !response.headersSent && !response.destroyed) {
      response.setHeader("Retry-After", String(AWHILE));
      if (!request.complete) {
        response.setHeader("Connection", "close");
        const end = () => request.socket.destroy();
        let left = REST;
        request.on("data", (chunk) => (left -= chunk.length) < 0 && end());
        response.once("finish", () => setTimeout(end, 1000).unref());
      }
    }
    this.proxy.handleProxyError(status, kind, request, response);
    if (kind === "ws") response.destroySoon();
    return false;
  }

  // -- patience -------------------------------------------------------------------------------------------------

  look() {
    const now = performance.now();
    for (const connection of this.connections.values()) {
      const { stream } = connection;
      if (!stream) continue; // handshake and first head have times of their own
      const done = progress(connection);
      if (done !== connection.done) Object.assign(connection, { done, since: now });
      else if (done !== null && now - connection.since > STALLED) {
        this.log.warn("A connection of %s was closed: nothing moved on it", connection.groups[0].name);
        connection.socket.destroy();
      }
    }
    for (const [name, group] of this.groups) if (group.isForgotten()) this.groups.delete(name);
  }
}

// A number that changes when the client takes or sends something; null while nobody waits for the client.
function progress({ stream, request, stage }) {
  if (stream.writableLength > 0) return stream.bytesWritten - stream.writableLength;
  // A request that the server behind is slow to take is not the client's fault.
  const sends = request && !request.complete && !request.destroyed && request.readableFlowing && stage !== AT_WORK;
  return sends ? -stream.bytesRead : null;
}

function hasBody({ headers }) {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] || 0) > 0;
}

function keyOf(socket) {
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress}`;
}

// The path of a request as it will be passed on: what was asked for may hold more (#, dots, another host's name).
function pathOf(url) {
  try {
    return new URL(url.startsWith("//") ? `http://hub${url}` : url, "http://hub").pathname;
  } catch (error) {
    return ""; // the proxy passes no such thing on
  }
}

// An address as it is counted: IPv4 as IPv4, without the name of an interface. Every program on this machine has sixteen
// million addresses: they are one.
function plainAddress(address) {
  const plain = address && address.replace(/^::ffff:(?=[0-9.]+$)/, "").replace(/%.*$/, "");
  return plain && (plain === "::1" || plain.startsWith("127.")) ? LOOPBACK : plain;
}

// The first 64 bits of an address of IPv6, as text.
function networkOf(address) {
  const [head, tail] = address.split("::");
  const words = head ? head.split(":") : [];
  if (tail !== undefined) {
    const rest = tail ? tail.split(":").length + (tail.includes(".") ? 1 : 0) : 0;
    while (words.length + rest < 8 && words.length < 4) words.push("0");
    if (words.length < 4) words.push(...tail.split(":"));
  }
  return `${words.slice(0, 4).map((word) => word.padStart(4, "0")).join(":")}::/64`;
}

// How many descriptors this process may have: node has raised its limit as far as it may.
function openFiles() {
  const [, soft] = /^Max open files\s+(\S+)/m.exec(fs.readFileSync("/proc/self/limits", "latin1")) || [];
  return soft === "unlimited" ? Infinity : Number(soft) || 1024;
}

module.exports = { Limits, networkOf, plainAddress };
