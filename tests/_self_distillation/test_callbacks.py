"""Callbacks of SelfDistillClassifier, and fits that do not end."""

import copy

import joblib
import pytest
import skorch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sklearn_kd import SelfDistillClassifier, TwoLayerPGDClassifier
from tests._helpers.self_distillation import FORMS, cheap, module, noisy_blobs

# these have tests of their own; here labels are often clean, or rows few
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.ClassCollapseWarning"),
]


class Listens:
    """Notes the tasks that begin; a callback."""

    def __init__(self):
        self.begun = []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, **_):
        self.begun.append(context.task_name)

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, **_):
        pass


class StopsAfter(Listens):
    """Ends training after some epochs."""

    def __init__(self, n_epochs):
        super().__init__()
        self.n_epochs = n_epochs

    def on_fit_task_end(self, estimator, context, **_):
        return context.task_name == "epochs" and context.task_id + 1 == self.n_epochs


class Raises(Listens):
    """Ends training by an error."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_fit_task_end(self, estimator, context, **_):
        if context.task_name == "epochs":
            raise self.error


def test_callbacks_see_labeled_subtasks():
    X, y, _ = noisy_blobs()
    for form, expected in [
        ("last step", ["fit-estimator"]),
        ("default", ["fit-first-generation", "fit-second-generation"]),
    ]:
        listens = Listens()
        model = clone(FORMS[form]).set_callbacks(listens).fit(X, y)
        assert listens.begun[1:] == expected
        assert not hasattr(model.estimator_, "_skl_callbacks")


class Predicts(Listens):
    """Predicts rows by the estimator at the end of the last subtask."""

    def __init__(self, X):
        super().__init__()
        self.X, self.answers = X, []

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, **_):
        if context.task_name in ("fit-estimator", "fit-second-generation"):
            self.answers.append(fitted_estimator.predict_proba(self.X))


@pytest.mark.parametrize("options", [{}, {"memory": None}, {"memory": "previous-generation"}])
def test_callbacks_score_the_fitted_classifier(options):
    X, y, _ = noisy_blobs(n=210)
    predicts = Predicts(X)
    model = SelfDistillClassifier(cheap(), **options).set_callbacks(predicts).fit(X, y)
    (answer,) = predicts.answers
    assert_array_equal(answer, model.predict_proba(X))


@pytest.mark.parametrize("batch_size", [None, 16])
def test_a_callback_may_stop_training(batch_size):
    X, y, _ = noisy_blobs()
    net = cheap(early_stopping=False, batch_size=batch_size, learning_rate=0.5)
    shorter = SelfDistillClassifier(clone(net).set_params(max_iter=7), warm_up=0).fit(X, y)
    model = SelfDistillClassifier(net.set_callbacks(StopsAfter(7)), warm_up=0).fit(X, y)
    assert model.termination_condition_ == "callback"
    assert model.n_iter_ == len(model.weight_curve_) == len(model.loss_curve_) == 7
    assert_array_equal(model.weight_curve_, shorter.weight_curve_)
    assert_array_equal(model.predict_proba(X), shorter.predict_proba(X))
    assert_allclose(model.label_quality_, shorter.label_quality_, rtol=1e-12)


class Stops(skorch.callbacks.Callback):
    """Interrupts a module after its second epoch."""

    def on_epoch_end(self, net, **_):
        if len(net.history) == 2:
            raise MemoryError("no more")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("form", ["default", "last step"])
def test_a_fit_that_is_cut_short_leaves_nothing(form, error):
    X, y, _ = noisy_blobs()
    for before in (clone(FORMS[form]), clone(FORMS[form]).fit(X, y)):
        broken = copy.deepcopy(before)
        broken.estimator.set_callbacks(Raises(error()))
        state = dict(vars(broken))
        with pytest.raises(error):
            broken.fit(X[:, :2], (y + 1) % 2)
        assert vars(broken).keys() == state.keys()
        assert all(vars(broken)[name] is value for name, value in state.items())
        if hasattr(before, "classes_"):
            assert_array_equal(broken.predict_proba(X), before.predict_proba(X))
        else:
            with pytest.raises(NotFittedError):
                broken.predict(X)


class RaisesAtTheEnd(Listens):
    """Raises an error when the whole fit ends."""

    def on_fit_task_end(self, estimator, context, **_):
        if context.task_name == "fit":
            raise RuntimeError("late")


def test_an_error_after_training_leaves_what_there_was():
    X, y, _ = noisy_blobs()
    model = clone(FORMS["default"]).fit(X, y)
    before = dict(vars(model))
    model.set_callbacks(RaisesAtTheEnd())
    with pytest.raises(RuntimeError, match="late"):
        model.fit(X[:, :2], (y + 1) % 2)
    model.set_callbacks()
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())


class Watches(Raises):
    """Keeps the estimators that it is set up and torn down for; may end training by an error."""

    def __init__(self, error=None):
        super().__init__(error)
        self.set_up, self.torn_down = [], []

    def setup(self, estimator, context):
        self.set_up.append(estimator)

    def teardown(self, estimator, context):
        self.torn_down.append(estimator)

    def on_fit_task_end(self, estimator, context, **_):
        if self.error is not None:
            super().on_fit_task_end(estimator, context)


class Propagates(Watches):
    """The same, handed on to the network."""

    max_propagation_depth = None


def callback_state(estimator):
    """Return the names of what scikit-learn keeps of callbacks on an estimator."""
    return {name for name in vars(estimator) if name.startswith("_") and "callback" in name}


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("kind", [cheap, module])
def test_no_callback_state_is_left_on_the_network(kind, early_stopping, error):
    X, y, _ = noisy_blobs()
    watches = Watches(None if error is None else error())
    plain = kind(early_stopping=early_stopping)
    assert not callback_state(plain.fit(X, y))
    model = SelfDistillClassifier(plain)
    network = clone(plain).set_callbacks(watches)
    listening = SelfDistillClassifier(network)
    if error is None:
        assert not callback_state(model.fit(X, y).estimator_)
        assert callback_state(listening.fit(X, y).estimator_) == {"_skl_callbacks"}
        model.set_callbacks(Propagates()).fit(X, y)
        assert not callback_state(model.estimator_)
    else:
        with pytest.raises(error):
            listening.fit(X, y)
        model.set_callbacks(Propagates(error()))
        with pytest.raises(error):
            model.fit(X, y)
        assert callback_state(model) == {"_skl_callbacks"}
    assert watches.set_up == watches.torn_down != []
    for estimator in watches.set_up:
        assert callback_state(estimator) == {"_skl_callbacks"}


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_callbacks_see_each_fit_of_label_errors(n_jobs):
    X, y, _ = noisy_blobs()

    class ListensToAll(Listens):
        max_propagation_depth = None

        def setup(self, estimator, context):
            self.begun.append("setup")

        def teardown(self, estimator, context):
            self.begun.append("teardown")

    of_one, of_all = Listens(), ListensToAll()
    network = cheap(early_stopping=False, max_iter=2)
    model = SelfDistillClassifier(network, random_state=0).set_callbacks(of_one, of_all)
    with joblib.parallel_config("threading"):
        errors = model.find_label_errors(X, y, cv=3, n_jobs=n_jobs)
    assert errors.equals(clone(model).set_callbacks().find_label_errors(X, y, cv=3))
    assert of_one.begun == ["find-label-errors"] + 3 * ["fit-fold"]
    assert of_all.begun[:2] == ["setup", "find-label-errors"]
    assert of_all.begun[-1] == "teardown"
    assert of_all.begun.count("setup") == of_all.begun.count("teardown") == 1
    assert of_all.begun.count("fit") == 3 + 3  # of the copies and of their networks
    assert callback_state(model) == {"_skl_callbacks"}
    for error in (None, RuntimeError):
        watches = Propagates(error and error())
        model.set_callbacks(watches)
        if error is None:
            model.find_label_errors(X, y, cv=3)
        else:
            with pytest.raises(error):
                model.find_label_errors(X, y, cv=3)
        assert watches.set_up == watches.torn_down == [model]
        assert callback_state(model) == {"_skl_callbacks"}


@pytest.mark.parametrize("which", ["first", "second"])
def test_an_interrupt_in_either_generation(monkeypatch, which):
    X, y, _ = noisy_blobs()
    model = SelfDistillClassifier(cheap())
    whole, calls = TwoLayerPGDClassifier._fit_targets, []

    def cut_short(self, *args, **options):
        calls.append(1)
        whole(self, *args, **options)
        if len(calls) == {"first": 1, "second": 2}[which]:
            self.termination_condition_ = "interrupted"
            raise KeyboardInterrupt
        return self

    monkeypatch.setattr(TwoLayerPGDClassifier, "_fit_targets", cut_short)
    before = dict(vars(model))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert len(calls) == {"first": 1, "second": 2}[which]
    assert vars(model) == before
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_a_failing_module_leaves_nothing():
    X, y, _ = noisy_blobs()
    for early_stopping in (True, False):
        student = module(max_epochs=5, callbacks=[Stops()], early_stopping=early_stopping)
        model = SelfDistillClassifier(student)
        before = dict(vars(model))
        with pytest.raises(MemoryError):
            model.fit(X, y)
        assert vars(model) == before
