"""DistilledClassifier: any classifier compressed into another one."""

import copy
from numbers import Integral, Real

from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.callback import CallbackSupportMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_kd._distillation.fit import (
    check_classes,
    fit_student,
    label_training_rows,
    resolve_estimators,
    select,
)
from sklearn_kd._distillation.predictions import StudentPredictor
from sklearn_kd._distillation.teacher_labels import LabelingSpec
from sklearn_kd._distillation.training_set import check_training_rows
from sklearn_kd._utils.containers import warn_if_sliceable
from sklearn_kd._utils.documentation import DocumentationLinkMixin
from sklearn_kd._utils.sklearn_compat import (
    HasMethods,
    Interval,
    StrOptions,
    fit_context,
    num_samples,
    raise_for_params,
)
from sklearn_kd._utils.sub_estimators import last_step, merge_tags, without_own_requests
from sklearn_kd._utils.warnings import warn_caller

__all__ = ["DistilledClassifier"]


def _student_has(method):
    """Return a check whether the fitted student, or else the one to be fitted, has a method."""

    def check(self):
        student = getattr(self, "student_", None)
        if student is None:
            student = self._get_student()
        getattr(student, method)  # its AttributeError says what is missing
        return True

    return check


class DistilledClassifier(
    DocumentationLinkMixin, CallbackSupportMixin, MetaEstimatorMixin, ClassifierMixin, BaseEstimator
):
    r"""Compress any classifier into a small, fast one.

    The teacher is fitted and gives each training row its class probabilities, by default from
    fits that have not seen that row; the student learns from those. The student is then a
    classifier on its own: the teacher is not needed to predict.

    A student whose ``fit`` takes ``soft_targets`` minimizes, over logits f and with the teacher's
    logits z (the logarithm of its probabilities) [1]_,

    .. math:: \alpha T^2 \, KL(softmax(z / T) \,\|\, softmax(f / T))
              + (1 - \alpha) \, CE(y, softmax(f)).

    Any other student that takes sample weights is fitted on weighted copies of each row, one per
    class, which is the same loss for ``alpha=1`` or T = 1.

    Parameters
    ----------
    teacher : classifier, default=None
        Any classifier with ``predict_proba`` or ``decision_function``: a pipeline, a search, a
        skorch net. It is cloned and fitted, or used as it is inside
        :class:`sklearn.frozen.FrozenEstimator`; classes that a frozen teacher knows and ``y``
        lacks are kept. Decision values become probabilities by a slope and an offset per class
        (Platt's sigmoid [4]_ for two classes), fitted to ``y`` on the values that become labels.
        None is ``KernelTeacher()``.
    student : classifier, default=None
        Any classifier whose ``fit``, or the ``fit`` of a pipeline's last step, takes
        ``soft_targets`` or ``sample_weight``. None is ``TwoLayerPGDClassifier()``. It is cloned;
        ``alpha`` and ``temperature`` are set on a clone that has them, whatever the student's
        own are.
    alpha : float or "auto", default="auto"
        Weight of the teacher's labels, the hard labels having ``1 - alpha``. "auto" takes 0, 0.25,
        0.5 or 1, see Notes. Above 1 (against noise in the labels [2]_) needs T = 1 and a student
        that takes ``soft_targets`` and has a finite radius, weight decay or early stopping: the
        loss has no lower bound.
    temperature : float or "auto", default="auto"
        T in the loss. Above 1 the student attends more to the small probabilities. Whatever T
        is, a student that can represent the teacher's probabilities ends at them. "auto" takes 1
        or 3, with a number for ``alpha`` one of 0.5, 1, 2, 3, 5. Row expansion takes T other
        than 1 for ``alpha=1`` only.
    cv : "auto", "in-sample", int, splitter, iterable of splits or None, default="auto"
        How the training rows get labels from fits that have not seen them.

        - "auto": the teacher's own leave-one-out (``loo_proba_``) or out-of-bag labels where it
          has them, out-of-bag scoring being switched on in the clone of a teacher that
          bootstraps; rows that were never out of bag, and all rows of other teachers, by five
          shuffled stratified folds.
        - None or an int, a splitter, an iterable of splits: cross-fitting on these folds, as in
          :func:`sklearn.model_selection.check_cv`. A row tested twice gets the mean of its
          labels, a row that no fold tests keeps its hard label, and a warning says so where
          those are more than half.
        - "in-sample": the teacher labels the rows it was fitted on. Cheapest, and worthless with
          a teacher that memorizes, which
          :class:`~sklearn_kd.exceptions.InSampleLabelsWarning` tells.

        Not used with a frozen teacher, alone or as last step of a pipeline, which labels the
        rows as it is. For rows in groups or in time give the splitter that keeps them apart.
    calibration : "temperature" or None, default="temperature"
        Sharpen or soften labels of rows that the teacher has not been fitted on, by the
        temperature at which their log loss is least: a forest's votes are too cautious, a boosted
        ensemble's probabilities too sure. Not done to labels of a frozen teacher, in-sample ones,
        ``soft_targets``, and calibrated decision values. A TwoLayerPGDClassifier for which "auto"
        takes in-sample labels is calibrated itself, by the rows held out in the trial (unless
        classes are weighted).
    augmentation : "auto", "munge", "gibbs", callable or None, default="auto"
        Transfer rows: more rows like those of X (and ``X_unlabeled``) for the teacher to label.
        "munge" and "gibbs" are those of :func:`sklearn_kd.datasets.make_transfer_rows`, made
        before any encoding, from a DataFrame or a dense array. A callable is called as
        ``augmentation(X, n_rows, seed)`` and returns rows in the container of X. "auto" tries
        "gibbs" on up to 256 columns, and keeps none where they do not pay.
    n_augmented : int or "auto", default="auto"
        Number of transfer rows. "auto" is three times the rows of X. Rows are counted, not weights,
        so that with transfer rows a weight of k is not k copies.
    augmented_labels : {"fixed", "recomputed"}, default="fixed"
        Whether a row that the ``augmentation`` of a :class:`ModuleClassifier` has changed keeps
        its label, or gets a new one from the fitted teacher.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in both parts of the loss: those of soft labels count each class
        by its weight. Leave the teacher unweighted, whose labels would be weighted twice. At T
        other than 1 the two parts of a row share one weight; "auto" then keeps T = 1.
    class_prior : "uniform", "training", array-like of shape (n_classes,) or None, default=None
        Shares of the classes where the student will predict. Its probabilities are multiplied by
        these over the shares that it learnt from, and normalized [5]_: "uniform" makes rare
        classes as likely as others without weighting the loss, "training" undoes
        ``class_weight``. None leaves them.
    n_jobs : int, default=None
        Parallel fits in cross-fitting and in trials of students one by one; the teacher's and
        student's own ``n_jobs`` are theirs.
    random_state : int, RandomState instance or None, default=None
        Of the folds. Unless it is None, it also seeds each ``random_state`` in teacher and
        student that is None, so that one number makes the whole fit reproducible.
    verbose : int, default=0
        Print one line for each stage.

    Attributes
    ----------
    student_ : classifier
        The fitted student.
    teacher_ : classifier
        The teacher fitted on all rows (or the frozen one). Absent where ``soft_targets`` made it
        unnecessary.
    classes_ : ndarray of shape (n_classes,)
        Sorted labels of ``y``, of a frozen teacher and of labeled ``soft_targets``.
    alpha_, temperature_ : float
        Those used.
    label_source_ : {"loo", "oob", "cv", "in-sample", "frozen", "given", "hard"}
        Where the labels of the training rows came from; "hard": from ``y`` alone, since "auto"
        found no gain, of which :class:`~sklearn_kd.exceptions.NoGainWarning` tells.
    label_temperature_ : float
        What the labels were calibrated by: below 1 they were sharpened. Absent without a teacher.
    student_temperature_ : float
        What the logarithms of the student's probabilities are divided by: 1 unless "auto" has taken
        in-sample labels, see ``calibration``.
    n_augmented_ : int
        Transfer rows that the student was fitted on.
    duplicate_fraction_ : float
        Fraction of the transfer rows drawn that duplicated training rows and were dropped. NaN
        without transfer rows and for those of a callable.
    candidates_ : dict of ndarray of shape (n_candidates,) or None
        What "auto" chose from: ``alpha``, ``temperature``, ``label_source``, ``n_augmented``, the
        held-out ``loss``, its ``gain`` over the first candidate (hard labels for
        ``alpha="auto"``) and ``accuracy_gain``, with standard errors ``gain_error`` and
        ``accuracy_gain_error``, and which was ``chosen``. For T and transfer rows of a network
        these are those of the best labels without, and what they add in brief. None where there
        was no choice, or too few rows.
    n_features_in_ : int
        Number of features seen during fit, where X has one.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during fit, where X has string names.

    See Also
    --------
    sklearn.calibration.CalibratedClassifierCV : Better probabilities from the same classifier.

    Notes
    -----
    "auto" is a trial on the training rows: a quarter of them is held out (three quarters for a
    student that is no TwoLayerPGDClassifier); teacher and candidates are fitted on the rest,
    transfer rows made of it; and the setting of the least log loss on the hard labels held out is
    taken (the share of errors for a student without probabilities), without class weights and
    before ``class_prior``. Hard labels are taken where they are better by more than two standard
    errors, in loss or accuracy, and under a teacher of more loss than theirs (on the rows held
    out, of which a frozen one may know some) by more than half of one; T other than 1 and transfer
    rows, which are tried beside the best labels without, where they are better by more than one
    and a half. With ``alpha="auto"`` and ``cv="auto"`` in-sample labels are tried too. Candidates
    of a TwoLayerPGDClassifier train in the same matrix products, in a fifth of the epochs (T and
    transfer rows in a twelfth; half of that where a fit has one start; on up to 1,000 rows twice,
    with two quarters held out in turn); other students have fewer candidates, each fitted once on
    a quarter of the rows. With a splitter or splits for ``cv`` the last of them says which rows
    are held out. Below 100 distinct rows, or where a single split or two halves are all there is,
    there is no trial, and "auto" means ``alpha=0.5``, T = 1 and no transfer rows.

    Cost: one fit of the teacher on all rows, five more on 4/5 of the rows where it has no
    out-of-sample labels of its own (one more at most with ``cv="in-sample"``, to see whether it
    memorizes), and one of the student. A trial adds the same for the teacher on the rows that are
    not held out (twice on up to 1,000 rows), and for the student about the time of one or two fits
    on the same rows. Row expansion trains on up to ``n_samples * n_classes`` copies in memory.

    Row expansion is exact for students whose loss is a weighted sum over rows. Its labels are
    tempered before the fit, :math:`softmax(z / T)`, and :math:`softmax(T \ln g)` is predicted,
    g being the student's probabilities; that is exact for unpenalized logistic regression and
    for trees that interpolate, approximate for others. Early stopping on a split of the
    student's own, or of one inside it, is switched off, since copies of one row would be on both
    sides; a student that cross-validates inside (``LogisticRegressionCV``) does the same and
    cannot be helped. ``class_weight="balanced"`` of the student becomes weights that count rows
    (``student_`` then has none); what else counts, ``min_samples_leaf`` and the like, counts
    copies, up to one a class for each row. In a pipeline only the last step sees copies.

    Without metadata routing, sample weights go to the last steps of pipelines only.

    The labels are made inside ``fit``: a search leaks nothing through the teacher [3]_.

    References
    ----------
    .. [1] G. Hinton, O. Vinyals, J. Dean (2015). Distilling the knowledge in a neural network.
       arXiv:1503.02531, section 2.
    .. [2] R. Das, S. Sanghavi (2023). Understanding self-distillation in the presence of label
       noise. arXiv:2301.13304.
    .. [3] Pocket foundation models (2026). arXiv:2605.18654 (out-of-fold labels).
    .. [4] J. Platt (1999). Probabilistic outputs for support vector machines and comparisons to
       regularized likelihood methods.
    .. [5] A. K. Menon, S. Jayasumana, A. S. Rawat, H. Jain, A. Veit, S. Kumar (2021). Long-tail
       learning via logit adjustment. arXiv:2007.07314.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_kd import DistilledClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> forest = RandomForestClassifier(50)
    >>> linear = make_pipeline(StandardScaler(), LogisticRegression())
    >>> small = DistilledClassifier(forest, linear, alpha=0.5, random_state=0)
    >>> small = small.fit(X[::2], y[::2])
    >>> small.label_source_
    'oob'
    >>> bool(small.score(X[1::2], y[1::2]) > small.teacher_.score(X[1::2], y[1::2]))
    True
    """

    __module__ = "sklearn_kd"

    _parameter_constraints: dict = {
        # some meta-estimators have predict only after fit
        "teacher": [HasMethods(["fit"]), None],
        "student": [HasMethods(["fit"]), None],
        "alpha": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "temperature": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "cv": ["cv_object", StrOptions({"auto", "in-sample"})],
        "calibration": [StrOptions({"temperature"}), None],
        "augmentation": [StrOptions({"auto", "munge", "gibbs"}), callable, None],
        "n_augmented": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "augmented_labels": [StrOptions({"fixed", "recomputed"})],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "class_prior": ["array-like", StrOptions({"uniform", "training"}), None],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        teacher=None,
        student=None,
        *,
        alpha="auto",
        temperature="auto",
        cv="auto",
        calibration="temperature",
        augmentation="auto",
        n_augmented="auto",
        augmented_labels="fixed",
        class_weight=None,
        class_prior=None,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.teacher = teacher
        self.student = student
        self.alpha = alpha
        self.temperature = temperature
        self.cv = cv
        self.calibration = calibration
        self.augmentation = augmentation
        self.n_augmented = n_augmented
        self.augmented_labels = augmented_labels
        self.class_weight = class_weight
        self.class_prior = class_prior
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _get_teacher(self):
        """Return the teacher to be cloned; the default one is imported when it is needed."""
        if self.teacher is not None:
            return self.teacher
        from sklearn_kd._kernel.teacher import KernelTeacher

        return KernelTeacher()

    def _get_student(self):
        """Return the student to be cloned; the default one is imported when it is needed."""
        if self.student is not None:
            return self.student
        from sklearn_kd._networks.two_layer.classifier import TwoLayerPGDClassifier

        return TwoLayerPGDClassifier()

    @fit_context(prefer_skip_nested_validation=False)  # teacher and student validate theirs
    def fit(self, X, y, sample_weight=None, soft_targets=None, X_unlabeled=None, **params):
        """Fit the teacher, label the rows with it, and fit the student on the labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training rows, handed on as they are.
        y : array-like of shape (n_samples,)
            Class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, for teacher and student. Zero means that the row is absent.
        soft_targets : array-like of shape (n_samples, n_classes) or DataFrame, default=None
            Probabilities at T = 1 that replace the teacher's labels: an array in the order of
            ``np.unique(y)``, or a DataFrame whose columns are class labels.
        X_unlabeled : {array-like, sparse matrix, dataframe}, default=None
            More rows, for the teacher to label. Each has the mean weight of the others. Where
            the loss has a hard term (``alpha`` other than 1), its label is the teacher's most
            probable class. (A transfer row has a hard label at T other than 1 only.) Not used
            where "auto" ends at hard labels.
        **params : dict
            Metadata that teacher, student or the splitter ``cv`` have requested, such as
            ``groups``. Needs metadata routing.

        Returns
        -------
        self : DistilledClassifier
            The fitted classifier.
        """
        raise_for_params(params, self, "fit")
        ctx = self._init_callback_context(max_subtasks=2)
        ctx.call_on_fit_task_begin(estimator=self, X=X, y=y)
        labels_more_rows = X_unlabeled is not None or self.augmentation not in (None, "auto")
        estimators = resolve_estimators(
            self, needs_teacher=soft_targets is None or labels_more_rows
        )
        teacher, student = estimators.teacher, estimators.student
        is_frozen = isinstance(last_step(teacher), FrozenEstimator)
        rows, classes = check_training_rows(
            self,
            X,
            y,
            sample_weight,
            soft_targets,
            params,
            teacher=None if is_frozen else teacher,
            student=student.estimator,
        )
        check_classes(classes, teacher if is_frozen else None)
        warn_if_sliceable(X_unlabeled, num_samples(y))
        spec = LabelingSpec(
            teacher,
            classes,
            cv=self.cv,
            calibrate=self.calibration is not None,
            class_weight=self.class_weight,
            seed=estimators.fold_seed,
            n_jobs=self.n_jobs,
            X_unlabeled=X_unlabeled,
        )
        selection, transfer = select(self, estimators, spec, rows)
        labeled = label_training_rows(self, ctx, student, spec, rows, selection.setting, transfer)
        fitted = fit_student(self, ctx, student, labeled, selection, transfer)
        # all at once, at the end: a fit that fails or is interrupted changes nothing
        validate_data(self, X, skip_check_array=True)
        for name in ("teacher_", "label_temperature_"):
            vars(self).pop(name, None)
        vars(self).update(fitted)
        ctx.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes=lambda: fitted)
        return self

    @property
    def copy_share_(self):
        """Former name of ``duplicate_fraction_``."""
        value = self.duplicate_fraction_
        warn_caller(
            "The attribute copy_share_ is deprecated and will be removed in 0.3. Use "
            "duplicate_fraction_ instead.",
            FutureWarning,
        )
        return value

    def _adopt(self, fitted, student):
        """Take over the fit of another with the same teacher and labels, but for its student."""
        names = [name for name in vars(fitted) if name.endswith("_")]
        vars(self).update({name: getattr(fitted, name) for name in names})
        self.student_ = student
        self.alpha_, self.temperature_ = float(self.alpha), float(self.temperature)
        self.student_temperature_ = self._power = 1.0  # a student trained on the loss itself
        self._log_prior = fitted._log_prior

    def _predictor(self):
        check_is_fitted(self)
        return StudentPredictor(self.student_, self.classes_, self._power, self._log_prior)

    def predict(self, X):
        """Labels that the student predicts.

        Parameters
        ----------
        X : rows of shape (n_samples, n_features), as the student takes them

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Class labels.
        """
        return self._predictor().predict(X)

    @available_if(_student_has("predict_proba"))
    def predict_proba(self, X):
        """Probabilities of the student; of T times its log-probabilities after row expansion.

        Parameters
        ----------
        X : rows of shape (n_samples, n_features), as the student takes them

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        return self._predictor().predict_proba(X)

    @available_if(_student_has("predict_proba"))
    def predict_log_proba(self, X):
        """Logarithm of :meth:`predict_proba`.

        Parameters
        ----------
        X : rows of shape (n_samples, n_features), as the student takes them

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``; -inf for a class that the student never saw.
        """
        return self._predictor().predict_log_proba(X)

    @available_if(_student_has("decision_function"))
    def decision_function(self, X):
        """Decision values of the student, times T after row expansion.

        Parameters
        ----------
        X : rows of shape (n_samples, n_features), as the student takes them

        Returns
        -------
        decision : ndarray of shape (n_samples,) or (n_samples, n_classes)
            One value per row for two classes. A class that the student never saw has a value
            below all others of its row.
        """
        return self._predictor().decision_function(X)

    def without_teacher(self):
        """Copy that has dropped the teacher: small on disk, predicts the same.

        Returns
        -------
        small : DistilledClassifier
            Fitted, with ``teacher=None`` and ``student`` unfitted. To be fitted again it needs a
            teacher or ``soft_targets``.
        """
        check_is_fitted(self)
        small = copy.copy(self)
        small.teacher = None
        if self.student is not None:
            small.student = clone(self.student)  # it may have been fitted before
        vars(small).pop("teacher_", None)
        return small

    def get_metadata_routing(self):
        """Get metadata routing of this object.

        Returns
        -------
        routing : MetadataRouter
            Requests of this estimator, its teacher, its student and its splitter.
        """
        fit = MethodMapping().add(caller="fit", callee="fit")
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(teacher=without_own_requests(self.teacher), method_mapping=fit)
            .add(student=without_own_requests(self._get_student()), method_mapping=fit)
            .add(splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split"))
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        return merge_tags(tags, [self.teacher, self._get_student()])
