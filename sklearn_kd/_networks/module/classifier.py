"""ModuleClassifier: any torch module as a classifier, trained by skorch."""

from numbers import Real

from sklearn.base import BaseEstimator

from sklearn_kd._networks.base import NetworkClassifierMixin
from sklearn_kd._networks.input_checks import check_loss
from sklearn_kd._networks.module.base import ModuleNetworkMixin, without_nested
from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.base import PublicEstimatorMixin
from sklearn_kd._utils.sklearn_compat import Interval, StrOptions, fit_context


class ModuleClassifier(
    ModuleNetworkMixin, PublicEstimatorMixin, NetworkClassifierMixin, BaseEstimator
):
    r"""Any torch module as a classifier, trained by skorch on hard or soft labels.

    It adds sample weights, ``soft_targets`` and early stopping to the module, which can then be the
    teacher or the student of a :class:`DistilledClassifier` and be part of pipelines and searches.
    The rows stay on the device and are passed to the module in batches, so that an epoch takes
    little longer than in a loop written by hand.

    Parameters
    ----------
    module : class or callable
        Makes the module, and is called with ``module_params``. A module itself is an error. If it
        takes the keywords ``n_outputs`` (1 for two classes, else the number of classes) and
        ``input_shape`` (``(n_features,)`` or ``image_shape``), or any keyword (``**kwargs``), it
        gets those too, unless they are in ``module_params``. The module takes a batch of rows and
        returns their logits, of shape (n, 1) or (n, 2) for two classes, else (n, n_classes). The
        sigmoid or softmax is computed outside of the module. One that seems to return
        probabilities gives a :class:`~sklearn_kd.exceptions.ProbabilityOutputWarning`. It draws
        from torch's global generators, which are seeded for the fit and restored after it.

    module_params : dict or None, default=None
        Keyword arguments of ``module``. A search over them has the grid
        ``{"module_params": [{"width": 16}, {"width": 32}]}``, or ``{"module__width": [16, 32]}``
        as for skorch, see `set_params`.

    optimizer : {"adam", "adamw", "sgd"} or class, default="adam"
        A name, a class of ``torch.optim``, or a class of the same interface: the first argument is
        the parameters, ``lr`` is a keyword, and ``step`` takes a closure.

    learning_rate : float, default=0.001
        Step size at the start.

    optimizer_params : dict or None, default=None
        More keyword arguments of the optimizer, such as ``{"momentum": 0.9}`` for "sgd".

    weight_decay : float, default=0.0
        Weight decay of the optimizer: an L2 penalty in "adam" and "sgd", decoupled in "adamw".

    scheduler : {"auto", "cosine", "one-cycle", "step"}, class or None, default="auto"
        Learning rate schedule. None keeps the rate. "auto" is "cosine" where
        ``early_stopping="auto"`` does not stop early, and None otherwise. "cosine" decreases the
        rate along a half cosine to zero at ``max_epochs``. "one-cycle" increases it to
        ``learning_rate`` and decreases it again, step by step. "step" divides it by ten after each
        third of the epochs. A class of ``torch.optim.lr_scheduler``, or a function of the optimizer
        that makes one, is stepped once an epoch.

    scheduler_params : dict or None, default=None
        Keyword arguments of the scheduler.

    max_epochs : int or "auto", default="auto"
        Number of epochs. "auto" takes 1000 in full batch, where an epoch is one step, else 100.
        Where ``early_stopping="auto"`` does not stop early it takes 300 in full batch, else 64, but
        at least 3000 steps, and at most 10000 steps or 30 epochs. Another fit without ``scheduler``
        that ends there while its loss still improves raises a
        :class:`~sklearn.exceptions.ConvergenceWarning`.

    batch_size : int, "auto" or None, default="auto"
        Number of rows in a step. None takes all rows. "auto" takes all rows for up to 1000
        distinct rows, and 128 for more and in `partial_fit`. Batches are of nearly equal size.

    clip_norm : float or None, default=None
        Largest norm of the gradient of all weights, to which longer gradients are shortened.

    early_stopping : bool or "auto", default="auto"
        Whether to stop when the validation loss no longer improves and to keep the weights with
        the least. "auto" does so on hard labels. On ``soft_targets`` with ``alpha`` above 0 and at
        most 1 it trains on all rows for a short schedule and keeps the last weights, unless `fit`
        gets ``X_val`` or the targets are almost hard labels (a mean entropy under 0.1). With early
        stopping, if `fit` gets ``groups``, whole groups are held out, and if it gets ``X_val``, the
        loss on these rows decides. False trains for ``max_epochs`` epochs and keeps the last
        weights. Where no row can be held out, an
        :class:`~sklearn_kd.exceptions.EarlyStoppingWarning` is raised.

    validation_fraction : float in (0, 1), default=0.1
        Share of the rows that early stopping holds out. In full batch it is a share of the distinct
        rows.

    n_iter_no_change : int or "auto", default="auto"
        Number of epochs without a better validation loss after which training stops. "auto" takes
        a tenth of ``max_epochs``, at least 10.

    alpha : float >= 0, default=1.0
        Weight of the soft targets. The hard labels have weight ``1 - alpha``. Used only with
        ``soft_targets``. Values above one need ``temperature=1`` and ``weight_decay`` or
        ``early_stopping``.

    temperature : float > 0, default=1.0
        Temperature of the soft part of the loss, where it divides the logits and softens
        ``soft_targets`` alike. Used only with ``soft_targets``.

    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, by which the sample weights are multiplied according to ``y``.

    encoder : None, "auto", TableEncoder or FrozenEstimator, default=None
        What turns raw rows into the columns that the module gets. "auto" is a
        :class:`TableEncoder`, with which X may be a DataFrame with strings and missing cells. A
        fitted one inside :class:`sklearn.frozen.FrozenEstimator` is used as it is. None takes X as
        an array of numbers. It cannot be used with ``image_shape``.

    image_shape : tuple (channels, height, width) or None, default=None
        Shape of the images as which the module gets the rows. None passes flat rows.

    input_scaling : bool, default=True
        Whether to scale the columns, or the channels of images, to mean zero and variance one with
        weighted statistics. Pixels from 0 to 255 then train as well as from 0 to 1. False uses the
        rows as given, which indices into an embedding need.

    augmentation : str, sequence of str, dict, callable or None, default=None
        Random changes of each training batch, in the order given: "shift" (by up to 2 pixels),
        "crop" (a window up to 4 pixels smaller, enlarged), "flip" (left to right, half of the
        images) and "noise" (Gaussian, of standard deviation 0.1 in scaled units, also for flat
        rows). A dict gives their strengths, as in ``{"shift": 4, "flip": True}``. A callable maps
        a batch, which is a tensor of scaled rows on the device, and the ``torch.Generator`` to
        draw from, to a batch.

    mixed_precision : bool, "auto", "bfloat16" or "float16", default=False
        Half precision in which the module computes in training, with float32 rows. Weights and the
        loss stay in float32, and predictions are computed in float32. True is "bfloat16", which is
        slow on processors without instructions for it. "auto" takes "bfloat16" where the device
        has them and the module has a convolution, or a dense layer of at least 65,536 weights,
        and the precision of the rows otherwise. Set it for images:
        convolutional networks train 1.2 to 1.9 times as fast on a CPU with AVX512-BF16, and 1.2 to
        3 times on one with AMX. "float16" needs CUDA.

    callbacks : list or None, default=None
        Callbacks of skorch: classes, instances (which are copied) or pairs (name, instance). They
        get what skorch's own classifier passes, except that rows are scaled and that labels are
        those of ``y``. The ``history`` of their net has ``train_loss`` and, where rows are held
        out, ``valid_loss`` and ``valid_acc``.

    checkpoint_path : str, path-like or None, default=None
        File in which `fit` stores its state, at intervals (so that writing takes about a twentieth
        of the time) and at the end. A `fit` that finds the file continues from there, exactly as
        it would have without a stop, except for the state of ``callbacks``. It raises ValueError
        where a fit with other parameters or data wrote the file. A fit that had ended returns at
        once, unless ``max_epochs`` ended it and has been increased. A smaller ``max_epochs`` does
        not undo epochs. Use it for single fits, since in a search each fit would find the file of
        another. A change in the source of a class is not noticed.

    warm_start : bool, default=False
        Whether `fit` continues from the fitted weights, with their input scaling.

    random_state : int, RandomState or None, default=None
        Controls the initial weights, the order of the rows, the validation rows, dropout and
        augmentation. Fits and predictions in several threads of one process share the global
        generators of torch and are not reproducible; those in several processes are.

    device : str, default="auto"
        Device of training and prediction: "cpu", "cuda", "cuda:1" and so on. "auto" takes CUDA
        where it is available. An ``sklearn_kd.modules.MLP`` predicts in NumPy.

    verbose : int, default=0
        Above zero, the loss is printed about a hundred times during ``fit``.

    **nested : dict
        Single parameters of the module, the optimizer and the scheduler, such as
        ``module__width=16``, see `set_params`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels. With a DataFrame of soft targets they include labels that ``y`` lacks.
        For several labels they are the indices of the columns of ``y``.
    multilabel_ : bool
        Whether ``y`` was an indicator of several labels.
    encoder_ : TableEncoder or None
        The fitted encoder.
    module_state_ : dict of str to ndarray
        Weights and buffers of the module, by name.
    input_offset_, input_scale_ : ndarray of float64 of shape (n_features,)
        The module gets ``(x - input_offset_) / input_scale_``. Zeros and ones without scaling. With
        an encoder x is an encoded row.
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
    precision_ : str
        Number format in which the module computed in training: "float32", "float64", "bfloat16" or
        "float16".
    termination_condition_ : str
        Why training ended: "max_epochs", "early_stopping", "callback" or "interrupted".
    n_features_in_ : int
        Number of features seen during ``fit``.
    feature_names_in_ : ndarray of str of shape (`n_features_in_`,)
        Names of features seen during ``fit``. Defined only when X has feature names that are all
        strings.

    See Also
    --------
    TwoLayerPGDClassifier : A network of one hidden layer, which trains faster.
    DistilledClassifier : Trains a module on the labels of any other classifier, or the reverse.

    Notes
    -----
    In full batch and float64 a weight of k equals k copies of a row to rounding, unless the module
    itself looks at other rows (BatchNorm) or draws for each row (dropout).

    `partial_fit` holds nothing out, begins the scheduler anew with each call and does not use
    ``checkpoint_path``. The memory of the optimizer is kept between calls.

    The fitted state consists of NumPy arrays. A pickle can be loaded where the class of the module
    can be imported, without the device and the version of torch that trained it. An
    ``sklearn_kd.modules.MLP`` predicts in NumPy, and neither that nor loading it imports torch.

    References
    ----------
    .. [1] Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network",
       arXiv:1503.02531, section 2.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_kd import ModuleClassifier
    >>> def network(input_shape, n_outputs, width=16):
    ...     return torch.nn.Sequential(
    ...         torch.nn.Linear(input_shape[0], width),
    ...         torch.nn.ReLU(),
    ...         torch.nn.Linear(width, n_outputs),
    ...     )
    >>> X, y = load_iris(return_X_y=True)
    >>> model = ModuleClassifier(network, learning_rate=0.01, max_epochs=200, random_state=0)
    >>> model.fit(X, y).score(X, y) > 0.95
    True
    """

    __module__ = "sklearn_kd"

    _parameter_constraints: dict = {
        **ModuleNetworkMixin._parameter_constraints,
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    @without_nested
    def __init__(  # noqa: PLR0913
        self,
        module,
        *,
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
        temperature=1.0,
        class_weight=None,
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
        self.temperature = temperature
        self.class_weight = class_weight
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
    def fit(  # noqa: PLR0913
        self,
        X,
        y,
        sample_weight=None,
        soft_targets=None,
        labeler=None,
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

        labeler : callable, default=None
            A teacher that computes new soft targets for each batch from its rows as
            ``augmentation`` has changed them, in the units of X. It maps an ndarray of shape
            (n, n_features) to probabilities of shape (n, n_classes) in the order of ``classes_``.
            Validation rows keep their ``soft_targets``.

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
        self : ModuleClassifier

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
        if labeler is not None and self.encoder is not None:
            raise ValueError(
                "labeler needs the rows in the units of X, which encoded rows do not have: set "
                "encoder=None, or pass no labeler."
            )
        if labeler is not None and (soft_targets is None or self.augmentation is None):
            raise ValueError(
                "labeler makes new labels for rows that augmentation changes, in place of their "
                "soft_targets: set augmentation and pass soft_targets, or pass no labeler."
            )
        options = {"known": {"classes": self.classes_ if resume else None}, "resume": resume}
        validation = groups, X_val, y_val, sample_weight_val
        return self._fit_given_rows(
            X, y, sample_weight, soft_targets, *validation, labeler=labeler, **options
        )

    def _check_values(self, has_soft_targets, holds_out):
        """Raise ValueError for parameters that do not go together."""
        super()._check_values(has_soft_targets, holds_out)
        if has_soft_targets:
            check_loss(
                self,
                is_bounded=self.weight_decay > 0 or holds_out,
                advice="set weight_decay or early_stopping=True (partial_fit holds nothing out: "
                "set weight_decay)",
            )

    @numpy_inputs
    def _logits(self, X):
        return self._outputs(X)
