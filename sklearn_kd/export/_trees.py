"""Trees on features as trees on raw columns, with the same answer to every row."""

import math

import numpy as np

from sklearn_kd.export._columns import ExportError, apply_steps


class TreeBuilder:
    """Nodes of trees on features, as nodes on raw columns."""

    def __init__(self, writer, features, dtype):
        self.writer, self.features, self.dtype = writer, features, dtype
        self.readers, self.specs = {}, []
        self.nodes, self.roots, self.outputs, self.in_set = [], [], [], []
        self.sets = {}
        self.numeric = {}  # feature to its nodes and their thresholds

    def start_tree(self, output=0):
        self.start = len(self.nodes)
        self.roots.append(self.start)
        self.outputs.append(output)

    def add_leaf(self, leaf):
        self.nodes.append((0, -1, leaf, -1, 0, 0.0))

    def add_node(self, feature, left, right, missing_left, *, threshold, bits=None):
        """Add a node that sends a row to the left if its feature is at most the threshold.

        With bits, which are those of a set of categories, it is the categories of the set.
        """
        number, feature = int(feature), self.features[feature]
        group, left, right = -1, self.start + int(left), self.start + int(right)
        if feature.source.is_number and bits is not None:
            raise ExportError("categories that are numbers")
        if feature.source.is_number:
            reader = self._reader(feature.source)
            missing_left = self._missing_goes_left(feature, threshold, missing_left)
            self.numeric.setdefault(number, []).append((len(self.nodes), threshold))
        else:
            reader = self._reader(feature.source)
            group = self._set_of(self._states_to_left(feature, threshold, bits, missing_left))
            threshold, missing_left = 0.0, 0
        self.nodes.append((reader, left, right, group, int(missing_left), threshold))

    def _reader(self, source):
        """Return the number of the reader of a source. Trees read all numbers as they are."""
        key = source.column.index if source.is_number else id(source)
        if key not in self.readers:
            self.readers[key] = len(self.specs)
            takes_infinity = self.dtype == np.float64 and not source.column.steps
            self.specs.append(
                self.writer.number_reader(source.column.index, takes_infinity=takes_infinity)
                if source.is_number
                else self.writer.reader(source)
            )
        return self.readers[key]

    def _missing_goes_left(self, feature, threshold, missing_left):
        value = math.nan if feature.source.column.fill is None else None
        if value is None:
            value = evaluate(feature, np.array([math.nan]))[0]
        elif feature.source.has_missing:
            value = apply_steps(feature.values[-1:], feature.steps)[0]
        return missing_left if np.isnan(value) else self.dtype(value) <= threshold

    def _states_to_left(self, feature, threshold, bits, missing_left):
        values = apply_steps(feature.values, feature.steps).astype(self.dtype)
        to_left = values <= threshold
        if bits is not None:
            codes = np.nan_to_num(values).astype(np.int64)
            to_left = (bits[codes // 32] >> (codes % 32).astype(bits.dtype)) & 1 == 1
        return np.where(np.isnan(values), bool(missing_left), to_left)

    def _set_of(self, to_left):
        """Return the start of a set among the stored ones."""
        key = to_left.tobytes()
        if key not in self.sets:
            self.sets[key] = len(self.in_set)
            self.in_set += to_left.tolist()
        return self.sets[key]

    def finished(self, link, base, leaves):
        """Return the description of all trees."""
        reader, left, right, group, missing_left, threshold = zip(*self.nodes, strict=True)
        add, threshold = self.writer.add, np.array(threshold, dtype=np.float64)
        for number, nodes in self.numeric.items():
            place, bounds = zip(*nodes, strict=True)
            threshold[list(place)] = largest_below(
                self.features[number], np.array(bounds, dtype=np.float64), self.dtype
            )
        integers = {
            "roots": self.roots, "output": self.outputs, "reader": reader, "left": left,
            "right": right, "set": group, "missing_left": missing_left, "in_set": self.in_set,
        }  # fmt: skip
        return {
            "kind": "trees",
            "readers": self.specs,
            "link": link,
            "base": add(np.asarray(base, dtype=np.float64)),
            "threshold": add(threshold),
            "leaves": self.writer.add_weights(np.array(leaves, dtype=np.float64)),
            **{name: add(smallest_integers(values)) for name, values in integers.items()},
        }


def smallest_integers(values):
    """Return integers in the smallest dtype of a file that holds them."""
    values = np.array(values, dtype=np.int32)
    for dtype in (np.int8, np.int16):
        info = np.iinfo(dtype)
        if len(values) == 0 or (info.min <= values.min() and values.max() <= info.max):
            return values.astype(dtype)
    return values


def evaluate(feature, numbers):
    """Return a feature of a raw column of numbers, as the model computes it."""
    source = feature.source
    found = apply_steps(numbers, source.column.steps)
    if source.column.fill is not None:
        found = np.where(np.isnan(found), source.column.fill, found)
    found = np.minimum(np.maximum(found, source.low), source.high)
    piece = np.searchsorted(source.edges[1:-1], found, side="right")
    with np.errstate(over="ignore"):
        delta = (found - source.edges[piece]) * (1 / np.diff(source.edges))[piece]
        value = feature.values[piece] + feature.slopes[piece] * delta
        return apply_steps(value, feature.steps)


def largest_below(feature, thresholds, dtype):
    """Return the largest number whose feature, in the dtype of the trees, is at most a threshold.

    Minus infinity if there is none. A bisection of all numbers of float64, of all thresholds at
    once, finds it, so that no rounding of a scaler or of float32 sends a row to the other side.

    Parameters
    ----------
    feature : Feature
        Of a number.
    thresholds : ndarray of float64 of shape (n,)
    dtype : type
        Of the features, by which the trees compare them.

    Returns
    -------
    ndarray of float64 of shape (n,)
    """
    if _is_as_given(feature) and dtype == np.float64:
        return thresholds

    def is_left(keys):
        return evaluate(feature, _numbers_of(keys)).astype(dtype) <= thresholds

    ends = _keys_of(np.array([-1.0, 1.0]) * np.finfo(float).max)
    low, high = (np.full(len(thresholds), end) for end in ends)
    with np.errstate(over="ignore"):
        none, every = ~is_left(low), is_left(high)
        if (none & every).any():
            raise ExportError("a scaler that turns the order of numbers around")
        for _ in range(64):
            middle = (low >> 1) + (high >> 1) + (low & high & 1)  # which does not overflow
            goes_left = is_left(middle)
            low, high = np.where(goes_left, middle, low), np.where(goes_left, high, middle)
    found = _numbers_of(low)
    found[none], found[every] = -math.inf, math.inf
    return found


def _is_as_given(feature):
    """Return whether a feature is a raw number as it is."""
    source = feature.source
    is_whole = source.is_number and source.edges.tolist() == [0.0, 1.0] and math.isinf(source.low)
    return is_whole and not (source.column.steps or feature.steps)


def _keys_of(numbers):
    """Return integers in the order of numbers, where adjacent numbers have adjacent integers."""
    bits = numbers.astype(np.float64).view(np.int64)
    return np.where(bits < 0, np.iinfo(np.int64).min - bits, bits)


def _numbers_of(keys):
    keys = np.asarray(keys, dtype=np.int64)
    return np.where(keys < 0, np.iinfo(np.int64).min - keys, keys).view(np.float64)
