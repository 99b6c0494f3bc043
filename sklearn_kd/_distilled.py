"""DistilledClassifier: any classifier compressed into another one."""

import copy
import time
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklearn_kd._meta import (
    Subtask,
    extend_weights,
    merge_tags,
    route_fit,
    seeded,
    stack_rows,
    student_has,
    warn_if_sliceable,
    without_own_requests,
)
from sklearn_kd._row_expansion import (
    StudentFit,
    choose_temperature,
    student_decision,
    student_labels,
    student_log_proba,
    student_mode,
    student_proba,
)
from sklearn_kd._student import row_labeler
from sklearn_kd._teacher_labels import label_rows, merge_classes
from sklearn_kd._validation import (
    HasMethods,
    Interval,
    StrOptions,
    _check_method_params,
    _check_y,
    _fit_context,
    _num_samples,
    _raise_for_params,
    _safe_indexing,
    align_columns,
    check_row_order,
    check_soft_targets,
    encode_labels,
    last_step,
    validate_data,
    validate_sample_weight,
)

__all__ = ["DistilledClassifier"]


class DistilledClassifier(CallbackSupportMixin, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    r"""Compress any classifier into a small, fast one.

    The teacher is fitted and gives each training row its class probabilities, by default from
    fits that have not seen that row; the student learns from those. The student is then a
    classifier on its own: the teacher is not needed to predict.

    A student whose ``fit`` takes ``soft_targets`` minimises, over logits f and with the teacher's
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
    alpha : float, default=0.5
        Weight of the teacher's labels, the hard labels having ``1 - alpha``. Half and half did
        best under forests, whose own probabilities are too cautious. Raise it to 1 for a
        calibrated teacher clearly better than the student. Above 1 (against noise in the labels
        [2]_) needs ``temperature=1`` and a student that takes ``soft_targets`` and has a finite
        radius, weight decay or early stopping: the loss has no lower bound.

    temperature : float or "auto", default=1.0
        T in the loss. Above 1 the student attends more to the small probabilities. Whatever T
        is, a student that can represent the teacher's probabilities ends at them. "auto" takes
        the one of 0.5, 1, 2, 3, 5 whose student has the least log loss on held-out hard labels.
        Row expansion takes T other than 1 for ``alpha=1`` only.
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
          a teacher that memorises, which
          :class:`~sklearn_kd.exceptions.InSampleLabelsWarning` tells.

        Not used with a frozen teacher, alone or as last step of a pipeline, which labels the
        rows as it is.
    augmented_labels : {"fixed", "recomputed"}, default="fixed"
        Whether a row that the ``augmentation`` of a :class:`ModuleClassifier` has changed keeps
        its label, or gets a new one from the fitted teacher.
    n_jobs : int, default=None
        Parallel fits in cross-fitting and in the search for a temperature; the teacher's and
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
        Sorted labels of ``y``, of a frozen teacher and of labelled ``soft_targets``.
    temperature_ : float
        The temperature used.
    label_source_ : {"loo", "oob", "cv", "in-sample", "frozen", "given"}
        Where the labels of the training rows came from.
    n_features_in_ : int
        Number of features seen during fit, where X has one.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during fit, where X has string names.

    See Also
    --------
    sklearn.calibration.CalibratedClassifierCV : Better probabilities from the same classifier.

    Notes
    -----
    Cost: one fit of the teacher on all rows, five more on 4/5 of the rows where it has no
    out-of-sample labels of its own (one more at most with ``cv="in-sample"``, to see whether it
    memorises), and one of the student; ``temperature="auto"`` adds fifteen fits of the student on
    2/3 of the rows. Row expansion trains on up to ``n_samples * n_classes`` copies in memory.

    Row expansion is exact for students whose loss is a weighted sum over rows. Its labels are
    tempered before the fit, :math:`softmax(z / T)`, and :math:`softmax(T \ln g)` is predicted,
    g being the student's probabilities; that is exact for unpenalised logistic regression and
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
    >>> small = DistilledClassifier(forest, linear, random_state=0).fit(X[::2], y[::2])
    >>> small.label_source_
    'oob'
    >>> bool(small.score(X[1::2], y[1::2]) > small.teacher_.score(X[1::2], y[1::2]))
    True
    """

    _parameter_constraints: dict = {
        # some meta-estimators have predict only after fit
        "teacher": [HasMethods(["fit"]), None],
        "student": [HasMethods(["fit"]), None],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "temperature": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "cv": ["cv_object", StrOptions({"auto", "in-sample"})],
        "augmented_labels": [StrOptions({"fixed", "recomputed"})],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        teacher=None,
        student=None,
        *,
        alpha=0.5,
        temperature=1.0,
        cv="auto",
        augmented_labels="fixed",
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.teacher = teacher
        self.student = student
        self.alpha = alpha
        self.temperature = temperature
        self.cv = cv
        self.augmented_labels = augmented_labels
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _get_teacher(self):
        """Return the teacher to be cloned; the default one is imported when it is needed."""
        if self.teacher is not None:
            return self.teacher
        from sklearn_kd._kernel_teacher import KernelTeacher

        return KernelTeacher()

    def _get_student(self):
        """Return the student to be cloned; the default one is imported when it is needed."""
        if self.student is not None:
            return self.student
        from sklearn_kd._two_layer import TwoLayerPGDClassifier

        return TwoLayerPGDClassifier()

    @_fit_context(prefer_skip_nested_validation=False)  # teacher and student validate theirs
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
            probable class.
        **params : dict
            Metadata that teacher, student or the splitter ``cv`` have requested, such as
            ``groups``. Needs metadata routing.

        Returns
        -------
        self : DistilledClassifier
            The fitted classifier.
        """
        _raise_for_params(params, self, "fit")
        needs_teacher = soft_targets is None or X_unlabeled is not None
        teacher = self._get_teacher() if needs_teacher else self.teacher
        rng = check_random_state(self.random_state)
        fold_seed, search_seed = (int(seed) for seed in rng.randint(2**31 - 1, size=2))
        student = self._get_student()
        if self.random_state is not None:
            teacher = None if teacher is None else seeded(teacher, rng)
            student = seeded(student, rng)
        mode = student_mode(student, self.alpha, self.temperature)

        ctx = self._init_callback_context(max_subtasks=2)
        ctx.call_on_fit_task_begin(estimator=self, X=X, y=y)

        check_row_order(soft_targets, X, y)
        y = _check_y(y, estimator=self)
        X, y = indexable(X, y)
        X_given, n_given = X, _num_samples(y)
        warn_if_sliceable(X_unlabeled, n_given)
        given = classes = None
        if soft_targets is not None:
            given, classes = check_soft_targets(soft_targets, y)
        rows = np.arange(n_given)
        if sample_weight is not None:
            sample_weight = validate_sample_weight(sample_weight, X)
            rows = np.flatnonzero(sample_weight)
        if len(rows) < n_given:
            # weight zero is absence, for whoever ignores weights and for the folds too
            params = _check_method_params(X, params=params, indices=rows)
            X, y, sample_weight = _safe_indexing(X, rows), y[rows], sample_weight[rows]
            given = None if given is None else given[rows]
        frozen = isinstance(last_step(teacher), FrozenEstimator)
        given_classes = classes
        classes, _ = encode_labels(y, classes)
        if frozen and needs_teacher:
            classes = merge_classes(classes, last_step(teacher))
        if len(classes) < 2:
            raise ValueError(f"at least two classes are needed, y has 1 class: {classes.tolist()}.")
        routed = route_fit(
            self, teacher if needs_teacher and not frozen else None, student, sample_weight, params
        )

        start = time.perf_counter()
        task = Subtask(ctx, "fit-teacher", self, X, y)
        labels = None
        if needs_teacher:
            labels = label_rows(
                teacher,
                X,
                y,
                classes,
                cv=self.cv,
                sample_weight=sample_weight,
                fit_params=routed["teacher"],
                split_params=routed["splitter"],
                rows=rows,
                n_given=n_given,
                n_jobs=self.n_jobs,
                seed=fold_seed,
                propagate=task.begin,
                needs_labels=given is None,
            )
            classes = labels.classes
        else:
            with task.begin(None):
                pass
        if given is None:
            Q, source = labels.proba, labels.source
        else:
            Q, source = align_columns(given, given_classes, classes), "given"
        _, codes = encode_labels(y, classes)
        n_labeled = len(codes)
        if X_unlabeled is not None:
            extra = labels.label_more(X_unlabeled)
            X, Q = stack_rows(X, X_unlabeled), np.concatenate([Q, extra])
            codes = np.concatenate([codes, extra.argmax(axis=1)])
            y = classes[codes]
            extend_weights(routed["student"], len(extra))
        if self.augmented_labels == "recomputed":
            routed["student"]["labeler"] = row_labeler(labels, X_given, student)
        task.end()
        self._say(f"labels of {len(codes)} rows, source {source!r}", start)

        start = time.perf_counter()
        task = Subtask(ctx, "fit-student", self, X, y)
        job = StudentFit(student, mode, float(self.alpha), classes)
        data = (X, y, codes, Q, routed["student"])
        temperature = self.temperature
        if temperature == "auto":
            temperature = choose_temperature(job, data, n_labeled, search_seed, self.n_jobs)
        fitted = {
            "student_": job.fit(*data, float(temperature), propagate=task.begin),
            "classes_": classes,
            "temperature_": float(temperature),
            "label_source_": source,
            # what the probabilities of the student itself are tempered by
            "_student_temperature": float(temperature) if mode == "expansion" else 1.0,
            **({} if labels is None else {"teacher_": labels.teacher}),
        }
        task.end(fitted)
        self._say(f"student {type(last_step(student)).__name__}, T = {temperature:g}", start)

        # all at once, at the end: a fit that fails or is interrupted leaves no half of one behind
        validate_data(self, X_given, skip_check_array=True)
        vars(self).pop("teacher_", None)
        vars(self).update(fitted)
        ctx.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes=lambda: fitted)
        return self

    def _adopt(self, fitted, student):
        """Take over the fit of another with the same teacher and labels, but for its student."""
        names = [name for name in vars(fitted) if name.endswith("_")]
        vars(self).update({name: getattr(fitted, name) for name in names})
        self.student_, self.temperature_ = student, float(self.temperature)
        self._student_temperature = 1.0  # that of a student trained on the loss itself

    def _say(self, message, start):
        if self.verbose:
            print(f"[DistilledClassifier] {message}, {time.perf_counter() - start:.1f} s")

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
        check_is_fitted(self)
        return student_labels(self.student_, X, self.classes_)

    @available_if(student_has("predict_proba"))
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
        check_is_fitted(self)
        return student_proba(self.student_, X, self.classes_, self._student_temperature)

    @available_if(student_has("predict_proba"))
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
        check_is_fitted(self)
        return student_log_proba(self.student_, X, self.classes_, self._student_temperature)

    @available_if(student_has("decision_function"))
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
        check_is_fitted(self)
        return student_decision(self.student_, X, self.classes_, self._student_temperature)

    def without_teacher(self):
        """Copy that has dropped the teacher: small on disk, predicts the same.

        Returns
        -------
        small : DistilledClassifier
            Fitted, with ``teacher=None`` and the same student. To be fitted again it needs a
            teacher or ``soft_targets``.
        """
        check_is_fitted(self)
        small = copy.copy(self)
        small.teacher = None
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
