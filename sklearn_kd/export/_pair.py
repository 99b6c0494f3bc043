"""The file of a compact model beside the file that reads it: `write_pair`."""

from pathlib import Path

from sklearn_kd.export import _compact_model
from sklearn_kd.export._compact import compact
from sklearn_kd.export._compact_model import CompactModel

MODEL_NAME, RUNTIME_NAME = "model.skdc", "compact_model.py"


def write_pair(model, folder):
    """Write a compact model, and beside it the file that predicts with NumPy alone.

    Parameters
    ----------
    model : CompactModel, classifier or regressor
        A fitted model is written by :func:`compact` with its defaults.
    folder : str or path-like
        It is made if it does not exist.

    Returns
    -------
    model_path, runtime_path : Path
        ``model.skdc`` and ``compact_model.py`` in the folder.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_kd.export import write_pair
    >>> model = LogisticRegression(max_iter=1000).fit(*load_iris(return_X_y=True))
    >>> [path.name for path in write_pair(model, mkdtemp())]
    ['model.skdc', 'compact_model.py']
    """
    made = model if isinstance(model, CompactModel) else compact(model)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    runtime = folder / RUNTIME_NAME
    runtime.write_bytes(Path(_compact_model.__file__).read_bytes())
    made.save(folder / MODEL_NAME)
    return folder / MODEL_NAME, runtime
