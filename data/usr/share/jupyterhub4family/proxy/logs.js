// Runs as jupyterhub, in the proxy: a log that stays readable, and of a size, whatever floods the portal. Of lines of the
// same kind so many are written; the others are counted, and every ten seconds the count is.
"use strict";

const { format } = require("util");

const BURST = 100; // lines of a kind at once
const RATE = 2; // and so many more in a second
const EVERY = 10000; // milliseconds between two counts
const LONGEST = 2000; // characters of a line; an address may be as long as a whole head of a request

// The same logger, which writes less.
function bounded(log) {
  const kinds = new Map(); // as many as there are sentences in the program, times statuses
  for (const level of ["debug", "info", "warn", "error"]) {
    const write = log[level].bind(log);
    log[level] = (text, ...values) => {
      const name = `${level} ${Number.isInteger(values[0]) ? values[0] : ""} ${text}`;
      if (!kinds.has(name)) kinds.set(name, { tokens: BURST, filled: performance.now(), left: 0, write });
      const kind = kinds.get(name);
      const line = () => format(text, ...values).slice(0, LONGEST);
      if (takeToken(kind)) return write(line());
      kind.left += 1;
      kind.line = line;
    };
  }
  setInterval(() => kinds.forEach(tell), EVERY).unref();
  return log;
}

function takeToken(kind) {
  const now = performance.now();
  kind.tokens = Math.min(BURST, kind.tokens + ((now - kind.filled) / 1000) * RATE);
  kind.filled = now;
  if (kind.tokens < 1) return false;
  kind.tokens -= 1;
  return true;
}

function tell(kind) {
  if (!kind.left) return;
  kind.write(`… ${kind.left.toLocaleString("en")} more like this: ${kind.line()}`);
  kind.left = 0;
}

module.exports = { bounded };
