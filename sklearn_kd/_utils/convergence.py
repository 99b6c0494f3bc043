"""Warn where training ended at its last epoch while the loss still improved."""

from sklearn.exceptions import ConvergenceWarning

from sklearn_kd._utils.warnings import warn_caller

#: Fall of the loss in the second half of the epochs, as a share of the loss of the first epoch,
#: above which a fit counts as still improving. A step size that decays makes the last epochs alike
#: in every fit, so that these say nothing. The training loss falls for long where rows are
#: memorized.
MIN_VALIDATION_FALL, MIN_TRAINING_FALL = 0.005, 0.1


def warn_if_improving(est):
    """Raise a ConvergenceWarning if more epochs would probably have improved a fitted network.

    A learning rate schedule that the user has set ends training by design, and nothing is said.

    Parameters
    ----------
    est : estimator
        Its ``termination_condition_`` is the name of the parameter that has ended training.
    """
    name = getattr(est, "termination_condition_", None)
    has_schedule = getattr(est, "scheduler", None) not in (None, "auto")
    if name not in ("max_iter", "max_epochs") or has_schedule:
        return
    curve, kind, min_fall = est.validation_loss_curve_, "validation", MIN_VALIDATION_FALL
    if curve is None:
        curve, kind, min_fall = est.loss_curve_, "training", MIN_TRAINING_FALL
    half = len(curve) // 2
    if half and min(curve[:half]) - min(curve[half:]) <= min_fall * abs(curve[0]):
        return
    warn_caller(
        f"{type(est).__name__} stopped after {name}={est.n_iter_} epochs, while its {kind} loss "
        f"still improved: increase {name}.",
        ConvergenceWarning,
        once=True,
    )
