"""SelfDistillClassifier, a network that corrects wrong labels while it is trained on them."""

from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, is_classifier
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from sklearn_kd._self_distillation.algorithm_1 import fit_one_generation, fit_two_generations
from sklearn_kd._self_distillation.bayes_rule import fit_by_bayes_rule
from sklearn_kd._self_distillation.bayes_targets import MIN_HELD_OUT_ROWS, N_FOLDS
from sklearn_kd._self_distillation.label_errors import LabelErrorsMixin
from sklearn_kd._self_distillation.rows import SelfDistillationRows
from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.base import (
    FittedClassifierMixin,
    PublicEstimatorMixin,
    all_or_nothing,
    require_fitted,
)
from sklearn_kd._utils.containers import warn_if_sliceable
from sklearn_kd._utils.convergence import warn_if_improving
from sklearn_kd._utils.label_indicators import refuse_label_indicator
from sklearn_kd._utils.labels import plain_labels
from sklearn_kd._utils.protocols import SoftTargetStudent
from sklearn_kd._utils.sklearn_compat import (
    HasMethods,
    Interval,
    StrOptions,
    check_y,
    fit_context,
    num_samples,
    safe_indexing,
)
from sklearn_kd._utils.sub_estimators import (
    fitted_block,
    merge_tags,
    seeded,
    set_python_numbers,
    with_default_estimators,
)
from sklearn_kd._utils.validation import validate_sample_weight

#: Numbers of rows from which on the default network has twice as many neurons.
WIDER_FROM = (5_000, 20_000)
#: Defaults of the parameters of Algorithm 1.
ALGORITHM_1 = {"target": "hard", "strength": 1.0, "memory": "auto", "warm_up": 0.05}


def _default_estimator(n_rows=0):
    """Return the network of ``estimator=None``, which is imported when it is needed."""
    from sklearn_kd._networks.two_layer.classifier import TwoLayerPGDClassifier

    n_doublings = sum(n_rows >= limit for limit in WIDER_FROM)
    # the start of the theory, which predicts no class before it has learned one
    return TwoLayerPGDClassifier(width=256 * 2**n_doublings, init="symmetric")


class SelfDistillClassifier(
    PublicEstimatorMixin,
    CallbackSupportMixin,
    MetaEstimatorMixin,
    LabelErrorsMixin,
    FittedClassifierMixin,
    BaseEstimator,
):
    r"""Network that corrects wrong labels by its own predictions and says which labels are wrong.

    For a prediction q of a row with the given label y, the target of class k is by Bayes' rule
    proportional to :math:`q_k\, P(y \mid k)`. The predictions are those of copies of the network
    that have not seen the label. The probability of a label in a class is estimated with them, for
    a noise rate :math:`\rho` and K classes as

    .. math:: P(k \mid k) = 1 - \rho, \qquad
        P(y \mid k) = \frac{\rho}{K - 1} \text{ for } y \neq k,

    or with the other labels in proportion to their frequency where this is likelier, as for classes
    of few rows, or as any matrix, where the given labels clearly show one, as if one class is taken
    for another.
    Neither clean rows nor a teacher nor the noise rate are needed. Rules that correct labels within
    a single training are available by ``schedule``.

    Parameters
    ----------
    estimator : TwoLayerPGDClassifier, ModuleClassifier or None, default=None
        The network, which is cloned. A wide network learns what rows have in common before it
        memorizes single labels. None is ``TwoLayerPGDClassifier(width, init="symmetric")`` with a
        width of 256, of 512 from 5,000 rows on and of 1024 from 20,000 rows on. If one of its
        parameters is set, as by ``set_params(estimator__max_iter=100)``, its width is 256 unless
        it is set too.

    target : {"hard", "soft"}, default="hard"
        The function h of Algorithm 1 (see ``schedule``): the indicator of the most probable class,
        or the probabilities sharpened by ``target_temperature``.

    target_temperature : float > 0, default=0.5
        For ``target="soft"`` h is softmax(f / target_temperature). At 1 and without memory the
        targets only shorten the steps.

    strength : float >= 0, default=1.0
        Factor of the weight of predictions in Algorithm 1. It is lambda in [1]_, where it is 1 on
        CIFAR-10 up to a noise rate of 0.4 and 1.5 beyond, for "accuracy". Zero corrects nothing.
        With "early-learning" it is a third of lambda in [3]_. Raise it where more labels are wrong.
        Any value but 1 selects Algorithm 1 under ``schedule="auto"``.

    schedule : str or callable, default="auto"
        How labels are corrected.

        - "auto": by Bayes' rule. The rows are divided into 5 folds, and the rows of each are
          predicted by a network that is trained on the others: plainly, or by "early-learning"
          without early stopping if this predicts the labels of the first fold better by more than
          two standard errors. A network is then trained on the targets of all rows. These are
          seven fits, six of them on four fifths of the rows, and those by "early-learning" may be
          longer. It is the same as "chance-corrected" for an estimator without early stopping, with
          fewer than 200 different rows (or groups), and where ``target``, ``strength``, ``memory``
          or ``warm_up`` is not at its default.
        - "early-learning": the gradient of early-learning regularization [3]_ within one training.
          For images and other data whose classes hardly overlap, where one fit is expensive, and
          for networks without early stopping, which would end the training before it acts. Rare
          classes, and rows where classes overlap, are lost.
        - The others are those of Algorithm 1 of [1]_. The target is
          :math:`\alpha_t\, y + (1 - \alpha_t)\, h(f_t(x))`, and the schedule is the weight of the
          predictions, :math:`1 - \alpha_t`, before it is multiplied by ``strength`` and clipped to
          [0, 1]. "chance-corrected" is ``max(0, (accuracy - prior) / (1 - prior))``, where accuracy
          is that of the predictions against the given labels in the batch and prior is the share of
          the largest class. "accuracy" is the accuracy itself, as in [1]_. Predictions of a rare
          class vanish with it, since guessing the largest class is accurate. "annealed" is the
          share of the training that is over, as in [2]_. A callable maps ``(step, accuracy,
          prior)`` to a number. With "previous-generation" it is called once, with step 0.

    memory : str, float in (0, 1) or None, default="auto"
        Which prediction of a row is mixed with its label in Algorithm 1.

        - None: the prediction of the same forward pass, as in [1]_.
        - "previous-epoch": the prediction of the epoch before [2]_.
        - A number: a running mean over the epochs with this decay. "early-learning" always has such
          a mean. Its decay is 0.7 for up to 30 epochs and ``0.7 ** (30 / n_epochs)`` for more,
          unless it is set here.
        - "previous-generation": the prediction of a plainly trained network, which makes the
          targets of a second network [4]_, at the cost of a second fit. If the weight of the
          predictions would be below 0.1, the first network is kept.
        - "auto": "previous-generation" for an estimator with early stopping and a schedule that
          follows the accuracy, else None. Early stopping ends the training before corrections
          within it could act.

    warm_up : float in [0, 1), default=0.05
        Share of the epochs before the first correction of Algorithm 1. The predictions of an
        untrained network are arbitrary, and their mistakes would persist. Not used with
        "previous-generation".

    random_state : int, RandomState instance or None, default=None
        Seed of the network, if it has none of its own, and of the folds of `find_label_errors`. The
        folds of "auto" have the seed of the network.

    verbose : int, default=0
        Above zero: print the fits of "auto", the estimated noise rate, and each fit of
        `find_label_errors`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    estimator_ : estimator
        The fitted network.
    first_generation_ : estimator or None
        The network whose predictions made the targets of ``estimator_``, with
        "previous-generation". None where one network was trained, or the first one was kept, and
        with "auto", where there are several.
    refined_targets_ : ndarray of shape (n_samples, n_classes)
        Probabilities of the true classes, usable as ``soft_targets`` of any student. With "auto"
        they are the geometric mean of the targets of ``estimator_`` and of its predictions.
        For rows of weight zero, and otherwise, they follow Bayes' rule for the predictions of
        ``estimator_``. Without "auto" the noise is symmetric with the rate ``noise_rate_``, and the
        influence of the given labels is taken out of the predictions: if ``estimator_`` has learned
        its targets, the share of the given label is subtracted from its probabilities, else they
        are squared.
    label_quality_ : ndarray of shape (n_samples,)
        Probability of the given label, which is low for labels that are suspected to be wrong.
        With "auto" it is that of ``estimator_``. Otherwise it is the mean over two generations, or
        the mean over the epochs, which stays low even where a wrong label is memorized in the end.
        If the first generation was kept, or rows were held out from a single one, it is the
        probability of ``estimator_``. The probabilities are in-sample; see `find_label_errors`.
    noise_rate_ : float
        Estimated share of wrong labels. With "auto" it is that of the largest likelihood of the
        given labels, at least 0.0003. If it predicts them better than none by less than two
        standard errors, as on few rows and where classes overlap everywhere, it is uncertain, and
        the targets are made as if no label were wrong. Wrong labels that depend on the true class
        are found by five standard errors, which takes some hundreds of rows of each class. Without
        "auto" it is the share of the labels that ``estimator_`` contradicts at least as confidently
        as it predicts, on average, the rows with the label that it suggests [5]_. Rows near a
        boundary count too then, so that the estimate is not zero for clean labels of classes that
        overlap.
    weight_curve_ : ndarray of shape (`n_iter_`,)
        Mean share of the targets in each epoch that is not that of the given label, or
        :math:`1 - \alpha_t`. Zeros if the first generation was kept.
    n_iter_ : int
        Number of epochs of ``estimator_``.
    loss_curve_ : list of float
        Training loss of each epoch against the corrected targets: their KL divergence with "auto"
        and in a second generation, else the cross-entropy.
    termination_condition_ : str
        Why the training of ``estimator_`` ended.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit, where X has string names.

    See Also
    --------
    sklearn.semi_supervised.SelfTrainingClassifier : Predictions in place of missing labels.
    DistilledClassifier : A student that learns from another classifier.

    Notes
    -----
    Networks that can memorize wrong labels learn them last. Corrections cost accuracy where a
    network is not trained long enough to do so, or where labels are right but hard to learn. No
    class vanishes with "chance-corrected", but with ``memory=None`` a rare class that is learned
    late still loses rows to corrections. Its recall shows whether that happens.

    The update of [1]_ as printed there is
    ``SelfDistillClassifier(network, schedule="accuracy", memory=None, warm_up=0)`` with a network
    without early stopping.

    References
    ----------
    .. [1] Dong, Hou, Lu and Zhang, "Distillation = Early Stopping? Harvesting Dark Knowledge
       Utilizing Anisotropic Information Retrieval For Overparameterized Neural Network",
       arXiv:1910.01255, Algorithm 1.
    .. [2] Kim, Ji, Yoon and Hwang, "Self-Knowledge Distillation with Progressive Refinement of
       Targets", ICCV 2021, equation 6.
    .. [3] Liu, Niles-Weed, Razavian and Fernandez-Granda, "Early-Learning Regularization Prevents
       Memorization of Noisy Labels", NeurIPS 2020, equation 9.
    .. [4] Furlanello, Lipton, Tschannen, Itti and Anandkumar, "Born-Again Neural Networks",
       ICML 2018.
    .. [5] Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset
       Labels", JAIR 2021, equations 1 to 3.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_kd import SelfDistillClassifier, TwoLayerPGDClassifier
    >>> from sklearn_kd.datasets import add_label_noise
    >>> X, y = load_digits(n_class=4, return_X_y=True)
    >>> noisy = add_label_noise(y, 0.3, random_state=0)
    >>> network = TwoLayerPGDClassifier(width=32, n_init=1, encoder=None)
    >>> model = SelfDistillClassifier(network, random_state=0).fit(X, noisy.y)
    >>> model.score(X, y) > 0.95
    True
    >>> worst = model.find_label_errors(X, noisy.y, cv="in-sample").row[:100]
    >>> noisy.is_wrong[worst].mean() > 0.95
    np.True_
    """

    __module__ = "sklearn_kd"
    _history = (
        "first_generation_",
        "label_quality_",
        "loss_curve_",
        "refined_targets_",
        "weight_curve_",
        "_suggested_codes_",
        "_training_labels_",
    )

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit"]), None],
        "target": [StrOptions({"hard", "soft"})],
        "target_temperature": [Interval(Real, 0, None, closed="neither")],
        "strength": [Interval(Real, 0, None, closed="left")],
        "schedule": [
            StrOptions({"auto", "early-learning", "chance-corrected", "accuracy", "annealed"}),
            callable,
        ],
        "memory": [
            StrOptions({"auto", "previous-epoch", "previous-generation"}),
            Interval(Real, 0, 1, closed="neither"),
            None,
        ],
        "warm_up": [Interval(Real, 0, 1, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(  # noqa: PLR0913
        self,
        estimator=None,
        *,
        target="hard",
        target_temperature=0.5,
        strength=1.0,
        schedule="auto",
        memory="auto",
        warm_up=0.05,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.target = target
        self.target_temperature = target_temperature
        self.strength = strength
        self.schedule = schedule
        self.memory = memory
        self.warm_up = warm_up
        self.random_state = random_state
        self.verbose = verbose

    def _get_estimator(self):
        """Return the network to be cloned."""
        return _default_estimator() if self.estimator is None else self.estimator

    def set_params(self, **params):
        """Set parameters of this classifier and its network.

        Parameters
        ----------
        **params : dict
            Parameters, with ``estimator__`` before the name of one of the network's. In place of an
            estimator that is None, the default one is set then.

        Returns
        -------
        self : SelfDistillClassifier
        """
        defaults = {"estimator": _default_estimator}
        return super().set_params(**with_default_estimators(params, self, defaults))

    @numpy_inputs
    def fit(
        self,
        X,
        y,
        sample_weight=None,
        *,
        groups=None,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
    ):
        """Train the network on labels that it corrects.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.
        y : array-like of shape (n_samples,)
            Labels, some of which are wrong.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows. A weight of zero equals absence.
        groups : array-like of shape (n_samples,), default=None
            Groups of rows that resemble each other, which early stopping of the estimator and the
            folds of "auto" hold out as a whole, as in `TwoLayerPGDClassifier.fit`.
        X_val : array-like of shape (n_val, n_features), default=None
            Rows on which early stopping computes the validation loss, in place of held-out rows.
            They have no part in ``noise_rate_``, ``label_quality_`` and ``refined_targets_``.
        y_val : array-like of shape (n_val,), default=None
            Labels of ``X_val``. They may be wrong too: with "auto", the last network, which learns
            corrected labels, has targets by Bayes' rule for them too, unless right labels are
            likelier. Otherwise they are used as they are.
        sample_weight_val : array-like of shape (n_val,), default=None
            Non-negative weights of ``X_val``.

        Returns
        -------
        self : SelfDistillClassifier
            The fitted classifier.

        Raises
        ------
        TypeError
            If the estimator does not train on targets of a meta-estimator.
        ValueError
            For parameters or data that cannot be used.
        """
        return self._fit(
            X,
            y,
            sample_weight,
            groups=groups,
            X_val=X_val,
            y_val=y_val,
            sample_weight_val=sample_weight_val,
        )

    @fit_context(prefer_skip_nested_validation=False)  # the estimator validates its own
    def _fit(self, X, y, sample_weight=None, *, recorder=None, **validation_rows):
        """Fit, and let a `TargetRecorder` observe the targets of a single generation.

        ``validation_rows`` are the keyword arguments of `fit`.
        """
        refuse_label_indicator(type(self).__name__, y)
        self._check_memory()
        sample_weight = validate_sample_weight(sample_weight, X)
        network = self._network_to_train(np.count_nonzero(sample_weight))
        ctx = self._init_callback_context(max_subtasks=N_FOLDS + 2)
        ctx.call_on_fit_task_begin(estimator=self, X=X, y=y)
        with all_or_nothing(self):
            *checked, _ = network._check_data(X, y, sample_weight, None)
            checked.append(
                network._check_validation(X, checked[1], sample_weight, **validation_rows)
            )
            warn_if_sliceable(validation_rows.get("X_val"), num_samples(X), "X_val")
            y_checked = check_y(plain_labels(y), estimator=self)
            X_val = validation_rows.get("X_val")
            if X_val is not None:
                weights = validate_sample_weight(validation_rows.get("sample_weight_val"), X_val)
                X_val = safe_indexing(X_val, np.flatnonzero(weights > 0))
            rows = SelfDistillationRows(X, y_checked, sample_weight, *checked, X_val)
            if network.early_stopping == "auto":  # its targets are corrected labels, no teacher's
                network.set_params(early_stopping=True)
            if self._uses_bayes_rule(network, rows):
                fitted = fit_by_bayes_rule(self, network, rows, ctx)
            elif self._trains_two_generations(network):
                fitted = fit_two_generations(self, network, rows, ctx)
            else:
                fitted = fit_one_generation(self, network, rows, ctx, recorder)
            if fitted["estimator_"].validation_loss_curve_ is not None:
                # without validation rows the loss is that on corrected labels, which always falls
                warn_if_improving(fitted["estimator_"])
            validate_data(self, X, skip_check_array=True)
            vars(self).update(fitted)
            ctx.call_on_fit_task_end(
                estimator=self, X=X, y=y, reconstruction_attributes=lambda: fitted
            )
        if self.verbose:
            print(
                f"[SelfDistillClassifier] about {self.noise_rate_:.1%} of the labels are wrong; "
                f"weight of the predictions {self.weight_curve_[-1:].sum():.2f}"
            )
        return self

    def _check_memory(self):
        """Raise ValueError for a memory that does not go with the schedule."""
        is_earlier = self.memory in ("previous-epoch", "previous-generation")
        if self.schedule == "early-learning" and is_earlier:
            raise ValueError(
                f"schedule='early-learning' remembers predictions as a running mean, which "
                f"memory={self.memory!r} is not: set memory='auto', or the decay, as in memory=0.7."
            )
        if self.schedule == "annealed" and self.memory == "previous-generation":
            raise ValueError(
                "schedule='annealed' needs targets that change from step to step, which those of "
                "memory='previous-generation' do not: set another memory or schedule."
            )

    def _network_to_train(self, n_rows):
        """Return a clone of the network with a seed, after a check that it can be trained here."""
        network = _default_estimator(n_rows) if self.estimator is None else self.estimator
        network = seeded(network, check_random_state(self.random_state))
        if not (isinstance(network, SoftTargetStudent) and is_classifier(network)):
            raise TypeError(
                "estimator must be a TwoLayerPGDClassifier or a ModuleClassifier, got a "
                f"{type(network).__name__}. Put the steps of a pipeline before the "
                "SelfDistillClassifier. For other classifiers, distill the refined_targets_ of a "
                "network with DistilledClassifier."
            )
        network._validate_params()
        set_python_numbers(network)
        if getattr(network, "n_members", 1) > 1:
            raise ValueError(
                f"n_members={network.n_members} cannot be used where labels are corrected, which "
                "is by the answer of one network: set n_members=1 on the estimator."
            )
        if isinstance(network.random_state, np.random.RandomState):
            # a number, so that both generations hold the same rows out
            seed = int(network.random_state.randint(2**31 - 1))
            network.set_params(random_state=seed)
        if getattr(network, "checkpoint_path", None) is not None:
            raise ValueError(
                "checkpoint_path cannot be used where labels are corrected, since the file would "
                "not have the corrections: set checkpoint_path=None on the estimator."
            )
        return network

    def _uses_bayes_rule(self, network, rows):
        """Return whether labels are corrected by Bayes' rule rather than by Algorithm 1."""
        is_default = all(getattr(self, name) == value for name, value in ALGORITHM_1.items())
        if self.schedule != "auto" or not (is_default and network.early_stopping):
            return False
        return len(np.unique(rows.independent_group)) >= MIN_HELD_OUT_ROWS

    def _trains_two_generations(self, network):
        """Return whether the predictions of a first network make the targets of a second one."""
        if self.memory != "auto":
            return self.memory == "previous-generation"
        stops_early = bool(network.early_stopping)
        return stops_early and self.schedule in ("auto", "chance-corrected", "accuracy")

    @numpy_inputs
    def decision_function(self, X):
        """Logits of the trained network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes the log-odds of ``classes_[1]``.
        """
        require_fitted(self)
        return self.estimator_.decision_function(X)

    @numpy_inputs
    def predict(self, X):
        """Most probable class of each row for the trained network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        require_fitted(self)
        return self.estimator_.predict(X)

    @numpy_inputs
    def predict_proba(self, X):
        """Class probabilities of the trained network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        require_fitted(self)
        return self.estimator_.predict_proba(X)

    @numpy_inputs
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
        require_fitted(self)
        return self.estimator_.predict_log_proba(X)

    def _sk_visual_block_(self):
        return fitted_block(self, ["estimator"])

    def __sklearn_tags__(self):
        return merge_tags(super().__sklearn_tags__(), [self._get_estimator()])
