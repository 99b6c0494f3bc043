"""student="auto" compares a network, a deeper one and trees of equal bytes on held-out rows."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline

from sklearn_kd import BatchedGridSearchCV, DistilledClassifier, TableEncoder, TwoLayerPGDClassifier
from sklearn_kd._distillation import student_choice
from sklearn_kd._distillation.selection import HeldOutTrial
from sklearn_kd._distillation.student_fit import StudentSpec
from sklearn_kd._distillation.training_set import TrainingRows
from sklearn_kd._utils.sub_estimators import requesting_weights
from sklearn_kd.exceptions import NoGainWarning
from sklearn_kd.inspection import distillation_report
from tests._helpers.data import blobs
from tests._helpers.tables import raw_table

NAMES = ["TwoLayerPGDClassifier", "ModuleClassifier", "HistGradientBoostingClassifier"]


@pytest.fixture
def quick(monkeypatch):
    """Let the students train for a few steps."""
    network = TwoLayerPGDClassifier(8, max_iter=3, n_init=1)
    monkeypatch.setattr(
        DistilledClassifier, "_default_student", lambda self: requesting_weights(clone(network))
    )
    brief = {**student_choice.TRAINING, "max_epochs": 2}
    monkeypatch.setattr(student_choice, "TRAINING", brief)


def auto(teacher=None, **params):
    teacher = RandomForestClassifier(10) if teacher is None else teacher
    fixed = {"alpha": 0.5, "temperature": 1.0, "augmentation": None, "random_state": 0}
    return DistilledClassifier(teacher, "auto", **{**fixed, **params})


def rows_of(X):
    return TrainingRows(X, np.zeros(len(X)), None, None, {}, None)


def checkerboard(n=160, seed=0):
    """Return rows whose class trees learn at once, and a network of few steps does not."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n, 2))
    return X, np.where((X > 0.5).sum(axis=1) == 1, "odd", "even")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.usefixtures("quick")
class TestChoice:
    def test_trees_where_they_are_clearly_better(self):
        X, y = checkerboard()
        model = auto().fit(X, y)
        found = model.student_candidates_
        assert found["student"].tolist() == NAMES
        assert found["chosen"].tolist() == [False, False, True]
        assert found["loss"].argmin() == 2
        assert found["gain"][0] == found["gain_error"][0] == 0
        assert isinstance(model.student_, Pipeline)
        assert model.candidates_ is None  # no settings were compared
        small = model.without_teacher(keep_history=False)
        np.testing.assert_array_equal(small.predict_proba(X), model.predict_proba(X))
        assert not hasattr(small, "student_candidates_")

    def test_trees_have_the_rounds_of_the_least_held_out_loss(self, monkeypatch):
        """The losses of each number of rounds are those of trees that are fitted with it."""
        tried = {}
        staged_losses = HeldOutTrial.staged_losses

        def recorded(trial, student, setting):
            losses = staged_losses(trial, student, setting)
            rate = student.estimator.get_params()["trees__learning_rate"]
            tried.setdefault(rate, []).append((trial, losses))
            return losses

        monkeypatch.setattr(HeldOutTrial, "staged_losses", recorded)
        X, y = checkerboard()
        y = np.where(np.random.default_rng(1).uniform(size=len(y)) < 0.2, "odd", y)  # noise
        model = auto().fit(X, y)
        means = {rate: sum(np.array(each) for _, each in parts) for rate, parts in tried.items()}
        rate = min(means, key=lambda each: means[each].min())
        trees = model.student_[-1]
        assert (trees.learning_rate, trees.n_iter_) == (rate, 1 + means[rate].argmin())
        trial, losses = tried[rate][0]
        held_out, data = trial.held_out, trial.data
        again = clone(model.student_).set_params(trees__early_stopping=False)
        proba = again.fit(data.rows.X, data.rows.y).predict_proba(held_out.X)
        expected = len(held_out) * log_loss(held_out.y, proba, labels=data.task.classes)
        np.testing.assert_allclose(losses[trees.n_iter_ - 1], expected)

    def test_trees_whose_fit_fails_end_no_other_fit(self, monkeypatch):
        def fail(self, X, y, sample_weight=None):
            raise ValueError("no trees")

        monkeypatch.setattr(HistGradientBoostingClassifier, "fit", fail)
        model = auto().fit(*checkerboard())
        assert model.student_candidates_["loss"][2] == np.inf
        assert isinstance(model.student_, TwoLayerPGDClassifier)

    def test_the_network_unless_another_is_clearly_better(self, monkeypatch):
        monkeypatch.setattr(student_choice, "MIN_GAIN_STANDARD_ERRORS", np.inf)
        X, y = checkerboard()
        model = auto().fit(X, y)
        assert model.student_candidates_["chosen"].tolist() == [True, False, False]
        assert isinstance(model.student_, TwoLayerPGDClassifier)
        again = DistilledClassifier(model.teacher, model._default_student())
        again = again.set_params(alpha=0.5, temperature=1.0, augmentation=None, random_state=0)
        np.testing.assert_array_equal(model.predict_proba(X), again.fit(X, y).predict_proba(X))

    def test_trees_on_hard_labels_among_all_that_is_chosen(self, monkeypatch):
        gain = np.array([0.0, 0.0, 0.1, 0.2])
        monkeypatch.setattr(
            student_choice, "compare", lambda trials, measure, pairs: (1 - gain, gain, 0 * gain)
        )
        X, y = checkerboard(120)
        everything = {"alpha": "auto", "temperature": "auto", "augmentation": "auto"}
        with pytest.warns(NoGainWarning, match="boosted trees on hard labels"):
            model = auto(**everything).fit(X, y)
        assert len(model.candidates_["loss"]) > 2
        found = model.student_candidates_
        assert found["student"].tolist() == [*NAMES, NAMES[2]]
        assert found["label_source"][3] == model.label_source_ == "hard"
        assert found["chosen"].tolist() == [False, False, False, True]

    def test_a_temperature_that_is_set_is_that_of_trees_too(self, monkeypatch):
        gain = np.array([0.0, 0.0, 0.2, 0.1])
        monkeypatch.setattr(
            student_choice, "compare", lambda trials, measure, pairs: (1 - gain, gain, 0 * gain)
        )
        X, y = checkerboard()
        model = auto(alpha="auto", temperature=3.0).fit(X, y)
        found = {name: model.candidates_[name].tolist() for name in ("alpha", "temperature")}
        assert found == {"alpha": [0.0, 0.5], "temperature": [1.0, 3.0]}
        assert isinstance(model.student_, Pipeline)
        assert (model.alpha_, model.temperature_) == (1.0, 3.0)  # what row expansion can honor

    @pytest.mark.slow
    def test_raw_table_with_groups_and_transfer_rows(self):
        X, y = raw_table(160)
        model = auto(make_pipeline(TableEncoder(), RandomForestClassifier(3)), augmentation="gibbs")
        model.fit(X, y, groups=np.arange(160) // 4)
        assert model.student_candidates_["student"].tolist() == NAMES
        assert np.isfinite(model.student_candidates_["loss"]).all()

    def test_the_network_where_no_rows_can_be_held_out(self):
        X, y = checkerboard(60)
        model = auto().fit(X, y)
        assert isinstance(model.student_, TwoLayerPGDClassifier)
        assert model.student_candidates_ is None

    @pytest.mark.parametrize("routing", [pytest.param(False, marks=pytest.mark.slow), True])
    def test_raw_table_with_weights_validation_rows_and_class_weight(self, routing):
        (X, y), (X_val, y_val) = raw_table(160), raw_table(40, seed=1)
        with config_context(enable_metadata_routing=routing):
            encoder, forest = TableEncoder(), RandomForestClassifier(10)
            if routing:
                encoder.set_fit_request(sample_weight=True)
                forest.set_fit_request(sample_weight=True)
            model = auto(make_pipeline(encoder, forest), class_weight="balanced")
            weights = np.linspace(0, 2, len(y))
            model.fit(X, y, sample_weight=weights, X_val=X_val, y_val=y_val)
        assert model.student_candidates_["student"].tolist() == NAMES
        assert np.isfinite(model.student_candidates_["loss"]).all()

    @pytest.mark.slow
    def test_report_on_a_raw_table_compares_the_student_that_was_chosen(self):
        X, y = raw_table(200)
        model = auto(make_pipeline(TableEncoder(), RandomForestClassifier(3)), cv=2)
        report = distillation_report(
            None, None, X, y, cv=2, n_seeds=1, n_latency=1, distiller=model
        )
        assert set(report.frame["model"]) == {"teacher", "hard", "distilled"}


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"alpha": "auto", "temperature": "auto"}, NAMES),
        ({"alpha": 2.0}, NAMES[:2]),
        ({"temperature": 3.0}, NAMES[:2]),
        ({"alpha": 1.0, "temperature": 3.0}, NAMES),
    ],
)
def test_students_that_cannot_honor_numbers_are_left_out(params, names):
    default = StudentSpec.of(TwoLayerPGDClassifier(), "native")
    students = student_choice.students_to_try(auto(**params), default, rows_of(np.ones((9, 2))), 2)
    assert [student.name for student in students] == names


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("width", [2, 64])
def test_trees_take_no_more_bytes_than_the_network(width, n_classes):
    X, y = blobs(300, n_classes, spread=4.0)
    network = TwoLayerPGDClassifier(width, max_iter=1, random_state=0)
    spec = StudentSpec.of(network, "native")
    *_, trees = student_choice.students_to_try(auto(), spec, rows_of(X), n_classes)
    trees = trees.estimator.set_params(trees__early_stopping=False).fit(X, y)[-1]
    nodes = np.concatenate([tree.nodes for trees in trees._predictors for tree in trees])
    packed = np.where(nodes["is_leaf"], 4, 10).sum()
    n_encoded, n_outputs = 8 * X.shape[1], 1 if n_classes == 2 else n_classes
    one_round = 102 * n_outputs
    assert packed <= max(4 * width * (n_encoded + 1 + n_outputs), one_round)


def test_parameters_of_the_students_cannot_be_set():
    X, y = blobs(120, 2)
    with pytest.raises(ValueError, match="'student__width' cannot be set with student='auto'"):
        auto().set_params(student__width=4)
    assert auto().set_params(student=None, student__width=4).student.width == 4
    with pytest.raises(ValueError, match=r"student='auto' cannot be batched.*set student=None"):
        BatchedGridSearchCV(auto(), {"alpha": [0.5, 1.0]}).fit(X, y)
    assert "auto" not in repr(auto()._sk_visual_block_().names)
