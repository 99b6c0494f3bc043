"""Write the pair of a compact model and the file that reads it, from a file of skops.

python -m sklearn_kd.export model.skops FOLDER
"""

import argparse
from pathlib import Path
from zipfile import BadZipFile

from sklearn_kd.export import TRUSTED_TYPES, compact, write_pair


def main(arguments=None):
    """Read a model, write the pair, and print what was written."""
    parser = argparse.ArgumentParser(
        prog="python -m sklearn_kd.export", description=__doc__.splitlines()[0]
    )
    parser.add_argument("model", type=Path, help="fitted model, saved by skops.io.dump")
    parser.add_argument("folder", type=Path, help="where model.skdc and compact_model.py go")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float32")
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
    except UntrustedTypesFoundException as error:
        parser.error(
            f"{args.model} is refused by skops. {str(error).splitlines()[0]} Types of a teacher "
            "are absent if model.without_teacher() is saved. Otherwise load the file in Python "
            "with the types that you trust, and call sklearn_kd.export.write_pair(model, folder)."
        )
    except (OSError, BadZipFile, ValueError) as error:
        parser.error(f"{args.model} cannot be read or written: {error}")
    for path in write_pair(made, args.folder):
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
