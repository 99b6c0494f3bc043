"""What TwoLayerPGDClassifier.fit does with checked data: from parameters to `_core` and back.

Apart from the estimator because it imports torch, which an estimator must not at import.
"""

import dataclasses
import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from sklearn_kd import _device
from sklearn_kd._base import EpochReporter
from sklearn_kd._core import losses, solvers, targets, two_layer
from sklearn_kd._held_out import content_folds, is_small, random_rows
from sklearn_kd._scaling import fit_scaling, scale_inputs
from sklearn_kd._validation import rescale_weights
from sklearn_kd.exceptions import DivergenceError, EarlyStoppingWarning

__all__ = ["fit"]

#: Up to so many distinct rows "auto" trains in full batch.
FULL_BATCH_ROWS = 1000
#: Rows of a minibatch beyond that.
BATCH_SIZE = 128
#: Steps that max_iter="auto" aims at in full batch and in minibatches, and its fewest epochs.
FULL_BATCH_STEPS, MINIBATCH_STEPS, FEWEST_EPOCHS = 2000, 10000, 30
#: Folds of the cross-validated early stopping.
N_FOLDS = 5
#: Step sizes of Adam under learning_rate="auto": that of the hidden layer is divided by
#: sqrt(inputs), since a step moves every coordinate alike and so the logits by their root.
HIDDEN_STEP, OUTPUT_STEP = 0.2, 0.05
#: n_init="auto" takes as many restarts as make so many neurons.
RESTART_NEURONS = 32
#: Epochs of minibatches that the weights kept by early stopping are averaged over: it takes out
#: the noise that a step size which has not fallen yet leaves in them.
AVERAGING_EPOCHS = 6
#: The most that a held-out row's loss counts beyond its least, ln 1000, in units of the loss
#: (`_problem`): one row far outside the others would otherwise end training in its first epochs
#: (electricity has prices at 100 deviations).
HELD_OUT_CAP = math.log(1000.0)
#: How often a diverged "auto" fit is tried again, at a quarter of the step size.
RETRIES = 5


@dataclass
class _Settings:
    """The parameters of one fit with every "auto" resolved."""

    n_restarts: int
    n_epochs: int
    batch_size: int | None
    patience: int
    optimizer: str
    step_size: float
    output_step_size: float | None
    decay: bool


def _resolve(est, X, weights, n_classes, *, partial):
    """Choose what the parameters leave to "auto"."""
    n_inputs = X.shape[1] + bool(est.input_intercept)
    batch_size = est.batch_size
    if batch_size == "auto":
        # a call of partial_fit is one epoch: in full batch that would be a single step
        batch_size = None if not partial and is_small(X, FULL_BATCH_ROWS) else BATCH_SIZE
    if batch_size is not None and batch_size >= len(X):
        batch_size = None
    n_epochs = 1 if partial else est.max_iter
    if n_epochs == "auto":
        n_epochs = FULL_BATCH_STEPS
        if batch_size is not None:
            n_epochs = max(FEWEST_EPOCHS, math.ceil(MINIBATCH_STEPS * batch_size / len(X)))
    patience = est.n_iter_no_change
    if patience == "auto":
        patience = max(10, n_epochs // 5)
    is_auto = est.learning_rate == "auto"
    optimizer = est.optimizer
    if optimizer == "auto":
        optimizer = "adam" if is_auto else "nesterov"
    if not is_auto:
        step = output_step = float(est.learning_rate)
    elif optimizer == "adam":
        step, output_step = HIDDEN_STEP / math.sqrt(n_inputs), OUTPUT_STEP
    else:
        step = output_step = _inverse_curvature(X, weights, n_classes, est)
    trained = est.output_layer == "trained" or (est.output_layer == "auto" and n_classes > 2)
    n_restarts = max(1, RESTART_NEURONS // est.width) if est.n_init == "auto" else est.n_init
    return _Settings(
        n_restarts=1 if partial else n_restarts,
        n_epochs=n_epochs,
        batch_size=batch_size,
        patience=patience,
        optimizer=optimizer,
        step_size=step,
        output_step_size=output_step if trained else None,
        decay=is_auto and not partial,
    )


def _inverse_curvature(X, weights, n_classes, est):
    """1 / L at the start, L the trace bound on the curvature of the loss in all weights.

    The Hessian of the loss in a logit is at most 1/4 (two classes) or 1/2; half of the neurons
    are active, so the hidden layer adds E||x||^2 / 2, and a trained output layer E||x||^2 / 2.
    """
    norm = 1.0
    if not est.input_scaling:
        with np.errstate(over="ignore"):
            norm = float(np.average(np.square(X, dtype=np.float64).sum(axis=1), weights=weights))
        if not math.isfinite(norm):
            raise ValueError("the rows of X are too long for a step size: set input_scaling=True.")
    norm += bool(est.input_intercept)
    return (4.0 if n_classes == 2 else 1.0) / max(norm / 2.0, 8 * np.finfo(np.float64).tiny)


def _problem(codes, soft, n_classes, est, dtype, device):
    """Target values (students or 1, outputs, rows), loss, least loss of each row, and its unit.

    The unit is what the loss is multiplied by beside a cross-entropy.
    """
    if n_classes == 2:
        hard = (codes == 1).astype(dtype)[None]
    else:
        hard = np.zeros((n_classes, len(codes)), dtype=dtype)
        hard[codes, np.arange(len(codes))] = 1.0
    hard = _device.to_tensor(hard, device=device)
    if soft is None:
        return hard[None], losses.cross_entropy, torch.zeros(len(codes), device=device), 1.0
    columns = soft[:, 1:].T if n_classes == 2 else soft.T
    soft = _device.to_tensor(columns, dtype=dtype, device=device)
    alpha = torch.tensor([est.alpha], dtype=soft.dtype, device=device)
    temperature = torch.tensor([est.temperature], dtype=soft.dtype, device=device)
    if est.temperature == 1 or est.alpha == 0:
        values = targets.mix(soft, hard, alpha)
        least = (
            losses.entropy(values[0]) if est.alpha <= 1 else torch.zeros(len(codes), device=device)
        )
        return values, losses.cross_entropy, least, 1.0
    values = targets.two_term_targets(soft, hard, temperature)
    least = alpha * temperature**2 * losses.entropy(values[0, : len(soft)])
    # below T = 1 the soft term still grows by alpha T for each unit of a logit
    unit = est.alpha * max(est.temperature, 1.0) ** 2 + 1 - est.alpha
    return values, losses.two_term(alpha, temperature), least, unit


def _students(est, n_inputs, n_outputs, generators, copies, dtype, device):
    """Networks drawn one per generator, each ``copies`` times side by side."""
    drawn = [
        two_layer.initialise(
            est.width, n_inputs, n_outputs, symmetric=est.init == "symmetric", generator=generator
        )
        for generator in generators
    ]
    hidden = torch.cat([hidden for hidden, _ in drawn for _ in range(copies)])
    output = torch.cat([output for _, output in drawn for _ in range(copies)])
    hidden = hidden.to(device=device, dtype=dtype)
    output = output.to(device=device, dtype=dtype)
    return solvers.Students([est.width] * (len(drawn) * copies), hidden, output, hidden.clone())


def _fold_weights(fold, weights, n_restarts):
    """Row weights of a full-data network and its fold networks, and how their losses add up.

    Returns
    -------
    train, held_out : ndarray of shape (students, rows)
    pool : ndarray of shape (students, students)
    """
    n_folds = fold.max() + 1
    share = weights / weights.sum()
    is_out = fold == np.arange(n_folds)[:, None]
    train = np.concatenate([share[None], np.where(is_out, 0.0, share)])
    train /= train.sum(axis=1, keepdims=True)
    held_out = np.concatenate([np.zeros((1, len(fold))), np.where(is_out, share, 0.0)])
    pool = np.zeros((n_folds + 1, n_folds + 1))
    pool[0, 1:] = 1.0
    return (
        np.tile(train, (n_restarts, 1)),
        np.tile(held_out, (n_restarts, 1)),
        np.kron(np.eye(n_restarts), pool),
    )


def _check_memory(settings, width, copies, n_rows, n_inputs, itemsize, device):
    n_neurons = settings.n_restarts * copies * width
    rows = settings.batch_size or n_rows
    n_bytes = itemsize * (2 * n_rows * n_inputs + 7 * n_neurons * n_inputs + 3 * n_neurons * rows)
    _device.check_budget(n_bytes, device, "set a smaller batch_size, width or n_init")


def _report_divergence(est, diverged):
    """Raise where all networks diverged, warn where some did."""
    if est.learning_rate == "auto":
        advice = "set a number (0.01, say), and look for a temperature or weights out of proportion"
    else:
        advice = "choose a smaller one, or learning_rate='auto'"
    if not est.input_scaling:
        advice += ", or set input_scaling=True"
    text = f"{diverged.sum()} of {len(diverged)} networks diverged at learning_rate="
    text += f"{est.learning_rate!r}"
    if diverged.all():
        raise DivergenceError(f"{text}: {advice}.")
    warnings.warn(f"{text} and were left out: {advice}.", ConvergenceWarning, stacklevel=5)


def _report_nothing_held_out(est, settings, soft):
    """Say that early stopping cannot stop; an error where nothing else bounds the loss."""
    if soft is not None and est.alpha > 1 and est.radius is None:
        raise ValueError(
            f"alpha={est.alpha} is above 1, where the loss has no least value, and early stopping "
            "has no row to hold out: set a finite radius, or pass more rows."
        )
    warnings.warn(
        "early_stopping=True has no row to hold out (X has one distinct row, or each class one "
        f"row in minibatches): training goes on for {settings.n_epochs} epochs. Pass more rows, "
        "or set early_stopping=False.",
        EarlyStoppingWarning,
        stacklevel=5,
    )


class _Progress:
    """Reads the fitted attributes off the networks, during training and after it."""

    def __init__(self, est, settings, students, scored, floor, held_floor, offset, scale):
        self.est, self.settings, self.students, self.scored = est, settings, students, scored
        self.floor, self.held_floor = floor, held_floor
        self.fixed = {"classes_": est.classes_, "input_offset_": offset, "input_scale_": scale}
        self.outcome = None

    def report(self, epoch, outcome, reporter):
        """Tell ``reporter`` of an epoch; True where a callback asks to stop."""
        self.outcome = outcome
        return reporter(epoch, lambda: self._losses()[-1], lambda: (self._scores() or [None])[-1])

    def _chosen(self):
        """Index, among the students, of the best network so far."""
        outcome = self.outcome
        if outcome.scores:
            quality = outcome.best_score[self.scored]
        elif outcome.losses:
            quality = outcome.losses[-1][self.scored].double()
        else:  # interrupted before the first step
            return int(self.scored[0])
        quality = torch.where(outcome.diverged[self.scored], torch.inf, quality)
        return int(self.scored[int(quality.nan_to_num(torch.inf).argmin())])

    def _losses(self):
        chosen = self._chosen()
        return [float(loss[chosen]) - self.floor for loss in self.outcome.losses]

    def _scores(self):
        chosen = self._chosen()
        return [float(score[chosen]) - self.held_floor for score in self.outcome.scores]

    def attributes(self, outcome=None, final=False):
        """Fitted attributes as the networks stand: what callbacks score, and what fit stores."""
        if outcome is not None:
            self.outcome = outcome
        chosen = 0 if self.outcome is None else self._chosen()
        neurons = self.students.neurons(chosen)
        hidden = _device.to_numpy(self.students.hidden[neurons])
        initial = _device.to_numpy(self.students.initial[neurons])
        output = _device.to_numpy(self.students.output[neurons])
        stored = {
            **self.fixed,
            "hidden_weights_": hidden,
            "initial_weights_": initial,
            "output_weights_": output[:, 0].copy() if output.shape[1] == 1 else output,
        }
        if not final:
            return stored
        stored["distance_from_init_"] = np.linalg.norm(hidden - initial, axis=1)
        curve = self._losses()
        n_epochs = len(curve)
        is_scored = bool(self.outcome.scores) and bool(torch.isfinite(outcome.best_score[chosen]))
        stored["n_iter_"] = n_epochs
        stored["best_iter_"] = int(outcome.best_epoch[chosen]) if is_scored else n_epochs
        stored["loss_curve_"] = curve
        stored["validation_loss_curve_"] = self._scores() if self.outcome.scores else None
        stored["average_loss_"] = float(np.mean(curve)) if curve else math.nan
        stored["termination_condition_"] = outcome.reason
        return stored


def _plan(est, settings, students, shrink, order_seed):
    """Make a `solvers.Plan` of the settings, step sizes multiplied by ``shrink``."""
    like, n_students = students.hidden, len(students)
    largest = torch.finfo(like.dtype).max
    move = math.inf if est.radius is None else min(est.radius / math.sqrt(est.width), largest)

    def step_sizes(step_size):
        return like.new_full((n_students,), min(step_size * shrink, largest))

    output_step = settings.output_step_size
    return solvers.Plan(
        step_size=step_sizes(settings.step_size),
        output_step_size=None if output_step is None else step_sizes(output_step),
        max_move=like.new_full((n_students,), move),
        n_epochs=settings.n_epochs,
        batch_size=settings.batch_size,
        optimizer=settings.optimizer,
        momentum=est.momentum,
        decay=settings.decay,
        generator=torch.Generator().manual_seed(int(order_seed)),
    )


def _check_resumed(est):
    """Refuse parameters that the network there is cannot follow."""
    width, n_inputs = est.hidden_weights_.shape
    has_intercept = n_inputs > est.n_features_in_
    is_scaled = est.input_offset_.any() or (est.input_scale_ != 1).any()
    is_trained = (np.abs(est.output_weights_) != 1).any()
    for name, clash, there in (
        ("width", est.width != width, width),
        ("input_intercept", bool(est.input_intercept) != has_intercept, has_intercept),
        ("input_scaling", is_scaled and not est.input_scaling, True),
        ("output_layer", is_trained and est.output_layer == "fixed", "trained"),
    ):
        if clash:
            raise ValueError(
                f"{name}={getattr(est, name)!r}, but the network that partial_fit goes on with "
                f"was made with {there!r}: set {name}={there!r}, or call fit."
            )


def _optimizer_kind(est, settings):
    """Tell optimizers apart whose states another cannot go on from."""
    has_memory = settings.optimizer == "adam" or est.momentum > 0
    return settings.optimizer if has_memory else "descent"


def _resumed(est, device):
    """Bring back the fitted network, to go on from."""
    output = est.output_weights_.reshape(len(est.hidden_weights_), -1)
    hidden, initial, output = (
        _device.to_tensor(array.copy(), dtype=est.hidden_weights_.dtype, device=device)
        for array in (est.hidden_weights_, est.initial_weights_, output)
    )
    return solvers.Students([len(hidden)], hidden, output, initial)


def fit(est, X, codes, weights, soft, y, *, partial=False, resume=False):
    """Train ``est`` on checked data and store the result; see `TwoLayerPGDClassifier`.

    Parameters
    ----------
    est : TwoLayerPGDClassifier
        With ``classes_`` set.
    X : ndarray of shape (n_samples, n_features)
    codes : ndarray of int of shape (n_samples,)
        Indices into ``classes_``.
    weights : ndarray of shape (n_samples,)
        Positive.
    soft : ndarray of shape (n_samples, n_classes) or None
    y : ndarray
        Labels, for callbacks.
    partial : bool
        One epoch, nothing held out.
    resume : bool
        Go on from the fitted weights.
    """
    device = _device.resolve_device(est.device)
    weights = rescale_weights(weights)
    if resume:
        _check_resumed(est)
    settings = _resolve(est, X, weights, len(est.classes_), partial=partial)
    random = check_random_state(est.random_state)
    order_seed, fold_seed = random.randint(2**31 - 1, size=2)
    if resume:
        offset, scale = est.input_offset_, est.input_scale_
    elif est.input_scaling:
        offset, scale = fit_scaling(X, weights)
    else:
        offset, scale = np.zeros(X.shape[1]), np.ones(X.shape[1])

    fold = held = None
    held_floor = 0.0
    if est.early_stopping and not partial:
        rows_random = np.random.RandomState(fold_seed)
        if settings.batch_size is None:
            fold = content_folds(X, codes, weights, N_FOLDS, rows_random)
        else:
            held = random_rows(codes, est.validation_fraction, rows_random)
            held = held if held.any() else None
        if fold is None and held is None:
            _report_nothing_held_out(est, settings, soft)
    copies = 1 if fold is None else fold.max() + 2
    n_inputs = X.shape[1] + bool(est.input_intercept)
    _check_memory(settings, est.width, copies, len(X), n_inputs, X.dtype.itemsize, device)

    dtype = est.hidden_weights_.dtype if resume else X.dtype
    values, loss, least, unit = _problem(codes, soft, len(est.classes_), est, dtype, device)
    inputs = _device.to_tensor(
        scale_inputs(X, offset, scale, intercept=est.input_intercept), dtype=dtype, device=device
    )
    weights = _device.to_tensor(weights, dtype=np.float64, device=device)

    def rows_of(mask, row_weights=None):
        """Rows under a mask (None: all), and the least loss that their targets allow."""
        if mask is None:
            part, part_values, part_weights, part_least = inputs, values, weights, least
        else:
            index = torch.from_numpy(np.flatnonzero(mask)).to(device)
            part, part_values = inputs[index], values[:, :, index]
            part_weights, part_least = weights[index], least[index]
        part_weights = part_weights / part_weights.sum()
        floor = float(part_weights @ part_least.double())
        if row_weights is None:
            row_weights = part_weights[None]
            if (part_weights == part_weights[0]).all():
                row_weights = row_weights[:, :1]  # nothing to gather
        rule = targets.fixed(part_values)
        return solvers.Rows(part, rule, row_weights.to(inputs.dtype)), floor

    out = pool = train_weights = held_rows = None
    held_least = least
    if fold is not None:
        train, out, pool = _fold_weights(fold, weights.cpu().numpy(), settings.n_restarts)
        train_weights = _device.to_tensor(train, device=device)
        out = _device.to_tensor(out, device=device)
        pool = _device.to_tensor(pool, device=device)
    elif held is not None:
        held_rows, held_floor = rows_of(held)
        held_least = least[torch.from_numpy(np.flatnonzero(held)).to(device)]
    train_rows, floor = rows_of(None if held is None else ~held, train_weights)
    if fold is not None:
        held_rows, held_floor = dataclasses.replace(train_rows, weights=out.to(inputs.dtype)), floor
    held_out = None
    if held_rows is not None:
        averaging = 0 if settings.batch_size is None else AVERAGING_EPOCHS
        row_cap = held_least.to(inputs.dtype) + HELD_OUT_CAP * unit
        held_out = solvers.HeldOut(held_rows, settings.patience, pool, averaging, row_cap)

    seeds = random.randint(2**31 - 1, size=settings.n_restarts)
    n_outputs = values.shape[1] if loss is losses.cross_entropy else values.shape[1] // 2
    scored = np.arange(settings.n_restarts) * copies
    kind = _optimizer_kind(est, settings)
    # one for all attempts: callbacks are set up and torn down once
    reporter = EpochReporter(est, settings.n_epochs, lambda: progress.attributes(), X, y)
    for attempt in range(RETRIES + 1):
        shrink = 0.25**attempt
        if resume:
            students = _resumed(est, device)
        else:
            generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
            students = _students(est, n_inputs, n_outputs, generators, copies, inputs.dtype, device)
        plan = _plan(est, settings, students, shrink, order_seed)
        before = getattr(est, "_optimizer_state", {})
        if resume and before.get("kind") == kind:
            plan.resume = [
                [_device.to_tensor(array, device=device) for array in state]
                for state in before["states"]
            ]
        progress = _Progress(est, settings, students, scored, floor, held_floor, offset, scale)
        n_neurons, n_rows = len(students.hidden), settings.batch_size or len(inputs)
        with _device.thread_scope(2 * n_neurons * n_rows * n_inputs):
            outcome = solvers.train(
                students,
                train_rows,
                loss,
                plan,
                held_out,
                lambda epoch, outcome: progress.report(epoch, outcome, reporter),  # noqa: B023
            )
        diverged = outcome.diverged[scored].cpu().numpy()
        interrupted = outcome.interrupt is not None
        if interrupted or not diverged.all() or est.learning_rate != "auto":
            break
    if diverged.any() and not interrupted:
        _report_divergence(est, diverged)
    for name, value in progress.attributes(outcome, final=True).items():
        setattr(est, name, value)
    reporter.finish()
    vars(est).pop("_optimizer_state", None)
    if partial:  # the next call goes on where this one ends
        states = [[_device.to_numpy(tensor) for tensor in state] for state in outcome.optimizers]
        est._optimizer_state = {"kind": kind, "states": states}
    if outcome.interrupt is not None:
        raise outcome.interrupt
    return est
