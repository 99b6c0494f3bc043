"""Private implementation of :class:`sklearn_kd.inspection.InformationDisplay`."""

from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_consistent_length, check_random_state, check_scalar, column_or_1d

from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.gram import gram_matrix
from sklearn_kd._utils.label_indicators import refuse_label_indicator
from sklearn_kd._utils.labels import encode_labels, plain_labels
from sklearn_kd._utils.protocols import LabelCorrector, SoftTargetStudent
from sklearn_kd._utils.sklearn_compat import num_samples, safe_indexing
from sklearn_kd._utils.validation import check_option
from sklearn_kd.inspection._plotting import check_columns, pyplot

_COLUMNS = ["epoch", "weight", "given", "refined", "predicted", "gain"]
_QUANTITIES = {"ratio": "Information ratio", "gain": "Information gain"}
#: Root mean square of centered labels below which they count as all equal. Their information ratio
#: would consist of rounding errors.
_MIN_SPREAD = 1e-6


class InformationDisplay:
    r"""Information ratio of labels that are corrected in training, epoch by epoch.

    The information ratio of label vectors is the share of their norm in the top k eigenvectors of a
    kernel, :math:`\|U_k^\top y\| / \|y\|` (:func:`~sklearn_kd.theory.information_ratio`). A wide
    network learns this part of the labels early. Wrong labels lower it. The information gain is the
    ratio of the labels as :class:`~sklearn_kd.SelfDistillClassifier` has corrected them minus that
    of the given labels. It is positive where the corrections restore what noise has removed.

    Make one with :meth:`from_estimator`. The constructor takes the frame of an earlier display.

    Parameters
    ----------
    frame : DataFrame
        One line for each recorded epoch, with the columns of the attribute ``frame``. The column
        ``clean`` may be absent.

    Attributes
    ----------
    frame : DataFrame of shape (n_records, 6 or 7)
        The columns are ``epoch`` (from 1), ``weight`` (the mean of :math:`1 - \alpha_t` in the
        epoch), the information ratios of the ``given`` labels, the ``refined`` labels and the
        ``predicted`` probabilities, ``gain`` (refined minus given) and, if they are known, the
        information ratio of the ``clean`` labels. A ratio is NaN if the labels are the same in all
        rows, as the predictions of an untrained network may be.
    ax_ : matplotlib Axes
        Axes that the display was last drawn on.
    figure_ : matplotlib Figure
        Figure of these axes.
    lines_ : list of matplotlib Line2D
        Lines that were drawn.

    See Also
    --------
    sklearn_kd.theory.information_ratio : The ratio of one label vector.
    sklearn_kd.theory.kernel_spectrum : The spectrum of the kernel, which helps to choose k.

    References
    ----------
    Dong, B., Hou, J., Lu, Y., and Zhang, Z. (2019). arXiv:1910.01255, sections 2.3 and 3.5,
    Figures 2 and 5.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.preprocessing import normalize
    >>> from sklearn_kd import SelfDistillClassifier, TwoLayerPGDClassifier
    >>> from sklearn_kd.datasets import add_label_noise
    >>> from sklearn_kd.inspection import InformationDisplay
    >>> X, y = load_digits(n_class=4, return_X_y=True)
    >>> noisy = add_label_noise(y, 0.3, random_state=0)
    >>> network = TwoLayerPGDClassifier(64, max_iter=60, n_init=1, early_stopping=False)
    >>> display = InformationDisplay.from_estimator(
    ...     SelfDistillClassifier(network, memory=None, random_state=0),
    ...     normalize(X), noisy.y, y_clean=y, random_state=0,
    ... )
    >>> list(display.frame)
    ['epoch', 'weight', 'given', 'refined', 'predicted', 'gain', 'clean']
    >>> first, last = display.frame.iloc[0], display.frame.iloc[-1]
    >>> bool(first.gain == 0), bool(last.gain > 0.2)
    (True, True)
    """

    __module__ = "sklearn_kd.inspection"

    def __init__(self, *, frame):
        self.frame = frame

    @classmethod
    @numpy_inputs
    def from_estimator(  # noqa: PLR0913
        cls,
        estimator,
        X,
        y,
        *,
        y_clean=None,
        k=5,
        kernel="ntk-full",
        n_rows=256,
        every=1,
        random_state=None,
        ax=None,
        quantity="ratio",
        line_kw=None,
    ):
        """Fit a clone on labels that it corrects, record the ratios of some rows, and plot them.

        Parameters
        ----------
        estimator : SelfDistillClassifier
            It is cloned. Its targets must change in training, while those of
            ``memory="previous-generation"`` and of Bayes' rule are made once. With "auto" of
            ``schedule`` and ``memory`` they change for a network without early stopping.
        X : array-like or dataframe of shape (n_samples, n_features)
            Rows. The kernel takes them as given, as in
            :func:`~sklearn_kd.theory.information_ratio`, while most networks scale their inputs.
            Rows of unit length suit the named kernels.
        y : array-like of shape (n_samples,)
            Class labels, some of which are wrong.
        y_clean : array-like of shape (n_samples,), default=None
            The true labels, if they are known. The network does not learn from them.
        k : int, default=5
            Number of eigenvectors. Choose it at a gap of the spectrum
            (:func:`~sklearn_kd.theory.kernel_spectrum`).
        kernel : {"ntk", "ntk-full", "nngp", "laplace"} or callable, default="ntk-full"
            A callable maps (X, X) to the Gram matrix.
        n_rows : int or None, default=256
            Number of rows that are recorded. The eigenvectors are those of their Gram matrix. None,
            or more than there are, means all rows.
        every : int, default=1
            Number of epochs from one record to the next. The first epoch is always recorded.
        random_state : int, RandomState instance or None, default=None
            Draws the rows. The estimator has a ``random_state`` of its own.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a new figure.
        quantity : {"ratio", "gain"}, default="ratio"
            As for :meth:`plot`.
        line_kw : dict, default=None
            As for :meth:`plot`.

        Returns
        -------
        display : InformationDisplay
            The display, with the ratios in ``frame``.

        Raises
        ------
        ImportError
            Before any training, if matplotlib is not installed.
        TypeError
            If the estimator is not a SelfDistillClassifier.
        ValueError
            If targets do not change in training, if early stopping holds rows out, if the labels of
            the rows drawn are all equal, or if an option is out of range.

        Notes
        -----
        Labels are centered, and classes are one-hot, also for two classes, where any other coding
        has the same ratio. In an epoch of minibatches the target of a row is that of the one step
        that the row takes part in. If several networks train side by side (``n_init``), the curve
        is that of the network that is kept. The targets are those of the forward passes of the
        epoch, so that in full batch the untrained network makes the targets of epoch 1.

        Examples
        --------
        See :class:`InformationDisplay`.
        """
        if ax is None:
            pyplot(cls.__name__)
        check_option(quantity, "quantity", _QUANTITIES)
        refuse_label_indicator(cls.__name__, y)
        model = _check_label_corrector(estimator)
        check_consistent_length(X, y, *([] if y_clean is None else [y_clean]))
        check_scalar(every, "every", Integral, min_val=1)
        n_samples = num_samples(X)
        rows = np.arange(n_samples)
        if n_rows is not None:
            check_scalar(n_rows, "n_rows", Integral, min_val=2)
            if n_rows < n_samples:
                rng = check_random_state(random_state)
                rows = np.sort(rng.choice(n_samples, n_rows, replace=False))
        check_scalar(k, "k", Integral, min_val=1, max_val=len(rows))
        top = _top_eigenvectors(safe_indexing(X, rows), kernel, k)
        ratios = {"given": _ratio(_one_hot(y, rows), top)}
        if np.isnan(ratios["given"]):
            raise ValueError(f"the labels of the {len(rows)} rows are all equal: raise n_rows.")
        if y_clean is not None:
            ratios["clean"] = _ratio(_one_hot(y_clean, rows), top)

        recorder = _RatioRecorder(rows, n_samples, top, every)
        model._fit(X, y, recorder=recorder)
        display = cls(frame=_ratio_frame(recorder.records(), model.weight_curve_, ratios))
        return display.plot(ax, quantity=quantity, line_kw=line_kw)

    def plot(self, ax=None, *, quantity="ratio", line_kw=None):
        """Draw the ratios, or the gain, against the epoch.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a new figure.
        quantity : {"ratio", "gain"}, default="ratio"
            "ratio" draws the ratios of refined labels and predictions, with horizontal lines for
            given and clean labels. "gain" draws the gain of refined labels, with a horizontal line
            for the gain of clean labels.
        line_kw : dict, default=None
            Options of ``ax.plot``.

        Returns
        -------
        display : InformationDisplay
            The display itself, with the attributes of what is drawn.

        Raises
        ------
        ValueError
            If the frame has no line or lacks a column, or ``quantity`` is neither.
        """
        check_option(quantity, "quantity", _QUANTITIES)
        check_columns(self.frame, _COLUMNS)
        if not len(self.frame):
            raise ValueError("the frame has no line.")
        if ax is None:
            _, ax = pyplot(type(self).__name__).subplots()

        epochs, given = self.frame["epoch"].to_numpy(), float(self.frame["given"].iloc[0])
        base = 0.0 if quantity == "ratio" else given
        columns = {"refined": "refined labels", "predicted": "predictions"}
        if quantity == "gain":
            columns = {"gain": "refined labels"}
        lines = []
        for column, label in columns.items():
            style = {"label": label, **(line_kw or {})}
            lines += ax.plot(epochs, self.frame[column].to_numpy(dtype=float), **style)
        levels = {"given": "--", "clean": ":"}
        for column in [name for name in levels if name in self.frame]:
            level = float(self.frame[column].iloc[0]) - base
            style = {"color": "black", "linestyle": levels[column]}
            lines.append(ax.axhline(level, label=f"{column} labels", **style))
        ax.set_xlabel("Epoch")
        ax.set_ylabel(_QUANTITIES[quantity])
        ax.legend()
        self.ax_, self.figure_, self.lines_ = ax, ax.figure, lines
        return self


class _RatioRecorder:
    """Records the information ratios of targets and predictions; a `TargetRecorder`.

    Parameters
    ----------
    rows : ndarray of int of shape (n_rows,)
        Rows whose ratios are recorded.
    n_samples : int
        Number of rows of the fit.
    top : ndarray of shape (n_rows, k)
        Eigenvectors.
    every : int
        Epochs from one record to the next.
    """

    def __init__(self, rows, n_samples, top, every):
        self.rows, self.n_samples, self.top, self.every = rows, n_samples, top, every
        self.network = 0

    def begin(self, n_rows, n_batches):
        """Start, or start again, with the number of rows in training and of steps in an epoch."""
        if n_rows < self.n_samples:
            raise ValueError(
                f"{self.n_samples - n_rows} rows are held out of training and have no targets to "
                "record: set early_stopping=False of the estimator."
            )
        self.n_batches, self.latest, self.recorded = n_batches, None, []

    def __call__(self, logits, targets, rows, step):
        """Observe a step: tensors of shape (networks, outputs, rows), rows None for all."""
        proba = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)
        if self.latest is None:
            shape = *logits.shape[:2], self.n_samples
            self.latest = [logits.new_empty(shape) for _ in range(2)]
        for latest, values in zip(self.latest, (targets, proba), strict=True):
            latest[:, :, slice(None) if rows is None else rows] = values
        epoch, batch = divmod(step, self.n_batches)
        if batch == self.n_batches - 1 and epoch % self.every == 0:
            chosen = [values[:, :, self.rows].mT.double().cpu().numpy() for values in self.latest]
            # of every network, since the one that is kept is known at the end only
            ratios = [[_ratio(each, self.top) for each in values] for values in chosen]
            self.recorded.append((epoch + 1, ratios))

    def select(self, network):
        """Receive the index of the network that is kept of those side by side."""
        self.network = network

    def records(self):
        """Return (epoch, ratio of targets, ratio of predictions) of the network that is kept."""
        return [
            (epoch, *(each[self.network] for each in ratios)) for epoch, ratios in self.recorded
        ]


def _top_eigenvectors(X, kernel, k):
    if isinstance(kernel, str) and kernel == "precomputed":
        raise ValueError(
            "kernel='precomputed' has no rows for the network to learn from: pass a callable that "
            "maps (X, X) to the Gram matrix."
        )
    return np.linalg.eigh(gram_matrix(X, kernel))[1][:, -k:]


def _one_hot(y, rows):
    classes, y_encoded = encode_labels(column_or_1d(plain_labels(y)))
    return np.eye(len(classes))[y_encoded[rows]]


def _ratio(columns, top):
    """Return the information ratio of labels (n_rows, n_outputs), NaN if rows are all equal."""
    centered = columns - columns.mean(axis=0)
    norm = np.linalg.norm(centered)
    if norm <= _MIN_SPREAD * np.sqrt(len(columns)):
        return np.nan
    return min(float(np.linalg.norm(top.T @ centered) / norm), 1.0)


def _ratio_frame(records, weights, ratios):
    """Return the frame of a display, with a line for each record."""
    import pandas as pd

    frame = pd.DataFrame(records, columns=["epoch", "refined", "predicted"])
    frame["weight"] = weights[frame["epoch"] - 1]
    frame = frame.assign(**ratios, gain=frame["refined"] - ratios["given"])
    return frame[[*_COLUMNS, *(["clean"] if "clean" in ratios else [])]]


def _check_label_corrector(estimator):
    """Return a clone of an estimator whose targets change in training."""
    if not isinstance(estimator, LabelCorrector) or isinstance(estimator, type):
        name = estimator.__name__ if isinstance(estimator, type) else type(estimator).__name__
        raise TypeError(
            f"estimator must be a SelfDistillClassifier, an instance; got {name}. Apply the steps "
            "of a pipeline before, and pass X as the network takes it."
        )
    estimator = clone(estimator)
    network = estimator._get_estimator()
    # fit refuses networks of other kinds
    if isinstance(network, SoftTargetStudent) and estimator._trains_two_generations(network):
        raise ValueError(
            "memory='previous-generation', and memory='auto' for a network with early stopping, "
            "makes the targets once, as schedule='auto' does, so that nothing changes in training: "
            "set memory=None, and early_stopping=False of the network."
        )
    return estimator
