// Runs as jupyterhub, in the proxy: has a browser fetch JupyterLab's scripts as soon as its page comes. By itself it learns
// of them one after the other: a script names others, and those again, with the network idle in between.
//
// The page says itself of which JupyterLab it is, by the name of its only script, and a list of ours says what that one will
// ask for (first-page.json). Nothing is changed of the page: its answer has one header more, with addresses of the very
// server that was asked. Any other page, and any other JupyterLab, comes as it is (docs/adr/0030-first-page.md).
"use strict";

const fs = require("fs");
const path = require("path");
const { passOn } = require("./compression.js");

const LISTS = path.join(__dirname, "..", "first-page.json");
const OF_SERVER = /^\/user\/[\w~-][\w.~-]*(?:\/[\w~-][\w.~-]*)?$/; // names with escapes in them are not worth their reading
const PAGE = /^\/(?:lab|doc)(?:[/?]|$)/;
const SCRIPT = /<script defer="defer" src="([^"<>\s]{1,300})\/(main\.[0-9a-f]{12,}\.js\?v=[0-9a-f]+)"/;
// What may stand in it is the member's, so all that is used of it is looked at: others may open the page as well.
const CONFIGURATION = /<script id="jupyter-config-data" type="application\/json">([^<]{1,60000})<\/script>/;
const EXTENSION = /^(?:@[\w-][\w.-]*\/)?[\w-][\w.-]*$/;
const ENTRY = /^static\/remoteEntry\.[0-9a-f]{12,}\.js$/;
const MOST_EXTENSIONS = 20;
const LONGEST = 7500; // bytes of the header: others cut lines off at 8 KB
// Of requests that another proxy has passed on to this one. nginx gives up an answer with more than 4 KB of headers.
const PASSED_ON = /^(?:via|forwarded|x-real-ip|x-scheme|x-forwarded-.*)$/i;

// first name -> all others: of JupyterLab's script what it asks for itself, of an extension's what that one does.
function readLists(file) {
  return new Map(JSON.parse(fs.readFileSync(file, "utf8")).map(([first, ...others]) => [first, others]));
}

// Whether a browser itself has asked, as far as it can be seen.
function isDirect({ httpVersion, rawHeaders }) {
  return httpVersion !== "1.0" && !rawHeaders.some((name, index) => index % 2 === 0 && PASSED_ON.test(name));
}

// Whether an answer is JupyterLab's page perhaps.
function isPage({ statusCode, headers }, { method, url, judged }) {
  const { prefix = "" } = judged || {};
  if (method !== "GET" || statusCode !== 200 || !OF_SERVER.test(prefix) || !url.startsWith(`${prefix}/`)) return false;
  const isPlain = headers["content-encoding"] === undefined && /^text\/html\b/i.test(headers["content-type"] || "");
  return isPlain && PAGE.test(url.slice(prefix.length));
}

// The scripts that a page which begins so will ask for; none but those of the server below `prefix`. JupyterLab waits for
// the extensions' before it looks for the rest, of which one is as large as all others together.
function scriptsOf(text, prefix, lists) {
  const [, folder, main] = SCRIPT.exec(text) || [];
  if (folder !== `${prefix}/static/lab` || !lists.has(main)) return [];
  const extensions = extensionsOf(text, prefix, lists);
  const own = lists.get(main).map((one) => `${folder}/${one}`);
  return [`${folder}/${main}`, ...extensions.map(({ entry }) => entry), ...own, ...extensions.flatMap(({ more }) => more)];
}

// Of those that the page names, the template's and what a member has installed beside them: their first script, and what
// a list knows of the others.
function extensionsOf(text, prefix, lists) {
  const [, json] = CONFIGURATION.exec(text) || [];
  if (!json) return [];
  const { federated_extensions: all, fullLabextensionsUrl: folder } = JSON.parse(json);
  if (!Array.isArray(all) || folder !== `${prefix}/lab/extensions`) return [];
  const known = all.filter((one) => EXTENSION.test(one?.name) && ENTRY.test(one?.load));
  return known.slice(0, MOST_EXTENSIONS).map(({ name, load }) => ({
    entry: `${folder}/${name}/${load}`,
    more: (lists.get(`${name}/${load}`) || []).map((one) => `${folder}/${name}/static/${one}`),
  }));
}

// See what the page's first piece says, before its headers are passed on: it is all of it, as servers send it.
function tell(answer, { judged }, lists) {
  passOn(answer, (response) => answer.once("readable", () => {
    if (response.destroyed) return answer.destroy(); // who goes away in between is sent nothing: node would throw
    const piece = answer.read();
    if (piece) {
      announce(response, piece.toString("latin1"), judged.prefix, lists);
      answer.unshift(piece);
    }
    return answer.pipe(response);
  }));
}

function announce(response, text, prefix, lists) {
  try {
    const links = scriptsOf(text, prefix, lists).map((one) => `<${one}>; rel=preload; as=script`);
    while (links.join(", ").length > LONGEST) links.pop();
    if (links.length) response.setHeader("Link", [].concat(response.getHeader("Link") || [], links.join(", ")));
  } catch (error) {
    // A page that is odd comes as it is.
  }
}

// file: where the lists are
function guardFirstPage(proxy, log, file = LISTS) {
  let lists;
  try {
    lists = readLists(file);
  } catch (error) {
    return log.warn("%s cannot be read (%s): JupyterLab's page comes without it", file, error.code || error.name);
  }
  return proxy.proxy.on("proxyRes", (answer, request) => {
    if (isPage(answer, request) && isDirect(request)) tell(answer, request, lists);
  });
}

module.exports = { guardFirstPage };
