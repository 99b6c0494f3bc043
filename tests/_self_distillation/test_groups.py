"""Groups and validation rows of SelfDistillClassifier and of its label errors."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import ModuleClassifier, SelfDistillClassifier, TwoLayerPGDClassifier
from sklearn_kd.exceptions import DividedGroupsWarning
from tests._helpers.data import blobs
from tests._helpers.groups import HeldOutSpy
from tests._helpers.modules import Small

NETWORKS = {
    "two_layer": TwoLayerPGDClassifier(8, max_iter=20, n_init=1, encoder=None),
    "two_layer in batches": TwoLayerPGDClassifier(
        8, max_iter=5, n_init=1, batch_size=32, encoder=None
    ),
    "module": ModuleClassifier(Small, max_epochs=20, learning_rate=0.02),
}
KINDS = pytest.mark.parametrize("kind", NETWORKS)
#: One generation and two.
MEMORIES = pytest.mark.parametrize("memory", [None, "previous-generation"])
ROWS, LABELS = blobs(160, n_classes=2, spread=2.0)
X, Y, X_VAL, Y_VAL = ROWS[:120], LABELS[:120], ROWS[120:], LABELS[120:]
GROUP = np.arange(120) // 4


def self_distilled(kind="two_layer", **options):
    return SelfDistillClassifier(NETWORKS[kind], random_state=0, **options)


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning")
@MEMORIES
@KINDS
def test_no_row_of_a_group_that_is_held_out_trains(kind, memory, monkeypatch):
    spy = HeldOutSpy(monkeypatch, 120)
    model = self_distilled(kind, memory=memory).fit(X, Y, groups=GROUP)
    held = [pair for pair in spy.pairs if pair[1].any()]
    n_generations = 1 if memory is None else 2
    assert len(held) == n_generations * (5 if kind == "two_layer" else 1)
    for train, out in held:
        assert not set(GROUP[train]) & set(GROUP[out])
    first, second = held[: len(held) // n_generations], held[-len(held) // n_generations :]
    assert_array_equal(first, second)  # both generations hold the same groups out
    assert model.label_quality_.shape == (120,)


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning")
@MEMORIES
@KINDS
def test_validation_rows_stop_each_generation(kind, memory):
    given = {"X_val": X_VAL, "y_val": Y_VAL, "sample_weight_val": np.linspace(0, 1, 40)}
    model = self_distilled(kind, memory=memory).fit(X, Y, np.arange(120) % 5, **given)
    network = model.estimator_
    proba = network.predict_proba(X_VAL)[np.arange(40), Y_VAL]
    expected = np.average(-np.log(proba), weights=given["sample_weight_val"])
    assert_allclose(network.validation_loss_curve_[network.best_iter_ - 1], expected, rtol=1e-9)
    assert model.refined_targets_.shape == (120, 2)


def test_pipelines_pass_groups_and_transform_validation_rows():
    with config_context(enable_metadata_routing=True):
        last = self_distilled().set_fit_request(groups=True, X_val=True, y_val=True)
        steps = [("scale", StandardScaler()), ("net", last)]
        model = Pipeline(steps, transform_input=["X_val"])
        model.fit(10 * X, Y, groups=GROUP)
        scaled = StandardScaler().fit(10 * X)
        alone = self_distilled().fit(scaled.transform(10 * X), Y, groups=GROUP)
        assert_array_equal(model[-1].label_quality_, alone.label_quality_)
        model.fit(10 * X, Y, X_val=10 * X_VAL, y_val=Y_VAL)
        rows, rows_val = scaled.transform(10 * X), scaled.transform(10 * X_VAL)
        alone = self_distilled().fit(rows, Y, X_val=rows_val, y_val=Y_VAL)
        assert_array_equal(model[-1].label_quality_, alone.label_quality_)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"groups": GROUP[1:]}, "groups has 119 entries"),
        ({"groups": Y}, r"classes \[0, 1\] are in one group each"),
        ({"X_val": X_VAL}, "pass y_val too"),
        ({"X_val": X_VAL, "y_val": Y_VAL + 7}, "y_val contains labels"),
        ({"X_val": X_VAL[:, :1], "y_val": Y_VAL}, "transform_input"),
    ],
)
def test_errors_before_training(given, message, monkeypatch):
    monkeypatch.setattr(
        TwoLayerPGDClassifier, "_fit_targets", lambda *a, **b: pytest.fail("trained")
    )
    with pytest.raises(ValueError, match=message):
        self_distilled().fit(X, Y, **given)


# Label errors


class Fits:
    """Records the rows and the groups that copies are fitted on."""

    def __init__(self, monkeypatch):
        self.groups, self.rows = [], []
        fit = SelfDistillClassifier.fit

        def recorded(model, X, y, sample_weight=None, **given):
            self.rows.append(X)
            self.groups.append(given["groups"])
            return fit(model, X, y, sample_weight, **given)

        monkeypatch.setattr(SelfDistillClassifier, "fit", recorded)


@pytest.mark.parametrize("cv", [None, 3, GroupKFold(4)])
def test_no_label_comes_from_a_fit_that_saw_the_group(cv, monkeypatch):
    fits, names = Fits(monkeypatch), np.array([f"patient {k}" for k in range(30)])[GROUP]
    numbered = np.column_stack([X, np.arange(120)])
    errors = self_distilled().find_label_errors(numbered, Y, cv=cv, groups=names)
    assert sorted(errors.row) == list(range(120))
    assert len(fits.rows) == (cv if isinstance(cv, int) else 5 if cv is None else 4)
    tested = []
    for rows, groups in zip(fits.rows, fits.groups, strict=True):
        train = rows[:, -1].astype(int)
        test = np.setdiff1d(np.arange(120), train)
        tested += [*test]
        assert not set(names[train]) & set(names[test])
        assert_array_equal(
            np.unique(names[train], return_inverse=True)[1],
            np.unique(groups, return_inverse=True)[1],
        )
    assert sorted(tested) == list(range(120))


@pytest.mark.slow
def test_labels_that_only_the_group_tells_are_not_confirmed():
    rng, patient = np.random.RandomState(0), np.repeat(np.arange(60), 6)
    rows = rng.normal(size=(60, 8))[patient] + 1e-3 * rng.normal(size=(360, 8))
    y = rng.permutation(np.arange(60) % 2)[patient]
    network = TwoLayerPGDClassifier(64, max_iter=300, n_init=1, encoder=None)
    model = SelfDistillClassifier(network, random_state=0)

    def share_confirmed(**groups):
        errors = model.find_label_errors(rows, y, **groups)
        return np.mean(errors.given_label == errors.suggested_label)

    assert share_confirmed(groups=patient) < 0.65
    assert share_confirmed() > 0.85


def test_folds_that_divide_groups_are_named():
    model, folds = self_distilled(), list(KFold(2, shuffle=True, random_state=0).split(X))
    with pytest.warns(DividedGroupsWarning, match="fold 0 of cv trains on rows of"):
        model.find_label_errors(X, Y, cv=folds, groups=GROUP)


def test_too_few_groups_for_label_errors(monkeypatch):
    monkeypatch.setattr(SelfDistillClassifier, "fit", lambda *a, **b: pytest.fail("trained"))
    halves = np.arange(120) % 2
    for cv in (None, LeaveOneGroupOut()):
        with pytest.raises(ValueError, match="each class needs two groups: early stopping"):
            self_distilled().find_label_errors(X, Y, cv=cv, groups=halves)
    with pytest.raises(ValueError, match="each class needs two groups: a network predicts"):
        self_distilled().find_label_errors(X, Y, groups=Y)
    monkeypatch.undo()
    network = TwoLayerPGDClassifier(8, max_iter=5, n_init=1, early_stopping=False, encoder=None)
    errors = SelfDistillClassifier(network).find_label_errors(X, Y, groups=halves)
    assert sorted(errors.row) == list(range(120))


@pytest.mark.filterwarnings("ignore:A column-vector")
def test_groups_of_label_errors_may_be_in_a_column():
    model = self_distilled().fit(X, Y, groups=GROUP[:, None])
    found, expected = (
        model.find_label_errors(X, Y, cv=GroupKFold(3), groups=each)
        for each in (GROUP[:, None], GROUP)
    )
    assert_array_equal(found, expected)
