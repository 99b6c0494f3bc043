"""Parts of which descriptions of models are made: readers of columns, layers and numbers."""

import math
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from sklearn_kd._tables.encoder import column_of
from sklearn_kd._utils.label_indicators import learns_labels
from sklearn_kd._utils.regression_targets import nearest_to_median
from sklearn_kd.export._columns import (
    SUBTRACT_DIVIDE,
    ExportError,
    after_step,
    as_feature,
    is_known,
    raw_columns,
)


class ModelWriter:
    """Description of a model, and the arrays that it refers to by number.

    Parameters
    ----------
    round_weights : callable
        From weights, whose last axis are the outputs, to what is stored of them.
    models : dict
        Functions that describe a model, by its class, from the writer, the model and its columns.
    describe_other : callable, default=None
        From the writer, a model that reads the raw columns, and the error that says why it has no
        description, to a description.
    """

    def __init__(self, round_weights, models, describe_other=None):
        self.arrays, self._round = [], round_weights
        self._models, self._describe_other = models, describe_other
        self.kinds = {}

    @contextmanager
    def exactly(self):
        """Store weights in float64."""
        rounding, self._round = self._round, np.asarray
        yield
        self._round = rounding

    def add(self, array):
        """Store an array as it is, and return its number."""
        self.arrays.append(np.asarray(array))
        return len(self.arrays) - 1

    @property
    def is_exact(self):
        """Whether weights are stored in float64."""
        stored = self._round(np.zeros((1, 1)))
        return isinstance(stored, np.ndarray) and stored.dtype == np.float64

    def add_weights(self, weights):
        """Store rounded weights, and return their number."""
        self.arrays.append(self._round(np.asarray(weights, dtype=np.float64)))
        return len(self.arrays) - 1

    def describe(self, model, columns):
        """Return the description of a fitted classifier or regressor on columns."""
        try:
            for kind, function in self._models.items():
                if isinstance(model, kind) and is_known(model):
                    if learns_labels(model):
                        raise ExportError(f"{type(model).__name__} predicts several labels")
                    return function(self, model, columns)
            raise ExportError(
                f"{type(model).__name__} is none of the models that can be written, which the "
                "guide to deployment lists"
            )
        except ExportError as error:
            if self._describe_other is None or columns != raw_columns(len(columns)):
                raise
            return self._describe_other(self, model, error)

    def reader(self, source):
        """Return the description of a source of a first layer."""
        column = source.column
        if source.is_number:
            self._note_kind(column.index, "number")
            return {
                "kind": "pieces",
                "column": column.index,
                "constants": self.add(np.array([source.low, source.high, *source.edges])),
                "steps": self.add_steps(column.steps),
                "fill": column.fill,
                "missing": source.has_missing,
            }
        levels = [plain_level(level, column.index) for level in source.lookup]
        self._note_kind(column.index, _kind_of(levels))
        return {
            "kind": "levels",
            "column": column.index,
            "levels": levels,
            "states": list(source.lookup.values()),
            "other": source.other,
            "missing": source.missing,
            "n_states": source.n_states,
        }

    def number_reader(self, index, *, takes_infinity):
        """Return the description of a column of numbers that trees read as it is."""
        self._note_kind(index, "number")
        return {"kind": "number", "column": index, "missing": True, "infinite": takes_infinity}

    def add_steps(self, steps):
        """Store steps of scaling."""
        return self.add(np.array(steps, dtype=np.float64).reshape(-1, 3))

    def _note_kind(self, index, kind):
        known = self.kinds.setdefault(index, kind)
        if known != kind:
            self.kinds[index] = "number" if "number" in (known, kind) else "category"


def plain_level(level, index):
    """Return a level as JSON has it."""
    level = level.item() if isinstance(level, np.generic) else level
    if not isinstance(level, str | bool | int | float):
        raise ExportError(
            f"column {index} has levels of the type {type(level).__name__}, and only texts, "
            "numbers and booleans can be written"
        )
    return level


def _kind_of(levels):
    kinds = {type(level) for level in levels}
    return {frozenset([str]): "text", frozenset([bool]): "boolean"}.get(
        frozenset(kinds), "category"
    )


def network_inputs(model, columns):
    """Return the features that a network scales, and the column of its table of each."""
    encoder = getattr(model, "encoder_", None)
    if encoder is None:
        return [as_feature(column) for column in columns], np.arange(len(columns))
    return after_step(encoder, columns), column_of(encoder)


def scaled_features(features, offset, scale):
    """Return the inputs of a network: features that are standardized.

    A number is standardized before its product with the weights, so that a large offset costs no
    digits.
    """
    return [
        as_feature(feature.source.column.scaled(SUBTRACT_DIVIDE, float(a), float(b)))
        if _is_plain_number(feature)
        else feature.scaled(SUBTRACT_DIVIDE, float(a), float(b))
        for feature, a, b in zip(features, offset, scale, strict=True)
    ]


def _is_plain_number(feature):
    """Return whether a feature is a number of one piece without bounds."""
    source = feature.source
    return source.is_number and not (
        feature.steps or source.has_missing or math.isfinite(source.low)
    )


def first_layer(writer, features, weights, bias, signs=None):
    """Return the first layer of a network, or a linear model, without the layers that follow.

    Parameters
    ----------
    features : list of Feature
    weights : ndarray of shape (n_features, width)
    bias : ndarray of shape (width,)
    signs : ndarray of shape (members, n_features), optional
    """
    groups = {}
    for i, feature in enumerate(features):
        # without states that several features share, each has a sign of its own
        key = id(feature.source), None if signs is None else signs[:, i].tobytes()
        groups.setdefault(key, []).append(i)
    readers, rows, of_readers = [], [np.empty((0, weights.shape[1]))], []
    is_unscaled = False
    base = np.tile(bias.astype(np.float64), (1 if signs is None else len(signs), 1))
    for members in groups.values():
        source = features[members[0]].source
        values, slopes = zip(*(features[i].folded() for i in members), strict=True)
        values = np.array(values).T @ weights[members]
        sign = np.ones(1) if signs is None else signs[:, members[0]]
        lost = np.isnan(values).any(axis=1)
        if lost.any() and not source.is_number:
            source, values = _without_states(source, lost), np.nan_to_num(values)
        is_unscaled |= _is_plain_number(features[members[0]]) and not source.column.steps
        if source.is_number:
            slopes = np.array(slopes).T @ weights[members]
            base += sign[:, None] * values[0]
            n_pieces = source.n_states - source.has_missing
            rows.append(slopes[:n_pieces])
            rows.append(values[n_pieces:] - values[0])
        else:
            rows.append(values)
        readers.append(writer.reader(source))
        of_readers.append(sign)
    signs = None if signs is None else np.reshape(of_readers, (len(readers), len(signs))).T
    return {
        "kind": "layers",
        "readers": readers,
        # numbers of any size are multiplied by weights of any size, which are not rounded
        "rows": (writer.add if is_unscaled else writer.add_weights)(np.concatenate(rows)),
        "bias": writer.add(base),
        "signs": None if signs is None else writer.add(signs.astype(np.int8)),
        "layers": [],
    }


def _without_states(source, lost):
    """Return a source whose cells are refused where a feature would be NaN."""
    if lost[list(source.lookup.values())].any():
        raise ExportError("a level is encoded as NaN")
    other, missing = (
        None if state is None or lost[state] else state for state in (source.other, source.missing)
    )
    return replace(source, other=other, missing=missing)


def numbers_of(
    writer, values, scale, offset, *, n_targets=None, link="identity", quantiles=None
):  # fmt: skip
    """Return the description of numbers: values times a scale, plus an offset.

    The units are float64, so that targets far from zero keep their digits whatever the weights are.

    Parameters
    ----------
    writer : ModelWriter
    values : dict
        Description of a model.
    scale, offset : array-like of shape (n_targets,) or (n_targets, n_quantiles)
        One number is that of all quantiles of a target.
    n_targets : int, default=None
        None if predictions have one dimension.
    link : {"identity", "log", "log1p"}, default="identity"
        Function from numbers to what is scaled.
    quantiles : dict, default=None
        Of `quantiles_of`, if the values are quantiles.
    """
    if link not in ("identity", "log", "log1p"):
        raise ExportError(f"a loss with the link {link}")
    n_levels = 1 if quantiles is None else len(quantiles["levels"])
    scale, offset = (
        np.repeat(each, n_levels) if np.ndim(each) < 2 else np.ravel(each)
        for each in (np.float64(scale), np.float64(offset))
    )
    return {
        "kind": "numbers",
        "models": [values],
        "scale": writer.add(scale),
        "offset": writer.add(offset),
        "link": link,
        "n_targets": n_targets,
        "quantiles": quantiles,
    }


def quantiles_of(levels, asked=None):
    """Return the description of the quantiles of a model, or None without levels.

    Those that are ``asked`` for are predicted, all of them by default.
    """
    if levels is None:
        return None
    asked = levels if asked is None else asked
    places = [int(np.abs(levels - each).argmin()) for each in asked]
    return {"levels": levels.tolist(), "center": nearest_to_median(levels), "asked": places}


def unit_of(weights):
    """Return the power of two below the largest weight of each output, the last axis.

    Weights in this unit fit into all dtypes, and are as exact in float64.
    """
    weights = np.abs(np.asarray(weights, dtype=np.float64))
    largest = weights.reshape(-1, weights.shape[-1]).max(axis=0, initial=0.0)
    return np.ldexp(1.0, np.frexp(largest)[1] - 1)


def network_numbers(writer, values, model):
    """Return the description of a network for numbers, from that of its outputs."""
    scale = np.asarray(model.target_scale_)
    return numbers_of(
        writer,
        values,
        scale,
        model.target_offset_,
        n_targets=len(scale) if scale.ndim else None,
        quantiles=quantiles_of(model.quantiles_),
    )
