"""KernelTeacher: the infinitely wide network as a teacher."""

from numbers import Integral, Real

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from sklearn_kd._utils.base import (
    FittedClassifierMixin,
    all_or_nothing,
    labels_from_logits,
    log_probabilities_from_logits,
    probabilities_from_logits,
    require_fitted,
)
from sklearn_kd._utils.documentation import DocumentationLinkMixin
from sklearn_kd._utils.labels import class_factors, encode_labels
from sklearn_kd._utils.scaling import fit_scaling, scale_inputs
from sklearn_kd._utils.sklearn_compat import Interval, StrOptions, fit_context
from sklearn_kd._utils.unique_rows import copies_among
from sklearn_kd._utils.validation import validate_sample_weight

__all__ = ["KernelTeacher"]


#: Fitted attributes that not every fit has.
_OPTIONAL = (
    "loo_decision_function_",
    "loo_proba_",
    "n_iter_",
    "margin_",
    "draws_",
    "draw_values_",
    "fit_weights_",
    "fit_targets_",
)


def _has_ridge_fit(est):
    if est.method != "ridge":
        raise AttributeError("the margin teacher has no training time: set method='ridge'.")
    return True


class KernelTeacher(DocumentationLinkMixin, FittedClassifierMixin, BaseEstimator):
    r"""The infinitely wide two-layer network, with labels for each row from fits without it.

    Kernel ridge regression on the classes with the neural tangent kernel of a ReLU network,
    followed by a temperature. The temperature, and unless it is given the ridge, are chosen by
    the log loss of leave-one-out values, which have a closed form: the training rows get soft
    labels that no fit has memorized (``loo_proba_``), for the price of one fit.

    Parameters
    ----------
    kernel : {"ntk", "ntk-full", "nngp", "laplace"} or callable, default="ntk"
        "ntk": tangent kernel of the hidden layer of a two-layer network, the paper's.
        "ntk-full": of all layers, with ``depth`` hidden ones. "nngp": covariance of the outputs
        of a two-layer network at its start. "laplace": ``exp(-|x - x'| / bandwidth)``. A callable
        takes two arrays of rows, as the kernel sees them, and returns the (n, m) matrix of a
        positive kernel.

    depth : int, default=1
        Hidden layers, 1 to 10, of "ntk-full".
    bias : float, default=0.0
        Size of the biases of "ntk-full", which start at zero. The input intercept mostly serves
        better.
    bandwidth : float, default=1.0
        Of "laplace", in the scaled coordinates; on the sphere distances are at most 2.
    fit_intercept : bool, default=False
        Add a free offset per output to the kernel expansion. Helps where classes are far from
        balanced and the ridge is large.
    input_scaling : bool, default=True
        Center the columns and scale them to equal variance, rows to a mean squared norm of one,
        with weighted statistics. Without it rows are used as given.
    input_intercept : bool, default=True
        Append a coordinate that is always one.
    input_norm : {"sphere"} or None, default="sphere"
        "sphere": divide each row (with its intercept) by its length; a row of zeros stays.
    ridge : float or "loo", default="loo"
        Added to the diagonal of the kernel matrix, divided by the weight of the row; it is the
        variance of the noise and not multiplied by the number of rows. "loo": of 25 values, the
        one of the least leave-one-out log loss, on a random 3,000 distinct rows at most.
    solver : {"auto", "cholesky", "pcg", "nystroem"}, default="auto"
        "cholesky": exact, with exact leave-one-out values. "pcg": conjugate gradients on the
        matrix in memory; labels are cross-fitted in five folds that share its products.
        "nystroem": the kernel expansion has ``n_components`` centers only, and memory grows with
        their square; labels likewise. "auto": "cholesky" for up to 10,000 distinct rows (40,000
        on CUDA), else "pcg" where the matrix fits in memory, else "nystroem"; the logger
        ``sklearn_kd`` says why.
    n_components : int or None, default=None
        Centers of "nystroem"; None: 5,000 or all rows.
    training_time : float or None, default=None
        Train by gradient flow on the summed squared loss, at rate one, up to this time, in place
        of a ridge (``solver`` is then not used and ``ridge`` must be "loo").
    method : {"ridge", "margin"}, default="ridge"
        "margin": the paper's teacher, which separates the rows by the largest margin that bounded
        weights can have. Its labels are very soft, and those of the training rows in-sample.
        Weights other than zero, ``calibration`` and ``n_components`` do not matter to it.
    calibration : {"temperature"} or None, default="temperature"
        Divide the decision values by the temperature of the least log loss before they become
        probabilities. None: by one.
    class_weight : dict, "balanced" or None, default=None
        Multiplies the sample weights by a weight of the row's label.
    max_memory : float or None, default=None
        GiB that the fit may take; None: what is free.
    random_state : int, RandomState or None, default=None
        Of the rows that choose the ridge, folds, centers, pivots and draws.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1", ...; "auto" takes CUDA where there is one.
    verbose : int, default=0
        1: say which solver and why; 2: print the residual of each iteration.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    loo_decision_function_ : ndarray of shape (n_samples,) or (n_samples, n_classes)
        Decision values of the training rows from fits without the row (and without its copies):
        leave-one-out with "cholesky", five folds with the other solvers and ``training_time``.
        Rows of weight zero, which are in no fit, have their ordinary value, or that of the row
        that they are a copy of. Not with
        ``method="margin"``, whose labels need a cross-fitting from outside.
    loo_proba_ : ndarray of shape (n_samples, n_classes)
        Their probabilities: the soft labels for a student.
    temperature_ : float
    ridge_ : float or None
    solver_ : {"cholesky", "pcg", "nystroem", "eigh", "margin"}
    X_fit_ : ndarray of shape (n_centers, n_inputs)
        Distinct training rows (or centers) as the kernel sees them, in sorted order.
    dual_coef_ : ndarray of shape (n_centers,) or (n_centers, n_classes)
        Their weights: ``decision_function(x) = k(x, X_fit_) @ dual_coef_ + intercept_``.
    intercept_ : float or ndarray of shape (n_classes,)
        Zero unless ``fit_intercept``.
    fit_weights_ : ndarray of shape (n_centers,)
    fit_targets_ : ndarray of shape (n_centers, n_outputs)
        Weights and codes of the distinct rows, not with "nystroem".
    input_offset_, input_scale_ : ndarray of float64 of shape (n_features,)
        ``scaled x = (x - input_offset_) / input_scale_``, before the intercept and the sphere.
    margin_ : float
        With ``method="margin"``: the margin gamma; see :func:`sklearn_kd.theory.ntk_margin`.
    draws_ : ndarray of shape (n_draws, n_inputs)
    draw_values_ : ndarray of shape (n_draws, n_outputs, n_inputs)
        With ``method="margin"``: z and v(z) less what ``dual_coef_`` accounts for. The decision
        values are the kernel expansion and the mean of ``1[<z, x> > 0] <v(z), x>``.
    n_iter_ : int
        Iterations, where the solver iterates.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where X has such names.

    See Also
    --------
    DistilledClassifier : Compresses a teacher into a network; this one by default.
    sklearn_kd.theory.ntk_margin : The margin of labeled rows.

    Notes
    -----
    Two classes are coded -1 and 1, K classes by one-hot less 1/K. Copies of a row are merged
    first, their weights added and their codes averaged, so that leave-one-out leaves out a
    distinct row and a weight of k equals k copies.

    With C = K + diag(ridge / weight) the value that a fit without row i has at row i is
    :math:`y_i - (C^{-1} y)_i / (C^{-1})_{ii}`; the scaling of the inputs, the ridge and the
    temperature are those of the whole. For the temperature the labels are smoothed as Platt's
    are, so that it stays above zero where the values separate the classes.

    For n distinct rows Cholesky takes about :math:`n^2 d + 2 n^3 / 3` multiplications and
    :math:`n^2` numbers of memory, conjugate gradients :math:`6 K n^2` an iteration. float32 rows
    take half of both.

    References
    ----------
    .. [1] Mandal, Lin and Srikant, "A Theoretical Analysis of Soft-Label vs Hard-Label Training
       in Neural Networks", arXiv:2412.09579, section 3.
    .. [2] Jacot, Gabriel and Hongler, "Neural Tangent Kernel", arXiv:1806.07572.
    .. [3] Rudi, Carratino and Rosasco, "FALKON", arXiv:1705.10958.
    .. [4] Chen, Epperly, Tropp and Webber, "Randomly Pivoted Cholesky", arXiv:2207.06503.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn_kd import KernelTeacher
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> teacher = KernelTeacher(random_state=0).fit(X[::2], y[::2])
    >>> teacher.solver_
    'cholesky'
    >>> teacher.score(X[1::2], y[1::2]) > 0.95
    True
    >>> teacher.loo_proba_.shape
    (285, 2)
    """

    __module__ = "sklearn_kd"

    _parameter_constraints: dict = {
        "kernel": [StrOptions({"ntk", "ntk-full", "nngp", "laplace"}), callable],
        "depth": [Interval(Integral, 1, 10, closed="both")],
        "bias": [Interval(Real, 0, 1e6, closed="both")],
        "bandwidth": [Interval(Real, 0, None, closed="neither")],
        "fit_intercept": ["boolean"],
        "input_scaling": ["boolean"],
        "input_intercept": ["boolean"],
        "input_norm": [StrOptions({"sphere"}), None],
        "ridge": [Interval(Real, 0, None, closed="neither"), StrOptions({"loo"})],
        "solver": [StrOptions({"auto", "cholesky", "pcg", "nystroem"})],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "training_time": [Interval(Real, 0, None, closed="neither"), None],
        "method": [StrOptions({"ridge", "margin"})],
        "calibration": [StrOptions({"temperature"}), None],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "max_memory": [Interval(Real, 0, None, closed="neither"), None],
        "random_state": ["random_state"],
        "device": [str],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        kernel="ntk",
        *,
        depth=1,
        bias=0.0,
        bandwidth=1.0,
        fit_intercept=False,
        input_scaling=True,
        input_intercept=True,
        input_norm="sphere",
        ridge="loo",
        solver="auto",
        n_components=None,
        training_time=None,
        method="ridge",
        calibration="temperature",
        class_weight=None,
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
        self.input_scaling = input_scaling
        self.input_intercept = input_intercept
        self.input_norm = input_norm
        self.ridge = ridge
        self.solver = solver
        self.n_components = n_components
        self.training_time = training_time
        self.method = method
        self.calibration = calibration
        self.class_weight = class_weight
        self.max_memory = max_memory
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the teacher and label its rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Dense and finite. Computation is in float32 for float32 X, else in float64.

        y : array-like of shape (n_samples,)
            Labels of at least two classes.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative; a weight of k equals k copies, zero equals absence.

        Returns
        -------
        self : KernelTeacher

        Raises
        ------
        ValueError
            For parameters or data that cannot be used; the message says what to change.
        MemoryError
            Where the fit would not fit, before anything of that size is allocated.
        """
        with all_or_nothing(self):
            self._check_parameters()
            X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
            weights = validate_sample_weight(sample_weight, X)
            kept = weights > 0
            labels, y_encoded = encode_labels(y[kept])
            if len(labels) < 2:
                raise ValueError(
                    f"{type(self).__name__} needs samples of at least 2 classes, got 1 class: "
                    f"{labels.tolist()}."
                )
            given = X
            if not kept.all():
                X, weights = X[kept], weights[kept]
            if self.class_weight is not None:
                weights = weights * class_factors(self.class_weight, labels, y_encoded, weights)
            self.classes_ = labels
            # what the fit is made with, whatever set_params says later
            self._kernel_params_ = self.kernel, self.depth, self.bias, self.bandwidth
            self._row_params_ = self.input_intercept, self.input_norm
            self.input_offset_ = np.zeros(X.shape[1])
            self.input_scale_ = np.ones(X.shape[1])
            if self.input_scaling:
                self.input_offset_, self.input_scale_ = fit_scaling(X, weights)
            return self._fit_checked(X, y_encoded, weights, given, kept)

    def _fit_checked(self, X, y_encoded, weights, given, kept):
        if self.method == "margin":
            from sklearn_kd._kernel.margin_fit import fit_margin

            fitted = fit_margin(self, X, self._rows(X), y_encoded, weights)
        else:
            from sklearn_kd._kernel.ridge_fit import fit_ridge

            fitted = fit_ridge(self, X, self._rows(X), y_encoded, weights)
        for name in _OPTIONAL:
            vars(self).pop(name, None)  # an earlier fit's
        loo = fitted.pop("loo_decision_function_", None)
        if len(self.classes_) == 2:
            fitted["dual_coef_"] = fitted["dual_coef_"][:, 0]
            fitted["intercept_"] = float(fitted["intercept_"][0])
        for name, value in fitted.items():
            setattr(self, name, value)
        if loo is not None:
            values = np.empty((len(given), loo.shape[1]), dtype=loo.dtype)
            values[kept] = loo
            if not kept.all():
                copy_of = copies_among(given, kept)
                ordinary = self._decide(given[~kept]).reshape(-1, loo.shape[1])
                values[~kept] = np.where(copy_of[:, None] >= 0, loo[copy_of], ordinary)
            self.loo_decision_function_ = values[:, 0] if loo.shape[1] == 1 else values
            self.loo_proba_ = self._proba(self.loo_decision_function_)
        return self

    def _check_parameters(self):
        if self.kernel != "ntk-full" and (self.depth != 1 or self.bias != 0):
            raise ValueError(
                f"depth={self.depth} and bias={self.bias} belong to kernel='ntk-full', "
                f"got kernel={self.kernel!r}."
            )
        if self.kernel != "laplace" and self.bandwidth != 1:
            raise ValueError(f"bandwidth belongs to kernel='laplace', got kernel={self.kernel!r}.")
        if self.training_time is not None:
            if self.ridge != "loo":
                raise ValueError(
                    "training_time replaces the ridge: leave ridge='loo' (which is then not used) "
                    "or set training_time=None."
                )
            if self.method == "margin" or self.fit_intercept:
                raise ValueError(
                    "training_time goes with method='ridge' and fit_intercept=False only."
                )
        if self.method == "margin" and (self.kernel != "ntk" or self.fit_intercept):
            raise ValueError(
                "method='margin' is defined for kernel='ntk' and fit_intercept=False only."
            )
        if self.method == "margin" and not (
            self.ridge == "loo" and self.solver == "auto" and self.class_weight is None
        ):
            raise ValueError(
                "method='margin' has no ridge, no solver and no weights, since the worst row "
                "decides: leave ridge='loo', solver='auto' and class_weight=None."
            )

    def _rows(self, X):
        """Rows as the kernel sees them: scaled, with an intercept, on the sphere."""
        intercept, norm = self._row_params_
        rows = scale_inputs(X, self.input_offset_, self.input_scale_, intercept=intercept)
        if norm == "sphere":
            # the largest coordinate first, so that no square overflows or vanishes
            largest = np.abs(rows).max(axis=1, keepdims=True)
            rows /= np.where(largest > 0, largest, 1)
            length = np.linalg.norm(rows, axis=1, keepdims=True)
            rows /= np.where(length > 0, length, 1)
        return rows

    def _decide(self, X):
        """Decision values of checked rows."""
        from sklearn_kd._kernel import ridge_fit

        rows = self._rows(X)
        dual = self.dual_coef_.reshape(len(self.X_fit_), -1)
        values = ridge_fit.kernel_expansion(self, rows, dual)
        values += np.asarray(self.intercept_, dtype=values.dtype)
        if self.solver_ == "margin":
            from sklearn_kd._kernel import margin_fit

            values += margin_fit.mean_over_draws(self, rows)
        if not np.isfinite(values).all():
            raise ValueError(
                "X has rows so far from the training rows that their kernel is not finite: leave "
                "them out, or fit with input_norm='sphere'."
            )
        return values[:, 0] if values.shape[1] == 1 else values

    def _proba(self, values):
        values = values.astype(np.float64) / self.temperature_
        if values.ndim == 1:
            return np.column_stack([expit(-values), expit(values)])
        return softmax(values, axis=1)

    def _logits(self, X):
        return self.decision_function(X) / self.temperature_

    def decision_function(self, X):
        """Values before the temperature.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Two classes: near -1 for the first, near 1 for the second. More: near 1 - 1/K for the
            class and -1/K for the others.
        """
        require_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return self._decide(X)

    def predict(self, X):
        """Most probable class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return labels_from_logits(self._logits(X), self.classes_)

    def predict_proba(self, X):
        """Class probabilities: the sigmoid or the softmax of the values over the temperature.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        return probabilities_from_logits(self._logits(X))

    def predict_log_proba(self, X):
        """Logarithm of the class probabilities, finite where they underflow.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        return log_probabilities_from_logits(self._logits(X))

    @available_if(_has_ridge_fit)
    def staged_predict_proba(self, X, times):
        """Probabilities at each of several training times, from one eigendecomposition.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        times : iterable of float
            Positive; as ``training_time``.

        Yields
        ------
        ndarray of shape (n_samples, n_classes)
            Divided by the temperature of the fit before softmax, at every time.
        """
        require_fitted(self)
        from sklearn_kd._kernel import ridge_fit

        times = [float(time) for time in times]
        if not all(time > 0 and np.isfinite(time) for time in times):
            raise ValueError(f"times must be positive and finite, got {times}.")
        if np.any(self.intercept_):
            raise ValueError("a free intercept has no training time: fit with fit_intercept=False.")
        if not hasattr(self, "fit_targets_"):
            raise ValueError(
                "the 'nystroem' solver keeps too few rows for a training time: fit with "
                "solver='cholesky' or 'pcg', or with training_time."
            )
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        if not times:
            return
        duals = ridge_fit.staged_duals(self, times)
        values = ridge_fit.kernel_expansion(self, self._rows(X), duals)
        for stage in np.split(values, len(times), axis=1):
            yield self._proba(stage[:, 0] if stage.shape[1] == 1 else stage)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags
