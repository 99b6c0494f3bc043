"""The students of ``student="auto"``, and their comparison on held-out rows."""

from dataclasses import replace

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sklearn_kd._distillation.selection import (
    MIN_GAIN_STANDARD_ERRORS,
    compare,
    held_out_trials,
    without_fit_warnings,
)
from sklearn_kd._distillation.settings import DistillationSetting, honors_temperature
from sklearn_kd._distillation.student_fit import StudentSpec
from sklearn_kd._utils.sklearn_compat import routing_enabled
from sklearn_kd._utils.sub_estimators import student_mode
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import NoGainWarning

#: Hidden layers of the deeper network, which has the width of the default one, its dropout and its
#: training.
N_HIDDEN_LAYERS, DROPOUT = 2, 0.1
TRAINING = {"optimizer": "adamw", "learning_rate": 3e-3, "weight_decay": 0.1, "batch_size": 128}
#: Leaves of a tree, and bytes of an inner node (column 2, threshold 4, child 4) and of a leaf, by
#: which the number of trees is chosen before they are fitted. The benchmarks count fitted trees in
#: a packed format, where the offset of a child takes 2 bytes.
N_LEAVES, BYTES_OF_SPLIT, BYTES_OF_LEAF = 8, 10, 4
#: Most rounds of boosting, and learning rates, of which the best ones on held-out rows are taken.
MAX_ROUNDS, LEARNING_RATES = 100, (0.1, 0.3)
HARD_LABELS = DistillationSetting(0.0, 1.0, "hard")


def students_to_try(est, default, rows, n_classes):
    """Return the students that are compared, of which the first is the default network.

    Parameters
    ----------
    est : DistilledClassifier
        Its ``alpha`` and ``temperature`` exclude students that cannot honor them.
    default : StudentSpec
        Of the default network.
    rows : TrainingRows
        Their encoded columns determine the bytes of the network.
    n_classes : int

    Returns
    -------
    list of StudentSpec
    """
    network, students = default.estimator, [default]
    for other in (_deeper_network(network), _boosted_trees(network, rows, n_classes)):
        try:
            mode = student_mode(other, est.alpha, est.temperature)
        except ValueError:  # row expansion cannot honor these numbers
            continue
        student = StudentSpec.of(other, mode)
        students.append(student.with_weight_request() if routing_enabled() else student)
    return students


def _deeper_network(network):
    from sklearn_kd._networks.module.classifier import ModuleClassifier
    from sklearn_kd.modules import MLP

    return ModuleClassifier(
        MLP,
        module_params={"width": network.width, "depth": N_HIDDEN_LAYERS, "dropout": DROPOUT},
        encoder=network.encoder,
        random_state=network.random_state,
        device=network.device,
        **TRAINING,
    )


def _boosted_trees(network, rows, n_classes):
    """Return trees that take no more bytes than a fitted network on these rows."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    from sklearn_kd._tables.encoder import TableEncoder
    from sklearn_kd._tables.encoder_step import fitted_encoder

    n_outputs = 1 if n_classes == 2 else n_classes
    n_encoded = len(fitted_encoder(network.encoder, rows.X, rows.weight).means_)
    bytes_of_network = 4 * network.width * (n_encoded + 1 + n_outputs)
    bytes_of_round = n_outputs * ((N_LEAVES - 1) * BYTES_OF_SPLIT + N_LEAVES * BYTES_OF_LEAF)
    trees = HistGradientBoostingClassifier(
        max_iter=int(np.clip(bytes_of_network // bytes_of_round, 1, MAX_ROUNDS)),
        max_leaf_nodes=N_LEAVES,
        early_stopping=True,  # on validation rows of the user alone
        random_state=network.random_state,
    )
    encoder = TableEncoder(n_bins=1)
    if routing_enabled():
        encoder.set_fit_request(sample_weight=True)
    return Pipeline([("encoder", encoder), ("trees", trees)])


def choose_student(est, default, spec, rows, transfer, selection, trials, seed):
    """Choose the student of the least held-out loss: the first unless another is clearly better.

    Each student is fitted in full on the training rows and the labels of the trials, with the
    setting that has been selected for the default network, and trees on hard labels too.

    Parameters
    ----------
    est : DistilledClassifier
    default : StudentSpec
        Of the default network.
    spec : LabelingSpec
    rows : TrainingRows
    transfer : TransferSpec
    selection : SelectionResult
    trials : list of HeldOutTrial
        Those of the selection. They are made here if nothing has been compared yet.
    seed : int
        Seed of the held-out rows.

    Returns
    -------
    SelectionResult
        With the student, its setting and ``student_candidates``. The default network is chosen
        where there are too few rows to hold some out.
    """
    setting = selection.setting
    if not trials:
        trials = held_out_trials(default, spec, rows, transfer, setting.n_augmented, seed)
    if not trials:
        return selection._replace(student=default)
    students = students_to_try(est, default, rows, len(trials[0].data.task.classes))
    if students[-1].mode == "expansion":
        students[-1] = _with_best_rounds(students[-1], trials)
    pairs = [(student, _honored(est, setting, student)) for student in students]
    if est.alpha == "auto" and setting.source != "hard" and students[-1].mode == "expansion":
        pairs.append((students[-1], HARD_LABELS))  # boosting may be better than its teacher
    with without_fit_warnings():
        trials = [_with_losses(trial, pairs, spec.n_jobs) for trial in trials]
    numbers = range(len(pairs))
    loss, gain, error = compare(trials, "log_loss", numbers)
    _, accuracy_gain, accuracy_error = compare(trials, "is_wrong", numbers)
    with np.errstate(invalid="ignore"):  # the gain is infinite where the first fit has failed
        is_better = np.isposinf(gain) | (gain > MIN_GAIN_STANDARD_ERRORS * error)
    is_better[0] = True
    chosen = int(np.where(is_better, loss, np.inf).argmin())
    source_of = trials[0].data.source_of
    candidates = {
        "student": np.array([student.name for student, _ in pairs]),
        "label_source": np.array([source_of(setting) for _, setting in pairs]),
        "loss": loss,
        "gain": gain,
        "gain_error": error,
        "accuracy_gain": accuracy_gain,
        "accuracy_gain_error": accuracy_error,
        "chosen": np.arange(len(pairs)) == chosen,
    }
    if chosen == len(students):
        warn_caller(
            "boosted trees on hard labels had the least loss on held-out rows. The student is "
            "therefore not distilled. Set alpha to a number to distill anyway.",
            NoGainWarning,
        )
    student, setting = pairs[chosen]
    return selection._replace(setting=setting, student=student, student_candidates=candidates)


def _with_best_rounds(trees, trials):
    """Return boosted trees with the rounds and the learning rate of the least held-out loss.

    They are fitted on hard labels here, and have at most their ``max_iter``. Trees that may take
    many bytes would have too many on noisy labels.
    """
    best_loss, best = np.inf, trees
    for rate in LEARNING_RATES:
        student = clone(trees.estimator).set_params(trees__learning_rate=rate)
        spec = replace(trees, estimator=student)
        # those of trials that end early, on validation rows of the user, are shorter
        losses = zip(*(trial.staged_losses(spec, HARD_LABELS) for trial in trials), strict=False)
        losses = np.array([sum(each) for each in losses])
        if len(losses) == 0:  # a fit has failed, as that of the candidate will
            continue
        n_rounds = int(losses.argmin()) + 1
        if losses[n_rounds - 1] < best_loss:
            best_loss = losses[n_rounds - 1]
            best = replace(trees, estimator=student.set_params(trees__max_iter=n_rounds))
    return best


def _honored(est, setting, student):
    """Return a setting that was selected for another student, as this one can honor it.

    A temperature that the user has set is kept, with the ``alpha`` that `candidate_settings` takes
    for such a student.
    """
    if setting.temperature == 1 or honors_temperature(student, setting.alpha):
        return setting
    if est.temperature == "auto":
        return setting._replace(temperature=1.0)
    return setting._replace(alpha=1.0)


def _with_losses(trial, pairs, n_jobs):
    """Return a trial with the losses of pairs of a student and a setting, by their number."""
    losses = {}
    for number, (student, setting) in enumerate(pairs):
        own = trial.with_student(replace(student, is_joint=False))
        own.evaluate([setting], n_jobs)
        losses[number] = own.losses[setting]
    compared = trial.with_student(pairs[0][0])
    compared.losses = losses
    return compared
