"""TwoLayerPGDClassifier: a two-layer ReLU network trained by projected gradient descent."""

from numbers import Real

from sklearn.base import BaseEstimator

from sklearn_kd._networks.base import NetworkClassifierMixin
from sklearn_kd._networks.input_checks import check_loss
from sklearn_kd._networks.two_layer.base import TwoLayerNetworkMixin, fit_jointly
from sklearn_kd._networks.two_layer.forward import predict_outputs
from sklearn_kd._networks.two_layer.members import mean_label_prediction, mean_prediction
from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.base import PublicEstimatorMixin
from sklearn_kd._utils.label_indicators import learns_labels
from sklearn_kd._utils.sklearn_compat import Interval, StrOptions, fit_context


class TwoLayerPGDClassifier(
    TwoLayerNetworkMixin, PublicEstimatorMixin, NetworkClassifierMixin, BaseEstimator
):
    r"""Two-layer ReLU network trained by projected gradient descent on hard or soft labels.

    .. math:: f(x) = m^{-1/2} \sum_{j=1}^m A_j\, \mathrm{relu}(\langle W_j, \tilde x\rangle),
        \qquad \|W_j - W_j(0)\| \le B\, m^{-1/2}

    where :math:`\tilde x` is the encoded and scaled row with a one appended, m is ``width`` and B
    ``radius``.
    Two classes have one logit, K > 2 classes have K. With ``soft_targets`` the loss is that of
    distillation, without them it is the cross-entropy. If ``y`` is an indicator of several labels,
    each label has a logit of its own.

    The networks of all restarts, and of all folds of early stopping on small data, are trained
    together in the same matrix products, which takes far less time than separate fits.

    Parameters
    ----------
    width : int, default=64
        Number m of neurons in the hidden layer, an even number. The model has about
        ``width * (n_encoded + n_classes)`` weights, where ``n_encoded`` is the number of columns
        of encoded rows, ``n_features`` with ``encoder=None``.

    n_members : int, default=1
        Number of networks that share the hidden weights and whose probabilities are averaged. Each
        multiplies the inputs of a column of X by a random sign of its own, the first by one, and
        has its own trained output weights and its own loss [3]_. Eight members predict better than
        one in a network of 64 neurons, and hardly better in one of 16. Each has ``width`` output
        weights for each class, and products of its own in training and prediction.

    radius : float or None, default=None
        Bound B on the distance of the hidden weights from their start: each neuron stays within
        ``radius / sqrt(width)`` of its start, in the scaled coordinates. None sets no bound. A
        small radius (1 to 20) keeps the network near its kernel limit, where soft labels need
        fewer neurons than hard labels.

    learning_rate : float or "auto", default="auto"
        Step size. A number is used at every step. "auto" chooses it from the number of inputs and
        the width and decreases it to zero along a half cosine. A fit that diverges is repeated
        with a quarter of it.

    max_iter : int or "auto", default="auto"
        Number of epochs, which in full batch is the number of steps. "auto" takes 2000 in full
        batch. In minibatches it takes the number that gives 60000 steps, of which early stopping
        leaves most out, or 10000 steps if ``early_stopping=False``, at least 30 epochs. Where
        ``early_stopping="auto"`` does not stop early, it takes 500 steps in full batch, and in
        minibatches 64 epochs, but at least 3000 steps and at most 10000 steps or 16 epochs. Other
        fits that end there while their loss still improves raise a
        :class:`~sklearn.exceptions.ConvergenceWarning`.

    batch_size : int, "auto" or None, default="auto"
        Number of rows in a step. None takes all rows. "auto" takes all rows for up to 1000
        distinct rows, and 128 for more and in `partial_fit`. Copies of a row count once, so that a
        weight of k still equals k copies.

    n_init : int or "auto", default="auto"
        Number of restarts: networks with different initial weights, which are trained together.
        The one with the least validation loss is kept, or with the least training loss without
        early stopping. "auto" takes as many as have 32 neurons in all, since narrow networks vary
        most.

    output_layer : {"auto", "fixed", "trained"}, default="auto"
        "fixed" keeps the output weights at their random signs, as in the theory. "auto" is
        "trained", but "fixed" for two classes, one member and ``init="symmetric"``.

    init : {"symmetric", "standard"}, default="standard"
        With "symmetric" the second half of the neurons repeats the first with opposite signs, so
        that the network starts at zero, as in the theory. With "standard" all are drawn
        independently, which serves narrow networks better.

    optimizer : {"auto", "adam", "nesterov"}, default="auto"
        "nesterov" is projected gradient descent with Nesterov's momentum, and with
        ``momentum=0`` the plain method of the paper. "adam" scales each coordinate by its own
        gradients, which suits columns that are rare or heavy-tailed. "auto" takes "adam" for
        ``learning_rate="auto"`` and "nesterov" for a number.

    momentum : float in [0, 1), default=0.9
        Momentum of "nesterov", or the decay rate of the mean gradient of "adam".

    weight_decay : float in [0, 1) or "auto", default="auto"
        Share of the weights that each step removes while the step size is full, and less in
        proportion as it decreases [4]_. It is not multiplied by the step size. "auto" is 0 unless
        the optimizer is "adam" and ``learning_rate="auto"``. It is then 0.009 in full batch, and in
        minibatches 4.5 over the number of steps that soft labels take: with ``batch_size=128`` it
        is 0.0015 for up to 6000 rows, 0.00045 for 20000 to 80000 and less for more. Where the step
        size of a diverged fit is divided by four, "auto" is too. Larger values suit few or noisy
        rows.

    alpha : float >= 0, default=1.0
        Weight of the soft targets. The hard labels have weight ``1 - alpha``. Used only with
        ``soft_targets``. Values above one (against wrong labels, [2]_) need ``temperature=1`` and
        a finite ``radius`` or ``early_stopping`` with rows to hold out. `partial_fit` holds nothing
        out.

    temperature : float > 0, default=1.0
        Temperature of the soft part of the loss, where it divides the logits and softens
        ``soft_targets`` alike. Used only with ``soft_targets``.

    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, by which the sample weights are multiplied according to ``y``.

    early_stopping : bool or "auto", default="auto"
        Whether to stop when the validation loss no longer improves and to keep the weights with
        the least. In full batch the loss is cross-validated in 5 folds: a network for each fold is
        trained along with the main network, which trains on all rows. In minibatches it is the
        loss on ``validation_fraction`` of the rows. If `fit` gets ``groups``, whole groups are held
        out, and if it gets ``X_val``, the loss on these rows decides. Where no row can be held out,
        an :class:`~sklearn_kd.exceptions.EarlyStoppingWarning` is raised. False trains for
        ``max_iter`` epochs and keeps the last weights.

        "auto" stops early on hard labels. On ``soft_targets``, if ``alpha`` is above 0 and at most
        1, it does not, since a short schedule on all rows is better: such labels have little
        noise, and held-out transfer rows resemble rows that are trained on. It stops early there
        too if `fit` gets ``X_val``, or if the targets are almost hard labels, with a mean entropy
        under 0.1.

    validation_fraction : float in (0, 1), default=0.1
        Share of the rows of each class that early stopping holds out in minibatches, at least one
        row in all.

    n_iter_no_change : int or "auto", default="auto"
        Number of epochs without a better validation loss after which training stops. "auto" takes
        a fifth of ``max_iter``, at least 10. If ``max_iter`` is "auto" too, it takes 400 in full
        batch, and the number that gives 2000 steps in minibatches.

    encoder : "auto", TableEncoder, FrozenEstimator or None, default="auto"
        How raw rows become numbers. "auto" is ``TableEncoder()``, and an encoder with other
        parameters is cloned: DataFrames with strings, categories and missing cells go straight into
        `fit` and `predict`, and the network sees thresholds and bends of each column. It is fitted
        on the rows of positive weight, with ``sample_weight``. A fitted encoder inside
        :class:`sklearn.frozen.FrozenEstimator` is used as it is. None takes finite numbers as they
        are, which is the setting of the theory and suits rows that have been prepared.

    input_scaling : bool, default=True
        Whether to center the encoded columns and scale them to equal variance, such that the mean
        squared norm of the rows is one, with weighted statistics. False uses them as they are.

    input_intercept : bool, default=True
        Whether to append a coordinate that is always one, so that the neurons have an intercept.

    random_state : int, RandomState or None, default=None
        Controls the initial weights, the order of the rows and the validation rows.

    device : str, default="auto"
        Device of training: "cpu", "cuda", "cuda:1" and so on. "auto" takes CUDA where it is
        available. Prediction uses NumPy.

    verbose : int, default=0
        Above zero, the loss is printed about a hundred times during ``fit``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels. With a DataFrame of soft targets they include labels that ``y`` lacks.
        For several labels they are the indices of the columns of ``y``.
    multilabel_ : bool
        Whether ``y`` was an indicator of several labels.
    encoder_ : TableEncoder or None
        The fitted encoder. ``x`` below are the encoded rows, ``encoder_.transform(X)``.
    hidden_weights_ : ndarray of shape (width, n_encoded + 1)
        W, acting on ``[scaled x, 1]``. Without the last column if ``input_intercept=False``.
    initial_weights_ : ndarray, same shape
        W(0).
    input_signs_ : ndarray of shape (n_members, n_features)
        Signs by which the members multiply the encoded, scaled inputs of each column of X. Defined
        only for several members.
    output_weights_ : ndarray of shape (width,), (width, n_classes) or (width, n_labels)
        A, without columns for two classes.
        ``logits = relu([scaled x, 1] @ hidden_weights_.T) @ output_weights_ / sqrt(width)``.
    input_offset_, input_scale_ : ndarray of float64 of shape (n_encoded,)
        ``scaled x = (x - input_offset_) / input_scale_``. Zeros and ones without scaling.
    distance_from_init_ : ndarray of shape (width,)
        ``||W_j - W_j(0)||``, at most ``radius / sqrt(width)``.
    n_iter_ : int
        Number of epochs trained.
    best_iter_ : int
        Number of epochs after which the weights were those that are kept.
    loss_curve_ : list of float
        Training loss of each epoch, the mean over its steps of the loss before the step. It is the
        KL divergence from the targets, or the two-term loss minus its least possible value.
    validation_loss_curve_ : list of float or None
        Loss of the same kind on the validation rows after each epoch, or the cross-entropy of
        ``y_val``. None without early stopping.
    average_loss_ : float
        Mean of the training loss over all steps, which Theorem 2 of [1]_ bounds.
    termination_condition_ : str
        Why training ended: "max_iter", "early_stopping", "callback" or "interrupted".
    n_features_in_ : int
        Number of features seen during ``fit``.
    feature_names_in_ : ndarray of str of shape (`n_features_in_`,)
        Names of features seen during ``fit``. Defined only when X has feature names that are all
        strings.

    See Also
    --------
    DistilledClassifier : Trains this network on the labels of any other classifier.
    sklearn.neural_network.MLPClassifier : Networks of any depth, on hard labels.

    Notes
    -----
    A step takes about ``4 * rows * width * n_encoded`` operations for each network. There are
    ``n_init`` networks, and six times as many in full batch with early stopping.

    A missing cell is an error with ``encoder=None``. Infinite numbers are an error always. Rows
    that early stopping holds out have a part in the encoder as they have in the scaling: by their
    X alone and not by their labels. The rows of ``X_val`` have none.

    The loss of several labels is the mean over the labels of the cross-entropy of two classes, so
    that step sizes and thresholds do not depend on their number. The gradient in the logit of a
    label is that of a network of this label alone, divided by the number of labels. Held-out rows
    are drawn from all rows alike, and ``class_weight`` is an error.

    In full batch and float64 a weight of k equals k copies of a row to rounding. In minibatches
    it does so in expectation only.

    `partial_fit` trains one network, whatever ``n_init`` is. It holds nothing out, so that
    ``alpha`` above one needs a finite ``radius``, and a step size chosen by "auto" does not decay.
    Parameters that another network would need (``width``, ``encoder``, the switches of the inputs,
    a fixed output layer after a trained one) cannot change between calls. Others act from the next
    call on. The first call fits the encoder.

    References
    ----------
    .. [1] Mandal, Lin and Srikant, "A Theoretical Analysis of Soft-Label vs Hard-Label Training
       in Neural Networks", arXiv:2412.09579, section 2. The gradient there, (5), lacks its last
       factor x.
    .. [2] Das and Sanghavi, "Understanding Self-Distillation in the Presence of Label Noise",
       arXiv:2301.13304.
    .. [3] Gorishniy, Kotelnikov and Babenko, "TabM: advancing tabular deep learning with
       parameter-efficient ensembling", arXiv:2410.24210.
    .. [4] Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv:1711.05101,
       algorithm 2.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_kd import TwoLayerPGDClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> student = TwoLayerPGDClassifier(width=8, random_state=0).fit(X, y)
    >>> student.score(X, y) > 0.95
    True
    """

    __module__ = "sklearn_kd"

    _parameter_constraints: dict = {
        **TwoLayerNetworkMixin._parameter_constraints,
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(  # noqa: PLR0913
        self,
        width=64,
        *,
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
        temperature=1.0,
        class_weight=None,
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
        self.temperature = temperature
        self.class_weight = class_weight
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

        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of at least two classes. Several columns of 0 and 1 are an indicator of several
            labels, of which each row has any number.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative. A weight of zero equals absence, and only ratios matter.

        soft_targets : array-like or DataFrame of shape (n_samples, n_classes) or \
                (n_samples, n_labels), default=None
            A teacher's probabilities at temperature one: columns in the order of
            ``np.unique(y)``, or a DataFrame whose columns are class labels, which may name
            classes that ``y`` lacks. A row of NaN means that the row has its hard label only. For
            several labels they are the probability of each column of ``y``, so that rows do not
            sum to one.

        groups : array-like of shape (n_samples,), default=None
            Groups of rows that resemble each other, such as the visits of a patient. Early stopping
            holds out whole groups, at least two of which each class needs, or all rows of several
            labels. Without them, it holds out rows whose near copies are trained on, and stops too
            late.

        X_val : array-like of shape (n_val, n_features), default=None
            Rows on which early stopping computes the validation loss. All rows of X are then
            trained on, and ``groups`` have no effect. A pipeline transforms them if it has
            ``transform_input=["X_val"]``.

        y_val : array-like of shape (n_val,) or (n_val, n_labels), default=None
            Labels of ``X_val``, of the classes of ``y``. The validation loss is the cross-entropy
            of these labels, also with ``soft_targets``.

        sample_weight_val : array-like of shape (n_val,), default=None
            Non-negative weights of ``X_val``, which are multiplied by ``class_weight``.

        Returns
        -------
        self : TwoLayerPGDClassifier

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

    def _check_values(self, has_soft_targets, holds_out):
        """Raise ValueError for an odd width and for alpha and temperature that do not fit."""
        super()._check_values(has_soft_targets, holds_out)
        if has_soft_targets:
            check_loss(
                self,
                is_bounded=self.radius is not None or holds_out,
                advice="set a finite radius or early_stopping=True (partial_fit holds nothing "
                "out: set a radius)",
            )

    _fit_jointly = staticmethod(fit_jointly)

    @numpy_inputs
    def _logits(self, X):
        average = mean_label_prediction if learns_labels(self) else mean_prediction
        return predict_outputs(self, X, average)
