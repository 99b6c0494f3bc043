"""What TwoLayerPGDClassifier and TwoLayerPGDRegressor share besides the base of all networks."""

from numbers import Integral, Real

from sklearn.frozen import FrozenEstimator

from sklearn_kd._networks.input_checks import SINGLE_ROWS
from sklearn_kd._tables.encoder import TableEncoder
from sklearn_kd._utils.scaling import fit_scaling
from sklearn_kd._utils.sklearn_compat import Interval, StrOptions


class TwoLayerNetworkMixin:
    """Parameters of a two-layer network, and its training."""

    _reads_rows_lazily = True
    _history = ("initial_weights_", "loss_curve_", "validation_loss_curve_")

    _parameter_constraints: dict = {
        "width": [Interval(Integral, 2, None, closed="left")],
        "n_members": [Interval(Integral, 1, None, closed="left")],
        "radius": [Interval(Real, 0, None, closed="neither"), None],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "max_iter": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"}), None],
        "n_init": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "output_layer": [StrOptions({"auto", "fixed", "trained"})],
        "init": [StrOptions({"symmetric", "standard"})],
        "optimizer": [StrOptions({"auto", "adam", "nesterov"})],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, 1, closed="left"), StrOptions({"auto"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "encoder": [StrOptions({"auto"}), TableEncoder, FrozenEstimator, None],
        "input_scaling": ["boolean"],
        "input_intercept": ["boolean"],
        "random_state": ["random_state"],
        "device": [str],
        "verbose": ["verbose"],
    }

    def _check_values(self, has_soft_targets, holds_out):
        """Raise ValueError for an odd width."""
        if self.width % 2:
            raise ValueError(
                f"width must be even (half of the neurons get the opposite sign), got {self.width}."
            )

    def _fit_input_scaling(self, X, weights):
        """Return the offset and the scale of the columns of encoded rows."""
        return fit_scaling(X, weights)

    def _train(self, rows, **options):
        from sklearn_kd._networks.two_layer import training

        return training.fit(self, rows, **options)


def fit_jointly(students, X, y_encoded, weights, soft, y, *, validation=SINGLE_ROWS, **options):
    """Return the joint training of many students on the same checked data.

    The students have ``classes_``, or the units of the targets, and ``weights`` do not contain
    class weights yet. The other arguments are those of `_fit_targets`, and ``options`` those of
    `JointTraining`.
    """
    from sklearn_kd._networks.training_data import CheckedRows
    from sklearn_kd._networks.two_layer.joint_training import JointTraining

    rows = CheckedRows(X, y_encoded, weights, soft, y, validation)
    return JointTraining(students, rows, **options)
