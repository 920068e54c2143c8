"""Compiled inner loops. Imported where used: numba takes a while to load.

Signatures are declared, so that one compilation serves writeable and read-only arrays; the machine
code is kept in :func:`helpers.paths.code_cache`.
"""

import numba
import numpy as np

from helpers.paths import code_cache

code_cache()
_LABELS = numba.types.Array(numba.int32, 1, "C", readonly=True)
_INTS = numba.types.Array(numba.int64, 1, "C", readonly=True)
_FLOATS = numba.types.Array(numba.float64, 1, "C", readonly=True)
_OUT = numba.int64[::1]

_EMPTY = -1
_FIRST_CAPACITY = 256


@numba.njit(cache=True)
def _find(key, slots, keys):
    """Position in ``slots`` that holds the number of ``key``, or the empty one where it belongs.

    Open addressing with linear probing; ``slots.size`` is a power of two, at most half full.
    """
    mask = np.uint64(slots.size - 1)
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    position = (mixed ^ (mixed >> np.uint64(32))) & mask
    while slots[position] != _EMPTY and keys[slots[position]] != key:
        position = (position + np.uint64(1)) & mask
    return position


@numba.njit(cache=True)
def _doubled(keys, counts, n):
    """Key, count and slot arrays of twice the capacity, holding the same ``n`` keys."""
    more_keys = np.empty(2 * keys.size, np.int64)
    more_counts = np.empty(2 * keys.size, np.int64)
    more_keys[:n] = keys[:n]
    more_counts[:n] = counts[:n]
    slots = np.full(4 * keys.size, _EMPTY, np.int64)
    for k in range(n):
        slots[_find(more_keys[k], slots, more_keys)] = k
    return more_keys, more_counts, slots


@numba.njit(numba.types.Tuple((_OUT, _OUT, numba.int64))(_LABELS, _LABELS), cache=True)
def count_pairs(truth, prediction):
    """Pixels per pair of labels, background pairs included, in the order of first appearance.

    Labels are constant along most of a row, so the hash table is touched once per run of equal
    pairs and not once per pixel. It is the pairs that occur which are stored: memory does not
    depend on the largest label.

    Returns:
        keys ``truth << 32 | prediction``, pixels per key, and a number below 0 if a label is.
    """
    keys = np.empty(_FIRST_CAPACITY, np.int64)
    counts = np.empty(_FIRST_CAPACITY, np.int64)
    slots = np.full(2 * _FIRST_CAPACITY, _EMPTY, np.int64)
    n = 0
    sign = np.int64(0)
    # Unsigned positions spare the test for negative indices at every access: a third faster.
    one = np.uint64(1)
    start, size = np.uint64(0), np.uint64(truth.size)
    while start < size:
        t, p = truth[start], prediction[start]
        end = start + one
        # One branch per pixel: comparing maps one after the other would be two to mispredict.
        while end < size and ((truth[end] ^ t) | (prediction[end] ^ p)) == 0:
            end += one
        sign |= np.int64(t) | np.int64(p)
        key = (np.int64(t) << 32) | np.int64(p)
        slot = _find(key, slots, keys)
        if slots[slot] == _EMPTY:
            if n == keys.size:
                keys, counts, slots = _doubled(keys, counts, n)
                slot = _find(key, slots, keys)
            slots[slot] = n
            keys[n] = key
            counts[n] = 0
            n += 1
        counts[slots[slot]] += np.int64(end - start)
        start = end
    return keys[:n].copy(), counts[:n].copy(), sign


@numba.njit(numba.types.Tuple((_OUT, _OUT, _OUT))(_INTS, _INTS), cache=True)
def number_objects(labels, counts):
    """Number the labels other than 0 in the order of first appearance and add up their pixels.

    Returns:
        number of each item's object (-1 for background), label and area of each object.
    """
    capacity = 2
    while capacity < 2 * labels.size:
        capacity *= 2
    slots = np.full(capacity, _EMPTY, np.int64)
    objects = np.empty(labels.size, np.int64)
    areas = np.zeros(labels.size, np.int64)
    number = np.full(labels.size, -1, np.int64)
    n = 0
    for k in range(labels.size):
        if labels[k] == 0:
            continue
        slot = _find(labels[k], slots, objects)
        if slots[slot] == _EMPTY:
            slots[slot] = n
            objects[n] = labels[k]
            n += 1
        number[k] = slots[slot]
        areas[number[k]] += counts[k]
    return number, objects[:n].copy(), areas[:n].copy()


@numba.njit(numba.types.Tuple((_OUT, numba.float64))(_INTS, _INTS, _INTS, _INTS, _INTS), cache=True)
def count_matches(rows, columns, overlap, true_area, predicted_area):
    """Matches at IoU >= k/20 for k = 10..19, and the sum of the IoUs above 1/2.

    Above 1/2 an object has one partner at most, so a match needs no assignment. At exactly 1/2 an
    object can have two, but only if they are its two halves, which then overlap nothing else:
    taking pairs as they come finds the largest matching. Fractions are compared in integers.

    Returns:
        int64 (11,): matches at the ten thresholds, then matches at IoU > 1/2; the sum of IoUs.
    """
    matches = np.zeros(11, np.int64)
    used_row = np.zeros(true_area.size, np.bool_)
    used_column = np.zeros(predicted_area.size, np.bool_)
    total = 0.0
    for e in range(rows.size):
        i, j, common = rows[e], columns[e], overlap[e]
        union = true_area[i] + predicted_area[j] - common
        if 2 * common < union or used_row[i] or used_column[j]:
            continue
        used_row[i] = used_column[j] = True
        for k in range(10):
            matches[k] += 20 * common >= (k + 10) * union
        if 2 * common > union:
            matches[10] += 1
            total += common / union
    return matches, total


@numba.njit(
    numba.types.Tuple((numba.int64, numba.int64))(_INTS, _INTS, _INTS, _INTS, _INTS), cache=True
)
def aggregate_jaccard(rows, columns, overlap, true_area, predicted_area):
    """Numerator and denominator of the aggregated Jaccard index of Kumar et al. (2017)."""
    best = np.full(true_area.size, -1, np.int64)
    for e in range(rows.size):
        i = rows[e]
        if best[i] < 0:
            best[i] = e
            continue
        union = true_area[i] + predicted_area[columns[e]] - overlap[e]
        best_union = true_area[i] + predicted_area[columns[best[i]]] - overlap[best[i]]
        if overlap[e] * best_union > overlap[best[i]] * union:
            best[i] = e
    chosen = np.zeros(predicted_area.size, np.bool_)
    intersections = 0
    unions = 0
    for i in range(true_area.size):
        unions += true_area[i]
        if best[i] >= 0:
            j = columns[best[i]]
            chosen[j] = True
            intersections += overlap[best[i]]
            unions += predicted_area[j] - overlap[best[i]]
    for j in range(predicted_area.size):
        if not chosen[j]:
            unions += predicted_area[j]
    return intersections, unions


@numba.njit(_OUT(_INTS, _INTS, _FLOATS, numba.int64, numba.int64), cache=True)
def match_heaviest(rows, columns, weight, n_rows, n_columns):
    """Matching of largest total weight in a sparse bipartite graph.

    Shortest augmenting paths with dual prices (Jonker and Volgenant 1987; Crouse 2016). Every row
    also has a column of its own with weight 0, "stay alone", so a path always ends, mostly after a
    few steps and always within its connected component.

    Args:
        rows, columns: int64 (n_pairs,).
        weight: float64 (n_pairs,), positive.

    Returns:
        int64 (n_rows,): pair taken by each row, -1 for none.
    """
    n_pairs = rows.size
    top = weight.max() if n_pairs else 0.0
    # Pairs by row (CSR); pair number n_pairs + i stands for row i alone.
    first = np.zeros(n_rows + 1, np.int64)
    for e in range(n_pairs):
        first[rows[e] + 1] += 1
    for i in range(n_rows):
        first[i + 1] += first[i] + 1
    pair = np.empty(n_pairs + n_rows, np.int64)
    fill = first[:-1].copy()
    for e in range(n_pairs):
        pair[fill[rows[e]]] = e
        fill[rows[e]] += 1
    for i in range(n_rows):
        pair[fill[i]] = n_pairs + i

    row_price = np.zeros(n_rows)
    column_price = np.zeros(n_columns + n_rows)
    owner = np.full(n_columns + n_rows, -1, np.int64)
    taken = np.full(n_rows, -1, np.int64)
    distance = np.full(n_columns + n_rows, np.inf)
    via = np.empty(n_columns + n_rows, np.int64)
    scanned = np.zeros(n_columns + n_rows, np.bool_)
    touched = np.empty(n_columns + n_rows, np.int64)
    for free_row in range(n_rows):
        n_touched = 0
        reach = 0.0
        i = free_row
        while True:
            for at in range(first[i], first[i + 1]):
                e = pair[at]
                j = columns[e] if e < n_pairs else n_columns + i
                cost = top - (weight[e] if e < n_pairs else 0.0)
                if scanned[j]:
                    continue
                if distance[j] == np.inf:
                    touched[n_touched] = j
                    n_touched += 1
                length = reach + cost - row_price[i] - column_price[j]
                if length < distance[j]:
                    distance[j] = length
                    via[j] = e
            nearest = -1
            for k in range(n_touched):
                j = touched[k]
                if not scanned[j] and (nearest < 0 or distance[j] < distance[nearest]):
                    nearest = j
            scanned[nearest] = True
            reach = distance[nearest]
            if owner[nearest] < 0:
                break
            i = owner[nearest]
        row_price[free_row] += reach
        for k in range(n_touched):
            j = touched[k]
            if scanned[j] and j != nearest:
                row_price[owner[j]] += reach - distance[j]
                column_price[j] -= reach - distance[j]
            scanned[j] = False
            distance[j] = np.inf
        j = nearest
        while True:
            e = via[j]
            i = rows[e] if e < n_pairs else e - n_pairs
            before = taken[i]
            taken[i] = e
            owner[j] = i
            if i == free_row:
                break
            j = columns[before] if before < n_pairs else n_columns + i
    for i in range(n_rows):
        if taken[i] >= n_pairs:
            taken[i] = -1
    return taken
