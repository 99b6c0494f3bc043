"""Time from the start of a process to the first answer of each kind of file of a model.

    SKLEARN_KD_DATA=... python examples/benchmarks/start_time.py

The network that is distilled from a forest on adult is written as a pickle, by skops, as a compact
model with the file that reads it, in ONNX and in C (if there are onnxruntime, skops and a
compiler). Each process reads one file and predicts one raw row. They take turns, 15 times, after a
turn that is not counted. "import numpy" is a process that does only that. The script prints
Markdown.
"""

import argparse
import os
import pickle
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import c_rows
import numpy as np
from _runs import environment, markdown, timed_fit
from compact_rows import load
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline

from sklearn_kd import DistilledClassifier, TableEncoder, TwoLayerPGDClassifier
from sklearn_kd.export import compact, to_c, to_onnx, write_pair

try:
    import onnxruntime
    import skops.io
except ImportError:
    onnxruntime = skops = None

#: What a process of each kind runs, beside the row.
SCRIPTS = {
    "nothing": "",
    "import numpy": "import numpy",
    "compact": """
from compact_model import CompactModel
CompactModel.load("model.skdc").predict_proba_one(row)
""",
    "ONNX": """
import numpy, onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
types = {"tensor(double)": float, "tensor(string)": object}
inputs = {i.name: numpy.array([[row[i.name]]], types[i.type]) for i in session.get_inputs()}
session.run(None, inputs)
""",
    "pickle": """
import pickle, pandas
pickle.load(open("model.pickle", "rb")).predict_proba(pandas.DataFrame([row]))
""",
    "pickle of the forest": """
import pickle, pandas
pickle.load(open("forest.pickle", "rb")).predict_proba(pandas.DataFrame([row]))
""",
    "skops": """
import pandas, skops.io
from sklearn_kd.export import TRUSTED_TYPES
model = skops.io.load("model.skops", trusted=list(TRUSTED_TYPES))
model.predict_proba(pandas.DataFrame([row]))
""",
}
NUMBER_OF_TURNS = 15
PROGRAM = """
#include "model.h"
int main(void)
{
    const model_row row = ROW;
    double proba[MODEL_N_CLASSES];
    return model_predict_proba(&row, proba);
}
"""


def write_files(model, X, folder):
    """Write the files of a model, and return a command for each kind and the bytes of the file."""
    small = model.without_teacher(keep_history=False)
    row = X.iloc[0].to_dict()
    (folder / "model.pickle").write_bytes(pickle.dumps(small))
    (folder / "forest.pickle").write_bytes(pickle.dumps(model.teacher_))
    write_pair(compact(small), folder)
    files = {"compact": "model.skdc", "pickle": "model.pickle"}
    files["pickle of the forest"] = "forest.pickle"
    if onnxruntime is not None:
        (folder / "model.onnx").write_bytes(to_onnx(small).SerializeToString())
        skops.io.dump(small, folder / "model.skops")
        files |= {"ONNX": "model.onnx", "skops": "model.skops"}
    commands = {
        name: [sys.executable, "-c", f"row = {row!r}\n{script}"]
        for name, script in SCRIPTS.items()
        if name in files or name in ("nothing", "import numpy")
    }
    sizes = {name: (folder / file).stat().st_size for name, file in files.items()}
    if shutil.which("cc"):
        header = to_c(small)
        (folder / "model.h").write_text(header)
        cells = c_rows.row_initializers(header, X[:1])
        (folder / "program.c").write_text(PROGRAM.replace("ROW;", f"{cells};"))
        command = ["cc", "-std=c99", "-O2", "program.c", "-o", "program", "-lm"]
        subprocess.run(command, cwd=folder, check=True)
        commands["C"], sizes["C"] = [folder / "program"], (folder / "program").stat().st_size
    return commands, sizes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=NUMBER_OF_TURNS)
    parser.add_argument("--max-rows", type=int, default=2000, help="training rows")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    X, y, X_test = load("adult", args.max_rows)
    forest = make_pipeline(TableEncoder(), RandomForestClassifier(300, random_state=0))
    network = TwoLayerPGDClassifier(16, max_iter=10, random_state=0)
    model = DistilledClassifier(forest, network, alpha=0.5, augmentation=None, random_state=0)
    timed_fit(model, X, y)
    with TemporaryDirectory() as folder:
        commands, sizes = write_files(model, X_test, Path(folder))
        times = {name: [] for name in commands}
        # the first turn may write the bytecode that later ones read
        environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        for turn in range(args.turns + 1):
            for name, command in commands.items():
                start = time.perf_counter()
                subprocess.run(command, cwd=folder, check=True, env=environ)
                if turn:
                    times[name].append(time.perf_counter() - start)
    numpy_alone = np.median(times["import numpy"])
    lines = [
        [
            name,
            f"{1000 * np.median(each):,.0f}",
            f"{np.median(each) / numpy_alone:.2f}",
            f"{sizes[name]:,}" if name in sizes else "",
        ]
        for name, each in times.items()
    ]
    print(environment("one process at a time"))
    print(f"\n{markdown(['file', 'milliseconds', 'of import numpy', 'bytes'], lines)}")


if __name__ == "__main__":
    main()
