// Runs as jupyterhub, in the proxy: what of the template's and the release's static files lies compressed on the disk
// (compress_files.js makes it). Only the list of it is in memory.
"use strict";

const { spawn } = require("child_process");
const fs = require("fs");
const os = require("os");
const path = require("path");

const LOOK_EVERY = 30000; // milliseconds between two looks for a new template
const AGAIN = 600000; // until it is tried again after a failure: a full disk, for instance
const LONGEST = 300000; // that compressing may take, of a slow computer with other work
const PROGRAM = path.join(__dirname, "compress_files.js");
const NAME = "compressed"; // of the folder in a template or a release
const PIECE = 32 << 10; // bytes of a file in memory for somebody who reads slowly

// Where a member's server takes the files of JupyterLab's page from, below which address of its own. What else there is
// (the other interface, Notebook, is as large again) is compressed as it comes.
function foldersOfTemplate(directory) {
  const environment = path.join(directory, "env");
  const python = fs.readdirSync(path.join(environment, "lib")).find((name) => /^python3\.\d+$/.test(name));
  const shared = path.join(environment, "share", "jupyter");
  return {
    "static/lab/": path.join(shared, "lab", "static"),
    "lab/extensions/": path.join(shared, "labextensions"),
    "lab/api/themes/": path.join(shared, "lab", "themes"),
    "static/": path.join(environment, "lib", String(python), "site-packages", "jupyter_server", "static"),
  };
}

// The same of the hub: what its pages load.
function foldersOfRelease(directory) {
  const shared = path.join(directory, "venv", "share", "jupyterhub", "static");
  const names = ["css", "js", "components/bootstrap/dist/js", "components/jquery/dist", "components/js-sha256/build",
    "components/moment", "components/requirejs"];
  const folders = names.map((name) => [`static/${name}/`, path.join(shared, name)]);
  return { ...Object.fromEntries(folders), "trust/static/": path.join(__dirname, "..", "static") };
}

// One folder's compressed files; throws where there are none, or not all of them.
class Store {
  constructor(directory) {
    const { size, files } = JSON.parse(fs.readFileSync(path.join(directory, NAME, "index.json"), "utf8"));
    this.files = new Map(Object.entries(files));
    this.descriptor = fs.openSync(path.join(directory, NAME, "files"), "r");
    this.readers = 0;
    this.isRetired = false;
    if (fs.fstatSync(this.descriptor).size === size) return;
    this.retire();
    throw new Error("it is not whole");
  }

  // A stream of so many bytes. All read from one descriptor, and node closes it with any stream that is destroyed, as
  // when a browser goes away, whatever `autoClose` says. The next file or connection gets the same number.
  read(start, length) {
    const close = (descriptor, done) => {
      this.readers -= 1;
      this.closeIfUnused();
      done(null);
    };
    const range = { fd: this.descriptor, start, end: start + length - 1, highWaterMark: PIECE };
    const stream = fs.createReadStream(null, { ...range, fs: { read: fs.read, close } });
    this.readers += 1;
    return stream;
  }

  // Nobody new will read from it; answers that come from it may still be under way, for as long as somebody reads slowly.
  retire() {
    this.isRetired = true;
    this.closeIfUnused();
  }

  closeIfUnused() {
    if (!this.isRetired || this.readers || this.descriptor === null) return;
    fs.closeSync(this.descriptor);
    this.descriptor = null;
  }
}

class CompressedFiles {
  // templates: the folder with `current` and `previous`; release: its folder
  constructor(log, { templates, release }) {
    Object.assign(this, { log, templates, release });
    this.stores = new Map(); // folder -> its store, or null
    this.notBefore = new Map(); // folder -> when it is tried again
    this.ofMembers = [];
    this.ofHub = [];
    this.lookNotBefore = 0;
    setInterval(() => this.look(), LOOK_EVERY).unref();
  }

  // name: as in the addresses below a member's server, or below the hub. Null, or { size, modified, store, and for each
  // encoding where in the store it lies: [start, length] }.
  find(isForHub, name) {
    if (Date.now() >= this.lookNotBefore) this.look();
    for (const store of isForHub ? this.ofHub : this.ofMembers) {
      const file = store.files.get(name);
      if (file) return { ...file, store };
    }
    return null;
  }

  look() {
    this.lookNotBefore = Date.now() + LOOK_EVERY;
    const [current, previous] = ["current", "previous"].map((name) => resolved(path.join(this.templates, name)));
    const wanted = new Set([current, previous, this.release].filter(Boolean));
    for (const [directory, store] of this.stores) {
      if (wanted.has(directory) && isSame(directory, store)) continue;
      this.stores.delete(directory);
      store.retire();
    }
    for (const directory of wanted) {
      if (this.stores.has(directory)) continue;
      try {
        this.stores.set(directory, new Store(directory));
      } catch (error) {
        if (directory !== previous) this.make(directory, directory === this.release ? foldersOfRelease : foldersOfTemplate);
      }
    }
    const known = (directories) => directories.map((one) => this.stores.get(one)).filter(Boolean);
    this.ofMembers = known([current, previous]);
    this.ofHub = known([this.release]);
  }

  // Have a folder's files compressed, one folder at a time.
  make(directory, foldersOf) {
    if (this.child || Date.now() < (this.notBefore.get(directory) || 0)) return;
    this.notBefore.set(directory, Date.now() + AGAIN);
    let folders;
    try {
      if (!fs.existsSync(path.join(directory, ".complete"))) return;
      folders = Object.entries(foldersOf(directory)).map(([prefix, folder]) => `${prefix}=${folder}`);
    } catch (error) {
      return;
    }
    const args = ["--lite-mode", PROGRAM, path.join(directory, NAME), ...folders];
    const complain = (why) => this.log.warn("Static files could not be compressed (%s): they are sent as they are", why);
    let child;
    try {
      child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"], timeout: LONGEST });
    } catch (error) {
      return complain(error.code); // no memory for another process: of that node tells in this way
    }
    this.child = child;
    const end = (code) => {
      if (this.child !== child) return;
      this.child = null;
      if (code === 0) {
        this.look();
        // One that cannot be used is not made again at once, for ever.
        if (this.stores.has(directory)) this.notBefore.delete(directory);
      } else {
        complain(code);
        // On a full disk nobody else would remove it, and it was killed perhaps.
        fs.rm(path.join(directory, `${NAME}.building`), { recursive: true, force: true }, () => {});
      }
    };
    child.on("error", (error) => end(error.code));
    child.on("close", end);
    try {
      os.setPriority(child.pid, os.constants.priority.PRIORITY_LOW);
    } catch (error) {
      // It has ended already, or was never started: its end says why.
    }
    child.unref();
  }
}

// Whether it is still what lies there: a template may be built anew under the same name.
function isSame(directory, store) {
  try {
    return fs.statSync(path.join(directory, NAME, "files")).ino === fs.fstatSync(store.descriptor).ino;
  } catch (error) {
    return false;
  }
}

function resolved(link) {
  try {
    return fs.realpathSync(link);
  } catch (error) {
    return null;
  }
}

module.exports = { CompressedFiles, foldersOfRelease, foldersOfTemplate };
