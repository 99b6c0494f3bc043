"""DistilledRegressor: a meta-estimator that fits a student on predictions of a teacher."""

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if

from sklearn_kd._distillation.base import DistillerMixin
from sklearn_kd._distillation.classifier import DistilledClassifier
from sklearn_kd._distillation.quantile_calibration import calibrated_shift, check_calibration
from sklearn_kd._distillation.quantile_teacher import LevelRegressors
from sklearn_kd._distillation.quantiles import (
    QuantileTask,
    learned_levels,
    quantiles_of_student,
)
from sklearn_kd._distillation.regression import RegressionTask, numbers_of_student
from sklearn_kd._distillation.training_set import FitArguments
from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.quantile_levels import check_levels
from sklearn_kd._utils.shared_docs import shares_docs_of
from sklearn_kd._utils.sklearn_compat import HasMethods, fit_context
from sklearn_kd._utils.sub_estimators import requesting_weights
from sklearn_kd._utils.warnings import warning_scope


def _has_quantiles(est):
    if est.quantiles is None:
        raise AttributeError(
            "predict_quantiles needs quantiles: set them, such as (0.05, 0.5, 0.95), and call fit."
        )
    return True


@shares_docs_of(DistilledClassifier)
class DistilledRegressor(DistillerMixin, RegressorMixin, BaseEstimator):
    r"""Compress any regressor into a small, fast one.

    The teacher is fitted and predicts each training row, by default with fits that have not seen
    that row. The student is fitted on these predictions and on the targets. It is then a regressor
    on its own, and the teacher is not needed to predict.

    With the predictions z of the teacher and a loss l, such as the squared error, the student
    minimizes

    .. math:: \alpha\, l(f(x), z) + (1 - \alpha)\, l(f(x), y).

    A student whose ``fit`` takes ``soft_targets`` minimizes this with its own loss. Any other
    student is fitted on the targets :math:`\alpha z + (1 - \alpha) y`, which for the squared error
    has the same gradient.

    Parameters
    ----------
    teacher : regressor, default=None
        Any regressor: a pipeline, a search, a boosted ensemble of another package. It is cloned and
        fitted, even if it is fitted already, which gives a
        :class:`~sklearn_kd.exceptions.FittedTeacherWarning`. Inside
        :class:`sklearn.frozen.FrozenEstimator` it is used as it is. None is
        ``KernelTeacherRegressor()``. With ``quantiles`` it is a teacher of quantiles, see there,
        which may also be a dict.
    student : regressor, default=None
        Any regressor. It is cloned. If ``fit`` of it, or of a pipeline's last step, takes
        ``soft_targets`` and it has the parameter ``alpha``, the value of this regressor replaces
        its own. None is ``TwoLayerPGDRegressor()``.
    alpha : float or "auto", default="auto"
        Weight of the teacher's predictions. Targets have the weight ``1 - alpha``. "auto" selects
        from 0, 0.5 and 0.8 on held-out rows, see Notes. A value above 1 extrapolates from the
        targets beyond the teacher, against noise in the targets [1]_. With ``quantiles`` it is at
        most 1, and "auto" selects from 0 and 0.5.
    cv : "auto", "in-sample", int, splitter, iterable of splits or None, default="auto"
        How training rows get labels from fits that have not seen them.

        - "auto": the teacher's own leave-one-out (``loo_prediction_``) or out-of-bag values, if it
          has them. Out-of-bag scoring is switched on in the clone of a teacher that bootstraps.
          Rows that were never out of bag, and all rows of other teachers, are cross-fitted on five
          shuffled folds, copies of a row in the same one unless few distinct rows occur often.
        - None or an int, a splitter, an iterable of splits: cross-fitting on these folds, as in
          :func:`sklearn.model_selection.check_cv`. A row that is tested twice gets the mean of its
          labels. A row that no fold tests keeps its target, and a warning is given if those are
          more than half.
        - "in-sample": the teacher labels the rows that it was fitted on. This takes the least
          time. It is of no use with a teacher that memorizes its rows, for which an
          :class:`~sklearn_kd.exceptions.InSampleLabelsWarning` is raised.

        A frozen teacher, alone or as the last step of a pipeline, labels the rows as it is. If
        rows belong to groups, pass ``groups`` to ``fit``. If rows are ordered in time, pass a
        splitter that tests later rows than it trains on.
    <augmentation>
    n_augmented : int or "auto", default="auto"
        Number of transfer rows. "auto" is ten times the number of rows of X, or three times with
        ``quantiles``, at most 100,000. The number does not depend on weights, so that with transfer
        rows a weight of k does not equal k copies.
    quantiles : array-like of float, default=None
        Levels of the quantiles to predict, ascending between 0 and 1, such as (0.05, 0.5, 0.95).
        The level 0.5, which is the prediction, is always learned too. The teacher predicts
        quantiles then. It is

        - an estimator with a method ``predict_quantiles(X, quantiles)``, such as
          ``KernelTeacherRegressor()``, or ``predict_quantiles(X)`` and quantiles of its own that
          contain these levels, such as a :class:`TwoLayerPGDRegressor`,
        - an estimator whose ``predict`` takes ``quantiles``, such as forests of quantile-forest,
        - a dict {q: regressor} with a regressor for each level and for 0.5, such as
          ``HistGradientBoostingRegressor(loss="quantile", quantile=q)``.

        The first two may be the last step of a pipeline. None predicts a number for each target.
        See Notes.
    n_jobs : int, default=None
        Number of parallel fits in cross-fitting, in the comparison of students, and in the
        calibration of quantiles. ``n_jobs`` of the teacher and of the student act inside each fit.
    <random_state>
    <verbose>

    Attributes
    ----------
    student_ : regressor
        The fitted student.
    teacher_ : regressor
        The teacher fitted on all rows, or the frozen teacher. Absent if ``soft_targets`` made it
        unnecessary. For a dict it is a regressor with a method ``predict_quantiles``, whose
        ``regressors_`` are those of the dict, fitted.
    quantiles_ : ndarray of shape (n_quantiles,)
        Levels that `predict_quantiles` predicts. Available with ``quantiles``.
    quantile_shift_ : ndarray of shape (n_levels,)
        What is added to the student's quantiles, one for each level that it has learned: those of
        ``quantiles`` and 0.5, ascending. In units of ``y``. Available with ``quantiles``.
    alpha_ : float
        The value used.
    label_source_ : {"loo", "oob", "cv", "in-sample", "frozen", "given", "hard"}
        Source of the labels of the training rows. "hard" means that "auto" found no gain in the
        teacher's predictions. A :class:`~sklearn_kd.exceptions.NoGainWarning` is then raised.
    <n_augmented_>
    <duplicate_fraction_>
    candidates_ : dict of ndarray of shape (n_candidates,) or None
        Settings that "auto" compared: ``alpha``, ``label_source``, ``n_augmented``, the held-out
        ``loss``, its ``gain`` over the first candidate (targets alone for ``alpha="auto"``), the
        standard error ``gain_error``, and which was ``chosen``, which need not be that of the least
        loss: a gain within the noise of the held-out rows changes no default. Losses are squared
        errors in units of the variance of ``y``, or as Notes say. None if nothing was compared.
    n_features_in_ : int
        Number of features seen during fit, if X has such a number.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit, if all of them are strings.

    See Also
    --------
    DistilledClassifier : The same for classes.

    Notes
    -----
    **Selection.** "auto" holds out a part of the training rows. It fits the teacher and a student
    for each candidate setting on the other rows, and selects the setting of the least squared error
    on the targets of the held-out rows. For a student with an absolute, Huber or quantile loss it
    is the pinball loss at the quantile that it predicts, in units of the standard deviation of
    ``y``. Targets alone are selected only if they are better by a number of standard errors, which
    is smaller for a teacher whose own loss is above that of the student of targets alone. The
    candidates of a TwoLayerPGDRegressor train jointly, on three quarters of the rows. Other
    students are fitted one by one on a quarter of the rows. Of large tables a sample of 75,000
    training rows and 25,000 held-out rows is used. Transfer rows are tried with
    ``alpha=0.5``. If ``cv`` is a splitter or an iterable of
    splits, the last split says which rows are held out.

    Nothing is held out from fewer than 100 distinct rows, if all targets are equal, if ``cv``
    leaves no fold to label the other rows (a single split, two halves), or if these were too few
    for the quantiles of a :class:`KernelTeacherRegressor`. "auto" is then ``alpha=0.5`` and no
    transfer rows.

    **Transfer rows** and unlabeled rows have the teacher's number as their target.

    **Quantiles.** A student with ``soft_targets``, ``alpha``, ``loss``, ``quantiles`` and
    ``predict_quantiles``, such as a :class:`TwoLayerPGDRegressor`, learns the quantiles of the
    teacher with the weight ``alpha``, and those of the targets by the pinball loss with the weight
    ``1 - alpha``. Its ``loss`` and ``quantiles`` are set. Any other student that takes several
    targets is fitted on the teacher's quantiles alone, by its own loss, and ``alpha`` is 1. The
    selection compares pinball losses, averaged over the levels. A transfer row has, besides the
    teacher's quantiles, a target that is drawn from them. A row that no fold of ``cv`` tests has
    its target alone, and is left out for a student that learns from the teacher alone. ``y`` has
    one target.

    Students of quantiles are too sure on rows that they were not trained on. So the quantiles are
    calibrated [2]_: for each of five folds, a teacher and a student are fitted without it and
    predict it, as the selection has set them. Levels q and 1 - q are a pair with the scores
    ``max(lower - y, y - upper)`` of all rows. They are shifted outwards, or inwards, by the
    ``ceil((n + 1) * c)``-th smallest score, where the coverage c of the pair is 1 - 2q. Another
    level is shifted by the same quantile of its own errors, with c = max(q, 1 - q). The median is
    not shifted. A row counts by its weight, and copies of a row share a fold. The student of all
    rows then has a coverage near to the nominal one on average over rows. There is no guarantee, as
    a split of the rows would have, whose intervals are wider. Folds of a splitter in ``cv``, and of
    ``groups``, are those that calibrate too, if others can label the rows that they train on, which
    the first one in time cannot. Rows that a frozen teacher was fitted on must not be
    among the training rows: it would be too sure of them, and intervals would be too narrow.

    **Outliers.** Predictions of the teacher outside the range of ``y`` are set to its least or
    largest value. Kernels and linear models extrapolate, and a single prediction far away would
    decide the squared error. No label becomes worse by this for a target within the range.

    **Units.** Another shift and scale of ``y`` changes the units of the predictions and nothing
    else, if it does so for teacher and student. Losses of several targets are averaged in units of
    their variances.

    **Groups.** If ``groups`` are passed to ``fit``, no label of a row comes from a fit that has
    seen its group. "auto" and numbers in ``cv`` then mean folds of whole groups, and
    neither leave-one-out nor out-of-bag values are used by "auto". The selection holds out whole
    groups, and so does a student whose ``fit`` takes groups. Transfer rows belong to the group of
    the row at which they started, and are labeled by a teacher that has not seen it.

    **Cost.** The teacher is fitted on all rows. If it has no out-of-sample values of its own, it
    is fitted five more times on 4/5 of the rows. The selection adds the same fits of the teacher on
    the rows that are not held out, and a fit of the student for each of targets alone, two values
    of ``alpha``, and transfer rows. With ``quantiles``, the calibration takes as long as five fits
    with fixed settings: the teacher is fitted 30 times more, on 4/5 of the rows and less, unless it
    is frozen.

    **Metadata.** Without metadata routing, sample weights are passed to the last steps of
    pipelines only. The labels are made inside ``fit``, so that a search leaks nothing through the
    teacher.

    References
    ----------
    .. [1] R. Das, S. Sanghavi (2023). Understanding self-distillation in the presence of label
       noise. arXiv:2301.13304.
    .. [2] Y. Romano, E. Patterson, E. J. Candes (2019). Conformalized quantile regression.
       arXiv:1905.03222.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.ensemble import RandomForestRegressor
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> from sklearn_kd import DistilledRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> forest, tree = RandomForestRegressor(50), DecisionTreeRegressor(max_leaf_nodes=8)
    >>> small = DistilledRegressor(forest, tree, alpha=0.5, augmentation=None, random_state=0)
    >>> small = small.fit(X[::2], y[::2])
    >>> small.label_source_
    'oob'
    >>> bool(small.score(X[1::2], y[1::2]) > 0.25)
    True
    """

    __module__ = "sklearn_kd"

    _parameter_constraints: dict = {
        **DistillerMixin._parameter_constraints,
        "teacher": [HasMethods(["fit"]), dict, None],
        "quantiles": ["array-like", None],
    }

    def __init__(  # noqa: PLR0913
        self,
        teacher=None,
        student=None,
        *,
        alpha="auto",
        cv="auto",
        augmentation="auto",
        n_augmented="auto",
        quantiles=None,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.teacher = teacher
        self.student = student
        self.alpha = alpha
        self.cv = cv
        self.augmentation = augmentation
        self.n_augmented = n_augmented
        self.quantiles = quantiles
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @staticmethod
    def _default_teacher():
        from sklearn_kd._kernel.regressor import KernelTeacherRegressor

        return requesting_weights(KernelTeacherRegressor())

    @staticmethod
    def _default_student():
        from sklearn_kd._networks.two_layer.regressor import TwoLayerPGDRegressor

        return requesting_weights(TwoLayerPGDRegressor())

    @property
    def _task_type(self):
        if self.quantiles is None:
            return RegressionTask
        return QuantileTask.of_levels(learned_levels(self.quantiles))

    def _given_teacher(self):
        return LevelRegressors.of(self.teacher) if isinstance(self.teacher, dict) else self.teacher

    def _check_rows_of_task(self, student, spec, rows):
        if self.quantiles is not None:
            spec.task.check_given(student, rows.given)
            check_calibration(spec, rows)

    score = numpy_inputs(RegressorMixin.score)

    @numpy_inputs
    @fit_context(prefer_skip_nested_validation=False)  # teacher and student validate theirs
    @warning_scope()
    def fit(  # noqa: PLR0913
        self,
        X,
        y,
        sample_weight=None,
        soft_targets=None,
        X_unlabeled=None,
        *,
        groups=None,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
        **params,
    ):
        """Fit the teacher, label the rows with it, and fit the student on the labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training rows, which teacher and student get as they are. Rows for pipelines, such as
            texts, may be in a list, a Series or an array of one dimension.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Finite numbers. A single column is passed to teacher and student without the second
            dimension.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, for teacher and student. A weight of zero means absence.
        soft_targets : array-like, same shape as y, default=None
            Numbers that replace the teacher's labels, in the units of ``y``. A row of NaN means
            that the row has its target only. With ``quantiles`` they are quantiles of shape
            (n_samples, n_levels), for each of the levels and for 0.5, ascending.
        X_unlabeled : {array-like, sparse matrix, dataframe}, default=None
            More rows, for the teacher to label, in a container like that of X. Each has the mean
            weight of the training rows. They are not used if "auto" selects targets alone.
        groups : array-like of shape (n_samples,), default=None
            Group of each row, such as the patient of a visit. See Notes.
        X_val : {array-like, sparse matrix, dataframe} of shape (n_val, n_features), default=None
            Rows that decide when the training of the student ends, if its ``fit`` takes ``X_val``.
            They are not trained on and get no labels of the teacher. In a pipeline, around this
            regressor or of the student, they need ``transform_input=["X_val"]``.
        y_val : array-like of shape (n_val,) or (n_val, n_targets), default=None
            Targets of ``X_val``.
        sample_weight_val : array-like of shape (n_val,), default=None
            Weights of ``X_val``.
        **params : dict
            Other metadata that teacher, student or the splitter ``cv`` have requested. This needs
            metadata routing.

        Returns
        -------
        self : DistilledRegressor
            The fitted regressor.

        Raises
        ------
        TypeError
            If the teacher or the student is a classifier, or the teacher predicts no quantiles and
            ``quantiles`` are set.
        ValueError
            For targets that are no finite numbers, and for a teacher or a student that predicts
            NaN or infinity. Before anything is fitted: if all rows are in one group, if ``cv``
            splits by groups and there are none, if ``X_val`` has other features, or if there are
            fewer rows than the coverage c of the widest pair of ``quantiles`` needs, which is
            ``ceil(1 / (1 - c))`` without copies, or no folds or groups to calibrate them: at least
            three are needed, whose training targets vary. A :class:`KernelTeacherRegressor` needs
            twice as many distinct rows in each of its fits, of which the smallest have 64 % of the
            rows with ``cv="auto"``.
        """
        if isinstance(self.teacher, dict) and self.quantiles is None:
            raise ValueError(
                "the teacher is a dict of regressors for quantiles, and quantiles=None: set "
                "quantiles, or pass one regressor."
            )
        given = FitArguments(X, y, sample_weight, soft_targets, groups, params)
        validation = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
        return self._distill(given, X_unlabeled, validation)

    def _attributes_of_task(self, student, data, training_set, selection, transfer):
        fitted = {"_n_targets": data.task.n_targets if data.task.is_column else None}
        if self.quantiles is not None:
            shift = calibrated_shift(student, data, selection.setting, transfer)
            fitted |= {"quantiles_": check_levels(self.quantiles), "quantile_shift_": shift}
            fitted["_student_mode"] = student.mode
        return fitted

    def _adopt(self, fitted, student):
        super()._adopt(fitted, student)
        self._n_targets = fitted._n_targets

    @numpy_inputs
    def predict(self, X):
        """Predict targets with the student: the median with ``quantiles``.

        Parameters
        ----------
        X : rows of shape (n_samples, n_features), as the student takes them

        Returns
        -------
        y : ndarray of float64 of shape (n_samples,) or (n_samples, n_targets)
            As ``y`` was, in its units.
        """
        self._check_new_rows(X)
        if hasattr(self, "quantiles_"):
            levels, values = self._learned_quantiles(X)
            return values[:, np.abs(levels - 0.5).argmin()]
        values = numbers_of_student(self.student_, X, self._n_targets or 1)
        return values[:, 0] if self._n_targets is None else values

    @available_if(_has_quantiles)
    @numpy_inputs
    def predict_quantiles(self, X):
        """Predict quantiles of the target of each row, which do not cross.

        They are those of the student plus ``quantile_shift_``, sorted for each row. Available with
        ``quantiles``.

        Parameters
        ----------
        X : rows of shape (n_samples, n_features), as the student takes them

        Returns
        -------
        ndarray of float64 of shape (n_samples, n_quantiles)
            In the order of ``quantiles_``, which ascends.
        """
        self._check_new_rows(X)
        if not hasattr(self, "quantiles_"):
            raise ValueError("the fit had quantiles=None: call fit again.")
        levels, values = self._learned_quantiles(X)
        return values[:, np.abs(levels[:, None] - self.quantiles_).argmin(axis=0)]

    def _learned_quantiles(self, X):
        """Return the levels that the student has learned, and its calibrated quantiles."""
        levels = learned_levels(self.quantiles_)
        values = quantiles_of_student(self.student_, self._student_mode, X, levels)
        return levels, np.sort(values + self.quantile_shift_, axis=1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        parts = [self._get_teacher(), self._get_student()]
        parts = [get_tags(part) for part in parts if hasattr(part, "__sklearn_tags__")]
        tags.target_tags.multi_output = all(part.target_tags.multi_output for part in parts)
        if self.quantiles is not None:
            tags.target_tags.multi_output = False
        return tags
