// Runs as jupyterhub, in the proxy: does what gate.js says. It leads people to the hub, refuses, asks the hub whether a
// server is (still) shared with somebody, and keeps what a member's server says to itself and its own pages.
"use strict";

const { STATUS_CODES } = require("http");
const gate = require("./gate.js");
const { isUidOf } = require("./owners.js");

const MINUTE = 60000; // milliseconds for which "yes" of the hub is good: so long goes a share that was withdrawn
const MOMENT = 3000; // the same for "no", and for the last answer while the hub does not answer
const MOST_ANSWERS = 1000; // kept, the newest
const MOST_QUESTIONS = 20; // at a time: beyond, it is "no" for whoever was not known
// The same for sessions, which anybody can make up: what is asked about them keeps nobody's pass from being asked about.
const MOST_SESSIONS = 8;

// What a member's server could say about the whole portal: every page of it comes from the same origin. A service
// worker for all of it would see the passwords of whoever has once looked at a page of that member's.
const ORIGIN_WIDE = ["service-worker-allowed", "clear-site-data", "strict-transport-security", "alt-svc", "nel",
  "report-to", "set-login", "secure-session-registration", "sec-session-registration"];
// A notebook shown as a page (nbconvert) may bring scripts of whoever wrote it. They run in an origin of their own, as
// jupyter-server has it from 2.20 on; Debian 11's Python gets none that new (CVE-2026-44727, docs/reference/advisories.md).
const NOTEBOOK_AS_PAGE = /^\/user\/[^/]+\/([^/]+\/)?nbconvert\//;
const SANDBOX = "sandbox allow-scripts";
// What no browser shows as a page with scripts. Everything else is kept by none: a page that Ben has left in the memory
// of a browser would else be shown to Anna, who uses it after him, without asking us. Of several types browsers take the
// last, and some show whatever ends with +xml.
const NO_PAGE = /^(?!.*(?:,|\+xml))(?:text\/(?:css|javascript|plain|markdown|csv)|application\/(?:(?:x-)?javascript|json|wasm|octet-stream|pdf|zip|font-[a-z]+)|image\/(?!svg)[a-z0-9.+-]+|font\/[a-z0-9.+-]+|audio\/[a-z0-9.+-]+|video\/[a-z0-9.+-]+)\s*(?:;|$)/i;

// Which questions the hub has answered how. ask(question): a promise of true or false, rejected if the hub is away.
class Answers {
  constructor(ask, clock = Date.now, most = MOST_QUESTIONS) {
    this.ask = ask;
    this.clock = clock;
    this.most = most;
    this.known = new Map();
    this.asking = new Map();
  }

  async allows(question) {
    const name = JSON.stringify(question);
    const known = this.known.get(name);
    if (known && this.clock() < known.until) return known.isAllowed;
    if (!this.asking.has(name)) {
      if (this.asking.size >= this.most) return known ? known.isAllowed : false;
      this.asking.set(name, this.learn(name, question, known).finally(() => this.asking.delete(name)));
    }
    return this.asking.get(name);
  }

  async learn(name, question, known) {
    let isAllowed = known ? known.isAllowed : false;
    let time = MOMENT;
    try {
      isAllowed = await this.ask(question);
      if (isAllowed) time = MINUTE;
    } catch (error) {
      // The last answer holds.
    }
    this.known.delete(name);
    this.known.set(name, { isAllowed, until: this.clock() + time });
    if (this.known.size > MOST_ANSWERS) this.known.delete(this.known.keys().next().value);
    return isAllowed;
  }
}

// options: { key, isSecure, isForwarded, refused: language -> sentence, ask: as above }
function guardServers(proxy, log, options) {
  const passes = new Answers(options.ask);
  const sessions = new Answers(options.ask, Date.now, MOST_SESSIONS);
  const handleProxy = proxy.handleProxy.bind(proxy);
  proxy.handleProxy = async (kind, request, response, ...more) => {
    // An address that makes no sense is complained about there.
    const match = await proxy.targetForReq(request).catch(() => null);
    if (!match) return handleProxy(kind, request, response, ...more);
    const route = gate.routeOf(match.prefix);
    const { method, url, headers } = request;
    const now = Math.floor(Date.now() / 1000);
    let found = gate.decide({ method, url, headers, isSocket: kind === "ws" }, route, { ...options, isUidOf, now });
    if (found.verdict === "ask") {
      // Nobody else listens to a web socket yet; without a listener its end would be ours.
      if (kind === "ws") response.on("error", () => response.destroy());
      const answers = found.question.session === undefined ? passes : sessions;
      found = (await answers.allows(found.question)) ? { verdict: "pass" } : found.otherwise;
      if (response.destroyed) return undefined;
    } else request.judged = match; // where nobody waits in between, nothing is looked for twice
    if (found.verdict === "pass") {
      if (route.kind === "member") enter(request, found.cookie, options.isSecure);
      return handleProxy(kind, request, response, ...more);
    }
    log.debug("%s %s of %s: not without a pass", method, found.verdict === "lead" ? "led to the gate" : "refused", match.prefix);
    if (kind === "ws") return response.end("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    return found.verdict === "lead" ? lead(request, response) : refuse(request, response, options.refused);
  };
  proxy.proxy.on("proxyRes", (answer, request) => {
    tidy(answer);
    leave(answer, request);
  });
  // Web sockets: the answer is passed on by another way, whether it opens the socket or not.
  proxy.proxy.on("proxyReqWs", (outgoing, request) => {
    for (const kind of ["response", "upgrade"]) outgoing.on(kind, (answer) => leave(answer, request));
  });
}

// What node reads and would not write: it throws, and the proxy would end, for everybody.
function tidy(answer) {
  const isStatus = answer.statusCode >= 200 && answer.statusCode <= 599;
  if (!isStatus) answer.statusCode = 502;
  const isText = /^[\t\x20-\x7e\x80-\xff]*$/.test(answer.statusMessage);
  if (!isStatus || !isText) answer.statusMessage = STATUS_CODES[answer.statusCode] || "";
  delete answer.headers.trailer;
}

// On the way to a member's server.
function enter(request, cookie, isSecure) {
  // Such an address makes sense: it was routed.
  const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
  request.memberAnswers = { cookie, isNotebookAsPage: NOTEBOOK_AS_PAGE.test(path) };
  const kept = gate.withoutOurs(request.headers.cookie, isSecure);
  if (kept) request.headers.cookie = kept;
  else delete request.headers.cookie;
}

// On the way back.
function leave({ statusCode, headers }, { memberAnswers }) {
  if (!memberAnswers) return;
  ORIGIN_WIDE.forEach((name) => delete headers[name]);
  if (memberAnswers.isNotebookAsPage) {
    const policy = headers["content-security-policy"];
    headers["content-security-policy"] = policy ? `${policy}, ${SANDBOX}` : SANDBOX; // both hold
  }
  // Of a file that the browser has kept (304) the type is not told again.
  if (statusCode !== 304 && !NO_PAGE.test(headers["content-type"] || "")) headers["cache-control"] = "no-store";
  if (memberAnswers.cookie) headers["set-cookie"] = [...(headers["set-cookie"] || []), memberAnswers.cookie];
}

function lead(request, response) {
  const target = `/hub/gate?next=${encodeURIComponent(request.url)}`;
  response.writeHead(302, { Location: target, "Content-Length": 0, "Cache-Control": "no-store" });
  response.end();
}

// In words that JupyterLab shows.
function refuse(request, response, sentences) {
  const german = /^de\b/i.test(request.headers["accept-language"] || "");
  const message = (german && sentences.de) || sentences.en;
  const isForProgram = /\/api\/|^[^?]*\/api(?:\?|$)/.test(request.url) || /json/i.test(request.headers.accept || "");
  const text = isForProgram ? JSON.stringify({ message, reason: null }) : `${message}\n`;
  response.writeHead(403, {
    "Content-Type": isForProgram ? "application/json" : "text/plain; charset=utf-8",
    "Content-Length": Buffer.byteLength(text),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
  });
  response.end(text);
}

module.exports = { Answers, NO_PAGE, ORIGIN_WIDE, guardServers };
