"""TwoLayerPGDRegressor: a two-layer ReLU network trained by projected gradient descent."""

from numbers import Real

from sklearn.base import BaseEstimator

from sklearn_kd._networks.base import NetworkRegressorMixin
from sklearn_kd._networks.two_layer.base import TwoLayerNetworkMixin, fit_jointly
from sklearn_kd._networks.two_layer.classifier import TwoLayerPGDClassifier
from sklearn_kd._networks.two_layer.forward import predict_outputs
from sklearn_kd._networks.two_layer.members import mean_output
from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.base import PublicEstimatorMixin
from sklearn_kd._utils.shared_docs import shares_docs_of
from sklearn_kd._utils.sklearn_compat import Interval, StrOptions, fit_context


@shares_docs_of(TwoLayerPGDClassifier)
class TwoLayerPGDRegressor(
    TwoLayerNetworkMixin, PublicEstimatorMixin, NetworkRegressorMixin, BaseEstimator
):
    r"""Two-layer ReLU network for regression, trained by projected gradient descent.

    .. math:: f(x) = m^{-1/2} \sum_{j=1}^m A_j\, \mathrm{relu}(\langle W_j, \tilde x\rangle),
        \qquad \|W_j - W_j(0)\| \le B\, m^{-1/2}

    where :math:`\tilde x` is the encoded and scaled row with a one appended, m is ``width`` and B
    ``radius``. It is the network of :class:`TwoLayerPGDClassifier`, with the same training.
    Targets are standardized inside (``target_offset_``, ``target_scale_``), so that their shift and
    scale change the units of the predictions and nothing else. With several targets the network has
    an output for each of them, and the loss is their mean.

    Parameters
    ----------
    width : int, default=64
        Number m of neurons in the hidden layer, an even number. The model has about
        ``width * (n_encoded + n_outputs)`` weights, where ``n_encoded`` is the number of columns
        of encoded rows, ``n_features`` with ``encoder=None``.

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

    n_members : int, default=1
        Number of networks that share the hidden weights and whose outputs are averaged. Each
        multiplies the inputs of a column of X by a random sign of its own, the first by one, and
        has its own trained output weights and its own loss [3]_. Each has ``width`` weights for
        each output, and products of its own in training and prediction.

    <radius>

    <learning_rate>

    <max_iter>

    <batch_size>

    <n_init>

    output_layer : {"auto", "fixed", "trained"}, default="auto"
        "fixed" keeps the output weights at their random signs, as in the theory of classification.
        "auto" is "trained", but "fixed" for one output, one member and ``init="symmetric"``.

    <init>

    <optimizer>

    <momentum>

    <weight_decay>

    alpha : float >= 0, default=1.0
        Weight of the soft targets. The targets ``y`` have weight ``1 - alpha``. Used only with
        ``soft_targets``. Under "squared_error" the network learns
        ``alpha * soft_targets + (1 - alpha) * y``, which has the same gradient as the sum of two
        losses. Under other losses the two are added. From the quantiles of a teacher the network
        learns by ``alpha`` times half of the absolute error plus ``1 - alpha`` times the pinball
        loss of ``y``, and ``alpha`` is at most 1.

    early_stopping : bool or "auto", default="auto"
        Whether to stop when the validation loss no longer improves and to keep the weights with
        the least. In full batch the loss is cross-validated in 5 folds: a network for each fold is
        trained along with the main network, which trains on all rows. In minibatches it is the
        loss on ``validation_fraction`` of the rows. If `fit` gets ``groups``, whole groups are held
        out, and if it gets ``X_val``, the loss on these rows decides. Where no row can be held out,
        an :class:`~sklearn_kd.exceptions.EarlyStoppingWarning` is raised. False trains for
        ``max_iter`` epochs and keeps the last weights.

        "auto" stops early on ``y``. On ``soft_targets``, if ``alpha`` is above 0 and at most 1, it
        does not unless `fit` gets ``X_val``, since such targets have little noise.

    validation_fraction : float in (0, 1), default=0.1
        Share of the rows that early stopping holds out in minibatches, at least one.

    <n_iter_no_change>

    <encoder>

    <input_scaling>

    <input_intercept>

    <random_state>

    <device>

    <verbose>

    Attributes
    ----------
    target_offset_, target_scale_ : float, or ndarray of float64 of shape (n_targets,)
        Offset and unit of the targets, a float if ``y`` has one dimension. Under "squared_error"
        they are the weighted mean and standard deviation. Under other losses they are the weighted
        median and a robust deviation: distances from the median above their quantile of level .95
        count as this quantile in a root mean square, which is divided by its value for a normal
        distribution, .9555. Where most targets are equal, they count as the median distance of the
        other ones if it is larger. The scale of a constant target is zero, and its predictions are
        the constant.
    quantiles_ : ndarray of shape (n_quantiles,) or None
        Levels of the quantiles. None for other losses.
    <encoder_>
    <hidden_weights_>
    <initial_weights_>
    <input_signs_>
    output_weights_ : ndarray of shape (width,) for one output, else (width, n_outputs)
        A. ``outputs = relu([scaled x, 1] @ hidden_weights_.T) @ output_weights_ / sqrt(width)``,
        and a prediction is ``target_offset_ + target_scale_ * outputs``. The outputs of quantiles
        are those of the first target, then those of the second one and so on. Several members have
        a first axis.
    input_offset_, input_scale_ : ndarray of float64 of shape (n_encoded,)
        ``scaled x = (x - input_offset_) / input_scale_``. Zeros and ones without scaling.
    <distance_from_init_>
    <n_iter_>
    <best_iter_>
    loss_curve_ : list of float
        Training loss of each epoch, in standardized units: the mean over its steps of the loss
        before the step. Squared errors are halved.
    validation_loss_curve_ : list of float or None
        Loss of the same kind on the validation rows after each epoch. The loss of a row counts at
        most 6.9 above that of ``target_offset_``, and under "huber" and "quantile" at most 10007,
        so that no single row decides. None without early stopping.
    average_loss_ : float
        Mean of the training loss over all steps.
    <termination_condition_>
    <n_features_in_>
    <feature_names_in_>

    See Also
    --------
    TwoLayerPGDClassifier : The same network for classes.
    sklearn.neural_network.MLPRegressor : Networks of any depth, on scaled numbers.

    Notes
    -----
    Quantiles are outputs of one network, and those of a row are sorted in prediction. Sorting
    quantiles never increases their mean pinball loss [1]_.

    A missing cell of X is an error with ``encoder=None``. Infinite numbers, and missing targets,
    are errors always.

    In full batch and float64 a weight of k equals k copies of a row to rounding. In minibatches
    it does so in expectation only. Targets in other units differ by rounding, which training would
    magnify: standardized targets are therefore multiples of 2**-32.

    `partial_fit` trains one network, whatever ``n_init`` is. It holds nothing out, and a step size
    chosen by "auto" does not decay. Parameters that another network would need (``width``,
    ``quantiles``, ``encoder``, the switches of the inputs, a fixed output layer after a trained
    one) cannot change between calls. Others act from the next call on. The first call fits the
    encoder and the units of the targets; where its targets are constant, their absolute value is
    the unit.

    References
    ----------
    .. [1] Chernozhukov, Fernandez-Val and Galichon, "Quantile and Probability Curves Without
       Crossing", Econometrica 78 (2010).
    .. [2] Koenker and Bassett, "Regression Quantiles", Econometrica 46 (1978).
    .. [3] Gorishniy, Kotelnikov and Babenko, "TabM: advancing tabular deep learning with
       parameter-efficient ensembling", arXiv:2410.24210.
    .. [4] Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv:1711.05101,
       algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kd import TwoLayerPGDRegressor
    >>> rng = np.random.RandomState(0)
    >>> X = rng.uniform(-2, 2, size=(200, 1))
    >>> y = X[:, 0] ** 2 + 0.1 * rng.normal(size=200)
    >>> TwoLayerPGDRegressor(width=8, random_state=0).fit(X, y).score(X, y) > 0.95
    True
    >>> interval = TwoLayerPGDRegressor(
    ...     width=8, loss="quantile", quantiles=(0.05, 0.5, 0.95), random_state=0
    ... ).fit(X, y)
    >>> interval.predict_quantiles(X[:4]).shape
    (4, 3)
    """

    __module__ = "sklearn_kd"

    _parameter_constraints: dict = {
        **TwoLayerNetworkMixin._parameter_constraints,
        "loss": [StrOptions({"squared_error", "huber", "quantile"})],
        "quantiles": ["array-like", None],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(  # noqa: PLR0913
        self,
        width=64,
        *,
        loss="squared_error",
        quantiles=None,
        epsilon=1.35,
        n_members=1,
        radius=None,
        learning_rate="auto",
        max_iter="auto",
        batch_size="auto",
        n_init="auto",
        output_layer="auto",
        init="standard",
        optimizer="auto",
        momentum=0.9,
        weight_decay="auto",
        alpha=1.0,
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change="auto",
        encoder="auto",
        input_scaling=True,
        input_intercept=True,
        random_state=None,
        device="auto",
        verbose=0,
    ):
        self.width = width
        self.loss = loss
        self.quantiles = quantiles
        self.epsilon = epsilon
        self.n_members = n_members
        self.radius = radius
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.n_init = n_init
        self.output_layer = output_layer
        self.init = init
        self.optimizer = optimizer
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.alpha = alpha
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.encoder = encoder
        self.input_scaling = input_scaling
        self.input_intercept = input_intercept
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

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
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            A DataFrame or an array of numbers, booleans, strings, categories and missing cells.
            Dense and finite numbers with ``encoder=None``. A sparse X is an error: pass
            ``X.toarray()``. Training computes in float32 for float32 X, else in float64.

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
        self : TwoLayerPGDRegressor

        Raises
        ------
        ValueError
            For parameters or data that cannot be used. The message says what to change.
        DivergenceError
            If all networks diverge.
        MemoryError
            If training needs more memory than there is, before anything is allocated.
        """
        validation = groups, X_val, y_val, sample_weight_val
        return self._fit_given_rows(X, y, sample_weight, soft_targets, *validation)

    _fit_jointly = staticmethod(fit_jointly)

    @numpy_inputs
    def _standardized(self, X):
        return predict_outputs(self, X, mean_output)
