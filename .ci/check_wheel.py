"""Build the wheel and the archive of the source, check what is in them, and try them elsewhere.

    python -m pip install build twine
    python .ci/check_wheel.py python3.11 python3.12 python3.13

The files go to ``dist``. They are made of the tracked files alone, from a copy of them. For each
Python given, both are installed in a new virtual environment without extras, with the versions of
``constraints.txt``, and the quickstart runs there with warnings as errors, in another folder.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
#: What setuptools adds to the archive of the source.
ADDED = re.compile(r"PKG-INFO|setup\.cfg|sklearn_kd\.egg-info/.*")
#: What precedes the path of a picture, and of any link, to another file of the repository.
PICTURE = re.compile(r"(!\[[^\]]*\]\()(?!https?:)")
LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)(?=[^)\s]+\))")
INSTALLED = """\
import sys
from importlib import metadata, util
from pathlib import Path
import sklearn_kd
assert Path(sklearn_kd.__file__).is_relative_to(sys.prefix), sklearn_kd.__file__
assert "site-packages" in sklearn_kd.__file__, sklearn_kd.__file__
assert sklearn_kd.__version__ == metadata.version("sklearn-kd") == sys.argv[1]
assert util.find_spec("matplotlib") is None, "extras are installed"
assert "torch" not in sys.modules
names = "numpy", "pandas", "scikit-learn", "skorch", "torch"
print(f"Python {sys.version.split()[0]}:", *(f"{name} {metadata.version(name)}" for name in names))
"""


def run(*command, **options):
    """Run a command that must succeed."""
    print("+", *(str(each).partition("\n")[0] for each in command), flush=True)
    return subprocess.run(list(map(str, command)), check=True, **options)


def tracked_files():
    """Return the names of the files of the repository."""
    listed = run("git", "ls-files", "-z", cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    return set(listed.split("\0")) - {""}


def copy_source(files, folder):
    """Copy the files into a folder. Links of the README become those of the tag of the release."""
    for name in files:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    version = re.search(
        r'^__version__ = "(.*)"', (folder / "sklearn_kd/__init__.py").read_text(), re.M
    )
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    source = project.get("urls", {}).get("Source")
    if source is None:
        print("no URL of the source in pyproject.toml: relative links of the README stay")
    else:
        readme = folder / "README.md"
        text = PICTURE.sub(rf"\1{source}/raw/v{version[1]}/", readme.read_text())
        readme.write_text(LINK.sub(rf"\1{source}/blob/v{version[1]}/", text))
    return version[1]


def check_content(wheel, archive, files):
    """Require exactly the package and its metadata in the wheel, and all files in the archive."""
    names = set(zipfile.ZipFile(wheel).namelist())
    info = {name for name in names if PurePosixPath(name).parts[0].endswith(".dist-info")}
    package = {name for name in files if name.startswith("sklearn_kd/")}
    assert names - info == package, sorted((names - info) ^ package)
    assert "sklearn_kd/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in info), sorted(info)
    with tarfile.open(archive) as opened:
        members = [member.name for member in opened.getmembers() if member.isfile()]
    found = {name.split("/", 1)[1] for name in members}
    found = {name for name in found if not ADDED.fullmatch(name)}
    assert found == files, sorted(found ^ files)


def try_elsewhere(interpreter, wheel, archive, version, folder):
    """Install both files in a new environment, and run the quickstart of the wheel there."""
    run(interpreter, "-m", "venv", folder / "venv")
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python, pip = scripts / "python", (scripts / "python", "-m", "pip", "--quiet")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    options = {"cwd": folder, "env": {**kept, "PYTHONWARNINGS": "error"}}
    constraints = ROOT / "constraints.txt"
    run(*pip, "install", "-c", constraints, wheel, cwd=folder, env=kept)
    run(python, "-c", INSTALLED, version, **options)
    quickstart = shutil.copy(ROOT / "examples" / "quickstart.py", folder)
    run(python, quickstart, **options)
    again = "install", "--no-deps", "--force-reinstall"
    run(*pip, *again, archive, cwd=folder, env=kept)
    run(python, "-c", INSTALLED, version, **options)


def main():
    """Build, check and try the files of a release."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pythons", nargs="*", default=[sys.executable], help="interpreters to try")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="an empty or new folder")
    args = parser.parse_args()
    if args.out.exists() and any(args.out.iterdir()):
        parser.error(f"{args.out} is not empty")
    changed = run("git", "status", "--porcelain", "-uno", cwd=ROOT, stdout=subprocess.PIPE).stdout
    if changed:
        parser.error("files of the repository were changed: commit or stash them first")
    files = tracked_files()
    with tempfile.TemporaryDirectory() as folder:
        version = copy_source(files, Path(folder))
        run(sys.executable, "-m", "build", "--outdir", args.out.resolve(), folder)
    built = sorted(args.out.resolve().iterdir())
    archive, wheel = sorted(built, key=lambda path: path.suffix)
    assert {version in path.name for path in built} == {True}, built
    check_content(wheel, archive, files)
    run(sys.executable, "-m", "twine", "check", "--strict", *built)
    for interpreter in args.pythons:
        with tempfile.TemporaryDirectory() as folder:
            try_elsewhere(interpreter, wheel, archive, version, Path(folder))
    print(f"{version} is in {args.out} and works with {', '.join(args.pythons)}")


if __name__ == "__main__":
    main()
