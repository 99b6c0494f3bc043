"""Build the module of an estimator, load its weights from NumPy, and predict with it."""

import inspect
import math
from contextlib import contextmanager
from numbers import Integral

import numpy as np
import torch
from sklearn.base import is_classifier
from torch.nn.parameter import UninitializedParameter
from torch.overrides import TorchFunctionMode

from sklearn_kd._networks.fitted_cache import FittedCache
from sklearn_kd._tables.encoder_step import encoded_blocks, encoded_itemsize
from sklearn_kd._utils.base import PREDICT_BLOCK_BYTES
from sklearn_kd._utils.device import dtype_name, resolve_device, thread_scope, to_tensor
from sklearn_kd._utils.scaling import scale_inputs
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import ProbabilityOutputWarning

#: Estimated ratio of the size of a row's activations to the size of the row, when predicting.
ACTIVATIONS_PER_INPUT = 32
#: Most rows that a module predicts at once.
MAX_BLOCK_ROWS = 4096
#: Rows whose outputs an untrained module is checked by.
MAX_CHECKED_ROWS = 100
#: Largest difference from one of the sum of a row of outputs that count as probabilities.
OUTPUT_SUM_TOLERANCE = 1e-4
#: Functions of torch that a final sigmoid may be. ``torch.nn.Sigmoid`` calls the first.
SIGMOIDS = {
    torch.sigmoid,
    torch.sigmoid_,
    torch.special.expit,
    torch.Tensor.sigmoid,
    torch.Tensor.sigmoid_,
}
_MODULES = FittedCache()


@contextmanager
def own_random_state(seed, device):
    """Seed torch's global generators for a module that draws from them, and restore them after."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        # torch.manual_seed would seed all devices, also those that this fit does not use
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def memory_errors(advice):
    """Turn torch's errors about full memory into a MemoryError that says what to do."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(f"the device is out of memory: {advice}. ({error})") from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise MemoryError(f"the memory is full: {advice}. ({error})") from error


def row_shape(est, n_columns):
    """Return the shape in which the module gets a row of ``n_columns`` numbers."""
    shape = (n_columns,) if est.image_shape is None else tuple(est.image_shape)
    if not shape or not all(isinstance(size, Integral) and size > 0 for size in shape):
        raise ValueError(f"image_shape must be positive integers, got {shape}.")
    if math.prod(shape) != n_columns:
        raise ValueError(
            f"image_shape={shape} takes {math.prod(shape)} numbers a row, X has "
            f"{n_columns} features: set image_shape=(channels, height, width) to a shape "
            "of their product."
        )
    return shape


def build(est, shape, dtype, device):
    """Make an untrained module for rows of a shape, in ``dtype`` on a device.

    Its start is drawn on the CPU in its own dtype, so that it is the same on every device.
    """
    factory = est.module
    if isinstance(factory, torch.nn.Module):
        raise TypeError(
            f"module must be a class or a function that makes a module, got an instance of "
            f"{type(factory).__name__}: pass module={type(factory).__name__} and its arguments as "
            "module_params."
        )
    offered = {"n_outputs": est._learning_task().n_outputs, "input_shape": shape}
    try:
        accepted = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # of some functions written in C
        accepted = {}
    takes_all = any(each.kind is each.VAR_KEYWORD for each in accepted.values())
    params = {name: offered[name] for name in offered if takes_all or name in accepted}
    module = factory(**{**params, **(est.module_params or {})})
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must make a torch.nn.Module, made a {type(module).__name__}.")
    module.to(device=device, dtype=dtype)
    for weight in module.parameters():
        if not isinstance(weight, UninitializedParameter):  # of a lazy layer
            weight.data = channels_last(weight.data)
    return module


def channels_last(tensor):
    """Return images, or weights of convolutions, with the numbers of a pixel side by side.

    Convolutions are faster so, on a CPU and on CUDA. Other tensors are returned as they are.
    """
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


class _LastSigmoid(TorchFunctionMode):
    """Keeps the outputs of the last sigmoid that is computed in its context."""

    outputs = None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        if func in SIGMOIDS:
            self.outputs = outputs.clone()  # the module may overwrite it
        return outputs


def check_outputs(est, module, rows, *, warns):
    """Pass the first rows to an untrained module, and check its outputs.

    ValueError is raised where the module or its outputs cannot be used. If ``warns``, a
    `ProbabilityOutputWarning` is issued for probabilities in place of logits. The call also
    initializes the lazy layers of the module.
    """
    task, shape = est._learning_task(), tuple(rows.shape[1:])
    n_rows = min(MAX_CHECKED_ROWS, max(2, rows_in_a_block(shape, rows.element_size())))
    rows = (rows[:n_rows] if len(rows) > 1 else rows.expand(2, *shape)).clone()
    module.eval()
    try:
        with torch.no_grad(), _LastSigmoid() as last_sigmoid:
            outputs = module(rows)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ValueError(
            f"the module cannot take a batch of shape (n, {', '.join(map(str, shape))}) and dtype "
            f"{dtype_name(rows.dtype)}: {_what_helps(module, rows, str(error))}. It said: {error}"
        ) from error
    if not isinstance(outputs, torch.Tensor):
        raise ValueError(
            f"the module returned a {type(outputs).__name__}: let it return the "
            f"{task.outputs_name} alone, as one tensor."
        )
    found, counts = tuple(outputs.shape), task.output_counts
    wanted = [(len(rows), count) for count in counts] + [(len(rows),)] * (1 in counts)
    if found not in wanted:
        counts = " or ".join("(n,)" if len(w) == 1 else f"(n, {w[1]})" for w in wanted)
        got = f"(n, {', '.join(map(str, found[1:]))})" if found else "one number"
        raise ValueError(
            f"for {task} the module must return {task.outputs_name} of shape {counts}, it "
            f"returned {got}: set its number of outputs in module_params, or let it take the "
            "keyword n_outputs."
        )
    if not any(each.requires_grad for each in module.parameters()):
        raise ValueError("the module has nothing to train: no parameter requires a gradient.")
    others = [name for name, value in module.state_dict().items() if not torch.is_tensor(value)]
    if others:
        raise ValueError(f"the state of the module must be tensors; {', '.join(others)} is not.")
    if warns and is_classifier(est):
        _warn_of_probabilities(module, outputs, last_sigmoid.outputs)


def _what_helps(module, rows, said):
    """Return advice for rows that a module cannot take, after trying other dtypes.

    ``said`` is the text of the error of the module.
    """
    other = torch.float32 if rows.dtype == torch.float64 else torch.float64
    name = dtype_name(other)
    if _can_take(module.to(other), rows.to(other)):
        return (
            f"it has {name} inside, in a tensor that is neither a parameter nor a buffer, or in a "
            f"cast such as .{'float' if name == 'float32' else 'double'}(). Pass "
            f"X.astype(np.{name}), or let the module use the dtype of its input"
        )
    if _can_take(module, torch.zeros_like(rows, dtype=torch.long)):
        return "its first layer takes indices. Let it call x.long(), and set input_scaling=False"
    if "scalar types: Long, Int" in said:
        return (
            "one of its layers takes indices. Let it call .long() on their columns, and set "
            "input_scaling=False, or they are scaled"
        )
    return "set image_shape, or the sizes in module_params"


def _can_take(module, rows):
    try:
        with torch.no_grad():
            module(rows.clone())
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False
    return True


def _warn_of_probabilities(module, outputs, of_sigmoid):
    """Warn if outputs are probabilities; ``of_sigmoid`` are those of the last sigmoid, or None."""
    name = ""
    if of_sigmoid is not None and torch.equal(of_sigmoid.flatten().to(outputs), outputs.flatten()):
        name = "sigmoid"  # a sigmoid before others, such as a gate, has other outputs
    else:
        sums = outputs.reshape(len(outputs), -1).sum(dim=1)
        in_unit_interval = bool(((outputs >= 0) & (outputs <= 1)).all())
        if in_unit_interval and bool(((sums - 1).abs() <= OUTPUT_SUM_TOLERANCE).all()):
            name = "softmax"
    if name:
        warn_caller(
            f"{type(module).__name__} returns probabilities: its outputs are those of a {name}. "
            "ModuleClassifier takes outputs as logits, and computes the probabilities itself. "
            f"Remove the {name} from the end of the module.",
            ProbabilityOutputWarning,
            once=True,
        )


def to_loss_layout(outputs, n_outputs):
    """Return outputs of a module in the layout of `_core.network.losses`, (1, n_outputs, rows)."""
    if outputs.ndim < 2:  # one number a row, or a single row after squeeze()
        outputs = outputs.reshape(-1, 1)
    if outputs.shape[1] > n_outputs:  # two classes with a logit each
        outputs = outputs[:, 1:] - outputs[:, :1]
    return outputs.T.unsqueeze(0)


def load(module, state):
    """Load NumPy arrays into a module."""
    try:
        module.load_state_dict({name: to_tensor(state[name].copy()) for name in state})
    except RuntimeError as error:
        raise ValueError(
            "module_state_ does not fit the module that module and module_params make now: set "
            f"them to their values in fit, or call fit again. {error}"
        ) from error


def fitted_dtype(est):
    """Return the dtype of the fitted weights."""
    floats = (array.dtype for array in est.module_state_.values() if array.dtype.kind == "f")
    return next(floats, np.dtype(float))


def rows_in_a_block(shape, itemsize):
    """Return the number of rows that a module predicts at once."""
    n_rows = PREDICT_BLOCK_BYTES // (ACTIVATIONS_PER_INPUT * math.prod(shape) * itemsize)
    return min(max(1, n_rows), MAX_BLOCK_ROWS)


def _fitted_module(est, shape, device):
    """Return the fitted module in evaluation mode, on the device that ``est.device`` means."""
    made_of = est.module_state_, est.module, est.module_params, est.image_shape, est.device
    return _MODULES.get(est, made_of, lambda: _make_module(est, shape, device))


def _make_module(est, shape, device):
    module = build(est, shape, getattr(torch, fitted_dtype(est).name), device)
    load(module, est.module_state_)
    return module.eval()


def prediction_module(est):
    """Return the fitted module in evaluation mode on the CPU, and the shape of its rows."""
    shape = row_shape(est, len(est.input_offset_))
    return _make_module(est, shape, torch.device("cpu")), shape


def step_multiplications(module, shape, n_rows):
    """Return about how many multiplications the module takes for rows of a shape."""
    n_parameters = sum(each.numel() for each in module.parameters())
    return n_parameters * math.prod(shape[1:]) * n_rows  # a convolution uses a weight at all pixels


def predict_outputs(est, table):
    """Return the outputs of rows, (n_samples,) or (n_samples, n_outputs), in blocks.

    The rows are those that `check_new_rows` returns. They are encoded block by block.
    """
    device, shape = resolve_device(est.device), row_shape(est, len(est.input_offset_))
    n_outputs = est._learning_task().n_outputs
    advice = "predict fewer rows at a time, or set device='cpu'"
    # A module that draws numbers when it predicts draws the same ones each time. The second scope
    # seeds again, so that it does not matter whether the module had to be built in the first.
    with memory_errors(advice), own_random_state(0, device):
        module = _fitted_module(est, shape, device)
    with memory_errors(advice), own_random_state(0, device), torch.no_grad():
        dtype = next((p.dtype for p in module.parameters()), torch.get_default_dtype())
        size, start = rows_in_a_block(shape, encoded_itemsize(table)), 0
        outputs = np.empty((len(table), n_outputs), dtype=dtype_name(dtype))
        with thread_scope(step_multiplications(module, shape, min(len(table), size))):
            for block in encoded_blocks(est, table, size):
                scaled = scale_inputs(block, est.input_offset_, est.input_scale_, intercept=False)
                rows = to_tensor(scaled).to(device, dtype).view(len(block), *shape)
                stop = start + len(block)
                found = to_loss_layout(module(channels_last(rows)), n_outputs)[0]
                # in a torch.autocast of the user it is not of the dtype of the weights
                outputs[start:stop] = found.T.to("cpu", dtype).numpy()
                start = stop
    return outputs[:, 0] if n_outputs == 1 else outputs
