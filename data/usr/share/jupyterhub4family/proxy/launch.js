// Runs as jupyterhub, started by `run-proxy`: configurable-http-proxy, with TLS and plain HTTP on one port. That port
// is handed over, open; hub and proxy find each other at sockets in a folder that no other account enters.
//
//   node launch.js CONFIGURATION     (one JSON object without secrets: it can be seen in the process list)
//
// It also asks the hub for its routes as soon as it listens, so that a proxy that was killed does not forget servers.
"use strict";

const fs = require("fs");
const http = require("http");
const net = require("net");
const path = require("path");
const { Certificates } = require("./certificates.js");
const { ERROR_POLICY } = require("./broken.js");
const { CompressedFiles } = require("./compressed_files.js");
const { guardSize } = require("./compression.js");
const { guardDeviceCookie } = require("./device_cookie.js");
const { guardFirstPage } = require("./first_page.js");
const { guardServers } = require("./gatekeeper.js");
const { Limits } = require("./limits.js");
const { bounded } = require("./logs.js");
const { guardPorts } = require("./owners.js");
const { plainHandler } = require("./plain.js");
const { findQuickly } = require("./routes.js");

const configuration = JSON.parse(process.argv[2]);
const { ConfigurableProxy } = require(path.join(configuration.package, "index.js"));
const { defaultLogger } = require(path.join(configuration.package, "lib", "log.js"));

const TLS_HANDSHAKE = 0x16; // the first byte of every TLS connection; plain HTTP begins with a letter
const PATIENCE = 15000; // milliseconds for a connection to say something, and for a handshake

// What only a proxy in front may say. The hub believes the last of these that it hears, and that is us.
const FORGEABLE = ["forwarded", "x-real-ip", "x-scheme", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-port",
  "x-forwarded-host"];

const log = bounded(defaultLogger({ level: "info" }));
// As configurable-http-proxy writes the address of a Unix socket.
const HUB = `http+unix://${encodeURIComponent(configuration.hubSocket)}`;
const read = (file) => fs.readFileSync(file, "ascii").trim();
const certificates = configuration.https ? new Certificates(configuration.https, log) : null;
const proxy = new ConfigurableProxy({
  log,
  // Answers before the hub has told any route.
  defaultTarget: HUB,
  errorPath: configuration.errorPath,
  ssl: certificates ? { ...certificates.load(), handshakeTimeout: PATIENCE } : undefined,
  headers: {},
  xfwd: true,
  prependPath: true,
  includePrefix: true,
});

// Read here it is in no process list, and not in /proc/PID/environ either; each time anew, as a hub that starts makes
// another one. Without it nobody may change routes.
Object.defineProperty(proxy, "authToken", {
  get() {
    try {
      return read(configuration.proxyTokenFile) || " ";
    } catch (error) {
      return " "; // which no request can hold
    }
  },
});

// A browser that goes away while its kernel still talks: without a listener of ours http-proxy throws this, and one
// closed laptop would cut everybody's connections.
proxy.proxy.on("error", (error) => log.warn("A connection broke: %s", (error && error.code) || error));

// A portal for this computer alone may have another proxy in front of it, whose words count.
const isForwarded = !certificates && configuration.ip === "127.0.0.1";
const limits = new Limits(log, isForwarded);
findQuickly(proxy);
guardPorts(proxy, log, configuration.ownerOfPort);
guardDeviceCookie(proxy); // before the gate adds a cookie of its own to an answer
const key = fs.readFileSync(configuration.gate.keyFile, "ascii").trim();
const isSecure = Boolean(certificates);
guardServers(proxy, log, {
  key,
  refused: configuration.gate.refused,
  isSecure,
  isForwarded,
  ask: async (question) => {
    const { status, text } = await askHub("gate", question);
    if (status !== 200) throw new Error(`the hub answers ${status}`);
    return JSON.parse(text).allowed === true;
  },
});

const files = new CompressedFiles(log, configuration.compressed);
guardSize(proxy, log, files, { key, isSecure });
guardFirstPage(proxy, log);

proxy.proxy.on("proxyRes", ({ headers }, request) => {
  request.isAnswered = true;
  // JupyterHub says of its cookies that they are for HTTPS only; members' servers do not say it of all of theirs.
  if (certificates && headers["set-cookie"]) headers["set-cookie"] = headers["set-cookie"].map(protectedCookie);
});

const handleProxyError = proxy.handleProxyError.bind(proxy);
proxy.handleProxyError = (code, kind, request, response, error) => {
  if (kind === "web" && response) {
    // Nobody can begin an answer twice: node throws, and the proxy would end, for everybody.
    if (request.isAnswered) {
      log.warn("An answer broke off: %s", (error && error.code) || error);
      return response.destroy();
    }
    request.isAnswered = true;
  }
  // The hub's socket is not there yet. Like a port where nobody listens, that is no error of ours to be told at length.
  if (error && error.code === "ENOENT") error.code = "ECONNREFUSED";
  if (kind === "web" && response && !response.headersSent) {
    response.setHeader("Content-Security-Policy", ERROR_POLICY);
    response.setHeader("X-Content-Type-Options", "nosniff");
    response.setHeader("Cache-Control", "no-store");
  }
  return handleProxyError(code, kind, request, response, error);
};

limits.guard(proxy); // the last to change how requests are handled: nothing else is done before a request's turn
limits.prepare(proxy.proxyServer);

if (!isForwarded) {
  const forget = (request) => FORGEABLE.forEach((name) => delete request.headers[name]);
  proxy.proxyServer.prependListener("request", forget);
  proxy.proxyServer.prependListener("upgrade", forget);
}

fs.rmSync(configuration.apiSocket, { force: true }); // left by a proxy that was killed
proxy.apiServer.listen(configuration.apiSocket);
const entrance = certificates ? makeEntrance(proxy.proxyServer) : proxy.proxyServer;
limits.watch(entrance);
entrance.listen({ fd: configuration.descriptor }, limits.backlog, () => {
  log.info("Listening at %s://%s:%s", certificates ? "https" : "http", configuration.ip || "*", configuration.port);
  askForRoutes(20);
  if (certificates) certificates.follow(proxy.proxyServer);
});

process.on("SIGINT", () => process.exit(2));

// A cookie that no browser sends readable through the network, nor along with a form of another site.
function protectedCookie(cookie) {
  const says = (attribute) => new RegExp(`;\\s*${attribute}\\b`, "i").test(cookie);
  return cookie + (says("secure") ? "" : "; Secure") + (says("samesite") ? "" : "; SameSite=Lax");
}

// One port for both: the first byte decides which server goes on with the connection.
function makeEntrance(secure) {
  const pass = (request, response) => secure.emit("request", request, response);
  const plain = http.createServer(plainHandler({ port: configuration.port, certificates, pass, ...configuration.plain }));
  limits.prepare(plain);
  // They never listen themselves; this is what makes them watch their connections for slow clients.
  for (const server of [secure, plain]) server.emit("listening");

  function decide(socket) {
    const first = socket.read(1);
    if (first === null) {
      socket.once("readable", () => decide(socket));
      return;
    }
    socket.setTimeout(0);
    socket.removeAllListeners("timeout");
    socket.removeAllListeners("end");
    socket.unshift(first);
    const isTls = first[0] === TLS_HANDSHAKE;
    if (isTls) socket.allowHalfOpen = false; // as of a server that only knows TLS
    if (isTls) limits.secure(socket, secure);
    else plain.emit("connection", socket);
  }

  return net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    if (socket.destroyed) return; // one too many
    const drop = () => socket.destroy();
    socket.setTimeout(PATIENCE, drop);
    socket.on("error", drop);
    socket.once("end", drop);
    decide(socket);
  });
}

// The hub may be starting as well: it then sends its routes by itself, and this has nothing to do.
function askForRoutes(triesLeft) {
  const again = () => triesLeft > 1 && setTimeout(askForRoutes, 500, triesLeft - 1).unref();
  askHub("proxy").then(({ status }) => status >= 400 && again(), again);
}

// POST to the hub's API, as the service "routes": a promise of { status, text }, rejected if it does not answer.
function askHub(name, body) {
  return new Promise((resolve, reject) => {
    const token = read(configuration.routesTokenFile);
    const headers = { Authorization: `token ${token}`, "Content-Type": "application/json" };
    const place = { socketPath: configuration.hubSocket, path: `/hub/api/${name}` };
    const request = http.request({ ...place, method: "POST", headers, timeout: 5000 }, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => resolve({ status: answer.statusCode, text: Buffer.concat(parts).toString() }));
      answer.on("error", reject);
    });
    request.on("error", reject);
    request.on("timeout", () => request.destroy(new Error("the hub does not answer")));
    request.end(body && JSON.stringify(body));
  });
}
