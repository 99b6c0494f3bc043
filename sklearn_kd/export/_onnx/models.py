"""Describe the models that are written in ONNX alone: kernels and modules of torch."""

import logging
import warnings
from contextlib import contextmanager

import numpy as np
from sklearn.base import is_regressor

from sklearn_kd._kernel.base import kernel_of_fit, row_settings_of_fit
from sklearn_kd._kernel.classifier import KernelTeacher
from sklearn_kd._kernel.regressor import KernelTeacherRegressor
from sklearn_kd._networks.module.base import is_mlp
from sklearn_kd._networks.module.classifier import ModuleClassifier
from sklearn_kd._networks.module.regressor import ModuleRegressor
from sklearn_kd.export._columns import ExportError
from sklearn_kd.export._models import MODELS
from sklearn_kd.export._writer import (
    first_layer,
    network_inputs,
    network_numbers,
    numbers_of,
    scaled_features,
)

#: First version of the operators that ``torch.onnx.export`` writes.
TORCH_OPSET = 18


def _encoded_rows(writer, model, columns):
    """Return a first layer whose outputs are the encoded, scaled rows of a model."""
    features, _ = network_inputs(model, columns)
    if not features:
        raise ExportError(f"{type(model).__name__} has rows of which no column varies")
    scaled = scaled_features(features, model.input_offset_, model.input_scale_)
    return first_layer(writer, scaled, np.eye(len(scaled)), np.zeros(len(scaled)))


def _kernel_teacher(writer, model, columns):
    if model.solver_ == "margin":
        raise ExportError("KernelTeacher(method='margin') takes a mean over random draws")
    dual = model.dual_coef_.reshape(len(model.X_fit_), -1)
    return _kernel(writer, model, columns, dual, model.intercept_, model.temperature_)


def _kernel_regressor(writer, model, columns):
    dual = model.dual_coef_.reshape(len(model.X_fit_), -1)
    scale = np.where(np.atleast_1d(model.target_scale_) > 0, model.target_scale_, 1.0)
    values = _kernel(writer, model, columns, dual / scale, np.zeros(len(scale)), 1.0)
    n_targets = None if model.dual_coef_.ndim == 1 else len(scale)
    return numbers_of(writer, values, scale, model.intercept_, n_targets=n_targets)


def _kernel(writer, model, columns, dual, offset, temperature):
    """Return the description of sums of the kernel with the rows of the fit."""
    kernel, depth, bias, bandwidth = kernel_of_fit(model)
    intercept, norm = row_settings_of_fit(model)
    if callable(kernel):
        raise ExportError(f"{type(model).__name__} has a kernel that is a function")
    centers = model.X_fit_.astype(np.float64)
    lengths = np.ones(len(centers))
    if kernel != "laplace":
        lengths = np.linalg.norm(centers, axis=1)
        centers = centers / np.where(lengths > 0, lengths, 1.0)[:, None]
    return {
        "kind": "kernel",
        "models": [_encoded_rows(writer, model, columns)],
        "has_intercept": bool(intercept),
        "on_sphere": norm == "sphere",
        "name": kernel, "depth": int(depth), "bias": float(bias), "bandwidth": bandwidth,
        "centers": writer.add_weights(centers),
        "center_lengths": writer.add_weights(lengths),
        "dual": writer.add_weights(dual),
        "intercept": writer.add(np.asarray(offset, dtype=np.float64)),
        "temperature": float(temperature),
    }  # fmt: skip


def _module(writer, model, columns):
    if is_mlp(model):
        return MODELS[type(model)](writer, model, columns)
    rows = _encoded_rows(writer, model, columns)
    spec = {"kind": "module", "models": [rows], "estimator": model}
    return network_numbers(writer, spec, model) if is_regressor(model) else spec


def module_graph(estimator, opset, dtype):
    """Return the outputs of a torch module in ONNX.

    Parameters
    ----------
    estimator : ModuleClassifier or ModuleRegressor
        Fitted.
    opset : int
    dtype : {"float32", "float64"}
        Of the module. onnxruntime has no convolutions of float64.

    Returns
    -------
    onnx.ModelProto
        From scaled rows, (n, n_inputs), to logits, (n, 1) for two classes, or standardized numbers.

    Raises
    ------
    ValueError
        If torch cannot export the module, or makes a graph that is not valid.
    """
    import torch
    from onnx import checker

    from sklearn_kd._networks.module import build

    with build.own_random_state(0, torch.device("cpu")):  # a module draws its start
        module, shape = build.prediction_module(estimator)
    n_outputs = estimator._learning_task().n_outputs

    class Outputs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.module = module

        def forward(self, rows):
            outputs = self.module(rows.reshape(-1, *shape))
            return build.to_loss_layout(outputs, n_outputs)[0].T

    rows = torch.zeros(2, int(np.prod(shape)), dtype=getattr(torch, dtype))
    try:
        with _silent_exporter(), build.own_random_state(0, rows.device):
            program = torch.onnx.export(
                Outputs().to(rows.dtype).eval(),
                (rows,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("n")},),
                opset_version=opset,
                verbose=False,
            )
        checker.check_model(program.model_proto, full_check=True)
    except Exception as error:  # of many classes
        reason = error.__cause__ or error
        raise ValueError(
            f"torch.onnx cannot export the module {type(module).__name__}: {reason}"
        ) from error
    return program.model_proto


@contextmanager
def _silent_exporter():
    """Hide what the exporter of torch says about itself and about packages that are absent."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


#: Functions that describe the models, by their class.
ONNX_MODELS = {
    **MODELS,
    KernelTeacher: _kernel_teacher,
    KernelTeacherRegressor: _kernel_regressor,
    ModuleClassifier: _module,
    ModuleRegressor: _module,
}
