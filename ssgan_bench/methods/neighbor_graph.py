"""The graph that joins every image to its nearest neighbors, by Euclidean distance of pixels.

Searching the neighbors takes nearly all the time of a fit and depends on neither labels nor method. So the last graph
of a process is kept, and the next run on the same images takes it over (`graph_of`).
"""

import hashlib
import time
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ssgan_bench.methods.classical import Array, Spent

SPARE_CANDIDATES = 8
"""Images beyond the nearest that are compared exactly: float32 may order near ties otherwise."""
CHUNK = 512
"""Images whose distances from all others are in memory at once."""
EXACT_CHUNK = 64
"""Images that are compared with their candidates at once: as many as a processor's cache holds."""

Rows: TypeAlias = NDArray[np.floating[Any]]
"""Pixels (n, P); they count as float32."""
Weighting = Literal["equal", "gaussian"]


class Nearest:
    """Finds which rows (n, P), n > 1, are nearest to others by Euclidean distance; rows count as float32.

    Candidates come from a product of matrices in float32, which is what takes the time; of these, float64 distances
    choose. Ties go to the lower index.
    """

    def __init__(self, rows: Rows):
        self._rows = rows.astype(np.float32, copy=False)
        self._center = self._rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._centered = self._rows - self._center  # between centered rows fewer digits are lost
        self._half_squares = np.square(self._centered).sum(axis=1) / 2

    def among_themselves(self, count: int) -> tuple[NDArray[np.int64], Array]:
        """Find the nearest rows of each row, itself left out: indices (n, count), nearest first, and distances."""
        return self._search(self._rows, count, among_themselves=True)

    def of_others(self, others: Rows, count: int) -> NDArray[np.int64]:
        """Find the nearest rows of each of the others (m, P), nearest first: (m, count) indices of rows."""
        return self._search(others.astype(np.float32, copy=False), count, among_themselves=False)[0]

    def _search(
        self, others: NDArray[np.float32], count: int, *, among_themselves: bool
    ) -> tuple[NDArray[np.int64], Array]:
        num_candidates = min(count + SPARE_CANDIDATES, len(self._rows) - among_themselves)
        found = np.empty((len(others), count), dtype=np.int64)
        distances = np.empty((len(others), count))
        space = np.empty((min(CHUNK, len(others)), len(self._rows)), dtype=np.float32)
        for start in range(0, len(others), CHUNK):
            chunk = others[start : start + CHUNK]
            closeness = np.matmul(chunk - self._center, self._centered.T, out=space[: len(chunk)])
            closeness -= self._half_squares
            if among_themselves:
                closeness[np.arange(len(chunk)), start + np.arange(len(chunk))] = -np.inf
            candidates = torch.from_numpy(closeness).topk(num_candidates, dim=1).indices.numpy()
            squares = self._squared_distances(chunk, candidates)
            order = np.lexsort((candidates, squares), axis=1)[:, :count]
            found[start : start + CHUNK] = np.take_along_axis(candidates, order, axis=1)
            distances[start : start + CHUNK] = np.sqrt(np.take_along_axis(squares, order, axis=1))
        return found, distances

    def _squared_distances(self, chunk: NDArray[np.float32], candidates: NDArray[np.int64]) -> Array:
        parts = []
        for start in range(0, len(chunk), EXACT_CHUNK):
            part = slice(start, start + EXACT_CHUNK)
            offsets = self._rows[candidates[part]].astype(np.float64)
            offsets -= chunk[part, None]
            parts.append(np.einsum("mcp,mcp->mc", offsets, offsets))
        return np.concatenate(parts)


class NeighborGraph:
    """Images as nodes, in the order of their rows' digests, so that it is the same however the images are ordered."""

    def __init__(self, rows: Rows, count: int):
        """Search the nearest neighbors of rows (n, P); `count` of them, the image itself included, n at most."""
        start, cpu_start = time.perf_counter(), time.process_time()
        self._nearest = Nearest(rows)
        self._count = count
        self._neighbors, self._distances = self._nearest.among_themselves(count - 1)
        self._found: dict[bytes, NDArray[np.int64]] = {}
        self.spent = Spent(time.perf_counter() - start, time.process_time() - cpu_start)
        """What the search took."""

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self._neighbors)

    def weights(self, n_neighbors: int, weighting: Weighting) -> Any:
        """Make the symmetric matrix of edge weights W = (A + A^T) / 2, a sparse (n, n) array with an empty diagonal.

        A joins an image to its nearest `n_neighbors`, itself counted and then left out: with 1 ("equal"), or with
        exp(-4 d^2 / d_k^2), where d_k is the distance of the farthest of them ("gaussian", Calder et al. 2020).
        """
        from scipy.sparse import csr_array

        columns, distances = self._neighbors[:, : n_neighbors - 1], self._distances[:, : n_neighbors - 1]
        values = np.ones(columns.shape)
        if weighting == "gaussian":
            farthest = np.maximum(distances[:, -1:], np.finfo(np.float64).tiny)  # copies of an image are at distance 0
            values = np.exp(-4 * np.square(distances / farthest))
        starts = np.arange(0, columns.size + 1, n_neighbors - 1)
        directed = csr_array((values.ravel(), columns.ravel(), starts), (len(columns), len(columns)))
        return ((directed + directed.T) / 2).tocsr()

    def nearest(self, rows: Rows, n_neighbors: int) -> NDArray[np.int64]:
        """Find the nodes nearest to new images (m, P), nearest first: (m, n_neighbors).

        What was found is kept: validation and test images are asked for again by every run on this graph.
        """
        digests = row_digests(rows)
        new = [index for index, digest in enumerate(digests) if digest not in self._found]
        if new:
            found = self._nearest.of_others(rows[new], self._count)
            self._found |= {digests[index]: neighbors for index, neighbors in zip(new, found, strict=True)}
        return np.stack([self._found[digest][:n_neighbors] for digest in digests])


def normalized(weights: Any) -> Any:
    """S = D^-1/2 W D^-1/2 of symmetric weights W, sparse (N, N), with degrees D, none of which is 0."""
    from scipy.sparse import diags_array

    scale = diags_array(1 / np.sqrt(weights.sum(axis=1)))
    return (scale @ weights @ scale).tocsr()


def row_digests(rows: Rows) -> list[bytes]:
    """SHA-256 of each row, as float32."""
    return [hashlib.sha256(row.tobytes()).digest() for row in rows.astype(np.float32, copy=False)]


_kept: dict[tuple[bytes, int, int], NeighborGraph] = {}
"""The last graph of this process, by the digest of its rows, the number of neighbors and that of threads."""


def graph_of(rows: Rows, count: int, num_threads: int) -> tuple[NeighborGraph, NDArray[np.int64], Spent]:
    """Give the graph of rows (n, P), in whatever order they are, with up to `count` neighbors of each.

    Returns:
        the graph; the node of each row (n,); what the search had cost in an earlier call, if the graph was taken over
        from there, and otherwise nothing.
    """
    digests = row_digests(rows)
    order = sorted(range(len(rows)), key=digests.__getitem__)
    nodes = np.empty(len(rows), dtype=np.int64)
    nodes[order] = np.arange(len(rows))
    key = (hashlib.sha256(b"".join(digests[index] for index in order)).digest(), count, num_threads)
    if (kept := _kept.get(key)) is not None:
        return kept, nodes, kept.spent
    _kept.clear()  # before the next takes memory
    _kept[key] = graph = NeighborGraph(rows[order], count)
    return graph, nodes, Spent()


def forget() -> None:
    """Let go of the kept graph, so that the next call searches."""
    _kept.clear()
