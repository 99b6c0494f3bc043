"""Convert a fitted model, which skops has saved, into two files that predict with NumPy alone.

python -m sklearn_kd.export model.skops FOLDER
"""

import argparse
from pathlib import Path
from zipfile import BadZipFile

from sklearn_kd.export import TRUSTED_TYPES, compact, write_pair

DESCRIPTION = (
    "Convert a fitted model into two files: model.skdc, which contains the model, and "
    "compact_model.py, which reads it and predicts raw rows. Predictions need NumPy alone."
)


def main(arguments=None):
    """Read a model, write the pair, and print what was written."""
    parser = argparse.ArgumentParser(prog="python -m sklearn_kd.export", description=DESCRIPTION)
    parser.add_argument("model", type=Path, help="a .skops file, written by skops.io.dump")
    parser.add_argument(
        "folder", type=Path, help="folder of the two files, which is made if it does not exist"
    )
    parser.add_argument(
        "--dtype",
        choices=("float64", "float32"),
        default="float32",
        help="type of the stored weights. float32, the default, makes a smaller file, whose "
        "predictions differ from those of the model by up to 1e-6. With float64 by up to 1e-12.",
    )
    args = parser.parse_args(arguments)
    try:
        from skops.io import load
        from skops.io.exceptions import UntrustedTypesFoundException
    except ImportError:
        parser.error("reading the model needs skops: pip install skops.")
    if args.model.suffix != ".skops":
        parser.error(
            f"{args.model} is no file of skops. Load other files in Python, where a pickle may "
            "execute anything, and call sklearn_kd.export.write_pair(model, folder)."
        )
    try:
        made = compact(load(args.model, trusted=list(TRUSTED_TYPES)), dtype=args.dtype)
        paths = write_pair(made, args.folder)
    except UntrustedTypesFoundException as error:
        parser.error(
            f"{args.model} is refused by skops. {str(error).splitlines()[0]} Types of a teacher "
            "are absent if model.without_teacher() is saved. Otherwise load the file in Python "
            "with the types that you trust, and call sklearn_kd.export.write_pair(model, folder)."
        )
    except (OSError, BadZipFile, TypeError, ValueError) as error:
        parser.error(
            f"{args.model} cannot be written to {args.folder}. Pass a file with a fitted "
            f"classifier or regressor, and a folder, or the name of a new one: {error}"
        )
    for path in paths:
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
