"""What ModuleClassifier and ModuleRegressor share besides the base of all networks."""

from dataclasses import replace
from inspect import signature
from numbers import Integral, Real
from os import PathLike

from sklearn.frozen import FrozenEstimator

from sklearn_kd._networks.module import mlp
from sklearn_kd._tables.encoder import TableEncoder
from sklearn_kd._tables.encoder_step import check_new_rows, with_a_column
from sklearn_kd._utils.base import require_fitted
from sklearn_kd._utils.sklearn_compat import Interval, StrOptions
from sklearn_kd._utils.validation import check_rows_are_flat

#: Parameters whose own parameters can be set one by one, as those of skorch: ``module__width``.
NESTED = ("module", "optimizer", "scheduler")


def without_nested(init):
    """Leave ``**nested`` out of a signature, whose names scikit-learn takes for parameters."""
    given = signature(init)
    named = [each for each in given.parameters.values() if each.kind is not each.VAR_KEYWORD]
    init.__signature__ = given.replace(parameters=named)
    return init


def _name_in_modules(attributes):
    """Return the name of a class of ``sklearn_kd.modules`` that ``module`` is, or None.

    ``attributes`` are those of an estimator. torch is not imported for an answer.
    """
    if "module" not in attributes:  # in a loaded estimator that was not asked for it yet
        return attributes.get("_module_name")
    module = attributes["module"]
    is_named = isinstance(module, type) and module.__module__ == "sklearn_kd.modules"
    return module.__qualname__ if is_named else None


def is_mlp(est):
    """Return whether the module of an estimator is ``sklearn_kd.modules.MLP``."""
    return _name_in_modules(vars(est)) == "MLP"


class ModuleNetworkMixin:
    """Parameters of a network with a module of the user, its training and its predictions."""

    _history = ("loss_curve_", "validation_loss_curve_")

    _parameter_constraints: dict = {
        "module": [callable],
        "module_params": [dict, None],
        "optimizer": [str, callable],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "optimizer_params": [dict, None],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "scheduler": [str, callable, None],
        "scheduler_params": [dict, None],
        "max_epochs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"}), None],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "encoder": [StrOptions({"auto"}), TableEncoder, FrozenEstimator, None],
        "image_shape": [tuple, list, None],
        "input_scaling": ["boolean"],
        "augmentation": [str, list, tuple, dict, callable, None],
        "mixed_precision": ["boolean", StrOptions({"auto", "bfloat16", "float16"})],
        "callbacks": [list, tuple, None],
        "checkpoint_path": [str, PathLike, None],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "device": [str],
        "verbose": ["verbose"],
    }

    def _set_nested(self, nested):
        """Set what the constructor was given beyond its named parameters."""
        for name in nested:
            if name.partition("__")[0] not in NESTED or "__" not in name:
                kind = type(self).__name__
                raise TypeError(f"{kind} got an unexpected keyword argument {name!r}")
        self.set_params(**nested)

    def set_params(self, **params):
        """Set parameters, also single ones of the module, the optimizer and the scheduler.

        Parameters
        ----------
        **params : dict
            Names and values as for the constructor. As for skorch, ``module__width=16`` sets
            ``module_params["width"]`` and keeps the other ``module_params``, and ``optimizer__``
            and ``scheduler__`` precede names in ``optimizer_params`` and ``scheduler_params``.
            ``encoder__`` precedes those of a :class:`TableEncoder` as ``encoder``.

        Returns
        -------
        self : estimator
        """
        nested = {name: {} for name in NESTED}
        for key in list(params):
            name, delimiter, inner = key.partition("__")
            if not delimiter:
                continue
            if name in nested:
                nested[name][inner] = params.pop(key)
            elif name != "encoder" and not hasattr(getattr(self, name, self), "set_params"):
                raise ValueError(f"{name} has no parameter {inner!r} to set: set {name} itself.")
        super().set_params(**params)
        for name, values in nested.items():
            if values:
                values = {**(getattr(self, f"{name}_params") or {}), **values}
                setattr(self, f"{name}_params", values)
        return self

    # A class of sklearn_kd.modules is saved by its name, since importing it imports torch.

    def __getstate__(self):
        state, name = super().__getstate__(), _name_in_modules(vars(self))
        if name is not None:
            state.pop("module", None)
            state["_module_name"] = name
        return state

    def __getattr__(self, name):
        if name == "module" and "_module_name" in vars(self):
            from sklearn_kd import modules

            self.module = getattr(modules, vars(self).pop("_module_name"))
            return self.module
        return super().__getattr__(name)

    def _resumes(self):
        """Return whether `fit` continues from the fitted weights."""
        if self.warm_start and self.checkpoint_path is not None:
            raise ValueError(
                "checkpoint_path cannot be used with warm_start=True, since the file does not have "
                "the weights that the fit starts from: set one of them only."
            )
        return self.warm_start and self.__sklearn_is_fitted__()

    def _check_values(self, has_soft_targets, holds_out):
        """Raise ValueError for an encoder of images."""
        if self.encoder is not None and self.image_shape is not None:
            raise ValueError(
                f"image_shape={self.image_shape} is the shape of rows of pixels, which an encoder "
                "replaces by other columns: set encoder=None, or image_shape=None."
            )

    def _check_data(self, X, y, *args, **options):
        """Return checked rows, which have the shape of ``image_shape``."""
        from sklearn_kd._networks.module.build import row_shape

        rows, *rest = super()._check_data(X, y, *args, **options)
        rows = with_a_column(rows)
        row_shape(self, rows.shape[1])
        return rows, *rest

    def _check_validation(self, *args, **options):
        validation = super()._check_validation(*args, **options)
        if not validation.has_rows:
            return validation
        return replace(validation, X=with_a_column(validation.X))

    def _fit_input_scaling(self, X, weights):
        """Return the offset and the scale of the columns of encoded rows."""
        from sklearn_kd._networks.module.build import row_shape
        from sklearn_kd._networks.module.fit_plan import fit_standardization

        X = with_a_column(X)
        row_shape(self, X.shape[1])
        return fit_standardization(X, weights, self.image_shape)

    def _check_fit(self, X, y_encoded, weights):
        """Raise the errors of parameters and of the module, whose outputs are looked at."""
        from sklearn_kd._networks.module import training
        from sklearn_kd._networks.training_data import TrainingData

        data = TrainingData(X, y_encoded, weights, None, None, self._learning_task())
        training.check(self, data)

    def _train(self, rows, **options):
        from sklearn_kd._networks.module import training

        return training.fit(self, rows.training_data(self, rows.weights, rows.soft), **options)

    def _outputs(self, X):
        """Return the outputs of rows, (n_samples,) or (n_samples, n_outputs)."""
        require_fitted(self)
        check_rows_are_flat(self, X, fits=False)
        if is_mlp(self):
            return mlp.predict_outputs(self, X)
        from sklearn_kd._networks.module import build

        return build.predict_outputs(self, check_new_rows(self, X))
