// Runs as jupyterhub, in the proxy: what is said to a browser that came without TLS. It is led to https; only the
// pages that explain how to trust this machine's certificate are shown, and nothing that is sent goes any further.
"use strict";

const { isIP } = require("net");

// How a path may be written. No dots in a row and no escapes: what is checked here is what the hub will see.
const PATH = /^\/(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*\/)*(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*)?(?:\?[\x21-\x7e]*)?$/;
const OPEN = /^\/(?:trust|hub\/logo|hub\/trust|hub\/trust\/[^?]*|hub\/static\/[^?]*)(?:\?|$)/;
const HOST = /^(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}))(?::([0-9]{1,5}))?$/;
const PRIVATE = /^(?:10\.|127\.|192\.168\.|169\.254\.|172\.(?:1[6-9]|2[0-9]|3[01])\.|100\.(?:6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\.|f[cde])/i;

// port: the portal's; certificates: names it may be called; pass: hands a request to the proxy; refused: language ->
// sentence for somebody whose password has just travelled readable for all.
function plainHandler({ port, certificates, pass, refused }) {
  return (request, response) => {
    if (request.method !== "GET" && request.method !== "HEAD") {
      return refuse(request, response, 403, refused);
    }
    if (OPEN.test(request.url) && PATH.test(request.url)) {
      // Nobody is logged in over plain HTTP, whatever a browser or somebody in between sends along.
      for (const name of ["cookie", "authorization", "proxy-authorization"]) delete request.headers[name];
      const setHeader = response.setHeader.bind(response);
      response.setHeader = (name, value) => (/^set-cookie/i.test(name) ? response : setHeader(name, value));
      return pass(request, response);
    }
    const target = secureAddress(request, port, certificates);
    if (!target) return refuse(request, response, 400, { en: "Bad request" });
    // Not a permanent redirect: a browser would remember it even after the family has chosen otherwise.
    response.writeHead(307, { Location: target, "Content-Length": 0, "Cache-Control": "no-store" });
    response.end();
  };
}

// Where this request would have been good; "" if it makes no sense. The name in it is used only if it is ours: else
// whoever can choose it could lead people elsewhere.
function secureAddress(request, port, certificates) {
  if (!request.url.startsWith("/") || /[^\x21-\x7e]/.test(request.url)) return "";
  const [, named, namedPort] = HOST.exec(request.headers.host || "") || [];
  const host = (named || "").replace(/^\[|\]$/g, "");
  const ours = host && (isIP(host) ? PRIVATE.test(host) || host === "::1" || certificates.isFor(host) : certificates.isFor(host));
  if (ours) return `https://${named.toLowerCase()}:${Number(namedPort) <= 65535 ? namedPort : port}${request.url}`;
  const local = (request.socket.localAddress || "").replace(/^::ffff:/, "");
  if (!local) return "";
  return `https://${local.includes(":") ? `[${local}]` : local}:${port}${request.url}`;
}

function refuse(request, response, status, sentences) {
  const german = /^de\b/i.test(request.headers["accept-language"] || "");
  const text = `${(german && sentences.de) || sentences.en}\n`;
  response.writeHead(status, {
    "Content-Type": "text/plain; charset=utf-8",
    "Content-Length": Buffer.byteLength(text),
    "Cache-Control": "no-store",
    Connection: "close",
  });
  response.end(text);
}

module.exports = { plainHandler };
