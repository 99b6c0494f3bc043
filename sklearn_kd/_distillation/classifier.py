"""DistilledClassifier: a meta-estimator that fits a student on the labels of a teacher."""

from numbers import Real

from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from sklearn_kd._distillation.base import DistillerMixin, student_has
from sklearn_kd._distillation.classification import ClassificationTask
from sklearn_kd._distillation.multilabel import MultilabelTask, takes_soft_label_indicator
from sklearn_kd._distillation.predictions import fitted_predictor, log_prior_shift
from sklearn_kd._distillation.stream import check_stream, fit_batch, learns_streams, new_student
from sklearn_kd._distillation.training_set import FitArguments
from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.label_indicators import (
    check_label_names,
    is_label_indicator,
    takes_label_indicator,
)
from sklearn_kd._utils.sklearn_compat import Interval, StrOptions, fit_context
from sklearn_kd._utils.sub_estimators import last_step, requesting_weights
from sklearn_kd._utils.warnings import warn_caller, warning_scope


class DistilledClassifier(DistillerMixin, ClassifierMixin, BaseEstimator):
    r"""Compress any classifier into a small, fast one.

    The teacher is fitted and predicts class probabilities for each training row, by default with
    fits that have not seen that row. The student is fitted on these soft labels. It is then a
    classifier on its own, and the teacher is not needed to predict.

    A student whose ``fit`` takes ``soft_targets`` minimizes the loss of [1]_ over its logits f,
    where the logits z of the teacher are the logarithms of its probabilities:

    .. math:: \alpha T^2 \, KL(softmax(z / T) \,\|\, softmax(f / T))
              + (1 - \alpha) \, CE(y, softmax(f)).

    Any other student that takes ``sample_weight`` is fitted on weighted copies of each row, one
    per class. This row expansion gives the same loss for ``alpha=1`` or T = 1.

    ``y`` may be an indicator of several labels of each row, see Notes.

    Parameters
    ----------
    teacher : classifier, default=None
        Any classifier with ``predict_proba`` or ``decision_function``: a pipeline, a search, a
        skorch net. It is cloned and fitted, even if it is fitted already, which gives a
        :class:`~sklearn_kd.exceptions.FittedTeacherWarning`. Inside
        :class:`sklearn.frozen.FrozenEstimator` it is used as it is, and classes that it knows and
        ``y`` lacks are kept. Decision values become probabilities by a slope and an offset per
        class (Platt's sigmoid [4]_ for two classes), fitted to ``y`` on the values that become
        labels. None is ``KernelTeacher()``.
    student : classifier or "auto", default=None
        Any classifier whose ``fit``, or the ``fit`` of a pipeline's last step, takes
        ``soft_targets`` or ``sample_weight``. It is cloned. If the last step has the parameters
        ``alpha`` and ``temperature``, the values of this classifier replace its own. None is
        ``TwoLayerPGDClassifier()``. "auto" chooses from this network, a deeper one and boosted
        trees of about its size on held-out rows, see Notes.
    alpha : float or "auto", default="auto"
        Weight of the soft labels. Hard labels have the weight ``1 - alpha``. "auto" selects from
        0 and 0.5 on held-out rows, see Notes. A value above 1 (against noise in the
        labels [2]_) needs T = 1 and a student that takes ``soft_targets`` and has early stopping,
        or a finite ``radius``, or ``weight_decay`` if it is a :class:`ModuleClassifier`, since the
        loss has no lower bound.
    temperature : float or "auto", default="auto"
        T in the loss. Above 1 the student attends more to small probabilities. A student that can
        represent the teacher's probabilities learns them at any T. "auto" is 1 if
        ``alpha="auto"``, and else selects from 0.5, 1, 2, 3 and 5. Row expansion honors a T other
        than 1 for ``alpha=1`` only.
    cv : "auto", "in-sample", int, splitter, iterable of splits or None, default="auto"
        How training rows get labels from fits that have not seen them.

        - "auto": the teacher's own leave-one-out (``loo_proba_``) or out-of-bag labels, if it has
          them. Out-of-bag scoring is switched on in the clone of a teacher that bootstraps. Rows
          that were never out of bag, and all rows of other teachers, are cross-fitted on five
          shuffled stratified folds, copies of a row in the same one unless few distinct rows occur
          often.
        - None or an int, a splitter, an iterable of splits: cross-fitting on these folds, as in
          :func:`sklearn.model_selection.check_cv`. A row that is tested twice gets the mean of its
          labels. A row that no fold tests keeps its hard label, and a warning is given if those
          are more than half.
        - "in-sample": the teacher labels the rows that it was fitted on. This takes the least
          time. It is of no use with a teacher that memorizes its rows, for which an
          :class:`~sklearn_kd.exceptions.InSampleLabelsWarning` is raised.

        A frozen teacher, alone or as the last step of a pipeline, labels the rows as it is. If
        rows belong to groups, pass ``groups`` to ``fit``. If rows are ordered in time, pass a
        splitter that tests later rows than it trains on. See Notes.
    calibration : "temperature" or None, default="temperature"
        Calibrate out-of-sample labels by the temperature at which their log loss is least. Most
        forests are underconfident, and most boosted ensembles are overconfident.
        Labels of a frozen teacher, in-sample labels, ``soft_targets`` and calibrated decision
        values stay as they are.
    augmentation : "auto", "munge", "gibbs", callable or None, default="auto"
        Method that makes transfer rows: more rows like those of X (and ``X_unlabeled``), for the
        teacher to label. "munge" and "gibbs" are those of
        :func:`sklearn_kd.datasets.make_transfer_rows`, which works on a DataFrame or a dense array
        before any encoding. A callable is called as ``augmentation(X, n_rows, seed)`` and returns
        rows in the container of X. "auto" tries "gibbs" on tables of up to 256 columns, and uses
        it if the student is better with it on held-out rows.
    n_augmented : int or "auto", default="auto"
        Number of transfer rows. "auto" is three times the number of rows of X, at most 100,000. The
        number does not depend on weights, so that with transfer rows a weight of k does not equal k
        copies.
    augmented_labels : {"fixed", "recomputed"}, default="fixed"
        Whether a row that the ``augmentation`` of a :class:`ModuleClassifier` has changed keeps
        its label, or gets a new one from the fitted teacher.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in both parts of the loss. In the soft part the probability of each
        class has the weight of this class. Leave the teacher unweighted, or its labels are
        weighted twice. At T other than 1 the two parts of a row share one weight, so that "auto"
        keeps T = 1.
    class_prior : "uniform", "training", dict, Series, array-like or None, default=None
        Shares of the classes where the student will predict, by label (a dict, or a Series whose
        index are the labels) or in the order of ``classes_``. Its probabilities are multiplied by
        these shares over those in its training data, and normalized [5]_. "uniform" makes rare
        classes as probable as others without weighting the loss. "training" undoes
        ``class_weight``. None leaves the probabilities as they are.
    n_jobs : int, default=None
        Number of parallel fits in cross-fitting, and in comparisons of students that are fitted
        one by one. ``n_jobs`` of the teacher and of the student act inside each fit.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the cross-fitting folds. If not None, it also seeds every unset
        ``random_state`` of teacher and student. Pass an int for reproducible results.
    verbose : int, default=0
        Print one line for each stage. A line begins with what runs, and ends with its time.

    Attributes
    ----------
    student_ : classifier
        The fitted student.
    teacher_ : classifier
        The teacher fitted on all rows, or the frozen teacher. Absent if ``soft_targets`` made it
        unnecessary. If a teacher or student of another package takes only the labels 0 to
        n_classes - 1, it, or the last step of its pipeline, is fitted on these inside a classifier
        that predicts labels of ``y``, whose ``estimator_`` is the one fitted.
    classes_ : ndarray of shape (n_classes,)
        Sorted labels of ``y``, of a frozen teacher and of labeled ``soft_targets``. For several
        labels of each row they are the indices of the columns of ``y``.
    multilabel_ : bool
        Whether ``y`` was an indicator of several labels.
    alpha_, temperature_ : float
        The values used.
    label_source_ : {"loo", "oob", "cv", "in-sample", "frozen", "given", "hard"}
        Source of the labels of the training rows. "hard" means that "auto" found no gain in soft
        labels. A :class:`~sklearn_kd.exceptions.NoGainWarning` is then raised.
    label_temperature_ : float, or ndarray of shape (n_labels,)
        Temperature by which the labels were calibrated. Below 1 they were sharpened. Absent
        without a teacher. Each of several labels has its own.
    n_augmented_ : int
        Number of transfer rows that the student was fitted on.
    duplicate_fraction_ : float
        Fraction of the transfer rows drawn that duplicated training rows and were dropped. NaN
        without transfer rows and for those of a callable.
    candidates_ : dict of ndarray of shape (n_candidates,) or None
        Settings that "auto" compared: ``alpha``, ``temperature``, ``label_source``,
        ``n_augmented``, the held-out ``loss``, its ``gain`` over the first candidate (hard labels
        for ``alpha="auto"``) and ``accuracy_gain``, their standard errors ``gain_error`` and
        ``accuracy_gain_error``, and which was ``chosen``, which need not be that of the least loss:
        a gain within the noise of the held-out rows changes no default. None if nothing was
        compared.
    student_candidates_ : dict of ndarray of shape (n_students,) or None
        Students that ``student="auto"`` compared: the class as ``student``, ``loss``, ``gain`` and
        so on as in ``candidates_``, and which was ``chosen``. None if none were compared.
    n_features_in_ : int
        Number of features seen during fit, if X has such a number.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit, if all of them are strings.

    See Also
    --------
    sklearn.calibration.CalibratedClassifierCV : Better probabilities from the same classifier.

    Notes
    -----
    **Selection.** "auto" holds out a part of the training rows. It fits the teacher and a student
    for each candidate setting on the other rows, and selects the setting of the least log loss on
    the hard labels of the held-out rows (the least error for a student without probabilities).
    Class weights and ``class_prior`` do not enter this loss. Hard labels are selected only if they
    are better by a number of standard errors, which is smaller for a teacher whose own loss is
    above that of hard labels. Temperatures other than 1 must be better than T = 1 by a number of
    standard errors, too. The candidates of a TwoLayerPGDClassifier train jointly, on three quarters
    of the rows. Other students are fitted one by one on a quarter of the rows. If ``cv`` is a
    splitter or an iterable of splits, the last split says which rows are held out. Of large tables
    a sample of 75,000 training rows and 25,000 held-out rows is used.

    Nothing is held out from fewer than 100 distinct rows, or if ``cv`` leaves no fold to label the
    other rows (a single split, two halves). "auto" is then ``alpha=0.5``, T = 1 and no transfer
    rows.

    **Choice of the student.** ``student="auto"`` selects the other settings for
    ``TwoLayerPGDClassifier()`` first. With these settings, it fits this network, a
    :class:`ModuleClassifier` of two hidden layers of the same width, and a
    :class:`~sklearn.ensemble.HistGradientBoostingClassifier` behind a :class:`TableEncoder`, on
    the same part of the rows. In a packed form (4 bytes for a weight, 10 for a split, 4 for a
    leaf), the trees have no more bytes than the network. Pickled they have three to four times as
    many. The student of the least held-out log loss is selected, but the network unless another is
    better by a number of standard errors. With ``alpha="auto"`` the trees are fitted on hard
    labels too. Each is fitted once more, twice on up to 1,000 rows. Nothing is compared where no
    rows are held out.

    **Cost.** The teacher is fitted on all rows. If it has no out-of-sample labels of its own, it
    is fitted five more times on 4/5 of the rows. With ``cv="in-sample"`` it is fitted at most once
    more, to detect memorization. The student is fitted once. The selection adds the same fits of
    the teacher on the rows that are not held out (twice on up to 1,000 rows if the student is a
    network), and a fit of the student for each of hard labels, soft labels and transfer rows. With
    transfer rows, the last fit is one on four times the rows. Row expansion trains on a copy of a
    row for each class, at most 20, in memory.

    **Groups.** If ``groups`` are passed to ``fit``, no label of a row comes from a fit that has
    seen its group. "auto" and numbers in ``cv`` then mean stratified folds of whole groups, and
    neither leave-one-out nor out-of-bag labels are used by "auto". The selection holds
    out whole groups, and so does a student whose ``fit`` takes groups. Transfer rows belong to the
    group of the row at which they started, and are labeled by a teacher that has not seen it. Each
    unlabeled row is a group of its own. Each class needs rows in two groups. Searches pass groups
    on with metadata routing only.

    **Rows in time.** If each split of ``cv`` trains on earlier positions than it tests, a student
    that stops early and whose ``fit`` takes ``X_val`` gets the last rows as ``X_val``, a fraction
    ``validation_fraction`` of the rows that it is not trained on. With ``early_stopping="auto"`` a
    network does not stop early on soft labels, and is trained on all rows.

    **Row expansion** is exact for students whose loss is a weighted sum over rows. Labels are
    tempered before the fit, :math:`softmax(z / T)`, and the probabilities g of the student become
    :math:`softmax(T \ln g)`. This is exact for unpenalized logistic regression and for trees that
    interpolate, and approximate for others. Early stopping of the student, or of an estimator
    inside it, on a split of its own is switched off, since copies of one row would be on both
    sides. A student that cross-validates inside (``LogisticRegressionCV``) has the same problem,
    and its splits cannot be switched off. ``class_weight="balanced"`` of the student becomes
    weights that count rows, and ``student_`` then has none. Other parameters that count rows
    (``min_samples_leaf``) count copies, up to one per class and row. In a pipeline only the last
    step sees copies. If a row has more than 20 classes of positive probability, up to 15 of the
    most probable ones keep it, and up to 5 classes drawn from the others have the remaining
    probability, in equal parts. Each class is drawn in proportion to its probability, so that the
    expectation of the loss is the same.

    **Several labels.** If ``y`` has several columns of 0 and 1, each label is a problem of two
    classes, and losses are means over the labels. The teacher is any classifier that takes such a
    ``y`` (trees, forests, neighbors, networks, one-vs-rest, chains, ``MultiOutputClassifier`` of
    any other, such as a :class:`KernelTeacher`), and its probabilities may be a list or an array.
    The student is one whose ``fit`` takes ``soft_targets`` of shape (n_samples, n_labels). Row
    expansion is not possible, since a copy of a row would need a weight for each label. Folds are
    shuffled but not stratified, and ``accuracy_gain`` in ``candidates_`` is that of the share of
    right labels. ``class_weight``, ``class_prior`` and ``student="auto"`` are errors.

    **Metadata.** Without metadata routing, sample weights are passed to the last steps of
    pipelines only. The labels are made inside ``fit``, so that a search leaks nothing through the
    teacher [3]_.

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
    _history = ("candidates_", "student_candidates_")
    _task_type = ClassificationTask

    _parameter_constraints: dict = {
        **DistillerMixin._parameter_constraints,
        "student": [*DistillerMixin._parameter_constraints["student"], StrOptions({"auto"})],
        "temperature": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "calibration": [StrOptions({"temperature"}), None],
        "augmented_labels": [StrOptions({"fixed", "recomputed"})],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "class_prior": ["array-like", dict, StrOptions({"uniform", "training"}), None],
    }

    def __init__(  # noqa: PLR0913
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

    @staticmethod
    def _default_teacher():
        from sklearn_kd._kernel.classifier import KernelTeacher

        return requesting_weights(KernelTeacher())

    @staticmethod
    def _default_student():
        from sklearn_kd._networks.two_layer.classifier import TwoLayerPGDClassifier

        return requesting_weights(TwoLayerPGDClassifier())

    def _get_student(self):
        """Return the student to be cloned, the first of those that are compared for "auto"."""
        return self._default_student() if isinstance(self.student, str) else super()._get_student()

    def set_params(self, **params):
        """Set parameters of this classifier, its teacher and its student.

        Parameters
        ----------
        **params : dict
            Parameters, with ``teacher__`` or ``student__`` before the name of one of theirs. In
            place of a teacher or student that is None, the default one is set then.

        Returns
        -------
        self : DistilledClassifier
        """
        nested = [name for name in params if name.startswith("student__")]
        if nested and isinstance(params.get("student", self.student), str):
            raise ValueError(
                f"{nested[0]!r} cannot be set with student='auto', which chooses among students of "
                "other parameters: set student=None for the default network, or a student."
            )
        return super().set_params(**params)

    score = numpy_inputs(ClassifierMixin.score)

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
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Class labels. Several columns of 0 and 1 are an indicator of several labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, for teacher and student. A weight of zero means absence.
        soft_targets : array-like of shape (n_samples, n_classes) or (n_samples, n_labels), or \
                DataFrame, default=None
            Probabilities at T = 1 that replace the teacher's labels: an array in the order of
            ``np.unique(y)``, or a DataFrame whose columns are class labels. A row of NaN means that
            the row has its hard label only. For several labels they are the probability of each
            column of ``y``.
        X_unlabeled : {array-like, sparse matrix, dataframe}, default=None
            More rows, for the teacher to label, in a container like that of X. Each has the mean
            weight of the training rows. If the loss has a hard term (``alpha`` other than 1), their
            hard label is the teacher's most probable class. (Transfer rows have a hard label at T
            other than 1 only.) They are not used if "auto" selects hard labels.
        groups : array-like of shape (n_samples,), default=None
            Group of each row, such as the patient of a visit. See Notes.
        X_val : {array-like, sparse matrix, dataframe} of shape (n_val, n_features), default=None
            Rows that decide when the training of the student ends, if its ``fit`` takes ``X_val``.
            They are not trained on and get no labels of the teacher. In a pipeline, around this
            classifier or of the student, they need ``transform_input=["X_val"]``.
        y_val : array-like of shape (n_val,) or (n_val, n_labels), default=None
            Class labels of ``X_val``.
        sample_weight_val : array-like of shape (n_val,), default=None
            Weights of ``X_val``.
        **params : dict
            Other metadata that teacher, student or the splitter ``cv`` have requested. This needs
            metadata routing.

        Returns
        -------
        self : DistilledClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            Before anything is fitted: if all rows of a class are in one group, if ``cv`` splits by
            groups and there are none, or if ``X_val`` has other features or classes.
        """
        if is_label_indicator(y):
            check_label_names(soft_targets, "soft_targets", y)
        given = FitArguments(X, y, sample_weight, soft_targets, groups, params)
        validation = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
        return self._distill(given, X_unlabeled, validation)

    @available_if(learns_streams)
    @numpy_inputs
    @fit_context(prefer_skip_nested_validation=False)
    @warning_scope()
    def warm_up(self, X, sample_weight=None):
        """Fit the encoder and the input scaling of the student, which `partial_fit` then uses.

        Available with a frozen teacher. See the method of the student, such as
        :meth:`TwoLayerPGDClassifier.warm_up`.

        Parameters
        ----------
        X : rows of shape (n_samples, n_features)
            Rows that are like those of all batches, some thousands or more.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows.

        Returns
        -------
        self : DistilledClassifier
            Not fitted yet.

        Raises
        ------
        ValueError
            After a fit, and for rows that the student does not take.

        Warns
        -----
        SmallBatchWarning
            For less than 1,000 rows.
        """
        if hasattr(self, "student_"):
            raise ValueError(
                "DistilledClassifier is fitted, and the weights of its student depend on the "
                "encoder and on the scaling of the inputs: call warm_up before the first "
                "partial_fit, for example on a clone."
            )
        check_stream(self)
        self._warm_student = new_student(self).warm_up(X, sample_weight)
        return self

    @available_if(learns_streams)
    @numpy_inputs
    @fit_context(prefer_skip_nested_validation=False)
    @warning_scope()
    def partial_fit(self, X, y=None, classes=None, sample_weight=None, soft_targets=None):
        """Label a batch of rows with the frozen teacher, and train the student on it for one epoch.

        Available if the teacher is a fitted classifier inside
        :class:`sklearn.frozen.FrozenEstimator`, with a student whose ``partial_fit`` takes
        ``soft_targets``. Rows of a stream or of a file that does not fit into memory need no labels
        and are seen once. "auto" is 1 for ``alpha`` and for ``temperature``, and means no transfer
        rows, since nothing is held out. After `fit`, training continues with its student.
        Callbacks and ``verbose`` are those of the student.

        Parameters
        ----------
        X : rows of shape (n_samples, n_features), as teacher and student take them

        y : array-like of shape (n_samples,), default=None
            Labels, which an ``alpha`` other than 1 needs.
        classes : array-like of shape (n_classes,), default=None
            Labels in addition to those that the teacher knows. They are needed in the first call.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        soft_targets : array-like or DataFrame of shape (n_samples, n_classes), default=None
            Probabilities at T = 1 in place of those of the teacher. The columns of an array are in
            the order of ``classes_``.

        Returns
        -------
        self : DistilledClassifier
            The fitted classifier. `predict` may be called between batches.

        Raises
        ------
        TypeError
            For a student without such a ``partial_fit``, and for a teacher without
            ``predict_proba``.
        ValueError
            For parameters that need all rows at once, and as for the student.

        Warns
        -----
        SmallBatchWarning
            In the first call with less than 1,000 rows, without `warm_up`.
        """
        is_first = not hasattr(self, "student_")
        fitted = fit_batch(self, X, y, classes, sample_weight, soft_targets)
        validate_data(self, X, reset=is_first, skip_check_array=True)
        vars(self).pop("_warm_student", None)
        vars(self).update(fitted)
        return self

    def _task_type_of(self, y):
        return MultilabelTask if is_label_indicator(y) else self._task_type

    def _labeling_options(self):
        return {"calibrate": self.calibration is not None, "class_weight": self.class_weight}

    def _makes_weights(self):
        return self.class_weight is not None

    def _relabels_augmented_rows(self):
        return self.augmented_labels == "recomputed"

    def _attributes_of_task(self, student, data, training_set, selection, transfer):
        temperature = float(selection.setting.temperature)
        fitted = {
            "classes_": data.task.classes,
            "multilabel_": isinstance(data.task, MultilabelTask),
            "temperature_": temperature,
            "student_candidates_": selection.student_candidates,
            # exponent of the student's probabilities
            "_power": selection.setting.temperature if student.mode == "expansion" else 1,
            "_log_prior": log_prior_shift(self.class_prior, data, training_set),
        }
        if data.labels is not None:
            fitted["label_temperature_"] = data.task.label_temperature(data.labels.calibration)
        return fitted

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
        super()._adopt(fitted, student)
        self.temperature_ = float(self.temperature)
        self._power = 1.0  # a student trained on the loss itself
        self._log_prior = fitted._log_prior

    def _predictor(self, X):
        self._check_new_rows(X)
        return fitted_predictor(self)

    @numpy_inputs
    def predict(self, X):
        """Predict class labels with the student.

        Parameters
        ----------
        X : rows of shape (n_samples, n_features), as the student takes them

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)
            Class labels, or an indicator of several labels.
        """
        return self._predictor(X).predict(X)

    @available_if(student_has("predict_proba"))
    @numpy_inputs
    def predict_proba(self, X):
        """Predict class probabilities with the student.

        After row expansion at T they are the softmax of T times its log-probabilities.

        Parameters
        ----------
        X : rows of shape (n_samples, n_features), as the student takes them

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            Columns in the order of ``classes_``.
        """
        return self._predictor(X).predict_proba(X)

    @available_if(student_has("predict_proba"))
    @numpy_inputs
    def predict_log_proba(self, X):
        """Predict logarithms of class probabilities with the student.

        Parameters
        ----------
        X : rows of shape (n_samples, n_features), as the student takes them

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            Columns in the order of ``classes_``, -inf for a class that the student never saw.
        """
        return self._predictor(X).predict_log_proba(X)

    @available_if(student_has("decision_function"))
    @numpy_inputs
    def decision_function(self, X):
        """Return decision values of the student, which are multiplied by T after row expansion.

        Parameters
        ----------
        X : rows of shape (n_samples, n_features), as the student takes them

        Returns
        -------
        decision : ndarray of shape (n_samples,) or (n_samples, n_classes)
            One value per row for two classes, and one for each of several labels. A class that the
            student never saw has a value below all others of its row.
        """
        return self._predictor(X).decision_function(X)

    def __sklearn_tags__(self):
        tags, is_auto = super().__sklearn_tags__(), isinstance(self.student, str)
        tags.classifier_tags.multi_label = (
            takes_label_indicator(last_step(self._get_teacher()))
            and takes_soft_label_indicator(self._get_student())
            and not is_auto
        )
        return tags
