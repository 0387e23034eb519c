"""proxy/limits.js: whose connection ends when there are too many."""

from __future__ import annotations

from tests.unit import javascript

_CROWD = """
const { Limits } = require("./limits.js");
const limits = new Limits({ warn() {} });
limits.everybody.limit = { ...limits.everybody.limit, all: 800 };
let port = 0;
const ended = [];
const connect = (address) => {
  const socket = {
    remoteAddress: address, remotePort: ++port, localAddress: "192.0.2.1", once() {},
    destroy() { this.destroyed = true; ended.push(this.name); },
  };
  limits.admit(socket);
  return socket;
};
for (const { name, addresses, count, owner } of given) {
  for (let i = 0; i < count; i++) {
    const socket = connect(addresses[i % addresses.length]);
    socket.name = name;
    if (owner && !socket.destroyed) limits.work({ socket, owner });
  }
}
const counts = {};
for (const name of ended) counts[name] = (counts[name] || 0) + 1;
return counts;
"""


def crowd(*steps: tuple[str, list[str], int, str]) -> dict[str, int]:
    """How many connections of each were ended when these had come one after the other; all at once, so no rate."""
    given = [dict(zip(("name", "addresses", "count", "owner"), step)) for step in steps]
    found: dict[str, int] = javascript.run(_CROWD, given)
    return found


def test_a_members_streams_make_room_for_others() -> None:
    """As many as there may be, all answered by Ben's own program: whoever comes then takes the place of one of his."""
    anna = ("anna", ["192.0.2.9"], 40, "anna")
    bens = ("ben", [f"198.51.100.{number}" for number in range(8)], 760, "ben")
    family = ("family", ["192.0.2.7", "192.0.2.8"], 100, "")
    assert crowd(anna, bens, family) == {"ben": 100}


def test_without_a_greedy_one_those_who_say_nothing_are_first() -> None:
    owners = [(name, [f"198.51.100.{number}"], 80, name) for number, name in enumerate("abcdefgh")]
    silent = ("silent", ["192.0.2.1"], 100, "")
    late = ("late", ["192.0.2.2"], 100, "")
    assert crowd(*owners, silent, late) == {"silent": 40}
    more = [(name, [f"192.0.2.{number}"], 80, name) for number, name in enumerate("ij")]
    assert crowd(*owners, *more, ("k", ["192.0.2.5"], 1, "k")) == {"a": 1}, "nobody is shut out, though all are at work"
