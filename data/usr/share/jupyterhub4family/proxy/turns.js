// Runs as jupyterhub, in the proxy: whose request is answered next. Only so many are under way at a time; of those that
// wait, each address has its turn after the others, however many it has sent.
"use strict";

const TIMEOUT = 60000; // milliseconds that a request waits
const WAITING = 600; // requests of one address that wait; as many connections as it may have, and some

class Turns {
  // all: requests under way at a time; one: of one address; network: of a whole network.
  constructor({ all, one, network }) {
    Object.assign(this, { all, one, network });
    this.running = 0;
    this.places = new Map(); // name of an address or a network -> how many of its requests are under way
    this.queues = new Map(); // name of an address -> its requests that wait; whose turn is next comes first
  }

  // Wait for a turn; resolves to what ends it, or to null if it did not come in time. `network` is the address itself
  // where it stands for many.
  take(address, network) {
    return new Promise((resolve) => {
      const waiting = this.queues.get(address) || [];
      if (waiting.length >= WAITING) return resolve(null);
      const entry = { network, resolve };
      entry.timer = setTimeout(() => this.giveUp(address, entry), TIMEOUT);
      waiting.push(entry);
      this.queues.set(address, waiting);
      this.next();
    });
  }

  giveUp(address, entry) {
    const waiting = this.queues.get(address) || [];
    waiting.splice(waiting.indexOf(entry), 1);
    if (!waiting.length) this.queues.delete(address);
    entry.resolve(null);
  }

  next() {
    for (const [address, waiting] of this.queues) {
      if (this.running >= this.all) return;
      const [{ network }] = waiting;
      if (!this.hasRoom(address, network)) continue;
      const entry = waiting.shift();
      this.queues.delete(address);
      if (waiting.length) this.queues.set(address, waiting); // to the end
      clearTimeout(entry.timer);
      entry.resolve(this.begin(address, network));
    }
  }

  // A turn at once, or null.
  takeNow(address, network) {
    return this.running < this.all && this.hasRoom(address, network) ? this.begin(address, network) : null;
  }

  hasRoom(address, network) {
    const most = network === address ? this.network : this.one;
    return this.count(address) < most && !(network && this.count(network) >= this.network);
  }

  begin(address, network) {
    const names = network === address || !network ? [address] : [address, network];
    this.running += 1;
    for (const name of names) this.places.set(name, this.count(name) + 1);
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      this.running -= 1;
      for (const name of names) {
        const left = this.count(name) - 1;
        if (left) this.places.set(name, left);
        else this.places.delete(name);
      }
      this.next();
    };
  }

  count(name) {
    return this.places.get(name) || 0;
  }
}

module.exports = { Turns };
