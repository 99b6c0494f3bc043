"""C headers: answers of every kind of model, refused cells, names and texts of every kind."""

import re
import struct
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import DistilledClassifier, TableEncoder
from sklearn_kd.export import compact, to_c
from tests._helpers.c_programs import (
    COMPILER,
    COMPILER_OF_CPP,
    WARNINGS,
    compiled,
    counts_of,
    functions_of,
    needs_compiler,
    run_compiler,
)
from tests._helpers.exported_models import (
    REGRESSORS,
    assert_answers_close,
    beside_thresholds,
    boosted_categories,
    boosted_numbers,
    cases,
    expected_answers,
    fitted,
    network,
    new_rows,
    numbers,
    table,
    with_unseen_class,
)

pytestmark = needs_compiler
TOLERANCE = {"float64": 1e-12, "float32": 1e-6}
#: Texts that C, its preprocessor or its comments could take for something else.
TEXTS = [
    "",
    '"',
    "'",
    "\\",
    "a\\",
    "??/",
    "a??/\nb",
    "*/",
    "/*",
    "/*/",
    "//",
    "\n",
    "\r\n",
    "\t",
    "\x01",
    "\x011",
    "\x7f0",
    "é",
    "é1",
    "größe",
    "列",
    "\U0001f600",
    "%s",
    "%",
    "a b",
    " a",
    "x" * 5000,
    "é" * 2500,
    "$p",
    "{",
    "#define",
]


def assert_answers(model, X, folder, *, dtypes=TOLERANCE, options=("-O0",)):
    """Check the answers of headers of each dtype against those of the model."""
    names = {dtype: f"of_{dtype}" for dtype in dtypes}
    headers = {name: to_c(model, dtype=dtype, name=name) for dtype, name in names.items()}
    made = compiled(headers, folder, options=options)
    expected = expected_answers(model, X)
    for dtype, name in names.items():
        of_dtype, tolerance = expected, TOLERANCE.get(dtype, 1e-12)
        if dtype == "int8":
            rounded = compact(model, X, dtype="int8", max_change=1e9)
            of_dtype = expected_answers(rounded, X)[:, : expected.shape[1]]
        found = made[name].answers(X)[:, : expected.shape[1]]  # a search predicts no quantiles
        assert_answers_close(found, of_dtype, tolerance, model)
    return made


#: Models that have all kinds of nodes between them, and their numbers of classes or targets.
FAST = {
    "network": 2,
    "members behind OneHotEncoder": 2,
    "linear behind MinMaxScaler": 3,
    "tree behind a scaler": 3,
    "boosting": 2,
    "distilled members, prior": 3,
    "isotonic": 3,
    "temperature": 2,
    "regressor of members": 1,
    "quantiles": 2,
    "ridge behind MinMaxScaler": 1,
    "regression tree": 2,
    "gamma boosting": 1,
    "logarithms": 1,
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "n", "kind"), cases(FAST))
def test_answers_are_those_of_the_model(name, n, kind, tmp_path):
    model = fitted(name, n, kind)
    assert_answers(model, new_rows(), tmp_path, dtypes=("float64", "float32", "int8"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("options", [("-O2",), ("-O3", "-ffp-contract=fast"), ("-Os",)], ids=str)
@pytest.mark.parametrize(
    "name", ["network", "members behind OneHotEncoder", "MLP", "boosting", "quantiles of members"]
)
def test_answers_of_optimized_code(name, options, tmp_path):
    assert_answers(fitted(name, 3), new_rows(), tmp_path, options=options)


def test_categories_of_boosted_trees(tmp_path):
    model, new = boosted_categories()
    assert_answers(model, new, tmp_path)


def test_boosted_trees_take_infinite_numbers(tmp_path):
    model, rows = boosted_numbers()
    assert_answers(model, rows, tmp_path)


def test_classes_that_the_student_never_saw(tmp_path):
    assert_answers(with_unseen_class(class_prior="uniform"), new_rows(), tmp_path)


@pytest.mark.parametrize(
    "method",
    [
        "sigmoid",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("isotonic", "temperature")),
    ],
)
def test_calibration_of_tempered_trees(method, tmp_path):
    X, y = numbers(n_classes=3)
    trees = DecisionTreeClassifier(max_depth=3, random_state=0)
    fixed = {"temperature": 3.0, "alpha": 1.0, "augmentation": None, "cv": 2}
    model = DistilledClassifier(RandomForestClassifier(5, random_state=0), trees, **fixed)
    assert_answers(CalibratedClassifierCV(model, method=method, cv=2).fit(X, y), X, tmp_path)
    assert_answers(CalibratedClassifierCV(model, method=method, cv=2).fit(X, y > 0), X, tmp_path)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_calibration_of_members(n_classes, tmp_path):
    X, y = numbers(n_classes=n_classes)
    members = network(n_members=2, encoder=None)
    model = CalibratedClassifierCV(members, cv=2).fit(X, y)
    assert_answers(model, X, tmp_path)


def test_a_number_beside_a_threshold_is_on_the_side_of_the_model(tmp_path):
    model, rows = beside_thresholds(1e6, n=100, n_steps=20)
    made = assert_answers(model, rows[:1], tmp_path, dtypes=["float64"])["of_float64"]
    np.testing.assert_array_equal(made.answers(rows), model.predict_proba(rows))


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.EarlyStoppingWarning")
def test_models_of_one_class_and_of_no_column(tmp_path):
    X, y = numbers()
    (tmp_path / "no").mkdir()
    assert_answers(DecisionTreeClassifier().fit(X, 0 * y), X, tmp_path)
    constant = pd.DataFrame({"a": [1.0] * 40})
    model = network().fit(constant, np.arange(40) % 2)
    made = assert_answers(model, constant, tmp_path / "no")
    assert made["of_float64"].columns == []


def test_cells_that_are_refused(tmp_path):
    X, y = numbers()
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    levels = pd.DataFrame({"text": ["x", "y"] * 30, "count": [2, 4, 9] * 20})
    models = {
        "linear": LogisticRegression().fit(X, y),
        "clipped": make_pipeline(MinMaxScaler(clip=True), LogisticRegression()).fit(X, y),
        "levels": make_pipeline(encoder, LogisticRegression()).fit(levels, np.arange(60) % 2),
        "network": fitted("network"),
    }
    headers = {name: to_c(model, name=name) for name, model in models.items()}
    made = compiled(headers, tmp_path)
    for name in ("linear", "clipped"):
        assert made[name].columns == ["x0", "x1", "x2"]
        assert made[name].answer_or_code([0.0, np.nan, np.inf]) == 2
        assert made[name].answer_or_code([0.0, 0.0, -np.inf]) == 3
    row, level = [1e308, -1e308, 0.0], pd.DataFrame({"text": ["y"], "count": [9]})
    for name, X_new in (("clipped", [row]), ("levels", level)):
        answer = made[name].answer_or_code(row if name == "clipped" else ["y", 9])
        np.testing.assert_allclose(answer, models[name].predict_proba(X_new)[0], rtol=1e-6)
    for cells, code in [
        (["z", 9], 1),
        (["", 9], 1),
        ([None, 9], 1),
        (["y", 3], 2),
        (["y", np.inf], 2),
        (["y", np.nan], 2),
    ]:
        assert made["levels"].answer_or_code(cells) == code
    network_cells = dict.fromkeys(made["network"].columns)
    for column in ("size", "flag", "count"):
        code = 1 + made["network"].columns.index(column)
        cells = {**network_cells, column: np.inf}
        assert made["network"].answer_or_code(list(cells.values())) == code


def test_levels_that_are_numbers(tmp_path):
    levels = np.array([-3.0, 0.0, 5e-324, 0.1, 2.0, 1e17, 1.7e308])
    X = np.tile(levels, 10)[:, None]
    encoder = OneHotEncoder(handle_unknown="ignore")
    model = make_pipeline(encoder, LogisticRegression(C=100.0)).fit(X, np.arange(70) % 3)
    others = np.array([1.0, -0.0, 1e-323, np.nextafter(0.1, 1), -1e17, 3.0])[:, None]
    assert_answers(model, np.concatenate([X, others]), tmp_path)


def names_table(names, n=40):
    rng = np.random.RandomState(0)
    return pd.DataFrame(rng.normal(size=(n, len(names))), columns=names), np.arange(n) % 2


NAMES = ["b-c", "b_c", "b c", "int", "class", "and", "1st", "__x", "_Y", "NULL", "M_PI", "linux"]
NAMES += ["x", "x_2", "X", "a" * 70, "a" * 71, "model_row", "row", "cells", "NaN", "I"]


def test_names_of_columns(tmp_path):
    X, y = names_table([*NAMES, *TEXTS])
    made = assert_answers(LogisticRegression().fit(X, y), X, tmp_path, options=["-std=gnu99"])
    made = made["of_float32"]
    assert made.columns == X.columns.tolist()
    fields = dict(zip(made.columns, made.fields, strict=True))
    assert [fields[name] for name in ("b_c", "b-c", "b c")] == ["b_c", "b_c_2", "b_c_3"]
    assert [fields[name] for name in ("int", "1st", "__x", "X")] == ["int_", "x1st", "x_3", "X"]
    assert len(set(made.fields)) == X.shape[1]
    assert all(re.fullmatch("[A-Za-z][A-Za-z0-9_]{,62}", field) for field in made.fields)


def test_names_that_are_macros_of_the_header(tmp_path):
    """The compiler lists its macros, and those of the headers that are included."""
    source = tmp_path / "macros.c"
    source.write_text("#include <math.h>\n#include <stddef.h>\n#include <string.h>\n")
    listed = subprocess.run(
        [COMPILER, "-std=gnu11", "-dM", "-E", source], capture_output=True, text=True, check=True
    ).stdout
    names = re.findall(r"^#define ([A-Za-z]\w*) ", listed, re.MULTILINE)
    names = list(dict.fromkeys(names))
    assert "NULL" in names
    X, y = names_table(names)
    model = LogisticRegression().fit(X, y)
    assert_answers(model, X, tmp_path, dtypes=["float32"], options=["-std=gnu11"])


def test_names_that_the_header_defines(tmp_path):
    X, y = names_table(["OF_FLOAT32_N_CLASSES", "OF_FLOAT32_N_COLUMNS", "SKLEARN_KD_of_float32_H"])
    made = assert_answers(LogisticRegression().fit(X, y), X, tmp_path, dtypes=["float32"])
    assert made["of_float32"].columns == X.columns.tolist()
    assert not {*made["of_float32"].fields} & {*X.columns}


@pytest.mark.parametrize("known", [["a", "b"], [1.0, 2.0]], ids=["text", "number"])
def test_a_column_whose_cells_are_all_missing_in_a_fold(known, tmp_path):
    X = pd.DataFrame({"level": [None] * 30 + known * 15}, dtype=object)
    encoder = OneHotEncoder(handle_unknown="ignore")
    folds = [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(30))]
    model = CalibratedClassifierCV(make_pipeline(encoder, LogisticRegression()), cv=folds)
    assert_answers(model.fit(X, np.arange(60) % 3 > 0), X, tmp_path)


def text_table(texts):
    X = pd.DataFrame({"text": pd.Series(np.repeat(texts, 6), dtype=object)})
    y = np.random.RandomState(0).randint(0, 2, len(X))
    y[:2] = 0, 1
    return X, y


def test_texts_of_levels(tmp_path):
    X, y = text_table(TEXTS)
    encoder = OneHotEncoder(handle_unknown="ignore")
    model = make_pipeline(encoder, LogisticRegression(C=10.0)).fit(X, y)
    others = pd.DataFrame({"text": ["x" * 4999, "x" * 5001, "\x01" + "2", "é" * 2499, "a", None]})
    assert_answers(model, pd.concat([X, others]), tmp_path)


PROGRAM = """
#include <stdio.h>
#include "model.h"
int main(void)
{
    for (int k = 0; k < MODEL_N_CLASSES; ++k) {
        printf(FORMAT "|", model_classes[k]);
    }
    return 0;
}
"""


@pytest.mark.parametrize(
    ("classes", "as_format"),
    [
        (["no", 'y"es', "per??/haps"], "%s"),
        ([-(2**63), 0, 2**63 - 1], "%lld"),
        ([False, True], "%lld"),
        (np.array([1, 2**64 - 1], dtype=np.uint64), "%llu"),
        ([2.0, 3e9], "%.17g"),
    ],
    ids=["text", "integer", "boolean", "unsigned", "number"],
)
def test_classes(classes, as_format, tmp_path):
    X = np.arange(60.0)[:, None]
    y = np.array(classes)[np.arange(60) % len(classes)]
    model = DecisionTreeClassifier(max_depth=2).fit(X, y)
    (tmp_path / "model.h").write_text(to_c(model))
    (tmp_path / "program.c").write_text(f'#define FORMAT "{as_format}"\n{PROGRAM}')
    run_compiler(["-std=c99", *WARNINGS, tmp_path / "program.c"], tmp_path / "program")
    said = subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=True)
    kind = str if as_format == "%s" else float if "g" in as_format else int
    assert [kind(each) for each in said.stdout.split("|")[:-1]] == model.classes_.tolist()


def test_the_program_of_the_guide(tmp_path):
    guide = Path(__file__).parents[2] / "docs" / "guide" / "deployment.md"
    program = re.search(r"^```c\n(.*?)^```$", guide.read_text(), re.DOTALL | re.MULTILINE).group(1)
    X = pd.DataFrame({"age": np.arange(60.0), "job": ["cook", "clerk"] * 30})
    model = network().fit(X, np.where(X["age"] > 30, "yes", "no"))
    (tmp_path / "churn.h").write_text(to_c(model, name="churn"))
    (tmp_path / "program.c").write_text(program)
    run_compiler(["-std=c99", *WARNINGS, tmp_path / "program.c", "-lm"], tmp_path / "program")
    said = subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=True)
    proba = model.predict_proba(pd.DataFrame({"age": [39.0], "job": ["cook"]}))[0]
    assert said.stdout == f"{model.classes_[proba.argmax()]}: {proba.max():.3f}\n"


@pytest.mark.skipif(COMPILER_OF_CPP is None, reason="there is no C++ compiler")
@pytest.mark.parametrize(
    "name",
    ["network", "members behind OneHotEncoder", "boosting", "isotonic", "quantiles of members"],
)
def test_headers_are_valid_in_cpp(name, tmp_path):
    (tmp_path / "model.h").write_text(to_c(fitted(name, 3)))
    X, y = names_table([*NAMES, *TEXTS])
    (tmp_path / "other.h").write_text(to_c(LogisticRegression().fit(X, y), name="other"))
    source = tmp_path / "program.cpp"
    source.write_text('#include "model.h"\n#include "other.h"\n#include "model.h"\nint main() {}\n')
    options = ["-std=c++11", *WARNINGS, "-Werror", "-c", source]
    run_compiler(options, tmp_path / "program.o", COMPILER_OF_CPP)


def test_a_header_is_ascii_deterministic_and_writes_no_global():
    model = fitted("distilled members, prior", 3)
    header = to_c(model, name="small")
    assert header == to_c(model, name="small") != to_c(model, name="other")
    assert header.isascii()
    static = re.findall(r"^static (\w+)", header, re.MULTILINE)
    assert set(static) == {"const", "inline"}
    assert '"constant"' in header[: header.index("#ifndef")]  # no column that is read
    assert len(to_c(model, dtype="int8")) < len(header) < len(to_c(model, dtype="float64"))


def test_fast_math_is_an_error(tmp_path):
    (tmp_path / "model.h").write_text(to_c(fitted("linear")))
    command = [COMPILER, "-x", "c", "-ffast-math", "-fsyntax-only", tmp_path / "model.h"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "compile without -ffast-math" in done.stderr


def with_levels(levels):
    X = pd.DataFrame({"kind": pd.Categorical(levels * 20)})
    return make_pipeline(TableEncoder(), LogisticRegression()).fit(X, np.arange(len(X)) % 2)


def test_int8_that_loses_all_probabilities_of_a_leaf_is_an_error():
    y = np.tile(np.arange(300), 2)  # each class has a leaf of its own, and all share one
    X = np.where(np.arange(600) < 300, -1.0, y)[:, None]
    model = DecisionTreeClassifier(random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="rounding makes all probabilities of a leaf zero"):
        to_c(model, dtype="int8")


def test_what_no_header_holds_is_named():
    X, y = numbers()
    linear = LogisticRegression().fit(X, y)
    with pytest.raises(ValueError, match="column 'kind' has both numbers and texts as levels"):
        to_c(with_levels(["a", 1, 2]))
    with pytest.raises(ValueError, match=r"column 'kind', 'a\\x00b' has a null character"):
        to_c(with_levels(["a\0b", "c"]))
    with pytest.raises(ValueError, match="a character that UTF-8 has no code of"):
        to_c(LogisticRegression().fit(X, np.where(y > 0, "\ud800", "c").astype(object)))
    with pytest.raises(ValueError, match="the column 'a\\\\x00' has a null character"):
        to_c(LogisticRegression().fit(*names_table(["a\0"])))
    X_big = np.array([[2**53 + 1], [5]] * 20)
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(X_big, np.arange(40) % 2)
    with pytest.raises(ValueError, match="'x0' has the level 9007199254740993, which no number"):
        to_c(model)
    with pytest.raises(ValueError, match="PCA is none of those that can be written"):
        to_c(make_pipeline(PCA(), linear).fit(X, y))
    with pytest.raises(ValueError, match=r"dtype must be one of \['float64', 'float32', 'int8'\]"):
        to_c(linear, dtype="float16")
    for name in ("", "1st", "a-b", "int", "a b", "_a", "a_", "a__b", "é", 3, "a\n"):
        with pytest.raises(ValueError, match="name must be an identifier"):
            to_c(linear, name=name)


any_text = st.text(
    st.characters(codec="utf-8", exclude_characters="\0") | st.sampled_from('"\\?/*\n1_- '),
    max_size=12,
)


@pytest.mark.slow
@settings(max_examples=40)
@given(st.lists(any_text, min_size=1, max_size=12, unique=True))
def test_any_names_of_columns(tmp_path_factory, names):
    X, y = names_table(names, n=8)
    model = LogisticRegression().fit(X, y)
    made = assert_answers(model, X, tmp_path_factory.mktemp("names"), dtypes=["float32"])
    assert made["of_float32"].columns == names


@pytest.mark.slow
@settings(max_examples=40)
@given(st.lists(any_text, min_size=2, max_size=12, unique=True), st.lists(any_text, max_size=9))
def test_any_texts_of_levels(tmp_path_factory, texts, others):
    X, y = text_table(texts)
    encoder = OneHotEncoder(handle_unknown="ignore")
    model = make_pipeline(encoder, LogisticRegression()).fit(X, y)
    rows = pd.concat([X, pd.DataFrame({"text": [*others, None]})])
    assert_answers(model, rows, tmp_path_factory.mktemp("texts"), dtypes=["float32"])


READER = """
#include <stdio.h>
#include <stdlib.h>
#include "model.h"

static double number(void)
{
    double x;
    if (fread(&x, sizeof x, 1, stdin) != 1) {
        exit(3);
    }
    return x;
}

/* A text in memory of exactly its size, so that a byte that is read beyond it is found. */
static char *text(void)
{
    int size;
    char *found;
    if (fread(&size, sizeof size, 1, stdin) != 1) {
        exit(3);
    }
    if (size < 0) {
        return NULL;
    }
    found = malloc((size_t)size + 1);
    if (fread(found, 1, (size_t)size, stdin) != (size_t)size) {
        exit(3);
    }
    found[size] = 0;
    return found;
}

int main(void)
{
    int rows;
    if (fread(&rows, sizeof rows, 1, stdin) != 1) {
        return 3;
    }
    while (rows-- > 0) {
        model_row row;
        double *answer = malloc(sizeof(double) * COUNT), *other = malloc(sizeof(double) * OTHER);
        int code;
        READ
        code = model_FIRST(&row, answer);
        if (code != model_SECOND(&row, (void *)other)) {
            return 4;
        }
        printf("%d", code);
        for (int k = 0; code == 0 && k < COUNT; ++k) {
            printf(" %.17g", answer[k]);
        }
        free(answer);
        free(other);
        printf("\\n");
        FREE
    }
    return 0;
}
"""


def random_cell(rng, is_text, known):
    """Return a known cell or a strange one: bytes or None, or a number."""
    kind = rng.randint(8)
    if is_text:
        if kind == 0:
            return None
        if kind == 1:
            return bytes(rng.randint(1, 256, rng.randint(20)).tolist())  # seldom valid UTF-8
        if kind == 2:
            return known[rng.randint(len(known))] + b"\xff" * rng.randint(3)
        if kind == 3 and rng.rand() < 0.05:
            return b"r" * rng.randint(100_000)
        return known[rng.randint(len(known))][: rng.randint(9)]
    if kind == 0:
        strange = [np.nan, np.inf, -np.inf, 5e-324, -0.0, 1.8e308, -1e300, 2.2e-308]
        return strange[rng.randint(len(strange))] if rng.rand() < 0.5 else np.nan
    scale = [1.0, 100.0, 1e6, 1e300][rng.randint(4)] if kind == 1 else 1.0
    return rng.normal() * scale + [0.0, 40.0, 1e6][rng.randint(3)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "n_rows"),
    [("distilled members, prior", 100_000), ("linear behind MinMaxScaler", 20_000)]
    + [("forest", 20_000), ("boosting", 20_000), ("isotonic", 20_000)]
    + [("quantiles of members", 50_000), ("regression forest", 20_000), ("logarithms", 20_000)],
)
def test_strange_rows_under_sanitizers(name, n_rows, tmp_path):
    rng = np.random.RandomState(0)
    model = fitted(name, *((2, "numbers") if name in REGRESSORS else (3, "text")))
    header = to_c(model, dtype="float64")
    fields = re.findall(r"^    (double|const char \*) ?(\w+); /\*", header, re.MULTILINE)
    columns = re.search(r"model_columns\[\d+\] = \{\n    (.*),\n", header).group(1)
    columns = [each.strip('"') for each in columns.split(", ")]
    X = table()
    known = {c: [str(v).encode() for v in X[c].dropna().unique()] for c in X}
    cells = [
        [random_cell(rng, kind != "double", known[column]) for column, (kind, _) in
         zip(columns, fields, strict=True)]
        for _ in range(n_rows)
    ]  # fmt: skip
    packed = [struct.pack("=i", n_rows)]
    for cell in (cell for row in cells for cell in row):
        if isinstance(cell, bytes):
            packed.append(struct.pack("=i", len(cell)) + cell)
        else:
            packed.append(struct.pack("=i", -1) if cell is None else struct.pack("=d", cell))
    reads = [
        f"row.{field} = {'number' if kind == 'double' else 'text'}();" for kind, field in fields
    ]
    frees = [f"free((void *)row.{field});" for kind, field in fields if kind != "double"]
    program = READER.replace("READ", " ".join(reads), 1).replace("FREE", " ".join(frees), 1)
    first, *others = functions_of(counts_of(header)).items()
    if "QUANTILES" in counts_of(header):  # they are more than the numbers
        first, others = others[0], [first]
    second = others[0] if others else first
    for word, value in (("FIRST", first[0]), ("SECOND", second[0])):
        program = program.replace(word, value)
    program = program.replace("COUNT", str(first[1][1])).replace("OTHER", str(second[1][1]))
    (tmp_path / "program.c").write_text(program)
    (tmp_path / "model.h").write_text(header)
    options = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
    source = tmp_path / "program.c"
    try:
        run_compiler(["-std=c99", *options, source, "-lm"], tmp_path / "program")
    except AssertionError as reason:
        if "cannot find" not in str(reason):
            raise
        pytest.skip("the compiler has no sanitizers")
    done = subprocess.run(
        [tmp_path / "program"], input=b"".join(packed), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[:3000]
    found = done.stdout.decode().splitlines()
    assert len(found) == n_rows
    assert_same_answers(compact(model, dtype="float64"), X.columns, columns, cells, found)


def assert_same_answers(small, names, columns, cells, found):
    """Compare each line that was printed with the answer of the compact model for its cells."""
    accepted, probas, refused = [], [], []
    absent = dict.fromkeys(names)
    for row, said in zip(cells, found, strict=True):
        code, *proba = map(float, said.split())
        row = [
            cell.decode(errors="surrogateescape") if isinstance(cell, bytes) else cell
            for cell in row
        ]
        row = {**absent, **dict(zip(columns, row, strict=True))}
        if code:
            refused.append((columns[int(code) - 1], row))
        else:
            accepted.append(row)
            probas.append(proba)
    assert len(accepted) > len(cells) / 2
    expected = expected_answers(small, pd.DataFrame(accepted, dtype=object))
    probas = np.array(probas)
    if hasattr(small, "quantiles_"):  # numbers are the first ones
        expected = expected[:, -probas.shape[1] :]
    np.testing.assert_allclose(probas, expected, rtol=1e-12, atol=1e-12)
    for column, row in refused[:1000]:
        with pytest.raises(ValueError, match=f"column '{column}'"):
            small.predict_one({**accepted[0], column: row[column]})
