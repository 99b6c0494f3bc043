"""Base class of KernelTeacher and KernelTeacherRegressor: parameters, rows, kernel expansion."""

from contextlib import contextmanager
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from sklearn.callback import CallbackSupportMixin

from sklearn_kd._kernel.targets import split_unit
from sklearn_kd._tables.encoder import TableEncoder
from sklearn_kd._tables.encoder_step import (
    encode_rows,
    encode_table,
    fit_encoder,
    set_encoder_tags,
    with_a_column,
)
from sklearn_kd._utils.base import EncoderParamsMixin, PublicEstimatorMixin, require_fitted
from sklearn_kd._utils.scaling import fit_scaling, scale_inputs
from sklearn_kd._utils.sklearn_compat import Interval, StrOptions, safe_indexing
from sklearn_kd._utils.unique_rows import copies_among
from sklearn_kd._utils.validation import check_rows_are_flat

#: Largest bias. The constraint of the parameter does not have it, since NumPy would cast it to the
#: dtype of a bias in half precision, where it overflows.
MAX_BIAS = 1e6


def kernel_of_fit(est):
    """Return the kernel of a fitted estimator, its depth, bias and bandwidth."""
    return est._kernel_params_


def row_settings_of_fit(est):
    """Return ``input_intercept`` and ``input_norm`` of a fitted estimator."""
    return est._row_params_


class TrainingRows(NamedTuple):
    """Encoded rows of positive weight, and those of weight zero."""

    encoded: np.ndarray  # (n_kept, n_encoded)
    weights: np.ndarray  # (n_kept,), in units of `unit`
    unit: float
    kept: np.ndarray  # (n_samples,), bool
    others: np.ndarray | None  # (n_samples - n_kept, n_encoded); None without such rows


class KernelEstimatorMixin(PublicEstimatorMixin, CallbackSupportMixin, EncoderParamsMixin):
    """Estimator by kernel ridge regression on encoded and scaled rows.

    A subclass has the parameters of `_parameter_constraints` and a method
    ``_values_of_encoded(X)``, which returns the values of encoded rows, (n_samples, n_outputs).
    """

    _parameter_constraints: dict = {
        "kernel": [StrOptions({"ntk", "ntk-full", "nngp", "laplace"}), callable],
        "depth": [Interval(Integral, 1, 10, closed="both")],
        "bias": [Interval(Real, 0, None, closed="left")],
        "bandwidth": [Interval(Real, 0, None, closed="neither")],
        "fit_intercept": ["boolean"],
        "encoder": [StrOptions({"auto"}), TableEncoder, None],
        "input_scaling": ["boolean"],
        "input_intercept": ["boolean"],
        "input_norm": [StrOptions({"sphere"}), None],
        "ridge": [Interval(Real, 0, None, closed="neither"), StrOptions({"loo"})],
        "solver": [StrOptions({"auto", "cholesky", "pcg", "nystroem"})],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "training_time": [Interval(Real, 0, None, closed="neither"), None],
        "max_memory": [Interval(Real, 0, None, closed="neither"), None],
        "random_state": ["random_state"],
        "device": [str],
        "verbose": ["verbose"],
    }
    #: Fitted attributes that only some fits set.
    _optional: tuple = ("n_iter_", "fit_weights_", "fit_targets_")

    def _check_parameters(self):
        if not self.bias <= MAX_BIAS:
            raise ValueError(f"bias must be at most {MAX_BIAS:g}, got {self.bias}.")
        if self.kernel != "ntk-full" and (self.depth != 1 or self.bias != 0):
            raise ValueError(
                f"depth={self.depth} and bias={self.bias} are only used by kernel='ntk-full', "
                f"got kernel={self.kernel!r}."
            )
        if self.kernel != "laplace" and self.bandwidth != 1:
            raise ValueError(
                f"bandwidth is only used by kernel='laplace', got kernel={self.kernel!r}."
            )
        if self.training_time is not None:
            if self.ridge != "loo":
                raise ValueError(
                    "training_time replaces the ridge: set ridge='loo' (which is then ignored) "
                    "or set training_time=None."
                )
            if self.fit_intercept:
                raise ValueError("training_time requires fit_intercept=False.")

    def _encode_training_rows(self, X, weights, *, with_others=True):
        """Fit the encoder on rows of positive weight, and encode all rows that will have values."""
        kept = weights > 0
        given = X
        if not kept.all():
            X, weights = safe_indexing(X, np.flatnonzero(kept)), weights[kept]
        encoded, others = fit_encoder(self, X, weights), None
        if with_others and not kept.all():
            # before the fit, since a cell that cannot be read is an error
            others = encode_table(self, safe_indexing(given, np.flatnonzero(~kept)))
        return TrainingRows(encoded, *split_unit(weights), kept, others)

    def _set_row_settings(self, X, weights):
        """Set what encoded rows go through, which must not change with set_params."""
        self._kernel_params_ = self.kernel, self.depth, self.bias, self.bandwidth
        self._row_params_ = self.input_intercept, self.input_norm
        self.input_offset_ = np.zeros(X.shape[1])
        self.input_scale_ = np.ones(X.shape[1])
        if self.input_scaling:
            self.input_offset_, self.input_scale_ = fit_scaling(X, weights)

    @contextmanager
    def _reporting(self, X, y):
        """Report the begin and the end of the fit to the callbacks."""
        ctx = self._init_callback_context()
        ctx.call_on_fit_task_begin(estimator=self, X=X, y=y)
        yield
        ctx.call_on_fit_task_end(
            estimator=self, X=X, y=y, reconstruction_attributes=self._fitted_attributes
        )

    def _fitted_attributes(self):
        return {name: value for name, value in vars(self).items() if name.endswith("_")}

    def _fit_ridge(self, X, merge, *targets):
        """Return the merged rows and the `RidgeSolution` of encoded rows.

        ``merge`` is a function of `targets`, which is called with the rows and ``targets``.
        """
        from sklearn_kd._kernel.ridge_fit import check_memory_of_rows, fit_ridge
        from sklearn_kd._utils.device import thread_scope

        with thread_scope(len(X) ** 2 * max(X.shape)):
            rows = self._rows(X)
            check_memory_of_rows(self, rows)
            merged = merge(X, *targets)
            rows = rows[merged.first]  # frees the others, before more memory is taken
            return merged, fit_ridge(self, rows, merged)

    def _set_fitted(self, fitted):
        """Set the attributes of a fit, and remove those of an earlier one."""
        for name in self._optional:
            vars(self).pop(name, None)
        for name, value in fitted.items():
            setattr(self, name, value)

    def _values_of_training_rows(self, rows, out_of_sample):
        """Return the values of all rows: out of sample, and ordinary ones for weights of zero.

        Parameters
        ----------
        rows : TrainingRows
        out_of_sample : ndarray of shape (n_kept, n_outputs)
            Of the rows of positive weight. A row of weight zero that equals one of them has its
            value.
        """
        kept = rows.kept
        values = np.empty((len(kept), out_of_sample.shape[1]), dtype=out_of_sample.dtype)
        values[kept] = out_of_sample
        if rows.others is not None:
            X = rows.encoded
            copy_of = copies_among(np.concatenate([X, rows.others]), np.arange(len(kept)) < len(X))
            ordinary = self._values_of_encoded(rows.others)
            values[~kept] = np.where(copy_of[:, None] >= 0, out_of_sample[copy_of], ordinary)
        return values

    def _rows(self, X):
        """Return encoded rows, scaled, with an intercept, on the sphere."""
        intercept, norm = self._row_params_
        rows = scale_inputs(X, self.input_offset_, self.input_scale_, intercept=intercept)
        rows = with_a_column(rows)
        if norm == "sphere":
            # by the largest coordinate first, so that no square overflows or underflows
            largest = np.abs(rows).max(axis=1, keepdims=True)
            rows /= np.where(largest > 0, largest, 1)
            length = np.linalg.norm(rows, axis=1, keepdims=True)
            rows /= np.where(length > 0, length, 1)
        return rows

    def _encode_new_rows(self, X):
        """Check rows to predict and return them encoded."""
        require_fitted(self)
        check_rows_are_flat(self, X)
        return encode_rows(self, X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return set_encoder_tags(self, tags)


def check_values_of_rows(values):
    """Raise ValueError for rows whose values are not finite."""
    if not np.isfinite(values).all():
        raise ValueError(
            "X has rows so far from the training rows that their kernel is not finite: remove "
            "them, or fit with input_norm='sphere'."
        )
