"""The table of the guide that says in which files each model and step can be written."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    HuberRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    TweedieRegressor,
)
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    DistilledRegressor,
    KernelTeacher,
    KernelTeacherRegressor,
    ModuleClassifier,
    ModuleRegressor,
    SelfDistillClassifier,
    TableEncoder,
)
from sklearn_kd.export import compact, to_c, to_onnx
from sklearn_kd.modules import MLP, SmallCNN
from tests._helpers.exported_models import network, regressor

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "deployment.md"
NETWORK = network(encoder=None)
LINEAR = LogisticRegression()
SHORT = {"max_epochs": 1, "random_state": 0}
TREES = {"n_estimators": 2, "random_state": 0}
IMAGES = {"image_shape": (1, 4, 4), "module_params": {"depth": 1, "width": 4}, **SHORT}
DISTILLED = {"alpha": 0.5, "augmentation": None, "random_state": 0}
MODELS = {
    "`TwoLayerPGDClassifier`": NETWORK,
    "`ModuleClassifier` with `MLP`": ModuleClassifier(MLP, module_params={"width": 4}, **SHORT),
    "`ModuleClassifier` with another module": ModuleClassifier(SmallCNN, **IMAGES),
    "`KernelTeacher`": KernelTeacher(),
    "`DistilledClassifier`: its student": DistilledClassifier(LINEAR, NETWORK, **DISTILLED),
    "`SelfDistillClassifier`": SelfDistillClassifier(NETWORK),
    "`BatchedGridSearchCV`": BatchedGridSearchCV(NETWORK, {"width": [2, 4]}, cv=2),
    "`GridSearchCV`": GridSearchCV(LINEAR, {"C": [1, 2]}, cv=2),
    "`CalibratedClassifierCV`": CalibratedClassifierCV(NETWORK, cv=2),
    "`FrozenEstimator`": FrozenEstimator(LINEAR),
    "`LogisticRegression`": LINEAR,
    "`DecisionTreeClassifier`": DecisionTreeClassifier(max_depth=2, random_state=0),
    "`RandomForestClassifier`": RandomForestClassifier(**TREES),
    "`ExtraTreesClassifier`": ExtraTreesClassifier(**TREES),
    "`HistGradientBoostingClassifier`": HistGradientBoostingClassifier(max_iter=2),
    "`GradientBoostingClassifier`": GradientBoostingClassifier(**TREES),
    "`MLPClassifier`": MLPClassifier((4,), max_iter=10, random_state=0),
    "`GaussianNB`": GaussianNB(),
}
NUMBERS = regressor(encoder=None)
REGRESSORS = {
    "`TwoLayerPGDRegressor`": NUMBERS,
    "`ModuleRegressor` with `MLP`": ModuleRegressor(MLP, module_params={"width": 4}, **SHORT),
    "`ModuleRegressor` with another module": ModuleRegressor(SmallCNN, **IMAGES),
    "`KernelTeacherRegressor`": KernelTeacherRegressor(),
    "`DistilledRegressor`: its student": DistilledRegressor(Ridge(), NUMBERS, **DISTILLED),
    "`BatchedGridSearchCV` of a regressor": BatchedGridSearchCV(NUMBERS, {"width": [2, 4]}, cv=2),
    "`TransformedTargetRegressor` of exp, expm1, `StandardScaler`": TransformedTargetRegressor(
        NUMBERS, func=np.log, inverse_func=np.exp
    ),
    "`LinearRegression`": LinearRegression(),
    "`Ridge`": Ridge(),
    "`ElasticNet`, `Lasso`": ElasticNet(),
    "`HuberRegressor`": HuberRegressor(),
    "`QuantileRegressor`": QuantileRegressor(),
    "`PoissonRegressor`": PoissonRegressor(),
    "`GammaRegressor`": GammaRegressor(),
    "`TweedieRegressor`": TweedieRegressor(),
    "`MLPRegressor`": MLPRegressor(hidden_layer_sizes=(4,), max_iter=10, random_state=0),
    "`DecisionTreeRegressor`": DecisionTreeRegressor(max_depth=2, random_state=0),
    "`RandomForestRegressor`": RandomForestRegressor(**TREES),
    "`ExtraTreesRegressor`": ExtraTreesRegressor(**TREES),
    "`HistGradientBoostingRegressor`": HistGradientBoostingRegressor(max_iter=2),
    "`GradientBoostingRegressor`": GradientBoostingRegressor(**TREES),
    "`SVR`": SVR(),
    "`KNeighborsRegressor`": KNeighborsRegressor(),
}
STEPS = {
    "`TableEncoder`": TableEncoder(),
    "`StandardScaler`": StandardScaler(),
    "`MinMaxScaler`": MinMaxScaler(),
    "`MaxAbsScaler`": MaxAbsScaler(),
    "`RobustScaler`": RobustScaler(),
    "`SimpleImputer`": SimpleImputer(add_indicator=True),
    "`OneHotEncoder`": OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    "`OrdinalEncoder`": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    "`ColumnTransformer`": make_column_transformer(
        (StandardScaler(), slice(0, 4)), remainder="passthrough"
    ),
    "selectors of `sklearn.feature_selection`": SelectKBest(k=3),
    "`PCA`": PCA(3),
    "`QuantileTransformer`": QuantileTransformer(n_quantiles=10),
    "`KBinsDiscretizer`": KBinsDiscretizer(
        3, encode="onehot-dense", quantile_method="averaged_inverted_cdf"
    ),
    "`PolynomialFeatures`": PolynomialFeatures(2),
    "`Normalizer`": Normalizer(),
    "`KNNImputer`": KNNImputer(),
    "`FunctionTransformer`": FunctionTransformer(np.log1p),
}


def written(write):
    """Return "yes", "no" or "by skl2onnx"."""
    try:
        made = write()
    except ValueError:
        return "no"
    by_skl2onnx = getattr(made, "producer_name", "sklearn_kd") != "sklearn_kd"
    return "by skl2onnx" if by_skl2onnx else "yes"


def line(name, model, X):
    """Return a line of the table. ONNX is compared with the model on rows."""
    files = (lambda: compact(model), lambda: to_onnx(model, X), lambda: to_c(model))
    return f"| {name} | {' | '.join(written(write) for write in files)} |"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_table_of_the_guide():
    rng = np.random.RandomState(0)
    X = rng.randint(0, 4, (60, 16)).astype(np.float32).astype(np.float64)
    y = rng.randint(0, 2, 60)
    lines = ["| classifier | `compact` | `to_onnx` | `to_c` |", "| --- | --- | --- | --- |"]
    for name, model in MODELS.items():
        model = FrozenEstimator(LINEAR.fit(X, y)) if "Frozen" in name else model.fit(X, y)
        lines.append(line(name, model, X))
    lines += ["", "| regressor | `compact` | `to_onnx` | `to_c` |", "| --- | --- | --- | --- |"]
    for name, model in REGRESSORS.items():
        lines.append(line(name, model.fit(X, y + 1.0 + X[:, 0]), X))
    lines += ["", "| step in front | `compact` | `to_onnx` | `to_c` |", "| --- | --- | --- | --- |"]
    for name, step in STEPS.items():
        lines.append(line(name, make_pipeline(step, network(encoder=None)).fit(X, y), X))
    table = "\n".join(lines)
    made = r"<!-- made by tests/export/test_formats.py -->\n(.*?)\n<!-- end -->"
    marked = re.search(made, GUIDE.read_text(), re.DOTALL)
    assert marked, table
    assert marked[1] == table
