// Runs as jupyterhub, in the proxy: the cookie by which the hub knows a device again (hub/known_devices.py) is the hub's
// alone. Browsers send it to every address of the portal, and let every answer of the portal replace it: members'
// servers are neither to see it nor to set it. Nor are they to set the gate's (gate.js): a server that somebody shares
// would leave its own pass in others' browsers, and be let in when it is not shared any more.
"use strict";

const HUB = "/hub/";
// As browsers read it: spaces around it do not count, nor does a nameless cookie's "=" in front; case may not.
const named = (names) => new RegExp(`^[\\s=]*(__host-)?jupyterhub4family-(${names})\\s*(=|;|$)`, "i");
const IS_DEVICE = named("device");
const IS_OURS = named("device|browser|gate");

// The path as the proxy's table of routes is asked for it. What makes no sense there is not the hub's.
function isForTheHub(request) {
  try {
    return decodeURIComponent(new URL(request.url, "http://example.com").pathname).startsWith(HUB);
  } catch (error) {
    return false;
  }
}

// Take the cookie out of a request for anybody else.
function hideFrom(request) {
  const { cookie } = request.headers;
  if (!cookie || isForTheHub(request)) return;
  const others = cookie.split(";").filter((one) => !IS_DEVICE.test(one));
  if (others.length) request.headers.cookie = others.join(";").trim();
  else delete request.headers.cookie;
}

// Take ours out of anybody else's answer.
function dropFrom(headers, request) {
  if (!headers["set-cookie"] || isForTheHub(request)) return;
  headers["set-cookie"] = headers["set-cookie"].filter((one) => !IS_OURS.test(one));
}

function guardDeviceCookie(proxy) {
  proxy.proxyServer.prependListener("request", hideFrom);
  proxy.proxyServer.prependListener("upgrade", hideFrom);
  proxy.proxy.on("proxyRes", ({ headers }, request) => dropFrom(headers, request));
  // Web sockets: the answer is passed on by another way, whether it opens the socket or not.
  proxy.proxy.on("proxyReqWs", (outgoing, request) => {
    for (const kind of ["response", "upgrade"]) outgoing.on(kind, ({ headers }) => dropFrom(headers, request));
  });
}

module.exports = { guardDeviceCookie, hideFrom, dropFrom };
