// Runs as jupyterhub, in the proxy: decides which requests get to a member's server, and which of the hub's pages go to
// whom. Nothing here asks anybody or answers anybody (gatekeeper.js does): a request goes in, a verdict comes out.
//
// All pages of the portal come from one origin, so what Ben's program sends must never be a page in Anna's browser,
// unless she has said so. A cookie that the hub has signed (hub/gate.py) says who may look at whose server in which
// browser. The reasons are in docs/adr/0023-the-gate.md.
"use strict";

const { createHmac, timingSafeEqual } = require("crypto");

// Path of this cookie is the server's own. Its value: a pass, and a signature over it and over the cookie below.
const PASS_COOKIE = "jupyterhub4family-gate";
// Another value at each login, so that a pass is good in one browser and for one login only. `__Host-` keeps everybody
// but the portal itself, over HTTPS, from setting it; plain HTTP has nothing of that kind.
const browserCookie = (isSecure) => `${isSecure ? "__Host-" : ""}jupyterhub4family-browser`;
const SESSION_COOKIE = "jupyterhub-session-id"; // JupyterHub's own, also sent to members' servers
const VERSION = 1;
const LIFETIME = 14 * 86400; // seconds, as JupyterHub's login
const RENEWED_AFTER = 86400;
const TOKEN = /^(?:token|bearer)\s+\S+$/i;
// What scripts may have of the hub without saying who they are.
const OPEN = /^\/hub\/(?:static\/|trust\/static\/|logo(?:\?|$))/;
// The trust page tries from plain HTTP whether HTTPS works (hub/trust.py).
const TRUST_SOCKET = /^\/hub\/trust\/socket(?:\?|$)/;
const SAFE = new Set(["GET", "HEAD", "OPTIONS"]);

// A member's server, or what else a route of the proxy leads to. `prefix` is without escapes and a slash at its end.
function routeOf(prefix) {
  if (prefix === "/") return { kind: "hub" };
  // Whatever a server is called: JupyterHub 5 takes line breaks of every kind in a name.
  const [, owner, server] = /^\/user\/([^/]+)(?:\/(.+))?$/s.exec(prefix) || [];
  if (owner) return { kind: "member", owner, server: server || "" };
  // Nor is all of them one member's: to JupyterHub 5 ".." is a name of a server as well.
  return { kind: /^\/user(?:\/|$)/.test(prefix) ? "nobody" : "other" };
}

// All values of a cookie: several may be sent under one name, with paths of which only the browser knows.
function cookies(header, name) {
  return (header || "")
    .split(";")
    .map((one) => one.trim())
    .filter((one) => one.startsWith(`${name}=`))
    .map((one) => one.slice(name.length + 1).replace(/^"(.*)"$/, "$1"));
}

// What a member's server is told of the cookies: not the gate's.
function withoutOurs(header, isSecure) {
  const ours = [`${PASS_COOKIE}=`, `${browserCookie(isSecure)}=`];
  return (header || "")
    .split(";")
    .map((one) => one.trim())
    .filter((one) => !ours.some((name) => one.startsWith(name)))
    .join("; ");
}

function signature(text, browser, key) {
  return createHmac("sha256", key).update(`${text}.${browser}`).digest("base64url");
}

// pass: { viewer, viewerUid, owner, ownerUid, server, issued }. Without a server (null) it is the owner's own, and
// good for all of their servers. As hub/gate.py does it.
function sign(pass, browser, key) {
  const fields = [VERSION, pass.viewer, pass.viewerUid, pass.owner, pass.ownerUid, pass.server, pass.issued];
  const text = Buffer.from(JSON.stringify(fields)).toString("base64url");
  return `${text}.${signature(text, browser, key)}`;
}

// The pass that a cookie's value holds; null if it is none that the hub has given to this browser, or too old.
function verify(value, browser, key, now) {
  const [text, given, ...more] = value.split(".");
  if (!text || !given || more.length) return null;
  const [one, other] = [given, signature(text, browser, key)].map((part) => Buffer.from(part));
  if (one.length !== other.length || !timingSafeEqual(one, other)) return null;
  const fields = JSON.parse(Buffer.from(text, "base64url").toString());
  if (fields[0] !== VERSION) return null;
  const [, viewer, viewerUid, owner, ownerUid, server, issued] = fields;
  if (now - issued > LIFETIME || (server === null && viewer !== owner)) return null;
  return { viewer, viewerUid, owner, ownerUid, server, issued };
}

// The pass of whoever asks for this server; null if they have none.
function findPass(header, route, { key, isSecure, isUidOf, now }) {
  const browsers = new Set(cookies(header, browserCookie(isSecure)));
  if (browsers.size !== 1) return null; // one of them is not ours, and nobody knows which
  const [browser] = browsers;
  for (const value of cookies(header, PASS_COOKIE)) {
    const pass = verify(value, browser, key, now);
    const fits = pass && pass.owner === route.owner && (pass.server === null || pass.server === route.server);
    // An account that was made again is somebody else.
    if (fits && isUidOf(pass.owner, String(pass.ownerUid))) return pass;
  }
  return null;
}

// Whether whoever asks is this very member, in a browser of theirs.
function isOwners({ headers }, owner, options) {
  const pass = findPass(headers.cookie, { owner, server: "" }, options);
  return pass !== null && pass.viewer === owner;
}

// The same pass for another fortnight, as a header; "" if it is young enough, or somebody else's, who is asked again.
function renewed(pass, header, { key, isSecure, now }) {
  if (pass.viewer !== pass.owner || now - pass.issued < RENEWED_AFTER) return "";
  const [browser] = cookies(header, browserCookie(isSecure));
  const value = sign({ ...pass, issued: now }, browser, key);
  const path = `/user/${encodeURIComponent(pass.owner)}/`;
  return `${PASS_COOKIE}=${value}; Path=${path}; Max-Age=${LIFETIME}; HttpOnly; SameSite=Lax${isSecure ? "; Secure" : ""}`;
}

// Where a request says to come from: nowhere, as programs and simple requests do, or from our own pages.
// isForwarded: another proxy stands in front of this one, and its words count.
function isOwnOrigin({ method, url, headers, isSocket }, { isSecure, isForwarded }) {
  const { origin, host } = headers;
  if (origin === undefined || (SAFE.has(method) && !isSocket)) return true;
  if (!host) return false;
  const said = (name) => (isForwarded && (headers[name] || "").split(",")[0].trim()) || "";
  const scheme = said("x-forwarded-proto") || (isSecure ? "https" : "http");
  const schemes = isSocket && TRUST_SOCKET.test(url) ? ["http", "https"] : [scheme];
  const hosts = [host, said("x-forwarded-host")].filter(Boolean);
  return schemes.some((one) => hosts.some((name) => origin.toLowerCase() === `${one}://${name}`.toLowerCase()));
}

const fetchMode = (headers) => headers["sec-fetch-mode"] || "";
const destination = (headers) => headers["sec-fetch-dest"] || "";
const isToldByBrowser = (headers) => Object.keys(headers).some((name) => name.startsWith("sec-fetch-"));
const isWorker = (headers) => headers["service-worker"] !== undefined || destination(headers) === "serviceworker";
// Of browsers that do not tell (over plain HTTP none does): an address that was typed or clicked on.
const wantsPage = (headers) => /\btext\/html\b/i.test(headers.accept || "") && headers["x-requested-with"] === undefined;

// Somebody opens an address, in a window of its own: they can be led to where they may say who they are.
function isVisit({ method, headers, isSocket }) {
  if (isSocket || (method !== "GET" && method !== "HEAD")) return false;
  if (!isToldByBrowser(headers)) return wantsPage(headers);
  return fetchMode(headers) === "navigate" && (destination(headers) || "document") === "document";
}

// A program with a token of JupyterHub's. No browser loads a page, a script or a picture with such a header; and one in
// which somebody is logged in opens no web socket without a cookie. (JupyterHub reads a token in an address only if a
// program says "websocket", as browsers do.)
function hasToken({ url, headers, isSocket }) {
  const mode = fetchMode(headers);
  if (TOKEN.test(headers.authorization || "")) {
    return ["", "empty"].includes(destination(headers)) && mode !== "navigate" && mode !== "no-cors";
  }
  return isSocket && /[?&]token=[^&]/.test(url) && headers.cookie === undefined && ["", "websocket"].includes(mode);
}

// A script of a page that is open asks for data: nothing that comes back is shown, or run, by itself.
function isOfOpenPage({ headers, isSocket }) {
  const mode = fetchMode(headers);
  if (isSocket) return mode === "" || mode === "websocket";
  if (!isToldByBrowser(headers)) return !wantsPage(headers);
  const isQuiet = (mode === "cors" || mode === "same-origin") && destination(headers) === "empty";
  return isQuiet && headers["sec-fetch-site"] === "same-origin";
}

const PASS = { verdict: "pass" };
const REFUSE = { verdict: "refuse" };
const LEAD = { verdict: "lead" }; // to the hub, which asks who it is

// request: { method, url, headers, isSocket }, headers in small letters; route: as of routeOf; gate: { key, isSecure,
// isForwarded, isUidOf(name, uid as text), now (seconds) }.
//
// A verdict "pass" may have `cookie`, a header for the answer; "ask" has the question for the hub, and under `otherwise`
// the verdict if it says no.
function decide(request, route, gate) {
  const { headers } = request;
  if (!isOwnOrigin(request, gate)) return REFUSE;
  if (route.kind === "hub") return isForTheHub(request) ? PASS : REFUSE;
  if (route.kind === "nobody") return REFUSE;
  if (route.kind !== "member") return PASS;
  const otherwise = isVisit(request) ? LEAD : REFUSE;
  const pass = findPass(headers.cookie, route, gate);
  if (pass && pass.viewer === pass.owner) return { ...PASS, cookie: renewed(pass, headers.cookie, gate) };
  // A worker stays in the browser: only its owner's may.
  if (isWorker(headers)) return REFUSE;
  const { owner, server } = route;
  if (pass) return { verdict: "ask", question: { viewer: pass.viewer, uid: pass.viewerUid, owner, server }, otherwise };
  if (hasToken(request)) return PASS;
  // A page that has been open for so long that its pass is gone, or since before there were any.
  const [session, ...more] = new Set(cookies(headers.cookie, SESSION_COOKIE));
  if (/^[0-9a-f]{32}$/.test(session || "") && !more.length && isOfOpenPage(request)) {
    return { verdict: "ask", question: { session, owner }, otherwise };
  }
  return otherwise;
}

// The hub's pages hold what its API wants to hear (the XSRF token). `no-cors` would let any script of ours read them.
function isForTheHub({ url, headers }) {
  if (isWorker(headers)) return false;
  return fetchMode(headers) !== "no-cors" || !["", "empty"].includes(destination(headers)) || OPEN.test(url);
}

module.exports = { PASS_COOKIE, TRUST_SOCKET, browserCookie, cookies, decide, isOwnOrigin, isOwners, routeOf, sign, verify, withoutOurs };
