// Runs as jupyterhub, in the proxy: answers what is no request. As node does by itself, but for browsers that hold too many
// cookies for this address: any page at another port of this computer can give them to one. They send all of them with
// each request, so their owner has to learn what to do about it.
"use strict";

const fs = require("fs");
const { STATUS_CODES } = require("http");
const path = require("path");

// Read once: when it is needed there may be no descriptor left.
const PAGE = fs.readFileSync(path.join(__dirname, "errors", "431.html"));
// Of each page about an error.
const ERROR_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
// Bytes that are read of a head that is too long: browsers send up to 180 cookies of 4 KB, and read no answer before.
const REST = 1 << 20;
const PATIENCE = 3000; // milliseconds for all of it

function answerBroken(error, socket) {
  if (!socket.writable || (socket._httpMessage && socket._httpMessage._headerSent)) return socket.destroy(error);
  const status = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 }[error.code] || 400;
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\n`;
  if (status !== 431) return socket.end(`${head}\r\n`, () => socket.destroy());
  const headers = [`Content-Length: ${PAGE.length}`, "Content-Type: text/html; charset=utf-8", "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff", `Content-Security-Policy: ${ERROR_POLICY}`];
  socket.removeAllListeners("data");
  let left = REST;
  socket.on("data", (chunk) => (left -= chunk.length) < 0 && socket.destroy());
  socket.once("end", () => socket.destroy());
  setTimeout(() => socket.destroy(), PATIENCE).unref();
  socket.write(`${head}${headers.join("\r\n")}\r\n\r\n`);
  socket.write(PAGE);
}

module.exports = { ERROR_POLICY, answerBroken };
