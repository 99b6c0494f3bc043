"""What DistilledClassifier and DistilledRegressor share: parameters, fit, routing and tags."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral, Real

from sklearn.base import MetaEstimatorMixin, clone
from sklearn.callback import CallbackSupportMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_kd._distillation.fit import (
    fit_student,
    label_training_rows,
    resolve_auto,
    resolve_estimators,
)
from sklearn_kd._distillation.input_checks import check_before_fits
from sklearn_kd._distillation.teacher_labels import LabelingSpec
from sklearn_kd._distillation.training_set import check_training_rows
from sklearn_kd._tables.readable import check_no_missing_cells
from sklearn_kd._utils.base import PublicEstimatorMixin
from sklearn_kd._utils.callbacks import StageLines
from sklearn_kd._utils.containers import in_column_order, known_container, warn_if_sliceable
from sklearn_kd._utils.saved_state import without_history
from sklearn_kd._utils.sklearn_compat import (
    HasMethods,
    Interval,
    StrOptions,
    check_feature_names,
    num_samples,
    raise_for_params,
)
from sklearn_kd._utils.sub_estimators import (
    fitted_block,
    last_step,
    merge_tags,
    warn_if_fitted,
    with_default_estimators,
    without_own_requests,
)


class DistillerMixin(PublicEstimatorMixin, CallbackSupportMixin, MetaEstimatorMixin):
    """Meta-estimator that fits a student on the labels of a teacher.

    A subclass has the parameters of ``_parameter_constraints``, and

    - ``_task_type``, the subclass of `Task` that says what is learned, or an object of it that has
      no rows yet,
    - ``_default_teacher()`` and ``_default_student()``, the estimators that None stands for,
    - ``fit``, which passes its arguments to ``_distill``, and its predictions.
    """

    _history: tuple = ("candidates_",)
    #: Groups of a search or a pipeline around this estimator are meant for it, too.
    __metadata_request__fit = {"groups": True}

    _parameter_constraints: dict = {
        # some meta-estimators have predict only after fit
        "teacher": [HasMethods(["fit"]), None],
        "student": [HasMethods(["fit"]), None],
        "alpha": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "cv": ["cv_object", StrOptions({"auto", "in-sample"})],
        "augmentation": [StrOptions({"auto", "munge", "gibbs"}), callable, None],
        "n_augmented": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def _given_teacher(self):
        """Return the teacher of the user as an estimator, None for the default."""
        return self.teacher

    def _get_teacher(self):
        """Return the teacher to be cloned."""
        return self._default_teacher() if self.teacher is None else self._given_teacher()

    def _get_student(self):
        """Return the student to be cloned."""
        return self._default_student() if self.student is None else self.student

    def _task_type_of(self, y):
        """Return the task that the targets of a fit ask for."""
        return self._task_type

    def _check_student(self):
        """Return the student to be cloned, or raise an error if it cannot learn the labels."""
        student = self._get_student()
        self._task_type.student_mode(student, self)
        return student

    def _get_loss(self):
        """Return the parameters of the loss of a native student."""
        return self._task_type.loss_params(self)

    def set_params(self, **params):
        """Set parameters of this estimator, its teacher and its student.

        Parameters
        ----------
        **params : dict
            Parameters, with ``teacher__`` or ``student__`` before the name of one of theirs. In
            place of a teacher or student that is None, the default one is set then.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            For parameters of a teacher that is a dict of regressors.
        """
        nested = [name for name in params if name.startswith("teacher__")]
        if nested and isinstance(params.get("teacher", self.teacher), Mapping):
            raise ValueError(
                f"{nested[0]!r} cannot be set, since the teacher is a dict of regressors: set "
                "teacher to a dict of regressors that have the parameter."
            )
        defaults = {"teacher": self._default_teacher, "student": self._default_student}
        return super().set_params(**with_default_estimators(params, self, defaults))

    def _labeling_options(self):
        """Return options of `LabelingSpec` that are parameters of some distillers only."""
        return {}

    def _makes_weights(self):
        """Return whether rows get other weights than those of the user."""
        return False

    def _relabels_augmented_rows(self):
        """Return whether the teacher labels rows that the student has changed."""
        return False

    def _check_rows_of_task(self, student, spec, rows):
        """Raise further errors of the rows, before anything is fitted."""

    def _attributes_of_task(self, student, data, training_set, selection, transfer):
        """Return further fitted attributes, see `fit_student`."""
        return {}

    def _distill(self, given, X_unlabeled, validation):
        """Fit on the arguments of ``fit``.

        Parameters
        ----------
        given : FitArguments
        X_unlabeled : rows or None
        validation : dict
            ``X_val``, ``y_val`` and ``sample_weight_val``.

        Returns
        -------
        self : estimator
        """
        raise_for_params(given.params, self, "fit")
        given = given._replace(X=known_container(given.X))
        X, y = given.X, given.y
        ctx = self._init_callback_context(max_subtasks=3)  # with that of "auto"
        ctx.call_on_fit_task_begin(estimator=self, X=X, y=y)
        labels_more_rows = X_unlabeled is not None or self.augmentation not in (None, "auto")
        task_type = self._task_type_of(y)
        estimators = resolve_estimators(
            self, task_type, needs_teacher=given.soft_targets is None or labels_more_rows
        )
        teacher, student = estimators.teacher, estimators.student
        is_frozen = isinstance(last_step(teacher), FrozenEstimator)
        rows, task = check_training_rows(
            self,
            task_type,
            given._replace(params=given.params | validation),
            teacher=None if is_frozen else teacher,
            student=student.estimator,
        )
        spec = LabelingSpec(
            teacher,
            task,
            cv=self.cv,
            seed=estimators.fold_seed,
            n_jobs=self.n_jobs,
            X_unlabeled=in_column_order(X, X_unlabeled),
            lines=StageLines(self),
            keeps_fold_teachers=given.groups is not None and self.augmentation is not None,
            **self._labeling_options(),
        )
        rows = replace(rows, validation=check_before_fits(self, student, spec, rows, validation))
        self._check_rows_of_task(student, spec, rows)
        for name, more in {"X_unlabeled": X_unlabeled, "X_val": validation["X_val"]}.items():
            warn_if_sliceable(more, num_samples(y), name)
        if teacher is not None:
            warn_if_fitted(self._get_teacher())
        selection, transfer = resolve_auto(self, ctx, estimators, spec, rows)
        student = selection.student or student
        labeled = label_training_rows(self, ctx, student, spec, rows, selection.setting, transfer)
        fitted = fit_student(self, ctx, student, labeled, selection, transfer)
        # all attributes are set at once, so that a fit that fails or is interrupted changes nothing
        validate_data(self, X, skip_check_array=True)
        absent = "teacher_", "label_temperature_", "quantiles_", "quantile_shift_", "_warm_student"
        for name in absent:
            vars(self).pop(name, None)
        vars(self).update(fitted)
        ctx.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes=lambda: fitted)
        return self

    def _adopt(self, fitted, student):
        """Take the fitted attributes of another one, whose teacher and labels are the same."""
        names = [name for name in vars(fitted) if name.endswith("_")]
        vars(self).update({name: getattr(fitted, name) for name in names})
        self.student_ = student
        self.alpha_ = float(self.alpha)
        self._strict_teacher = fitted._strict_teacher

    def _check_new_rows(self, X):
        """Raise an error for rows to predict before a fit, and for those no label was given for."""
        if not hasattr(self, "student_"):  # the check reads tags, which takes longer than a row
            check_is_fitted(self)
        if self._strict_teacher is not None:
            check_feature_names(self, X, reset=False)  # columns of other names would all be missing
            check_no_missing_cells(X, self._strict_teacher)

    def without_teacher(self, *, keep_history=True):
        """Return a copy without the teacher, which is small on disk and predicts the same.

        Parameters
        ----------
        keep_history : bool, default=True
            Whether to keep what records the fit: ``candidates_`` and, of the student,
            ``loss_curve_``, ``validation_loss_curve_`` and ``initial_weights_``, or what a
            :class:`SelfDistillClassifier` says of its training labels. They take most of the bytes
            of a small student. Without them the copy is smallest, and predicts the same. A
            two-layer network needs its initial weights to continue by ``partial_fit``.

        Returns
        -------
        small : estimator
            Fitted, of the same class, with ``teacher=None`` and ``student`` unfitted. To be fitted
            again it needs a teacher or ``soft_targets``.
        """
        check_is_fitted(self)
        small = copy.copy(self)
        small.teacher = None
        if hasattr(self.student, "fit"):
            small.student = clone(self.student)  # it may have been fitted before
        vars(small).pop("teacher_", None)
        return small if keep_history else without_history(small)

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
            .add(
                teacher=without_own_requests(self._get_teacher(), keeps_explicit=True),
                method_mapping=fit,
            )
            .add(student=without_own_requests(self._get_student()), method_mapping=fit)
            .add(splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split"))
        )

    def _sk_visual_block_(self):
        return fitted_block(self, ["teacher", "student"])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        return merge_tags(tags, [self._get_teacher(), self._get_student()])


def student_has(method):
    """Return a check whether the fitted student, or else the one to be fitted, has a method."""

    def check(self):
        student = getattr(self, "student_", None)
        if student is None:
            student = self._get_student()
        getattr(student, method)  # its AttributeError says what is missing
        return True

    return check
