// Runs as jupyterhub, in the proxy: which certificate the portal shows. It follows the files, so that a new one is in
// use within seconds and no connection breaks; and it has the program `certificates` look whether a new one is needed.
"use strict";

const crypto = require("crypto");
const fs = require("fs");
const os = require("os");
const path = require("path");
const tls = require("tls");
const { execFile, spawnSync } = require("child_process");
const { isIP } = require("net");

const EVERY = 5000; // milliseconds between two looks at files, addresses and clock; each costs a few reads
const CHECK_EVERY = 12 * 3600 * 1000;
const RETRY_AFTER = 600 * 1000;
const JUMP = 3600 * 1000;
// Of TLS 1.2: forward secrecy and authenticated encryption only, which every device of the last ten years has.
const CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20";
// What changes when this machine's addresses do. Not os.networkInterfaces(): that needs netlink, which the unit forbids.
const ADDRESSES = ["/proc/net/fib_trie", "/proc/net/if_inet6", "/etc/hosts", "/etc/resolv.conf"];

function read(file) {
  try {
    return fs.readFileSync(file, "latin1");
  } catch (error) {
    return "";
  }
}

class Certificates {
  // folders: where portal.crt and portal.key may be, the best first; check: the program and its words.
  constructor({ folders, check }, log) {
    this.folders = folders;
    this.check = check;
    this.log = log;
    this.current = null; // the certificate in use, parsed
  }

  // The options of TLS with the best certificate there is. Throws if there is none, even after it was asked for.
  load() {
    const found = this.find() || (this.checkNow(), this.find());
    if (!found) throw new Error("there is no certificate that could be used; see the lines above");
    this.current = found.parsed;
    this.seen = this.stamp();
    return { cert: found.cert, key: found.key, minVersion: "TLSv1.2", ciphers: CIPHERS };
  }

  // Whether a name or an address is one of the certificate's.
  isFor(host) {
    return (isIP(host) ? this.current.checkIP(host) : this.current.checkHost(host)) !== undefined;
  }

  // Keep `server` at the best certificate, as long as this process lives.
  follow(server) {
    this.machine = this.lookAtMachine();
    this.offset = Date.now() - performance.now();
    this.nextCheck = 0; // the files may be of last year: look once right after the start
    setInterval(() => this.look(server), EVERY).unref();
    setTimeout(() => this.look(server), 500).unref();
  }

  look(server) {
    if (this.seen !== this.stamp()) this.reload(server);
    const machine = this.lookAtMachine();
    const offset = Date.now() - performance.now();
    const changed = machine !== this.machine || Math.abs(offset - this.offset) > JUMP;
    if (this.checking || !(changed || performance.now() >= this.nextCheck)) return;
    this.machine = machine;
    this.offset = offset;
    this.checking = true;
    execFile(this.check[0], this.check.slice(1), { timeout: 120000 }, (error, output, complaints) => {
      this.checking = false;
      this.nextCheck = performance.now() + (error ? RETRY_AFTER : CHECK_EVERY);
      this.tell(output + complaints);
      if (this.seen !== this.stamp()) this.reload(server);
    });
  }

  reload(server) {
    try {
      server.setSecureContext(this.load());
      this.log.info("The portal shows a new certificate, good until %s", this.current.validTo);
    } catch (error) {
      this.seen = this.stamp(); // complain once, and go on with the one in use
      this.log.error("The new certificate cannot be used: %s", error.message);
    }
  }

  find() {
    for (const folder of this.folders) {
      try {
        const [cert, key] = ["portal.crt", "portal.key"].map((name) => fs.readFileSync(path.join(folder, name)));
        tls.createSecureContext({ cert, key }); // throws if they do not belong together
        return { cert, key, parsed: new crypto.X509Certificate(cert) };
      } catch (error) {
        if (error.code !== "ENOENT") this.log.error("%s: not used: %s", folder, error.message);
      }
    }
    return null;
  }

  checkNow() {
    const done = spawnSync(this.check[0], this.check.slice(1), { encoding: "utf8", timeout: 120000 });
    this.tell((done.stdout || "") + (done.stderr || ""));
  }

  tell(output) {
    for (const line of output.split("\n")) if (line.trim()) this.log.info("%s", line);
  }

  // Changes with every replacement of a file.
  stamp() {
    const files = this.folders.flatMap((folder) => ["portal.crt", "portal.key"].map((name) => path.join(folder, name)));
    return files
      .map((file) => {
        const found = fs.statSync(file, { throwIfNoEntry: false });
        return found ? `${found.ino} ${found.mtimeMs} ${found.size}` : "-";
      })
      .join();
  }

  lookAtMachine() {
    return [os.hostname(), ...ADDRESSES.map(read)].join("\n");
  }
}

module.exports = { Certificates };
