"""Regressor by kernel ridge regression with the kernel of an infinitely wide network."""

from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_scalar

from sklearn_kd._kernel.base import KernelEstimatorMixin, check_values_of_rows
from sklearn_kd._kernel.classifier import KernelTeacher
from sklearn_kd._kernel.targets import merge_targets
from sklearn_kd._tables.encoder_step import check_rows
from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.base import FittedRegressorMixin, all_or_nothing
from sklearn_kd._utils.quantile_levels import check_levels, furthest_level, rows_needed
from sklearn_kd._utils.regression_targets import fit_target_units
from sklearn_kd._utils.shared_docs import shares_docs_of
from sklearn_kd._utils.sklearn_compat import fit_context
from sklearn_kd._utils.validation import check_rows_are_flat, validate_sample_weight


@shares_docs_of(KernelTeacher)
class KernelTeacherRegressor(KernelEstimatorMixin, FittedRegressorMixin, BaseEstimator):
    r"""Infinitely wide two-layer network for regression, with out-of-sample values and intervals.

    Kernel ridge regression with the neural tangent kernel of a ReLU network. Unless it is given,
    the ridge minimizes the squared error of leave-one-out values, which have a closed form. So one
    fit gives values of the training rows that are not memorized (``loo_prediction_``), and
    prediction intervals (`predict_interval`) and quantiles (`predict_quantiles`).

    Parameters
    ----------
    <kernel>
    <depth>
    <bias>
    <bandwidth>
    fit_intercept : bool, default=False
        Whether to add a free offset per output to the kernel expansion. Targets are centered in any
        case. It helps if the ridge is large.
    <encoder>
    <input_scaling>
    <input_intercept>
    <input_norm>
    ridge : float or "loo", default="loo"
        The ridge divided by the weight of a row is added to the diagonal of the kernel matrix. It
        is the variance of the noise, relative to the variance of the targets, and is not multiplied
        by the number of rows. "loo" selects, from 25 values, the one with the least leave-one-out
        squared error on at most 3,000 random distinct rows. All outputs share it.
    <solver>
    <n_components>
    <training_time>
    <max_memory>
    <random_state>
    <device>
    <verbose>

    Attributes
    ----------
    loo_prediction_ : ndarray of float64 of shape (n_samples,) or (n_samples, n_outputs)
        Predictions for the training rows from fits without the row and its copies, the targets for
        a student. These are leave-one-out values with "cholesky" and values of five folds with the
        other solvers and with ``training_time``. Rows of weight zero, which are in no fit, have
        their ordinary value, or that of an equal training row. So cells that the encoder cannot
        read are an error there too.
    ridge_ : float or None
        Ridge of the fit. None with ``training_time``.
    solver_ : {"cholesky", "pcg", "nystroem", "eigh"}
        Solver of the fit.
    X_fit_ : ndarray of shape (n_centers, n_inputs)
        Distinct training rows (or centers) after preprocessing, in sorted order.
    dual_coef_ : ndarray of float64 of shape (n_centers,) or (n_centers, n_outputs)
        Weights of ``X_fit_``: ``predict(x) = k(x, X_fit_) @ dual_coef_ + intercept_``.
    intercept_ : float or ndarray of shape (n_outputs,)
        Mean of the targets, and the free offset of ``fit_intercept=True``.
    target_offset_, target_scale_ : float or ndarray of float64 of shape (n_outputs,)
        Weighted mean and standard deviation of the targets, by which they are standardized. The
        scale of a constant target is zero.
    fit_weights_ : ndarray of float64 of shape (n_centers,)
        Weights of the distinct rows. Not available with "nystroem".
    fit_targets_ : ndarray of float64 of shape (n_centers, n_outputs)
        Mean targets of the distinct rows. Not available with "nystroem".
    <encoder_>
    input_offset_, input_scale_ : ndarray of float64 of shape (n_encoded,)
        Encoded rows are scaled to ``(x - input_offset_) / input_scale_`` before the intercept is
        appended and rows are projected onto the sphere.
    n_iter_ : int
        Number of iterations of "pcg" or "nystroem".
    <n_features_in_>
    <feature_names_in_>

    See Also
    --------
    KernelTeacher : The classifier.
    sklearn.kernel_ridge.KernelRidge : Kernel ridge regression with other kernels.

    Notes
    -----
    Targets are standardized by their weighted mean and standard deviation. So a shift or a scale of
    y changes only the units of the results. A constant target is predicted as it is. Errors are
    squared, so that a single target far from the others can decide a fit.

    Equal rows are merged, adding their weights and averaging their targets. So leave-one-out leaves
    out a distinct row, and a weight of k equals k copies. Values, intervals and the choice of the
    ridge depend on the weights only relative to each other, as long as ``ridge`` is "loo".

    With C = K + diag(ridge / weight) the value at row i of a fit without it is
    :math:`y_i - (C^{-1} y)_i / (C^{-1})_{ii}`. The encoding and scaling of the inputs, the
    standardization of the targets and the ridge are those of all rows.

    Predictions are float64 also for float32 rows, whose kernel is computed in float32, since
    targets may have a large mean.

    References
    ----------
    .. [1] Mandal, Lin and Srikant, "A Theoretical Analysis of Soft-Label vs Hard-Label Training
       in Neural Networks", arXiv:2412.09579, section 3.
    .. [2] Jacot, Gabriel and Hongler, "Neural Tangent Kernel", arXiv:1806.07572.
    .. [3] Barber, Candes, Ramdas and Tibshirani, "Predictive inference with the jackknife+",
       Annals of Statistics 49(1), 2021, arXiv:1905.02928.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_kd import KernelTeacherRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> teacher = KernelTeacherRegressor(random_state=0).fit(X[::2], y[::2])
    >>> teacher.score(X[1::2], y[1::2]) > 0.4
    True
    >>> teacher.loo_prediction_.shape
    (221,)
    >>> lower, upper = teacher.predict_interval(X[1::2], coverage=0.9).T
    >>> bool(((lower <= y[1::2]) & (y[1::2] <= upper)).mean() > 0.85)
    True
    """

    __module__ = "sklearn_kd"

    _parameter_constraints: dict = {**KernelEstimatorMixin._parameter_constraints}
    _optional = (*KernelEstimatorMixin._optional,)

    def __init__(  # noqa: PLR0913
        self,
        kernel="ntk",
        *,
        depth=1,
        bias=0.0,
        bandwidth=1.0,
        fit_intercept=False,
        encoder="auto",
        input_scaling=True,
        input_intercept=True,
        input_norm="sphere",
        ridge="loo",
        solver="auto",
        n_components=None,
        training_time=None,
        max_memory=None,
        random_state=None,
        device="auto",
        verbose=0,
    ):
        self.kernel = kernel
        self.depth = depth
        self.bias = bias
        self.bandwidth = bandwidth
        self.fit_intercept = fit_intercept
        self.encoder = encoder
        self.input_scaling = input_scaling
        self.input_intercept = input_intercept
        self.input_norm = input_norm
        self.ridge = ridge
        self.solver = solver
        self.n_components = n_components
        self.training_time = training_time
        self.max_memory = max_memory
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    @numpy_inputs
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the teacher and predict its rows out of sample.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Dense. Without an encoder finite numbers. Computation is in float32 if X is float32, and
            otherwise in float64.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Finite numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights. A weight of k equals k copies, and zero equals absence.

        Returns
        -------
        self : KernelTeacherRegressor

        Raises
        ------
        ValueError
            If parameters or data cannot be used.
        MemoryError
            If the fit would need too much memory, before this memory is allocated.
        """
        with all_or_nothing(self):
            self._check_parameters()
            check_rows_are_flat(self, X)
            X, y = check_rows(self, X, y, kind="numbers")
            weights = validate_sample_weight(sample_weight, X)
            rows = self._encode_training_rows(X, weights)
            self.target_offset_, self.target_scale_ = fit_target_units(y[rows.kept], rows.weights)
            targets = y.reshape(len(y), -1)[rows.kept]
            offset, scale = self._units()
            targets = (targets - offset) / scale
            self._set_row_settings(rows.encoded, rows.weights)
            with self._reporting(X, y):
                self._fit_targets(rows, targets, is_single=y.ndim == 1)
            return self

    def _units(self):
        """Return offset and scale of the targets, (n_outputs,), where a constant has the scale one.

        Targets are standardized without rounding, which leave-one-out values would contain.
        """
        scale = np.atleast_1d(self.target_scale_)
        return np.atleast_1d(self.target_offset_), np.where(scale > 0, scale, 1.0)

    def _fit_targets(self, rows, targets, *, is_single):
        """Fit standardized targets, and set the out-of-sample predictions of the rows."""
        from sklearn_kd._kernel.intervals import held_out_state

        merged, solution = self._fit_ridge(
            rows.encoded, merge_targets, targets, rows.weights, rows.unit
        )
        fitted, (offset, scale) = dict(solution.fitted), self._units()
        fitted["dual_coef_"] = fitted["dual_coef_"] * scale
        fitted["intercept_"] = offset + scale * fitted["intercept_"]
        if is_single:
            fitted["dual_coef_"] = fitted["dual_coef_"][:, 0]
            fitted["intercept_"] = float(fitted["intercept_"][0])
        if "fit_targets_" in fitted:
            fitted["fit_targets_"] = offset + scale * merged.targets
        self._set_fitted(fitted)
        self._held_out_ = held_out_state(
            solution, merged, targets, rows.weights, self.fit_intercept
        )
        out_of_sample = offset + scale * solution.out_of_sample.astype(np.float64)
        values = self._values_of_training_rows(rows, out_of_sample[merged.group])
        self.loo_prediction_ = values[:, 0] if is_single else values

    def _standardized_fit(self):
        """Return dual weights and offsets in standardized units."""
        offset, scale = self._units()
        dual = self.dual_coef_.reshape(len(self.X_fit_), -1) / scale
        return dual, (np.atleast_1d(self.intercept_) - offset) / scale

    def _values_of_encoded(self, X):
        """Return the predictions for encoded rows, of shape (n_samples, n_outputs)."""
        from sklearn_kd._kernel.ridge_fit import kernel_expansion

        # in standardized units, since the kernel may be float32
        values = kernel_expansion(self, self._rows(X), self._standardized_fit()[0])
        values = values * self._units()[1] + self.intercept_
        check_values_of_rows(values)
        return values

    @numpy_inputs
    def predict(self, X):
        """Predict the targets of rows.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of float64 of shape (n_samples,) or (n_samples, n_outputs)
        """
        values = self._values_of_encoded(self._encode_new_rows(X))
        return values[:, 0] if self.dual_coef_.ndim == 1 else values

    @numpy_inputs
    def predict_interval(self, X, coverage=0.9):
        r"""Predict intervals that contain the target of a new row with a given probability.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        coverage : float, default=0.9
            Nominal coverage, between 0 and 1.

        Returns
        -------
        ndarray of float64 of shape (n_samples, 2) or (n_samples, n_outputs, 2)
            Lower and upper end. Each output has an interval of its own.

        Raises
        ------
        ValueError
            If there are fewer than ``1 / (1 - coverage)`` distinct training rows.
        MemoryError
            If the kernel matrix of the training rows does not fit into memory.

        Notes
        -----
        With the exact solver this is the jackknife+, [3] of the class. With :math:`f_{-i}` the fit
        without the distinct row i and :math:`R_i = |y_i - f_{-i}(x_i)|`, the ends are quantiles of
        :math:`f_{-i}(x) \pm R_i`. They have a closed form,

        .. math:: f_{-i}(x) = f(x) - (C^{-1} k(x))_i\, \frac{(C^{-1} y)_i}{(C^{-1})_{ii}},

        at the cost of factorizing C again, about that of a fit, and of :math:`n^2` multiplications
        for each row of X. The other solvers, and ``training_time``, have no inverse of C. There it
        is the CV+ of the same paper, which has the fits without each of five folds in place of
        :math:`f_{-i}`.

        If rows are exchangeable and the fit is fixed beforehand, the coverage is at least
        ``2 * coverage - 1`` by jackknife+, and at least this minus ``sqrt(2 / n)`` by CV+. In
        practice it is close to ``coverage``. The ridge, which all rows have selected, the
        standardization and the encoding are not part of the proof.

        Copies of a row are left out together, as in ``loo_prediction_``, since the fit without one
        of them would know it from the others. A row counts by its weight, each copy with the
        residual of its own target, and the new row counts as a distinct row of mean weight. So a
        weight of k equals k copies, and a common factor of the weights has no effect. If weights
        differ the coverage is approximately that of rows drawn in proportion to them.
        """
        check_scalar(coverage, "coverage", Real, min_val=0, max_val=1, include_boundaries="neither")
        if np.isnan(coverage):
            raise ValueError("coverage must be between 0 and 1, got nan.")
        X = self._encode_new_rows(X)
        what = f"intervals of coverage {coverage:g}"
        self._require_distinct_rows(what, coverage, "lower coverage")
        from sklearn_kd._kernel.intervals import predict_ends

        fit = self._standardized_fit()
        return self._in_units(predict_ends(self, self._rows(X), fit, self._held_out_, coverage))

    @numpy_inputs
    def predict_quantiles(self, X, quantiles):
        r"""Predict quantiles of the target of each row.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        quantiles : array-like of float of shape (n_quantiles,)
            Levels, ascending between 0 and 1, such as (0.05, 0.5, 0.95).

        Returns
        -------
        ndarray of float64 of shape (n_samples, n_quantiles) or (n_samples, n_outputs, n_quantiles)
            They ascend in each row.

        Raises
        ------
        ValueError
            If there are fewer than ``1 / (1 - q)`` distinct training rows for a level q above 1/2,
            or ``1 / q`` for one below.
        MemoryError
            If the kernel matrix of the training rows does not fit into memory.

        Notes
        -----
        They are quantiles over the training rows i of :math:`f_{-i}(x) + r_i`, with the signed
        residuals :math:`r_i = y_i - f_{-i}(x_i)` of the fits without the row, which
        `predict_interval` describes, as its cost is. So they are the one-sided counterpart of
        the jackknife+ and of CV+, [3] of the class. To the n values belongs one that is
        infinite: a level q above 1/2 is the :math:`\lceil q (n + 1) \rceil`-th smallest value, one
        below is the same of -y, and the median is the mean of both. Then the target is below the
        level of .95 with a probability of about .95, and never much less.

        The residuals of all rows have the same weight everywhere. So the distance of two quantiles
        is nearly the same for all rows, also where the spread of the targets depends on the row.
        There quantiles of boosted trees, of a forest or of
        :class:`~sklearn_kd.TwoLayerPGDRegressor` are narrower where the targets are.
        """
        levels = check_levels(quantiles)
        X = self._encode_new_rows(X)
        what, remedy = f"quantiles={levels.tolist()}", "ask for levels nearer to 1/2"
        self._require_distinct_rows(what, furthest_level(levels), remedy)
        from sklearn_kd._kernel.intervals import predict_quantile_values

        rows, fit = self._rows(X), self._standardized_fit()
        state = self._held_out_
        return self._in_units(predict_quantile_values(self, rows, fit, state, levels.tolist()))

    def _require_distinct_rows(self, what, coverage, remedy):
        """Raise ValueError for fewer distinct training rows than a coverage needs."""
        n_distinct, n_needed = int(self._held_out_["n_distinct"]), rows_needed(coverage)
        if n_distinct < n_needed:
            raise ValueError(
                f"{what} need at least {n_needed} distinct training rows, and this fit has "
                f"{n_distinct}: {remedy}, or fit more rows."
            )

    def _in_units(self, values):
        """Return standardized values (n_samples, n_outputs, k) in the units of the targets."""
        offset, scale = self._units()
        values = values * scale[:, None] + offset[:, None]
        check_values_of_rows(values)
        return values[:, 0] if self.dual_coef_.ndim == 1 else values

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
