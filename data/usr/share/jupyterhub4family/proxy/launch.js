// Runs as jupyterhub, started by run_proxy.py: configurable-http-proxy, with TLS and plain HTTP on one port.
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
const { guardPorts } = require("./owners.js");
const { plainHandler } = require("./plain.js");

const configuration = JSON.parse(process.argv[2]);
const { ConfigurableProxy } = require(path.join(configuration.package, "index.js"));
const { defaultLogger } = require(path.join(configuration.package, "lib", "log.js"));

const TLS_HANDSHAKE = 0x16; // the first byte of every TLS connection; plain HTTP begins with a letter
const PATIENCE = 15000; // milliseconds for a connection to say something, and for a handshake

// What only a proxy in front may say. The hub believes the last of these that it hears, and that is us.
const FORGEABLE = ["forwarded", "x-real-ip", "x-scheme", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-port",
  "x-forwarded-host"];
// What a member's server could say about the whole portal: every page of it comes from the same origin. A service
// worker for all of it would see the passwords of whoever has once looked at a page of that member's.
const ORIGIN_WIDE = ["service-worker-allowed", "clear-site-data", "strict-transport-security"];
const ERROR_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const log = defaultLogger({ level: "info" });
const certificates = configuration.https ? new Certificates(configuration.https, log) : null;
const proxy = new ConfigurableProxy({
  log,
  // Read here it is in no process list, and not in /proc/PID/environ either.
  authToken: fs.readFileSync(configuration.proxyTokenFile, "ascii").trim(),
  defaultTarget: configuration.defaultTarget,
  errorPath: configuration.errorPath,
  ssl: certificates ? { ...certificates.load(), handshakeTimeout: PATIENCE } : undefined,
  headers: {},
  xfwd: true,
  prependPath: true,
  includePrefix: true,
});

// A browser that goes away while its kernel still talks: without a listener of ours http-proxy throws this, and one
// closed laptop would cut everybody's connections.
proxy.proxy.on("error", (error) => log.warn("A connection broke: %s", (error && error.code) || error));

proxy.proxy.on("proxyRes", ({ headers }, request) => {
  if (request.url.startsWith("/user/")) ORIGIN_WIDE.forEach((name) => delete headers[name]);
  // JupyterHub says of its cookies that they are for HTTPS only; members' servers do not say it of all of theirs.
  if (certificates && headers["set-cookie"]) headers["set-cookie"] = headers["set-cookie"].map(protectedCookie);
});

const handleProxyError = proxy.handleProxyError.bind(proxy);
proxy.handleProxyError = (code, kind, request, response, error) => {
  if (kind === "web" && response && !response.headersSent) {
    response.setHeader("Content-Security-Policy", ERROR_POLICY);
    response.setHeader("X-Content-Type-Options", "nosniff");
    response.setHeader("Cache-Control", "no-store");
  }
  return handleProxyError(code, kind, request, response, error);
};

guardPorts(proxy, log);

// A portal for this computer alone may have another proxy in front of it, whose words count.
if (certificates || configuration.ip !== "127.0.0.1") {
  const forget = (request) => FORGEABLE.forEach((name) => delete request.headers[name]);
  proxy.proxyServer.prependListener("request", forget);
  proxy.proxyServer.prependListener("upgrade", forget);
}

proxy.apiServer.listen(configuration.apiPort, "127.0.0.1");
const entrance = certificates ? makeEntrance(proxy.proxyServer) : proxy.proxyServer;
entrance.listen(configuration.port, configuration.ip, () => {
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
    (isTls ? secure : plain).emit("connection", socket);
  }

  return net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
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
  let token;
  try {
    token = fs.readFileSync(configuration.routesTokenFile, "ascii").trim();
  } catch (error) {
    return again();
  }
  const request = http.request(
    configuration.hubApi,
    { method: "POST", headers: { Authorization: `token ${token}` }, timeout: 5000 },
    (answer) => {
      answer.resume();
      if (answer.statusCode >= 400) again();
    }
  );
  request.on("error", again);
  request.on("timeout", () => request.destroy());
  request.end();
}
