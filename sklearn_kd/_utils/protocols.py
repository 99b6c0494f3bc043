"""Protocols between meta-estimators and the estimators inside them.

A meta-estimator of this package asks more of some estimators than ``fit`` and ``predict``. What it
asks is written here, and it is looked up by these protocols alone, so that an estimator of another
package can offer the same. The methods are private because users never call them.
"""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class SoftTargetStudent(Protocol):
    """A network that trains on checked arrays, with hard or soft targets of a meta-estimator."""

    def _check_values(self, has_soft_targets, holds_out) -> None:
        """Raise ValueError for parameters that do not go together.

        ``holds_out`` says whether early stopping holds rows out.
        """

    def _check_data(self, X, y, sample_weight, soft_targets, **options) -> tuple:
        """Validate rows, and set ``classes_`` and the number and names of features.

        The option ``encoded`` are the ``encoder_`` and the encoded rows of an equal student that
        has checked the same rows.

        Returns
        -------
        X : ndarray of shape (n_samples, n_encoded)
            Rows of positive weight, encoded.
        y_encoded : ndarray of int of shape (n_samples,)
            Positions of the labels in ``classes_``.
        weights : ndarray of shape (n_samples,)
            Sample weights times class weights.
        soft : ndarray of shape (n_samples, n_classes) or None
            Soft targets in the order of ``classes_``.
        """

    def _check_fit(self, X, y_encoded, weights) -> None:
        """Raise what training on the result of `_check_data` would begin with, without a fit."""

    def _fit_targets(self, X, y_encoded, weights, soft, y, **options) -> Any:
        """Train on what `_check_data` has returned, and tear the callbacks down at the end.

        ``y`` are the labels as they were given, for callbacks, and the option ``X_given`` are the
        rows as they were given. The option ``validation`` is what `_check_validation` has returned.
        """

    def _check_validation(self, X, y_encoded, sample_weight, **validation_rows) -> Any:
        """Validate groups and validation rows of a fit, after `_check_data`.

        ``validation_rows`` may have the keys groups, X_val, y_val and sample_weight_val. They,
        ``X`` and ``sample_weight`` are as they were given. The key soft are checked soft targets.
        """


@runtime_checkable
class JointStudent(SoftTargetStudent, Protocol):
    """A network of which several train on the same rows in shared matrix products.

    It has the parameter ``encoder``, and `_check_data` sets ``encoder_``. With ``is_joint=True``,
    `_check_validation` raises no errors that only some of the students may have.
    """

    #: Fitted attributes that `_check_data` sets and that its encoded targets depend on.
    _target_attributes: tuple

    @staticmethod
    def _fit_jointly(students, X, y_encoded, weights, soft, y, **options) -> Any:
        """Return the joint training of students that have checked the same rows.

        The arguments are those of `_fit_targets`, but ``weights`` are without class weights and
        ``soft`` may be a list with the soft targets of each student. The result trains by
        ``advance()``, stores the fitted attributes of each student, and has the errors of their
        fits in ``fits``. Where it pauses, ``keep`` ends some of the fits, and ``resume`` passes the
        rows again, which it has let go.
        """


@runtime_checkable
class Distiller(Protocol):
    """A meta-estimator that fits its parameter ``student`` on the labels of a teacher."""

    def _get_teacher(self) -> Any:
        """Return the unfitted or frozen teacher, the default one where none is given."""

    def _get_student(self) -> Any:
        """Return the unfitted student, the default one where none is given."""

    def _check_student(self) -> Any:
        """Return this student, or raise an error if it cannot learn by the loss of `_get_loss`."""

    def _get_loss(self) -> dict:
        """Return the parameters of the loss that are set of a native student."""

    def _adopt(self, fitted, student) -> None:
        """Take the fitted attributes of another distiller, with another fitted student."""


class TargetRecorder(Protocol):
    """An observer of the targets that a `LabelCorrector` makes in each step of its training."""

    def begin(self, n_rows, n_batches) -> None:
        """Start, or start again, with the number of rows in training and of steps in an epoch."""

    def __call__(self, logits, targets, rows, step) -> None:
        """Observe a step: tensors of shape (networks, outputs, rows), rows None for all."""

    def select(self, network) -> None:
        """Receive, at the end, the index of the network that is kept of those side by side."""


@runtime_checkable
class LabelCorrector(Protocol):
    """A meta-estimator that corrects the labels on which its network is trained."""

    def _get_estimator(self) -> Any:
        """Return the unfitted network, the default one where none is given."""

    def _trains_two_generations(self, network) -> bool:
        """Return whether the labels are corrected once, between the fits of two networks."""

    def _fit(self, X, y, sample_weight=None, *, recorder=None) -> Any:
        """Fit as ``fit`` does, and let a `TargetRecorder` observe the training."""


def trains_jointly(estimator):
    """Return whether fits of this kind of estimator can be replaced by one joint training.

    A subclass of a `JointStudent` may override ``fit``, which a joint training would not call. It
    trains jointly only if it defines the method itself.
    """
    return isinstance(estimator, JointStudent) and "_fit_jointly" in vars(type(estimator))
