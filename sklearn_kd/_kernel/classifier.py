"""Classifier by kernel ridge regression with the kernel of an infinitely wide network."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.metaestimators import available_if

from sklearn_kd._kernel.base import KernelEstimatorMixin, check_values_of_rows
from sklearn_kd._kernel.targets import merge_codes, split_unit
from sklearn_kd._tables.encoder_step import check_rows
from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.base import (
    FittedClassifierMixin,
    all_or_nothing,
    labels_from_logits,
    log_probabilities_from_logits,
    probabilities_from_logits,
    require_fitted,
)
from sklearn_kd._utils.label_indicators import refuse_label_indicator
from sklearn_kd._utils.labels import class_factors, encode_labels
from sklearn_kd._utils.sklearn_compat import StrOptions, fit_context
from sklearn_kd._utils.validation import check_rows_are_flat, validate_sample_weight


def _has_ridge_fit(est):
    if est.method != "ridge":
        raise AttributeError("method='margin' has no training time: set method='ridge'.")
    return True


class KernelTeacher(KernelEstimatorMixin, FittedClassifierMixin, BaseEstimator):
    r"""Infinitely wide two-layer network, with out-of-sample labels of its training rows.

    Kernel ridge regression on the classes with the neural tangent kernel of a ReLU network,
    followed by a temperature. The temperature and, unless it is given, the ridge minimize the log
    loss of leave-one-out values, which have a closed form. So one fit gives soft labels of the
    training rows that are not memorized (``loo_proba_``).

    Parameters
    ----------
    kernel : {"ntk", "ntk-full", "nngp", "laplace"} or callable, default="ntk"
        "ntk" is the tangent kernel of the hidden layer of a two-layer network, as in [1]_.
        "ntk-full" is that of all layers, with ``depth`` hidden layers. "nngp" is the covariance of
        the outputs of a two-layer network at initialization. "laplace" is
        ``exp(-|x - x'| / bandwidth)``. A callable takes two arrays of preprocessed rows and returns
        the (n, m) matrix of a positive definite kernel.
    depth : int, default=1
        Number of hidden layers of "ntk-full", from 1 to 10.
    bias : float, default=0.0
        Size of the biases of "ntk-full", which are zero at initialization. ``input_intercept`` is
        usually the better choice.
    bandwidth : float, default=1.0
        Bandwidth of "laplace" for preprocessed rows. On the sphere distances are at most 2.
    fit_intercept : bool, default=False
        Whether to add a free offset per output to the kernel expansion. It helps if classes are
        imbalanced and the ridge is large.
    encoder : "auto", TableEncoder or None, default="auto"
        Encoder of the raw rows, which is fitted on the rows of positive weight. "auto" is
        :class:`TableEncoder`, which takes DataFrames with strings and missing cells. None takes
        finite numbers as they are, which is the setting of the theory.
    input_scaling : bool, default=True
        Whether to center the encoded columns and scale them to equal variance, such that rows have
        a mean squared norm of one, with weighted statistics. Otherwise they are used as they are.
    input_intercept : bool, default=True
        Whether to append a coordinate that is always one.
    input_norm : {"sphere"} or None, default="sphere"
        "sphere" divides each row (with its intercept) by its length. A row of zeros is unchanged.
    ridge : float or "loo", default="loo"
        The ridge divided by the weight of a row is added to the diagonal of the kernel matrix. It
        is the variance of the noise and is not multiplied by the number of rows. "loo" selects,
        from 25 values, the one with the least leave-one-out log loss on at most 3,000 random
        distinct rows.
    solver : {"auto", "cholesky", "pcg", "nystroem"}, default="auto"
        "cholesky" is exact and has exact leave-one-out values. "pcg" runs conjugate gradients on
        the matrix in memory and cross-fits labels in five folds that share its products.
        "nystroem" uses a kernel expansion with only ``n_components`` centers, whose memory grows
        with their square, and also cross-fits labels. "auto" is "cholesky" for up to 10,000
        distinct rows (40,000 on CUDA), otherwise "pcg" if the matrix fits in memory, and otherwise
        "nystroem". The logger ``sklearn_kd`` reports the reason.
    n_components : int or None, default=None
        Number of centers of "nystroem". None is 5,000, or all rows if there are fewer.
    training_time : float or None, default=None
        If given, train by gradient flow on the summed squared loss, at rate one, up to this time
        instead of using a ridge. ``solver`` is then ignored and ``ridge`` must be "loo".
    method : {"ridge", "margin"}, default="ridge"
        "margin" is the teacher of the paper [1]_, which separates the rows by the largest margin
        that bounded weights allow. Its labels are very soft, and those of the training rows are
        in-sample. It has the margin of the worst row, so that weights other than zero only affect
        the encoding and the scaling of the inputs. ``calibration`` and ``n_components`` have no
        effect on it.
    calibration : {"temperature"} or None, default="temperature"
        "temperature" divides the decision values by the temperature with the least log loss before
        they become probabilities. None leaves them unchanged.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class, by which sample weights are multiplied.
    max_memory : float or None, default=None
        Memory that the fit may take, in GiB. None is the free memory.
    random_state : int, RandomState or None, default=None
        Seed of the rows that select the ridge, and of folds, centers, pivots and draws.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1", ... "auto" uses CUDA if it is available.
    verbose : int, default=0
        1 prints the solver and the reason for it, 2 also the residual of each iteration.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    loo_decision_function_ : ndarray of shape (n_samples,) or (n_samples, n_classes)
        Decision values of the training rows from fits without the row and its copies. These are
        leave-one-out values with "cholesky" and values of five folds with the other solvers and
        with ``training_time``. Rows of weight zero, which are in no fit, have their ordinary value,
        or that of an equal training row. So cells that the encoder cannot read are an error there
        too. Not available with ``method="margin"``, whose labels must
        be cross-fitted by refitting.
    loo_proba_ : ndarray of shape (n_samples, n_classes)
        Probabilities of ``loo_decision_function_``, the soft labels for a student.
    temperature_ : float
        Temperature by which decision values are divided.
    ridge_ : float or None
        Ridge of the fit. None with ``training_time`` or ``method="margin"``.
    solver_ : {"cholesky", "pcg", "nystroem", "eigh", "margin"}
        Solver of the fit.
    X_fit_ : ndarray of shape (n_centers, n_inputs)
        Distinct training rows (or centers) after preprocessing, in sorted order.
    dual_coef_ : ndarray of shape (n_centers,) or (n_centers, n_classes)
        Weights of ``X_fit_``: ``decision_function(x) = k(x, X_fit_) @ dual_coef_ + intercept_``.
    intercept_ : float or ndarray of shape (n_classes,)
        Zero unless ``fit_intercept=True``.
    fit_weights_ : ndarray of float64 of shape (n_centers,)
        Weights of the distinct rows. Not available with "nystroem".
    fit_targets_ : ndarray of shape (n_centers, n_outputs)
        Codes of the distinct rows. Not available with "nystroem".
    encoder_ : TableEncoder or None
        Fitted encoder. None with ``encoder=None``.
    input_offset_, input_scale_ : ndarray of float64 of shape (n_encoded,)
        Encoded rows are scaled to ``(x - input_offset_) / input_scale_`` before the intercept is
        appended and rows are projected onto the sphere.
    margin_ : float
        The margin gamma, see :func:`sklearn_kd.theory.ntk_margin`. Only with ``method="margin"``.
    draws_ : ndarray of shape (n_draws, n_inputs)
        Normal draws z. Only with ``method="margin"``.
    draw_values_ : ndarray of shape (n_draws, n_outputs, n_inputs)
        The values v(z) minus the part that ``dual_coef_`` accounts for. Decision values are the
        kernel expansion plus the mean of ``1[<z, x> > 0] <v(z), x>``. Only with
        ``method="margin"``.
    n_iter_ : int
        Number of iterations of "pcg" or "nystroem".
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray of str
        Names of the features, if X has them.

    See Also
    --------
    DistilledClassifier : Compresses a teacher, by default this one, into a network.
    sklearn_kd.theory.ntk_margin : The margin of labeled rows.

    Notes
    -----
    Two classes are coded as -1 and 1, and K classes as one-hot vectors minus 1/K. Equal rows are
    merged, adding their weights and averaging their codes. So leave-one-out leaves out a distinct
    row, and a weight of k equals k copies.

    With C = K + diag(ridge / weight) the value at row i of a fit without it is
    :math:`y_i - (C^{-1} y)_i / (C^{-1})_{ii}`. The scaling of the inputs, the ridge and the
    temperature are those of all rows. The temperature is fitted to smoothed labels as in Platt
    scaling, so that it stays above zero if the values separate the classes.

    For n distinct rows Cholesky takes about :math:`n^2 d + 2 n^3 / 3` multiplications and
    :math:`n^2` numbers of memory. An iteration of conjugate gradients takes :math:`6 K n^2`
    multiplications. float32 rows halve time and memory.

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
        **KernelEstimatorMixin._parameter_constraints,
        "method": [StrOptions({"ridge", "margin"})],
        "calibration": [StrOptions({"temperature"}), None],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }
    _optional = (
        *KernelEstimatorMixin._optional,
        "loo_decision_function_",
        "loo_proba_",
        "margin_",
        "draws_",
        "draw_values_",
    )

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
        self.encoder = encoder
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

    @numpy_inputs
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the teacher and label its rows.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Dense. Without an encoder finite numbers. Computation is in float32 if X is float32, and
            otherwise in float64.
        y : array-like of shape (n_samples,)
            Labels of at least two classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights. A weight of k equals k copies, and zero equals absence.

        Returns
        -------
        self : KernelTeacher

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
            refuse_label_indicator(type(self).__name__, y)
            X, y = check_rows(self, X, y)
            weights = validate_sample_weight(sample_weight, X)
            kept = weights > 0
            labels, y_encoded = encode_labels(y[kept])
            if len(labels) < 2:
                raise ValueError(
                    f"{type(self).__name__} needs samples of at least 2 classes, got 1 class: "
                    f"{labels.tolist()}."
                )
            rows = self._encode_training_rows(X, weights, with_others=self.method == "ridge")
            if self.class_weight is not None:
                factors = class_factors(self.class_weight, labels, y_encoded, rows.weights)
                weights, unit = split_unit(rows.weights * factors)
                rows = rows._replace(weights=weights, unit=rows.unit * unit)
            self.classes_ = labels
            self._set_row_settings(rows.encoded, rows.weights)
            with self._reporting(X, y):
                if self.method == "margin":
                    self._fit_margin(rows.encoded, y_encoded, rows.weights)
                else:
                    self._fit_codes(rows, y_encoded)
            return self

    def _fit_margin(self, X, y_encoded, weights):
        from sklearn_kd._kernel.margin_fit import fit_margin

        self._set_coded(fit_margin(self, X, self._rows(X), y_encoded, weights))

    def _fit_codes(self, rows, y_encoded):
        """Fit codes of the classes, and set the out-of-sample labels of the rows."""
        n_classes = len(self.classes_)
        merged, solution = self._fit_ridge(
            rows.encoded, merge_codes, y_encoded, rows.weights, rows.unit, n_classes
        )
        out, temperature = solution.out_of_sample, 1.0
        if self.calibration == "temperature":
            temperature, _ = merged.loss.temperature(out)
        self._set_coded({**solution.fitted, "temperature_": temperature})
        values = self._values_of_training_rows(rows, out[merged.group])
        self.loo_decision_function_ = values[:, 0] if values.shape[1] == 1 else values
        self.loo_proba_ = self._proba(self.loo_decision_function_)

    def _set_coded(self, fitted):
        """Set the attributes of a fit, where two classes have one output."""
        if len(self.classes_) == 2:
            fitted["dual_coef_"] = fitted["dual_coef_"][:, 0]
            fitted["intercept_"] = float(fitted["intercept_"][0])
        self._set_fitted(fitted)

    def _check_parameters(self):
        super()._check_parameters()
        if self.method != "margin":
            return
        if self.training_time is not None:
            raise ValueError("training_time requires method='ridge' and fit_intercept=False.")
        if self.kernel != "ntk" or self.fit_intercept:
            raise ValueError("method='margin' requires kernel='ntk' and fit_intercept=False.")
        if not (self.ridge == "loo" and self.solver == "auto" and self.class_weight is None):
            raise ValueError(
                "method='margin' has no ridge, solver or class weights, since the margin is that "
                "of the worst row: set ridge='loo', solver='auto' and class_weight=None."
            )

    def _values_of_encoded(self, X):
        """Return the decision values of encoded rows, of shape (n_samples, n_outputs)."""
        from sklearn_kd._kernel import ridge_fit

        rows = self._rows(X)
        dual = self.dual_coef_.reshape(len(self.X_fit_), -1)
        values = ridge_fit.kernel_expansion(self, rows, dual)
        values += np.asarray(self.intercept_, dtype=values.dtype)
        if self.solver_ == "margin":
            from sklearn_kd._kernel import margin_fit

            values += margin_fit.mean_over_draws(self, rows)
        check_values_of_rows(values)
        return values

    def _proba(self, values):
        return probabilities_from_logits(values / self.temperature_)

    def _logits(self, X):
        return self.decision_function(X) / self.temperature_

    @numpy_inputs
    def decision_function(self, X):
        """Decision values before division by the temperature.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes near -1 for the first and near 1 for the second. For K > 2 classes near
            1 - 1/K for the class and -1/K for the others.
        """
        values = self._values_of_encoded(self._encode_new_rows(X))
        return values[:, 0] if values.shape[1] == 1 else values

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
    @numpy_inputs
    def staged_predict_proba(self, X, times):
        """Predict probabilities at several training times by one eigendecomposition.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        times : iterable of float
            Positive times, see ``training_time``.

        Yields
        ------
        ndarray of shape (n_samples, n_classes)
            Probabilities at each time, all with the temperature of the fit.
        """
        require_fitted(self)
        from sklearn_kd._kernel import ridge_fit

        times = [float(time) for time in times]
        if not all(time > 0 and np.isfinite(time) for time in times):
            raise ValueError(f"times must be positive and finite, got {times}.")
        if np.any(self.intercept_):
            raise ValueError("gradient flow has no free intercept: fit with fit_intercept=False.")
        if not hasattr(self, "fit_targets_"):
            raise ValueError(
                "the 'nystroem' solver keeps too few rows for gradient flow: fit with "
                "solver='cholesky' or 'pcg', or with training_time."
            )
        X = self._encode_new_rows(X)
        if not times:
            return
        duals = ridge_fit.staged_duals(self, times)
        values = ridge_fit.kernel_expansion(self, self._rows(X), duals)
        for stage in np.split(values, len(times), axis=1):
            yield self._proba(stage[:, 0] if stage.shape[1] == 1 else stage)
