"""Jobs side by side: rows, targets and networks as tensors, for one run of `_core.solvers`."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from sklearn_kd import _device
from sklearn_kd._core import losses, parts, solvers, targets, two_layer
from sklearn_kd._scaling import scale_inputs

__all__ = ["Batch", "JobRows"]

#: Epochs of minibatches that the weights kept by early stopping are averaged over: it takes out
#: the noise that a step size which has not fallen yet leaves in them.
AVERAGING_EPOCHS = 6
#: Bytes of targets that are laid out for each student, so that one loss serves them all: more would
#: take longer to read than single losses take to call.
JOINT_BYTES = 2**22
#: The most that a held-out row's loss counts beyond its least, ln 1000, in units of the loss
#: (`Targets`): one row far outside the others would otherwise end training in its first epochs
#: (electricity has prices at 100 deviations).
HELD_OUT_CAP = math.log(1000.0)


@dataclass
class Targets:
    """What the rows are to be learnt as, for one alpha and temperature."""

    values: torch.Tensor  # (1, outputs of the loss, rows)
    loss: losses.Loss
    least: torch.Tensor  # (rows,), the least that the loss of each row can be
    unit: float  # what the loss is multiplied by beside a cross-entropy


class JobRows:
    """Inputs, targets and weights of the fits that share them: scaled, on a device.

    ``held`` is the mask of the rows that are held out, or None.
    """

    def __init__(self, data, *, dtype, device, offset, scale, intercept, held):
        self.data, self.dtype, self.device = data, dtype, device
        scaled = scale_inputs(data.X, offset, scale, intercept=intercept)
        inputs = _device.to_tensor(scaled, dtype=dtype, device=device)
        self.index, masks = {"all": slice(None)}, {"all": slice(None)}
        if held is not None:
            masks = {"all": ~held, "held": held}
            for name, mask in masks.items():
                self.index[name] = torch.from_numpy(np.flatnonzero(mask)).to(device)
        #: weights of a part that sum to one, (rows,) in float64
        self.share = {name: _share(data.weights[mask]) for name, mask in masks.items()}
        self.inputs = {name: inputs[index] for name, index in self.index.items()}
        self._targets = {}

    @classmethod
    def of_job(cls, data, job, dtype):
        """Return the rows of a job, and of all with its key."""
        return cls(
            data,
            dtype=dtype,
            device=_device.resolve_device(job.est.device),
            offset=job.offset,
            scale=job.scale,
            intercept=job.est.input_intercept,
            held=job.held,
        )

    def __len__(self):
        return len(self.inputs["all"])

    def targets(self, soft, alpha, temperature):
        """Targets of all rows, made once for each loss and array of soft labels (or None)."""
        key = None if soft is None else (id(soft), alpha, temperature)
        if key not in self._targets:
            self._targets[key] = self.make_targets(self.data.codes, soft, alpha, temperature)
        return self._targets[key]

    def make_targets(self, codes, soft, alpha, temperature):
        """Targets of any rows, from their codes and soft labels (or None)."""
        device, n_classes, n_rows = self.device, self.data.n_classes, len(codes)
        if n_classes == 2:
            hard = (codes == 1).astype(self.dtype)[None]
        else:
            hard = np.zeros((n_classes, n_rows), dtype=self.dtype)
            hard[codes, np.arange(n_rows)] = 1.0
        hard = _device.to_tensor(hard, device=device)
        nothing = torch.zeros(n_rows, device=device)
        if soft is None:
            return Targets(hard[None], losses.cross_entropy, nothing, 1.0)
        columns = soft[:, 1:].T if n_classes == 2 else soft.T
        soft = _device.to_tensor(columns, dtype=self.dtype, device=device)
        a, T = soft.new_tensor([alpha]), soft.new_tensor([temperature])
        if temperature == 1 or alpha == 0:
            values = targets.mix(soft, hard, a)
            least = losses.entropy(values[0]) if alpha <= 1 else nothing
            return Targets(values, losses.cross_entropy, least, 1.0)
        values = targets.two_term_targets(soft, hard, T)
        least = a * T**2 * losses.entropy(values[0, : len(soft)])
        # below T = 1 the soft term still grows by alpha T for each unit of a logit
        unit = alpha * max(temperature, 1.0) ** 2 + 1 - alpha
        return Targets(values, losses.TwoTerm(a, T), least, unit)

    def part(self, name, stretches, row_weights=None):
        """Rows to train on ("all", less those held out) or the "held" ones, for `solvers`."""
        index = self.index[name]
        rules = [
            parts.Stretch(students, targets.Fixed(each.values[:, :, index]))
            for students, each in stretches
        ]
        rule = rules[0].what if len(rules) == 1 else targets.Joined(rules)
        if row_weights is None:
            row_weights = self.share[name][None]
            if (row_weights == row_weights[0, 0]).all():
                row_weights = row_weights[:, :1]  # nothing to gather
        row_weights = _device.to_tensor(row_weights, dtype=self.dtype, device=self.device)
        return solvers.Rows(self.inputs[name], rule, row_weights)

    def floor(self, name, each):
        """Least mean loss that the targets of a part allow."""
        if name not in self.index:
            return 0.0
        return float(self.share[name] @ _device.to_numpy(each.least[self.index[name]].double()))


def _share(weights):
    return weights / weights.sum()


def _draw(job, n_inputs, n_outputs):
    """Weights of the networks of a job in float64, a network for each restart and copy."""
    drawn = [
        two_layer.initialise(
            job.est.width,
            n_inputs,
            n_outputs,
            symmetric=job.est.init == "symmetric",
            generator=torch.Generator().manual_seed(int(seed)),
        )
        for seed in job.seeds
    ]
    return [network for network in drawn for _ in range(job.n_copies)]


def _fold_weights(job, share):
    """Row weights of a full-data network and its fold networks, and whose score each adds to.

    Returns
    -------
    train, held_out : ndarray of shape (students, rows)
    pool : ndarray of int of shape (students,)
    """
    n_restarts = len(job.seeds)
    is_out = job.fold == np.arange(job.n_copies - 1)[:, None]
    train = np.concatenate([share[None], np.where(is_out, 0.0, share)])
    train /= train.sum(axis=1, keepdims=True)
    held_out = np.concatenate([np.zeros((1, len(share))), np.where(is_out, share, 0.0)])
    pool = np.repeat(np.arange(n_restarts) * job.n_copies, job.n_copies)
    pool[:: job.n_copies] = -1
    return np.tile(train, (n_restarts, 1)), np.tile(held_out, (n_restarts, 1)), pool


def _laid_out(stretches):
    """Join neighbouring stretches of the cross-entropy: many short losses take long to call."""
    joined, size = [], 0
    for students, each in stretches:
        n_students = students.stop - students.start
        values = each.values.expand(n_students, -1, -1)
        size += values.numel() * values.element_size()
        alike = joined and joined[-1][1].loss is each.loss is losses.cross_entropy
        if alike and size <= JOINT_BYTES:
            before, _, all_values = joined[-1]
            joined[-1] = slice(before.start, students.stop), each, [*all_values, values]
        else:
            joined.append((students, each, [values]))
    return [
        (students, each if len(values) == 1 else replace(each, values=torch.cat(values)))
        for students, each, values in joined
    ]


class Batch:
    """Networks of some jobs side by side, trained in one run of `solvers`.

    ``refinement`` (`_refinement.Refinement`) makes them correct their labels as they train.
    """

    def __init__(self, rows, jobs, resumed=None, refinement=None):
        self.rows, self.jobs = rows, jobs
        counts = [job.n_students for job in jobs]
        self.start = np.cumsum([0, *counts])
        self.scored = [
            start + np.arange(len(job.seeds)) * job.n_copies
            for start, job in zip(self.start[:-1], jobs, strict=True)
        ]
        inputs = rows.inputs["all"]
        self.students = resumed
        if resumed is None:
            drawn = [w for job in jobs for w in _draw(job, inputs.shape[1], rows.data.n_outputs)]
            hidden, output = (torch.cat([w[i] for w in drawn]).to(inputs) for i in (0, 1))
            widths = [job.est.width for job in jobs for _ in range(job.n_students)]
            self.students = solvers.Students(widths, hidden, output, hidden.clone())
        self.targets = [
            rows.targets(job.soft, float(job.est.alpha), float(job.est.temperature)) for job in jobs
        ]
        self.stretches = []
        for each, start, end in zip(self.targets, self.start, self.start[1:], strict=False):
            if self.stretches and self.stretches[-1][1] is each:
                start = self.stretches.pop()[0].start
            self.stretches.append((slice(int(start), int(end)), each))
        self.learnt = _laid_out(self.stretches)
        self.loss = self.learnt[0][1].loss
        if len(self.learnt) > 1:
            each_loss = [parts.Stretch(students, each.loss) for students, each in self.learnt]
            self.loss = losses.Joined(each_loss)
        self.plan = self._plan()
        self.train_rows, self.held_out = self._rows()
        if refinement is not None:
            self.train_rows.rule = refinement.make_rule(
                self.train_rows.rule, self.train_rows.weights, jobs[0].n_epochs, self._n_batches()
            )

    def _of_student(self, values, dtype=None):
        """Tensor (students,) of a value for each job."""
        counts = np.diff(self.start)
        return torch.tensor(np.repeat(values, counts), dtype=dtype, device=self.rows.device)

    def _n_batches(self):
        size = self.jobs[0].batch_size
        return 1 if size is None else math.ceil(len(self.train_rows.inputs) / size)

    def _plan(self):
        jobs, dtype = self.jobs, self.students.hidden.dtype
        largest = torch.finfo(dtype).max
        ests = [job.est for job in jobs]
        moves = [
            math.inf if est.radius is None else min(est.radius / math.sqrt(est.width), largest)
            for est in ests
        ]
        steps = [min(job.step_size, largest) for job in jobs]
        output_steps = None
        if any(job.output_step_size is not None for job in jobs):
            output_steps = self._of_student(
                [min(job.output_step_size or 0.0, largest) for job in jobs], dtype
            )
        return solvers.Plan(
            step_size=self._of_student(steps, dtype),
            output_step_size=output_steps,
            max_move=self._of_student(moves, dtype),
            n_epochs=self._of_student([job.n_epochs for job in jobs]),
            batch_size=jobs[0].batch_size,
            optimizer=jobs[0].optimizer,
            momentum=ests[0].momentum,
            decay=self._of_student([job.decay for job in jobs]),
            generator=torch.Generator().manual_seed(jobs[0].order_seed),
            job=self._of_student(range(len(jobs))),
        )

    def _rows(self):
        rows, jobs = self.rows, self.jobs
        patience = self._of_student([job.patience for job in jobs])
        if jobs[0].fold is not None:
            each = [_fold_weights(job, rows.share["all"]) for job in jobs]
            train, out, pool = (np.concatenate([w[i] for w in each]) for i in range(3))
            first = np.repeat(self.start[:-1], np.diff(self.start))
            pool = torch.from_numpy(np.where(pool < 0, -1, pool + first)).to(rows.device)
            train_rows = rows.part("all", self.learnt, train)
            out = _device.to_tensor(out, dtype=rows.dtype, device=rows.device)
            held_rows, cap = replace(train_rows, weights=out), self._row_cap("all")
            return train_rows, solvers.HeldOut(held_rows, patience, pool, row_cap=cap)
        train_rows = rows.part("all", self.learnt)
        if jobs[0].held is None:
            return train_rows, None
        held_rows = rows.part("held", self.learnt)
        cap = self._row_cap("held")
        return train_rows, solvers.HeldOut(held_rows, patience, None, AVERAGING_EPOCHS, cap)

    def _row_cap(self, name):
        dtype, index = self.students.hidden.dtype, self.rows.index[name]
        caps = [
            (each.least[index].to(dtype) + HELD_OUT_CAP * each.unit)[None]
            for _, each in self.stretches
        ]
        if len(caps) == 1:
            return caps[0]
        sizes = [students.stop - students.start for students, _ in self.stretches]
        return torch.cat([c.expand(n, -1) for c, n in zip(caps, sizes, strict=True)])

    def train(self, on_epoch=None):
        with self._threads():
            return solvers.train(*self._problem(), on_epoch)

    def training(self, *, pauses):
        """Return training that can pause; see `solvers.Training`."""
        return solvers.Training(*self._problem(), pauses=pauses)

    def advance(self, training, until):
        """Go on with ``training`` of this batch, up to a number of epochs or (None) to its end."""
        with self._threads():
            return training.advance(until)

    def _problem(self):
        return self.students, self.train_rows, self.loss, self.plan, self.held_out

    def _threads(self):
        n_step_rows = self.jobs[0].batch_size or len(self.rows)
        return _device.thread_scope(2 * self.students.hidden.numel() * n_step_rows)
