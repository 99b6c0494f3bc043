"""Networks of one or several fits as stacked tensors, which train side by side."""

import math
from dataclasses import replace

import numpy as np
import torch

from sklearn_kd._core.network import layers, losses, members, problem, training as network_training
from sklearn_kd._core.network.segments import Segment
from sklearn_kd._utils.device import thread_scope, to_tensor

#: Epochs of minibatches that the weights kept by early stopping are averaged over. The average
#: removes the noise of steps whose size has not decayed yet.
AVERAGED_EPOCHS = 6
#: Bytes up to which the targets of neighboring networks are repeated for each of them, so that they
#: share one loss. Reading more bytes would take longer than calling separate losses.
MAX_REPEATED_TARGET_BYTES = 2**22


class StackedNetworks:
    """Networks of some fits side by side, which share inputs and minibatches.

    Parameters
    ----------
    rows : TrainingTensors
    plans : list of FitPlan
        With the same `FitPlan.key`.
    resumed : problem.Students, optional
        A fitted network to continue from. By default networks are drawn.
    correction : CorrectionSpec, optional
        Corrects the labels during training.

    Attributes
    ----------
    students : problem.Students
        The networks of all fits, one after the other.
    scored : list of ndarray of int
        Of each fit, the indices of the networks among which the best is chosen: one for each
        restart.
    targets : list of LossTargets
        Of each fit.
    config : problem.TrainingConfig
    """

    def __init__(self, rows, plans, resumed=None, correction=None):
        self.rows, self.plans = rows, plans
        counts = [plan.n_students for plan in plans]
        self.start = np.cumsum([0, *counts])
        self.scored = [
            start + np.arange(len(plan.seeds)) * plan.n_copies
            for start, plan in zip(self.start[:-1], plans, strict=True)
        ]
        self.students = self._initial_students() if resumed is None else resumed
        self.targets = [
            rows.targets(plan.soft, float(plan.est.alpha), plan.temperature) for plan in plans
        ]
        self.segments = []
        for each, start, end in zip(self.targets, self.start, self.start[1:], strict=False):
            if self.segments and self.segments[-1][1] is each:
                start = self.segments.pop()[0].start
            self.segments.append((slice(int(start), int(end)), each))
        self.joined_segments = _joined_segments(self.segments)
        self.loss = self.joined_segments[0][1].loss
        if len(self.joined_segments) > 1:
            self.loss = losses.PerSegmentLoss(
                [Segment(students, each.loss) for students, each in self.joined_segments]
            )
        self.config = self._config()
        self.train_rows, self.validation = self._rows()
        if correction is not None:
            self.train_rows.rule = correction.make_rule(
                self.train_rows.rule, self.train_rows.weights, plans[0].n_epochs, self._n_batches()
            )

    def _initial_students(self):
        inputs, n_outputs = self.rows.inputs["training"], self.rows.data.n_outputs
        drawn = [w for plan in self.plans for w in _draw(plan, inputs.shape[1], n_outputs)]
        like = to_tensor(np.empty(0), dtype=self.rows.dtype, device=self.rows.device)
        hidden, output = (torch.cat([w[i] for w in drawn]).to(like) for i in (0, 1))
        widths = [plan.est.width for plan in self.plans for _ in range(plan.n_students)]
        signs = None
        if self.plans[0].n_members > 1:  # all have as many
            signs = torch.stack([w[2] for w in drawn]).to(like)
        return problem.Students(widths, hidden, output, hidden.clone(), signs)

    def _per_student(self, values, dtype=None):
        """Return a tensor (students,) from one value for each fit."""
        counts = np.diff(self.start)
        return torch.tensor(np.repeat(values, counts), dtype=dtype, device=self.rows.device)

    def _n_batches(self):
        size = self.plans[0].batch_size
        return 1 if size is None else math.ceil(len(self.train_rows.inputs) / size)

    def _config(self):
        plans, dtype = self.plans, self.students.hidden.dtype
        largest = torch.finfo(dtype).max
        ests = [plan.est for plan in plans]
        moves = [
            math.inf if est.radius is None else min(est.radius / math.sqrt(est.width), largest)
            for est in ests
        ]
        steps = [min(plan.step_size, largest) for plan in plans]
        output_steps = None
        if any(plan.output_step_size is not None for plan in plans):
            output_steps = self._per_student(
                [min(plan.output_step_size or 0.0, largest) for plan in plans], dtype
            )
        return problem.TrainingConfig(
            step_size=self._per_student(steps, dtype),
            output_step_size=output_steps,
            max_move=self._per_student(moves, dtype),
            n_epochs=self._per_student([plan.n_epochs for plan in plans]),
            batch_size=plans[0].batch_size,
            optimizer=plans[0].optimizer,
            momentum=ests[0].momentum,
            decay=self._per_student([plan.decay for plan in plans]),
            weight_decay=self._per_student([plan.weight_decay for plan in plans], dtype),
            generator=torch.Generator().manual_seed(plans[0].order_seed),
            fit=self._per_student(range(len(plans))),
            average=self.rows.data.task.average,
        )

    def _rows(self):
        """Return the rows to train on, and the `ValidationSpec` (or None)."""
        rows, plans = self.rows, self.plans
        patience = self._per_student([plan.patience for plan in plans])
        if plans[0].fold is not None:
            each = [_fold_weights(plan, rows.share["training"]) for plan in plans]
            train, out, pool = (np.concatenate([w[i] for w in each]) for i in range(3))
            first = np.repeat(self.start[:-1], np.diff(self.start))
            pool = torch.from_numpy(np.where(pool < 0, -1, pool + first)).to(rows.device)
            train_rows = rows.part("training", self.joined_segments, train)
            out = to_tensor(out, dtype=rows.dtype, device=rows.device)
            held_rows, cap = replace(train_rows, weights=out), self._row_cap("training")
            return train_rows, problem.ValidationSpec(held_rows, patience, pool, row_cap=cap)
        train_rows = rows.part("training", self.joined_segments)
        if plans[0].validation_mask is None and rows.hard_targets is None:
            return train_rows, None
        held_rows = rows.part("validation", self.joined_segments)
        validation = problem.ValidationSpec(
            held_rows, patience, averaging=AVERAGED_EPOCHS, row_cap=self._row_cap("validation")
        )
        if rows.hard_targets is not None:
            validation.loss = rows.hard_targets.loss
            if plans[0].batch_size is None:  # steps without noise
                validation.averaging = 0
        return train_rows, validation

    def _row_cap(self, name):
        caps = [self.rows.row_cap(name, each) for _, each in self.segments]
        if len(caps) == 1:
            return caps[0]
        sizes = [students.stop - students.start for students, _ in self.segments]
        return torch.cat([cap.expand(n, -1) for cap, n in zip(caps, sizes, strict=True)])

    def start_training(self, **options):
        """Return the `ResumableTraining` of these networks, with some of its options."""
        return network_training.ResumableTraining(
            self.students, self.train_rows, self.loss, self.config, self.validation, **options
        )

    def threads(self):
        """Return a context manager with the number of threads that suits the steps."""
        n_step_rows = self.plans[0].batch_size or len(self.rows)
        n_weights = self.students.hidden.numel() * self.students.n_members
        return thread_scope(2 * n_weights * n_step_rows)


def _draw(plan, n_inputs, n_outputs):
    """Return the initial weights of a fit in float64 for each restart and copy.

    They are hidden weights, output weights, and the signs of members if there are several.
    """
    drawn = []
    for seed in plan.seeds:
        generator = torch.Generator().manual_seed(int(seed))
        network = layers.initialize(
            plan.est.width,
            n_inputs,
            plan.n_members * n_outputs,
            symmetric=plan.est.init == "symmetric",
            generator=generator,
        )
        if plan.n_members > 1:
            # the first column is the intercept, which has the sign of no column
            n_columns = plan.column_of.max(initial=0) + 1
            signs = members.draw_signs(plan.n_members, n_columns, generator)
            signs[:, 0] = 1.0
            network = (*network, signs[:, plan.column_of])
        drawn.append(network)
    return [network for network in drawn for _ in range(plan.n_copies)]


def _fold_weights(plan, weights):
    """Return the row weights of a full-data network and its fold networks, for each restart.

    Parameters
    ----------
    plan : FitPlan
    weights : ndarray of shape (rows,)
        With sum one.

    Returns
    -------
    train, held_out : ndarrays of shape (networks, rows)
        Weights of the rows that each network trains on, and of those that score it.
    pool : ndarray of int of shape (networks,)
        The network whose score the held-out loss of each is added to, -1 for none.
    """
    n_restarts = len(plan.seeds)
    is_out = plan.fold == np.arange(plan.n_copies - 1)[:, None]
    train = np.concatenate([weights[None], np.where(is_out, 0.0, weights)])
    train /= train.sum(axis=1, keepdims=True)
    held_out = np.concatenate([np.zeros((1, len(weights))), np.where(is_out, weights, 0.0)])
    pool = np.repeat(np.arange(n_restarts) * plan.n_copies, plan.n_copies)
    pool[:: plan.n_copies] = -1
    return np.tile(train, (n_restarts, 1)), np.tile(held_out, (n_restarts, 1)), pool


def _joined_segments(segments):
    """Join neighboring segments of an equal loss, since many short losses take long to call."""
    joined, size = [], 0
    for students, each in segments:
        n_students = students.stop - students.start
        values = each.values.expand(n_students, -1, -1)
        size += values.numel() * values.element_size()
        is_alike = joined and joined[-1][1].loss is each.loss
        if is_alike and size <= MAX_REPEATED_TARGET_BYTES:
            before, _, all_values = joined[-1]
            joined[-1] = slice(before.start, students.stop), each, [*all_values, values]
        else:
            joined.append((students, each, [values]))
    return [
        (students, each if len(values) == 1 else replace(each, values=torch.cat(values)))
        for students, each, values in joined
    ]
