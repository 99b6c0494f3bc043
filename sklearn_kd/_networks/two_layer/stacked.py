"""Networks of several jobs as stacked tensors, for one run of the training loop."""

import math
from dataclasses import replace

import numpy as np
import torch

from sklearn_kd._core.network import layers, losses, problem
from sklearn_kd._core.network import training as network_training
from sklearn_kd._core.network.segments import Segment
from sklearn_kd._networks.training_data import HELD_OUT_CAP
from sklearn_kd._utils.device import thread_scope, to_tensor

__all__ = ["StackedNetworks"]


#: Epochs of minibatches that the weights kept by early stopping are averaged over: it takes out
#: the noise that a step size which has not fallen yet leaves in them.
AVERAGING_EPOCHS = 6
#: Bytes of targets that are laid out for each student, so that one loss serves them all: more would
#: take longer to read than single losses take to call.
JOINT_BYTES = 2**22


def _draw(job, n_inputs, n_outputs):
    """Weights of the networks of a job in float64, a network for each restart and copy."""
    drawn = [
        layers.initialize(
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


def _laid_out(segments):
    """Join neighboring stretches of the cross-entropy: many short losses take long to call."""
    joined, size = [], 0
    for students, each in segments:
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


class StackedNetworks:
    """Networks of some jobs side by side, trained in one run of `solvers`.

    ``correction``, a LabelCorrection, makes them correct their labels as they train.
    """

    def __init__(self, rows, jobs, resumed=None, correction=None):
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
            self.students = problem.Students(widths, hidden, output, hidden.clone())
        self.targets = [
            rows.targets(job.soft, float(job.est.alpha), float(job.est.temperature)) for job in jobs
        ]
        self.segments = []
        for each, start, end in zip(self.targets, self.start, self.start[1:], strict=False):
            if self.segments and self.segments[-1][1] is each:
                start = self.segments.pop()[0].start
            self.segments.append((slice(int(start), int(end)), each))
        self.learnt = _laid_out(self.segments)
        self.loss = self.learnt[0][1].loss
        if len(self.learnt) > 1:
            each_loss = [Segment(students, each.loss) for students, each in self.learnt]
            self.loss = losses.Joined(each_loss)
        self.plan = self._plan()
        self.train_rows, self.held_out = self._rows()
        if correction is not None:
            self.train_rows.rule = correction.make_rule(
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
        return problem.TrainingConfig(
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
            out = to_tensor(out, dtype=rows.dtype, device=rows.device)
            held_rows, cap = replace(train_rows, weights=out), self._row_cap("all")
            return train_rows, problem.ValidationSpec(held_rows, patience, pool, row_cap=cap)
        train_rows = rows.part("all", self.learnt)
        if jobs[0].validation_mask is None:
            return train_rows, None
        held_rows = rows.part("held", self.learnt)
        cap = self._row_cap("held")
        return train_rows, problem.ValidationSpec(held_rows, patience, None, AVERAGING_EPOCHS, cap)

    def _row_cap(self, name):
        dtype, index = self.students.hidden.dtype, self.rows.index[name]
        caps = [
            (each.least[index].to(dtype) + HELD_OUT_CAP * each.unit)[None]
            for _, each in self.segments
        ]
        if len(caps) == 1:
            return caps[0]
        sizes = [students.stop - students.start for students, _ in self.segments]
        return torch.cat([c.expand(n, -1) for c, n in zip(caps, sizes, strict=True)])

    def train(self, on_epoch=None):
        with self._threads():
            return network_training.train(*self._problem(), on_epoch)

    def training(self, *, pauses):
        """Return training that can pause; see `solvers.Training`."""
        return network_training.ResumableTraining(*self._problem(), pauses=pauses)

    def advance(self, training, until):
        """Go on with ``training`` of this batch, up to a number of epochs or (None) to its end."""
        with self._threads():
            return training.advance(until)

    def _problem(self):
        return self.students, self.train_rows, self.loss, self.plan, self.held_out

    def _threads(self):
        n_step_rows = self.jobs[0].batch_size or len(self.rows)
        return thread_scope(2 * self.students.hidden.numel() * n_step_rows)
