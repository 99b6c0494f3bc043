"""Report the progress of a fit to scikit-learn's callbacks and to the terminal."""

import time
from contextlib import contextmanager, nullcontext

from joblib import effective_n_jobs

#: Mean seconds of a task from which on the progress of a stage is printed.
MIN_SECONDS_OF_STEP = 0.5


class EpochReporter:
    """Reports training to callbacks and to the terminal, after each block of epochs.

    scikit-learn keeps one context alive for each task until fit ends, and a full-batch fit has
    thousands of epochs of a millisecond. Therefore a task is a block of epochs, of which there are
    at most 100. Training that starts again at a smaller step size is reported to callbacks from the
    first block that was not reported before.

    Parameters
    ----------
    estimator : estimator with the callback mixin
    n_epochs : int
        Largest number of epochs of the training.
    X, y : array-like
        Training data, for callbacks that score the estimator.
    """

    def __init__(self, estimator, n_epochs, X, y):
        self.estimator, self.X, self.y = estimator, X, y
        self.block = max(1, -(-n_epochs // 100))
        self.n_epochs = n_epochs
        self.context = estimator._init_callback_context(max_subtasks=-(-n_epochs // self.block))
        self.context.call_on_fit_task_begin(estimator=estimator, X=X, y=y)
        self.task, self.n_reported = None, 0
        self.last_line = 0, time.perf_counter()  # epochs that it names, and when it was printed
        self.has_callbacks = bool(getattr(estimator, "_skl_callbacks", None))
        if self.has_callbacks:
            self._begin()

    def _begin(self):
        self.task = self.context.subcontext(task_name="epochs")
        self.task.call_on_fit_task_begin(estimator=self.estimator, X=self.X, y=self.y)

    def is_due(self, epoch):
        """Return whether `report` has something to do after ``epoch`` epochs."""
        if epoch % self.block and epoch != self.n_epochs:
            return False
        return self.estimator.verbose or (self.has_callbacks and epoch > self.n_reported)

    def report(self, epoch, loss, validation_loss, attributes):
        """Report an epoch that `is_due`, and return whether a callback asks to stop.

        Parameters
        ----------
        epoch : int
            Number of epochs done.
        loss : float
        validation_loss : float or None
        attributes : callable
            Returns the fitted attributes so far. It is passed on to scikit-learn, which calls it
            for callbacks that need a fitted estimator.
        """
        if self.estimator.verbose:
            tail = "" if validation_loss is None else f", held-out loss {validation_loss:.5f}"
            name, left = type(self.estimator).__name__, self._seconds_left(epoch)
            if epoch < self.n_epochs:
                tail += f", about {left:.1f} s left"
            print(f"[{name}] epoch {epoch}/{self.n_epochs}: loss {loss:.5f}{tail}", flush=True)
        if not self.has_callbacks or epoch <= self.n_reported:
            return False
        self.n_reported = epoch
        stop = self._end(attributes)
        if epoch < self.n_epochs and not stop:
            self._begin()
        return bool(stop)

    def _seconds_left(self, epoch):
        """Return the time that the other epochs take if all of them are as long as the last."""
        (before, start), now = self.last_line, time.perf_counter()
        self.last_line = epoch, now
        n_timed = epoch - before if epoch > before else epoch  # training may have started again
        return (now - start) / n_timed * (self.n_epochs - epoch)

    def _end(self, attributes):
        task, self.task = self.task, None
        return task.call_on_fit_task_end(
            estimator=self.estimator, X=self.X, y=self.y, reconstruction_attributes=attributes
        )

    def finish(self, attributes):
        """Close the tasks that are open; ``attributes`` is as for `report`."""
        if self.task is not None:
            self._end(attributes)
        self.context.call_on_fit_task_end(
            estimator=self.estimator, X=self.X, y=self.y, reconstruction_attributes=attributes
        )


class StageLines:
    """Prints one line for each stage of a fit, if ``verbose`` of the estimator asks for it.

    The line says what runs as soon as a stage begins, how much of it is done and how long the rest
    may take, and how long it took when it ends.

    Parameters
    ----------
    estimator : estimator, default=None
        None prints nothing.
    """

    def __init__(self, estimator=None):
        self.name = type(estimator).__name__
        self.is_on = bool(getattr(estimator, "verbose", False))

    @contextmanager
    def stage(self, text):
        """Print the line of the stage that the context contains.

        Yields a list, to which the stage may append what is known at its end.
        """
        details = []
        if not self.is_on:
            yield details
            return
        print(f"[{self.name}] {text} ... ", end="", flush=True)
        start = time.perf_counter()
        try:
            yield details
        finally:
            print(*details, f"{time.perf_counter() - start:.1f} s", sep=", ", flush=True)

    def followed(self, results, n_results, n_jobs):
        """Yield the results of equal tasks, and print how many of them there are.

        A line is printed when each process has done one more.
        """
        n_processes = effective_n_jobs(n_jobs)
        start = time.perf_counter()
        for n_done, result in enumerate(results, start=1):
            seconds = time.perf_counter() - start
            is_due = n_done % n_processes == 0 and n_done < n_results
            if self.is_on and is_due and seconds >= MIN_SECONDS_OF_STEP * n_done / n_processes:
                left = seconds / n_done * (n_results - n_done)
                text = f"{n_done} of {n_results} done, about {left:.0f} s left ... "
                print(text, end="", flush=True)
            yield result


class Subtask:
    """Report a named subtask of fit to scikit-learn's callbacks.

    The subtask is merged with the fit of the sub-estimator, if that supports callbacks.

    Parameters
    ----------
    ctx : CallbackContext
        Context of the meta-estimator.
    name : str
        Name of the subtask.
    estimator : estimator
        The meta-estimator.
    X, y : array-like
        Its training data.
    """

    def __init__(self, ctx, name, estimator, X, y):
        self.ctx = ctx.subcontext(task_name=name)
        self.info = {"estimator": estimator, "X": X, "y": y}

    @contextmanager
    def begin(self, sub_estimator):
        """Begin the subtask, and pass callbacks on to the sub-estimator in this context."""
        has_callbacks = hasattr(sub_estimator, "set_callbacks")
        with self.ctx.propagate_callback_context(sub_estimator) if has_callbacks else nullcontext():
            self.ctx.call_on_fit_task_begin(**self.info)
            yield

    def end(self, attributes=None):
        """End the subtask, with fitted attributes for callbacks that score the estimator."""
        self.ctx.call_on_fit_task_end(
            **self.info, reconstruction_attributes=attributes and (lambda: attributes)
        )


def begin_subtask(subtask, sub_estimator):
    """Return the context of a `Subtask` around the fit of a sub-estimator.

    Without a subtask (None) the context does nothing.
    """
    return nullcontext() if subtask is None else subtask.begin(sub_estimator)
