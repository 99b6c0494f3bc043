"""ModuleRegressor: any torch module for regression, trained by skorch."""

from numbers import Real

from sklearn.base import BaseEstimator

from sklearn_kd._networks.base import NetworkRegressorMixin
from sklearn_kd._networks.module.base import ModuleNetworkMixin, without_nested
from sklearn_kd._networks.module.classifier import ModuleClassifier
from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.base import PublicEstimatorMixin
from sklearn_kd._utils.shared_docs import shares_docs_of
from sklearn_kd._utils.sklearn_compat import Interval, StrOptions, fit_context


@shares_docs_of(ModuleClassifier)
class ModuleRegressor(
    ModuleNetworkMixin, PublicEstimatorMixin, NetworkRegressorMixin, BaseEstimator
):
    r"""Any torch module as a regressor, trained by skorch on targets or on a teacher's predictions.

    It is to regression what :class:`ModuleClassifier` is to classification, with the same training:
    sample weights, ``soft_targets``, early stopping, rows that stay on the device. Targets are
    standardized inside (``target_offset_``, ``target_scale_``), so that their shift and scale
    change the units of the predictions and nothing else. With several targets the module has an
    output for each of them, and the loss is their mean.

    Parameters
    ----------
    module : class or callable
        Makes the module, and is called with ``module_params``. A module itself is an error. If it
        takes the keywords ``n_outputs`` (1 for each target, or the number of ``quantiles``) and
        ``input_shape`` (``(n_features,)`` or ``image_shape``), or any keyword (``**kwargs``), it
        gets those too, unless they are in ``module_params``. The module takes a batch of rows and
        returns numbers of shape (n, n_outputs), or (n,) for one output. The quantiles of the first
        target precede those of the second one. The numbers are in standardized units, which are
        negative too, so that the last layer has no activation. It draws from torch's global
        generators, which are seeded for the fit and restored after it.

    loss : {"squared_error", "huber", "quantile"}, default="squared_error"
        Loss of the standardized targets. "squared_error" predicts the mean, and a single target far
        from the others can decide it. "huber" is between the mean and the median, and "quantile"
        is the pinball loss and predicts ``quantiles`` [2]_; a few targets change both little,
        however far they are.

    quantiles : array-like of float, default=None
        Levels of the quantiles that ``loss="quantile"`` predicts, ascending between 0 and 1, such
        as (0.05, 0.5, 0.95). None is the median alone. Other losses need None.

    epsilon : float > 0, default=1.35
        Error, in units of ``target_scale_``, a robust standard deviation of the target, above which
        "huber" is linear. It is not in units of the deviation of the errors, as that of
        :class:`~sklearn.linear_model.HuberRegressor` is: a network that predicts well has small
        errors, for which smaller values are more robust.

    <module_params>

    <optimizer>

    <learning_rate>

    <optimizer_params>

    <weight_decay>

    <scheduler>

    <scheduler_params>

    <max_epochs>

    <batch_size>

    <clip_norm>

    early_stopping : bool or "auto", default="auto"
        Whether to stop when the validation loss no longer improves and to keep the weights with
        the least. "auto" does so on ``y``. On ``soft_targets`` with ``alpha`` above 0 and at most 1
        it trains on all rows for a short schedule and keeps the last weights, unless `fit` gets
        ``X_val``, since such targets have little noise. With early stopping, if `fit` gets
        ``groups``, whole groups are held out, and if it gets ``X_val``, the loss on these rows
        decides. False trains for ``max_epochs`` epochs and keeps the last weights. Where no row can
        be held out, an :class:`~sklearn_kd.exceptions.EarlyStoppingWarning` is raised.

    <validation_fraction>

    <n_iter_no_change>

    alpha : float >= 0, default=1.0
        Weight of the soft targets. The targets ``y`` have weight ``1 - alpha``. Used only with
        ``soft_targets``. Under "squared_error" the network learns
        ``alpha * soft_targets + (1 - alpha) * y``, which has the same gradient as the sum of two
        losses. Under other losses the two are added. From the quantiles of a teacher the network
        learns by ``alpha`` times half of the absolute error plus ``1 - alpha`` times the pinball
        loss of ``y``, and ``alpha`` is at most 1.

    <encoder>

    <image_shape>

    <input_scaling>

    <augmentation>

    <mixed_precision>

    callbacks : list or None, default=None
        Callbacks of skorch: classes, instances (which are copied) or pairs (name, instance). They
        get what skorch's own regressor passes, except that rows are scaled and that outputs of the
        module are in standardized units. Targets and what the net predicts are in the units of
        ``y``. The ``history`` of their net has ``train_loss`` and, where rows are held out,
        ``valid_loss``.

    <checkpoint_path>

    <warm_start>

    <random_state>

    <device>

    <verbose>

    **nested : dict
        Single parameters of the module, the optimizer and the scheduler, such as
        ``module__width=16``, see `set_params`.

    Attributes
    ----------
    target_offset_, target_scale_ : float, or ndarray of float64 of shape (n_targets,)
        Offset and unit of the targets, a float if ``y`` has one dimension: the weighted mean and
        standard deviation under "squared_error", else the weighted median and the robust deviation
        of :class:`TwoLayerPGDRegressor`. The scale of a constant target is zero, and its
        predictions are the constant. With ``warm_start=True`` it is the absolute value of the
        constant, since later targets may vary.
    quantiles_ : ndarray of shape (n_quantiles,) or None
        Levels of the quantiles. None for other losses.
    <encoder_>
    <module_state_>
    input_offset_, input_scale_ : ndarray of float64 of shape (n_features,)
        The module gets ``(x - input_offset_) / input_scale_``. Zeros and ones without scaling. With
        an encoder x is an encoded row. A prediction is ``target_offset_ + target_scale_ * output``.
    <n_iter_>
    <precision_>
    <best_iter_>
    loss_curve_ : list of float
        Training loss of each epoch, in standardized units: the mean over its steps of the loss
        before the step. Squared errors are halved.
    validation_loss_curve_ : list of float or None
        Loss of the same kind on the validation rows after each epoch. The loss of a row counts at
        most 6.9 above that of ``target_offset_``, and under "huber" and "quantile" at most 10007,
        so that no single row decides. None without early stopping.
    <termination_condition_>
    <n_features_in_>
    <feature_names_in_>

    See Also
    --------
    TwoLayerPGDRegressor : A network of one hidden layer, which trains faster.
    ModuleClassifier : Any module for classes.

    Notes
    -----
    Quantiles are outputs of one module, and those of a row are sorted in prediction. Sorting
    quantiles never increases their mean pinball loss [1]_.

    In full batch and float64 a weight of k equals k copies of a row to rounding, unless the module
    itself looks at other rows (BatchNorm) or draws for each row (dropout).

    `partial_fit` holds nothing out, begins the scheduler anew with each call and does not use
    ``checkpoint_path``. The memory of the optimizer is kept between calls. The first call fits the
    encoder and the units of the targets, as the first fit does with ``warm_start``.

    The fitted state consists of NumPy arrays. A pickle can be loaded where the class of the module
    can be imported, without the device and the version of torch that trained it. An
    ``sklearn_kd.modules.MLP`` predicts in NumPy, and neither that nor loading it imports torch.

    References
    ----------
    .. [1] Chernozhukov, Fernandez-Val and Galichon, "Quantile and Probability Curves Without
       Crossing", Econometrica 78 (2010).
    .. [2] Koenker and Bassett, "Regression Quantiles", Econometrica 46 (1978).

    Examples
    --------
    >>> from sklearn.datasets import make_friedman1
    >>> from sklearn_kd import ModuleRegressor
    >>> from sklearn_kd.modules import MLP
    >>> X, y = make_friedman1(300, random_state=0)
    >>> model = ModuleRegressor(MLP, module__width=16, learning_rate=0.01, random_state=0)
    >>> model.fit(X, y).score(X, y) > 0.9
    True
    """

    __module__ = "sklearn_kd"

    _parameter_constraints: dict = {
        **ModuleNetworkMixin._parameter_constraints,
        "loss": [StrOptions({"squared_error", "huber", "quantile"})],
        "quantiles": ["array-like", None],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
    }

    @without_nested
    def __init__(  # noqa: PLR0913
        self,
        module,
        *,
        loss="squared_error",
        quantiles=None,
        epsilon=1.35,
        module_params=None,
        optimizer="adam",
        learning_rate=0.001,
        optimizer_params=None,
        weight_decay=0.0,
        scheduler="auto",
        scheduler_params=None,
        max_epochs="auto",
        batch_size="auto",
        clip_norm=None,
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change="auto",
        alpha=1.0,
        encoder=None,
        image_shape=None,
        input_scaling=True,
        augmentation=None,
        mixed_precision=False,
        callbacks=None,
        checkpoint_path=None,
        warm_start=False,
        random_state=None,
        device="auto",
        verbose=0,
        **nested,
    ):
        self.module = module
        self.loss = loss
        self.quantiles = quantiles
        self.epsilon = epsilon
        self.module_params = module_params
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.optimizer_params = optimizer_params
        self.weight_decay = weight_decay
        self.scheduler = scheduler
        self.scheduler_params = scheduler_params
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.clip_norm = clip_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.alpha = alpha
        self.encoder = encoder
        self.image_shape = image_shape
        self.input_scaling = input_scaling
        self.augmentation = augmentation
        self.mixed_precision = mixed_precision
        self.callbacks = callbacks
        self.checkpoint_path = checkpoint_path
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self._set_nested(nested)

    @numpy_inputs
    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X,
        y,
        sample_weight=None,
        soft_targets=None,
        *,
        groups=None,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
    ):
        """Train the module.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Dense, and without an ``encoder`` finite numbers. Images are flat rows, see
            ``image_shape``. Training computes in float32 for float32 X, else in float64.

        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Finite numbers.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative. A weight of zero equals absence, and only ratios matter.

        soft_targets : array-like, same shape as y or (`*y.shape`, n_quantiles), default=None
            The predictions of a teacher, in the units of ``y``. With ``loss="quantile"`` the
            quantiles that a teacher predicts for the levels ``quantiles`` have one more dimension:
            (n_samples, n_quantiles), or (n_samples, n_targets, n_quantiles). Those of a row that
            cross are sorted. An array of the shape of ``y`` counts as another observation of each
            target there. A row of NaN means that the row has its ``y`` only.

        groups : array-like of shape (n_samples,), default=None
            Groups of rows that resemble each other, such as the visits of a patient. Early stopping
            holds out whole groups, of which there have to be two. Without them, it holds out rows
            whose near copies are trained on, and stops too late.

        X_val : array-like of shape (n_val, n_features), default=None
            Rows on which early stopping computes the validation loss. All rows of X are then
            trained on, and ``groups`` have no effect. A pipeline transforms them if it has
            ``transform_input=["X_val"]``.

        y_val : array-like of shape (n_val,) or (n_val, n_targets), default=None
            Targets of ``X_val``. The validation loss is that of these numbers, also with
            ``soft_targets``.

        sample_weight_val : array-like of shape (n_val,), default=None
            Non-negative weights of ``X_val``.

        Returns
        -------
        self : ModuleRegressor

        Raises
        ------
        TypeError
            If ``module`` is a module instead of a class or function that makes one.
        ValueError
            For parameters or data that cannot be used, such as a module with the wrong number of
            outputs or a checkpoint of another fit. The message says what to change.
        DivergenceError
            If the training loss diverges.
        MemoryError
            If training needs more memory than the device has.
        """
        resume = self._resumes()
        validation = groups, X_val, y_val, sample_weight_val
        return self._fit_given_rows(X, y, sample_weight, soft_targets, *validation, resume=resume)

    @numpy_inputs
    def _standardized(self, X):
        return self._outputs(X)
