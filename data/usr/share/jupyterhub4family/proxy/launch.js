// Runs as jupyterhub: starts configurable-http-proxy with its secret read from a file, and asks the hub for its
// routes as soon as the proxy listens, so that a proxy that was killed does not forget running servers.
//
//   node launch.js PACKAGE PROXY_TOKEN_FILE ROUTES_TOKEN_FILE HUB_API_URL -- [options of configurable-http-proxy]
"use strict";

const fs = require("fs");
const http = require("http");
const path = require("path");

const [packageFolder, proxyTokenFile, routesTokenFile, hubApi] = process.argv.slice(2, 6);
const program = path.join(packageFolder, "bin", "configurable-http-proxy");

// Set in here it is in no process list, and not in /proc/PID/environ either.
process.env.CONFIGPROXY_AUTH_TOKEN = fs.readFileSync(proxyTokenFile, "ascii").trim();
process.argv = [process.argv[0], program, ...process.argv.slice(7)];
require(program);

// The hub may be starting as well: it then sends its routes by itself, and this has nothing to do.
const TRIES = 20;
const PAUSE = 500; // milliseconds

function askForRoutes(triesLeft) {
  const again = () => triesLeft > 1 && setTimeout(askForRoutes, PAUSE, triesLeft - 1).unref();
  let token;
  try {
    token = fs.readFileSync(routesTokenFile, "ascii").trim();
  } catch (error) {
    return again();
  }
  const request = http.request(
    hubApi,
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

setTimeout(askForRoutes, 50, TRIES);
