"""AutoGluon for the benchmarks: its teacher and students, and what one of its models takes."""

import os
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ["AG_CPU_COUNT"] = "1"  # distill has no argument for the number of threads
from autogluon.tabular import TabularPredictor

#: Students by the name of AutoGluon.
STUDENTS = {"GBM": "LightGBM", "RF": "RandomForest", "NN_TORCH": "NeuralNetTorch"}
TEACHERS = {"RF": {}, "XT": {}, "GBM": {}, "NN_TORCH": {}}
N_TIMED = 20


class Clock:
    """Seconds since it was made, of the CPU and of the wall."""

    def __init__(self):
        self.start = time.process_time(), time.perf_counter()

    def read(self):
        """Return both as a dict."""
        cpu, wall = self.start
        return {"seconds": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def fit_teacher(X, y, problem, folder, seconds):
    """Return a predictor whose best model is a weighted ensemble of `TEACHERS`, and the time.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)
    problem : {"regression", "binary", "multiclass"}
    folder : str
        Where the predictor keeps its models.
    seconds : float
        Limit.
    """
    taken = Clock()
    predictor = TabularPredictor("target", problem, path=folder, verbosity=0)
    predictor.fit(
        X.assign(target=y), hyperparameters=TEACHERS, time_limit=seconds, num_cpus=1, num_gpus=0
    )
    return predictor, taken.read()


def distill(predictor, students, seconds):
    """Distill with the defaults of AutoGluon; return name to model of students, and the time."""
    taken = Clock()
    made = predictor.distill(
        time_limit=seconds, hyperparameters={name: {} for name in students}, verbosity=0
    )
    taken = taken.read()
    names = [STUDENTS[name] for name in students]
    return {name: model for name in names for model in made if model.startswith(name)}, taken


def row_microseconds(predict, predictor, model, X):
    """Return the median time of a raw row from memory, and from disk.

    Parameters
    ----------
    predict : callable
        Gets a frame of one row.
    predictor : TabularPredictor
    model : str
        Held in memory by ``persist`` for the first time. Without it, each call reads the file.
    X : DataFrame
    """
    rows = [X.iloc[row : row + 1] for row in range(N_TIMED + 1)]

    def median():
        times = []
        for row in rows:
            start = time.perf_counter()
            predict(row)
            times.append(time.perf_counter() - start)
        return 1e6 * float(np.median(times[1:]))

    of_disk = median()
    predictor.persist([model])
    of_memory = median()
    predictor.unpersist()
    return of_memory, of_disk


def bytes_on_disk(predictor, model):
    """Return the bytes of a copy for deployment of one model."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy"
        predictor.clone_for_deployment(str(path), model=model)
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
