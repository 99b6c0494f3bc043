"""Report the progress of a fit to scikit-learn's callbacks and to the terminal."""

from contextlib import contextmanager, nullcontext

__all__ = ["EpochReporter", "Subtask"]


class EpochReporter:
    """Tells callbacks and the terminal about training, a block of epochs at a time.

    A block rather than an epoch because scikit-learn keeps one context alive per task until fit
    ends, and a full-batch fit has thousands of epochs of a millisecond. Training that begins
    again, at a smaller step size, is reported from where it got to before: each block once.

    Parameters
    ----------
    estimator : estimator with the callback mixin
    n_epochs : int
        The most that training will take.
    current : callable
        Returns the fitted attributes as they stand, for callbacks that score the estimator.
    X, y : array-like
        Training data, for such callbacks.
    """

    def __init__(self, estimator, n_epochs, current, X, y):
        self.estimator, self.current, self.X, self.y = estimator, current, X, y
        self.block = max(1, -(-n_epochs // 100))
        self.n_epochs = n_epochs
        self.context = estimator._init_callback_context(max_subtasks=-(-n_epochs // self.block))
        self.context.call_on_fit_task_begin(estimator=estimator, X=X, y=y)
        self.task, self.reported = None, 0
        self.listens = bool(getattr(estimator, "_skl_callbacks", None))
        if self.listens:
            self._begin()

    def _begin(self):
        self.task = self.context.subcontext(task_name="epochs")
        self.task.call_on_fit_task_begin(estimator=self.estimator, X=self.X, y=self.y)

    def __call__(self, epoch, loss, score):
        """Report; True where a callback asks to stop. ``loss`` and ``score`` are callables."""
        if epoch % self.block and epoch != self.n_epochs:
            return False
        if self.estimator.verbose:
            held_out = score()
            tail = "" if held_out is None else f", held-out loss {held_out:.5f}"
            name = type(self.estimator).__name__
            print(f"[{name}] epoch {epoch}/{self.n_epochs}: loss {loss():.5f}{tail}")
        if not self.listens or epoch <= self.reported:
            return False
        self.reported = epoch
        stop = self._end()
        if epoch < self.n_epochs and not stop:
            self._begin()
        return bool(stop)

    def _end(self):
        task, self.task = self.task, None
        return task.call_on_fit_task_end(
            estimator=self.estimator,
            X=self.X,
            y=self.y,
            reconstruction_attributes=self.current,
        )

    def finish(self):
        """Close the tasks that are open."""
        if self.task is not None:
            self._end()
        self.context.call_on_fit_task_end(
            estimator=self.estimator,
            X=self.X,
            y=self.y,
            reconstruction_attributes=self.current,
        )


class Subtask:
    """A labeled subtask of fit, merged with the fit of a sub-estimator that has callbacks."""

    def __init__(self, ctx, name, estimator, X, y):
        self.ctx = ctx.subcontext(task_name=name)
        self.info = {"estimator": estimator, "X": X, "y": y}

    @contextmanager
    def begin(self, sub_estimator):
        has_callbacks = hasattr(sub_estimator, "set_callbacks")
        with self.ctx.propagate_callback_context(sub_estimator) if has_callbacks else nullcontext():
            self.ctx.call_on_fit_task_begin(**self.info)
            yield

    def end(self, attributes=None):
        self.ctx.call_on_fit_task_end(
            **self.info, reconstruction_attributes=attributes and (lambda: attributes)
        )
