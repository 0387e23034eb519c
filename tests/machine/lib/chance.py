"""Moments at which something is killed or cut off: by chance, and with few of them still all over the time."""

from __future__ import annotations

import random


def moments(first: float, last: float, times: int, seed: int) -> list[float]:
    """So many seconds, one by chance in each part of the time between the first and the last."""
    chance = random.Random(seed)
    return [first + (number + chance.random()) * (last - first) / times for number in range(times)]
