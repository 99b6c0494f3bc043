"""Groups in reports, advice and displays: folds and fits keep them together."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.model_selection import GroupKFold, KFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import DistilledClassifier
from sklearn_kd.exceptions import DividedGroupsWarning
from sklearn_kd.inspection import (
    DistillationDisplay,
    WidthCurveDisplay,
    distillation_report,
    should_distill,
)
from tests._helpers.distillation import GroupOracle, GroupRecorder, fixed, visits
from tests._helpers.searches import student


@pytest.fixture(autouse=True)
def log():
    GroupRecorder.LOG.clear()
    return GroupRecorder.LOG


def codes(groups):
    return np.unique(groups, return_inverse=True)[1]


def assert_whole_groups(log, n_groups):
    """Each fit has whole groups, and is told which rows they are."""
    for fit in log:
        seen, counts = np.unique(fit["X"][:, 0], return_counts=True)
        assert len(seen) == n_groups
        assert (counts == counts[0]).all()
        assert_array_equal(codes(fit["groups"]), codes(fit["X"][:, 0]))


@pytest.mark.parametrize("cv", [4, GroupKFold(4)], ids=str)
@pytest.mark.parametrize("is_routed", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_report_keeps_groups_together(cv, is_routed, weighted, log):
    X, y, groups = visits()
    weight = np.where(groups < 4, 0.0, 1.0) if weighted else None
    last, teacher = GroupRecorder(), GaussianNB()
    with config_context(enable_metadata_routing=is_routed):
        if is_routed:
            last.set_fit_request(sample_weight=True)
            teacher.set_fit_request(sample_weight=True)
        model, distiller = make_pipeline("passthrough", last), fixed(None, None)
        report = distillation_report(
            teacher,
            model,
            X,
            y,
            cv=cv,
            n_seeds=1,
            n_latency=2,
            groups=[f"g{group:02}" for group in groups],
            sample_weight=weight,
            distiller=distiller,
        )
    assert len(log) == 8  # a distilled student and one on hard labels in each fold
    assert_whole_groups(log, 15 if weighted else 18)
    assert (report.frame["n_test"] == (30 if weighted else 36)).all()
    of_distilled = report.frame[report.frame["model"] == "distilled"]
    assert (of_distilled["label_source"] == "cv").all()


def test_a_report_on_groups_sees_a_teacher_that_memorizes_them():
    X, y, groups = visits()
    options = {"cv": 4, "n_seeds": 1, "n_latency": 2, "distiller": fixed(None, None, cv=3)}
    by_row, by_group = (
        distillation_report(GroupOracle(), GaussianNB(), X, y, groups=each, **options).summary
        for each in (None, groups)
    )
    assert by_row.loc["teacher", ("accuracy", "mean")] == 1
    assert_allclose(by_group.loc["teacher", ("log_loss", "mean")], np.log(2))


def test_a_display_takes_groups(log):
    X, y, groups = visits()
    model = fixed(GaussianNB(), GroupRecorder())
    display = DistillationDisplay.from_estimator(model, X, y, cv=3, groups=groups, n_latency=2)
    assert_whole_groups(log, 16)
    assert (display.frame["n_test"] == 48).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.SoftTargetsAlignmentWarning")
@pytest.mark.parametrize("is_routed", [False, True])
def test_a_width_curve_takes_groups(is_routed):
    X, y, groups = visits()
    model = fixed(GaussianNB(), student())
    with config_context(enable_metadata_routing=is_routed):
        options = {"widths": [2], "seeds": 1, "cv": GroupKFold(3)}
        display = WidthCurveDisplay.from_estimator(model, X, y, groups=groups, **options)
    assert display.frame["split"].nunique() == 3


@pytest.mark.parametrize("cv", [3, GroupKFold(3)], ids=str)
@pytest.mark.parametrize("is_routed", [False, True])
@pytest.mark.parametrize("random_state", [0, None])
def test_advice_keeps_groups_together(cv, is_routed, random_state, log):
    X, y, groups = visits()
    model = make_pipeline(StandardScaler(), make_pipeline(GroupRecorder()))
    with config_context(enable_metadata_routing=is_routed):
        should_distill(
            GaussianNB(), model, X, y, cv=cv, groups=groups + 5, random_state=random_state
        )
    for fit in log:
        assert_array_equal(codes(fit["groups"]), codes(fit["X"][:, 0]))
    assert model[-1][-1].get_metadata_routing().fit.requests["groups"] is None


def test_teachers_with_labels_of_their_own_cost_their_cross_fitting():
    X, y, groups = visits()
    alone, grouped = (
        should_distill(GroupOracle("loo"), GaussianNB(), X, y, groups=each).cost
        for each in (None, groups)
    )
    # cross-fitting on five folds, in multiples of the fit of the teacher
    for cost, n_fits in ((alone, 1), (grouped, 5)):
        ratio = (cost.distilled - 1.5 * 3 * cost.student_fit) / (1.5 * cost.teacher_fit)
        assert_allclose(ratio, n_fits, rtol=1e-6)


def test_plain_splitters_divide_groups_with_a_warning():
    X, y, groups = visits()
    cv = KFold(3, shuffle=True, random_state=0)
    with pytest.warns(DividedGroupsWarning):
        should_distill(GaussianNB(), GaussianNB(), X, y, cv=cv, groups=groups)
    with pytest.warns(DividedGroupsWarning):
        distillation_report(
            *(GaussianNB(), GaussianNB(), X, y),
            **{"cv": cv, "groups": groups, "n_seeds": 1, "n_latency": 2},
            distiller=DistilledClassifier(alpha=0.5, temperature=1.0, augmentation=None),
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:A column-vector")
def test_groups_may_be_in_a_column():
    X, y, groups = visits()
    models, options = (GaussianNB(), GaussianNB()), {"cv": GroupKFold(3), "random_state": 0}
    model = fixed(*models)
    for judge in (
        lambda groups: distillation_report(
            GaussianNB(), model, X, y, groups=groups, n_latency=1, **options
        ).frame["log_loss"],
        lambda groups: should_distill(*models, X, y, groups=groups, **options).verdict,
    ):
        assert_array_equal(judge(groups[:, None]), judge(groups))
