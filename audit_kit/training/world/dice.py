"""Chance that is the same on every machine: raw PCG64 words, and everything else worked out from them here.

Only the bit stream of numpy is promised to stay; its distributions may change between versions, so none is used.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats: TypeAlias = np.ndarray[tuple[int], np.dtype[np.float64]]
Integers: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int64]]
_WORD = 2.0**-53


class Dice:
    """A stream of chance, named, so that one part of a world never disturbs the chance of another."""

    def __init__(self, seed: int, name: str) -> None:
        """Start the stream `name` of the world `seed`."""
        self._bits = np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(name.encode())]))

    def uniform(self, count: int) -> Floats:
        """Return numbers from 0, included, to 1, excluded."""
        return (self._bits.random_raw(count) >> np.uint64(11)).astype(np.float64) * _WORD

    def below(self, limit: int, count: int) -> Integers:
        """Return whole numbers from 0 to `limit`, excluded."""
        return (self.uniform(count) * limit).astype(np.int64)

    def normal(self, count: int) -> Floats:
        """Return standard normal numbers (Box–Muller)."""
        radius = np.sqrt(-2.0 * np.log1p(-self.uniform(count)))
        return np.asarray(radius * np.cos(2.0 * np.pi * self.uniform(count)), dtype=np.float64)

    def weighted(self, weights: Sequence[float] | Floats, count: int) -> Integers:
        """Return positions in `weights`, each as often as its weight says."""
        edges = np.cumsum(np.asarray(weights, dtype=np.float64))
        places = np.searchsorted(edges, self.uniform(count) * edges[-1], side="right")
        return np.asarray(np.minimum(places, len(edges) - 1), dtype=np.int64)

    def sample(self, population: Integers, count: int) -> Integers:
        """Return `count` different members of `population` in rising order, all of them if there are fewer."""
        keys = self.uniform(len(population))
        if count >= len(population):
            return np.sort(population)
        return np.sort(population[np.argpartition(keys, count)[:count]])

    def shuffle(self, population: Integers) -> Integers:
        """Return the members of `population` in a chance order."""
        return population[np.argsort(self.uniform(len(population)), kind="stable")]

    def one(self, limit: int) -> int:
        """Return one whole number from 0 to `limit`, excluded."""
        return int(self.below(limit, 1)[0])
