"""What the documents say is so: their code runs, their links lead, they list every public name."""

import inspect
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, log_softmax, softmax
from sklearn.naive_bayes import GaussianNB

import sklearn_kd

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
GUIDE = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "guide").glob("*.md"))
SLOW = [pytest.param(page, marks=pytest.mark.slow) for page in ["docs/index.md", *GUIDE]]
AUTOSUMMARY = re.compile(
    r"^\.\. currentmodule:: (\S+)\n\n\.\. autosummary::\n(?:   :.*\n)+\n((?:   \w+\n)+)",
    re.MULTILINE,
)
LINK = re.compile(r"\]\(([^)#\s]+)?(#[^)\s]+)?\)")


def anchors(text):
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.filterwarnings("error:.*loss still improved")
@pytest.mark.parametrize(
    "name",
    ["README.md", *SLOW],
)
def test_python_blocks_run(name, tmp_path, monkeypatch):
    text = (ROOT / name).read_text()
    blocks = list(BLOCK.finditer(text))
    assert blocks
    monkeypatch.chdir(tmp_path)
    np.random.seed(0)  # of examples without random_state
    rng = np.random.default_rng(0)
    # what the README takes for granted: a raw table, on which boosted trees are good teachers
    df = pd.DataFrame(rng.normal(size=(400, 4))).add_prefix("x")
    df = df.assign(region=rng.choice(["north", "south"], 400), plan=rng.choice([1, 2], 400))
    is_flipped = rng.random(400) < 0.1
    y = np.asarray((df.x0 * df.x1 > 0) ^ (df.region == "north") ^ is_flipped).astype(int)
    price = np.exp(df.x0 + (df.region == "north") + rng.normal(scale=0.2, size=400))
    df.loc[::3, "region"] = None
    X = df.filter(like="x").to_numpy()
    namespace = {"__name__": "__docs__", "X": X, "y": y, "df": df, "price": price}
    namespace["teacher"] = GaussianNB()
    for block in blocks:
        line = text[: block.start(1)].count("\n")
        code = "\n" * line + block[1]  # tracebacks show the line of the document
        exec(compile(code, str(ROOT / name), "exec"), namespace)


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]), ids=str
)
def test_links_lead_somewhere(path):
    text = path.read_text()
    for target, anchor in LINK.findall(text):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        linked = path.parent / target if target else path
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            assert anchor[1:] in anchors(linked.read_text()), target + anchor


def test_api_pages_list_every_public_name_once():
    listed = []
    for path in (ROOT / "docs" / "api").glob("*.md"):
        for module, names in AUTOSUMMARY.findall(path.read_text()):
            listed += [f"{module}.{name}" for name in names.split()]
    public = []
    for name in sklearn_kd.__all__:
        if inspect.ismodule(getattr(sklearn_kd, name)):
            module = import_module(f"sklearn_kd.{name}")
            public += [f"{module.__name__}.{each}" for each in module.__all__]
        else:
            public.append(f"sklearn_kd.{name}")
    assert sorted(listed) == sorted(public)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("plot_*.py")), ids=str)
def test_gallery_scripts_start_with_a_title(path):
    first, second = path.read_text().removeprefix('"""').splitlines()[:2]
    assert re.fullmatch("=+", second)
    assert len(second) >= len(first)


def test_every_script_is_in_the_gallery_or_listed():
    listed = (ROOT / "docs" / "scripts.md").read_text()
    for path in (ROOT / "examples").glob("*.py"):
        assert path.name.startswith("plot_") or f"(../examples/{path.name})" in listed, path.name


def test_errata_by_finite_differences():
    rng = np.random.default_rng(0)
    a, X, p = rng.choice([-1.0, 1.0], 6), rng.normal(size=(9, 4)), rng.uniform(0.1, 0.9, 9)

    def logits(W):
        return np.maximum(X @ W.T, 0) @ a / np.sqrt(6)

    def kl(p, f):
        return p * np.log(p / expit(f)) + (1 - p) * np.log((1 - p) / expit(-f))

    f, W, h = rng.normal(0, 3, 9), rng.normal(size=(6, 4)), 1e-6
    assert (kl(p, f) > 0).all()
    assert_allclose((kl(p, f + h) - kl(p, f - h)) / (2 * h), expit(f) - p, atol=1e-8)
    residual = (expit(logits(W)) - p)[:, None]
    gradient = (residual * (X @ W.T > 0) * a / np.sqrt(6)).T @ X / 9
    for index in np.ndindex(W.shape):
        step = np.zeros_like(W)
        step[index] = h
        difference = kl(p, logits(W + step)).mean() - kl(p, logits(W - step)).mean()
        assert_allclose(difference / (2 * h), gradient[index], atol=1e-8)


def test_numbers_of_the_distillation_loss_in_the_errata():
    p, y, f, h = np.array([0.7, 0.2, 0.1]), np.eye(3)[1], np.array([0.4, -1.0, 0.3]), 1e-6

    def power(p, exponent):
        return p**exponent / (p**exponent).sum()

    def loss(f, alpha=0.3, T=4.0):
        q = power(p, 1 / T)
        soft = q @ (np.log(q) - log_softmax(f / T))
        return alpha * T**2 * soft - (1 - alpha) * y @ log_softmax(f)

    gradient = 0.3 * 4 * (softmax(f / 4) - power(p, 1 / 4)) + 0.7 * (softmax(f) - y)
    steps = h * np.eye(3)
    difference = [(loss(f + step) - loss(f - step)) / (2 * h) for step in steps]
    assert_allclose(difference, gradient, atol=1e-8)
    assert_allclose(power(p, 3), [0.974432, 0.022727, 0.002841], atol=5e-7)
    mixed = 0.5 * power(p, 1 / 4) + 0.5 * p
    assert_allclose(power(mixed, 4), [0.949, 0.040, 0.010], atol=5e-4)
