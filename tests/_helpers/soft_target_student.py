"""The contract of students that take `soft_targets`: a class of tests that all of them pass."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from sklearn_kd.exceptions import SoftTargetsAlignmentWarning
from tests._helpers.data import blobs, one_hot, random_proba


def labeled_blobs(n_classes, n=60):
    """Rows, probabilities of a linear teacher, and labels drawn from these."""
    X, _ = blobs(n, n_classes, spread=3.0)
    rng = np.random.RandomState(0)
    P = softmax(X @ rng.normal(size=(X.shape[1], n_classes)), axis=1)
    return X, P, np.array([rng.choice(n_classes, p=p) for p in P])


def least_two_term_loss(P, y, alpha, temperature):
    """Probabilities that minimize the naive two-term loss where all rows have one logit vector."""
    K = P.shape[1]
    tempered = softmax(np.log(P) / temperature, axis=1)
    hard = one_hot(y, K)

    def loss(free):
        f = np.append(free, 0.0)
        soft = -(tempered * log_softmax(f / temperature)).sum(axis=1)
        return (alpha * temperature**2 * soft - (1 - alpha) * hard @ log_softmax(f)).mean()

    return softmax(np.append(minimize(loss, np.zeros(K - 1), tol=1e-12).x, 0.0))


class SoftTargetLossContract:
    """Labels, weights and the loss of a student that takes `soft_targets`.

    A subclass says how its students are made, in each case deterministically:
    `student(**options)` in full batch, and `converged(**options)` so that its loss is the least
    that a linear function of the rows allows.
    """

    def student(self, **options):
        raise NotImplementedError

    def converged(self, **options):
        raise NotImplementedError

    # Labels

    @pytest.mark.parametrize("names", [["red", "blue", "green"], [7, 2, 5]], ids=str)
    def test_arrays_are_ordered_by_label_and_frames_name_it(self, names):
        X, P, y = labeled_blobs(3)
        y = np.sort(names)[y]
        expected = self.student().fit(X, y, soft_targets=P)
        assert_array_equal(expected.classes_, np.sort(names))
        order = [2, 0, 1]
        frame = pd.DataFrame(P[:, order], columns=np.sort(names)[order])
        other = self.student().fit(X, y, soft_targets=frame)
        assert_array_equal(other.classes_, expected.classes_)
        assert_allclose(other.predict_proba(X), expected.predict_proba(X), rtol=1e-12)

    @pytest.mark.parametrize("extra", ["amber", "purple", "white"])
    def test_a_frame_may_name_classes_that_y_lacks(self, extra):
        X, y = blobs()
        y = np.array(["blue", "red"])[y]
        logit = LogisticRegression().fit(X, y).decision_function(X)
        # a softmax of linear functions, which every student can represent
        P = softmax(np.c_[-logit / 2, logit / 2, np.full(len(X), -1.0)], axis=1)
        frame = pd.DataFrame({extra: P[:, 2], "red": P[:, 1], "blue": P[:, 0]})
        model = self.converged().fit(X, y, soft_targets=frame)
        assert model.classes_.tolist() == sorted([extra, "red", "blue"])
        error = model.predict_proba(X) - frame[model.classes_].to_numpy()
        assert np.abs(error).mean() < 0.02

    def test_inputs_are_not_modified(self, rng):
        X, _ = blobs()
        P = random_proba(rng, len(X), 2)
        y, weights = P.argmax(axis=1), np.ones(len(X))
        arrays = [X, y, P, weights]
        before = [array.copy() for array in arrays]
        for array in arrays:
            array.flags.writeable = False
        self.student().fit(X, y, weights, P)
        for array, old in zip(arrays, before, strict=True):
            assert_array_equal(array, old)

    # The loss

    @pytest.mark.parametrize("n_classes", [2, 3])
    @pytest.mark.parametrize(
        ("alpha", "temperature"), [(1.0, 1.0), (0.3, 1.0), (1.0, 4.0), (0.3, 4.0), (0.6, 0.5)]
    )
    def test_the_loss_is_least_where_the_naive_one_is(self, alpha, temperature, n_classes):
        rng = np.random.RandomState(0)
        corners = np.array([[-1.0, -1.0], [1.0, -1.0], [0.0, 1.0]])
        place = np.arange(36) % 3
        base = rng.dirichlet(np.full(n_classes, 2.0), size=3)
        P = 0.7 * base[place] + 0.3 * rng.dirichlet(np.ones(n_classes), size=36)
        y = np.array([rng.choice(n_classes, p=p) for p in P])
        model = self.converged(alpha=alpha, temperature=temperature)
        model.fit(corners[place], y, soft_targets=P)
        expected = [
            least_two_term_loss(P[place == each], y[place == each], alpha, temperature)
            for each in range(3)
        ]
        assert_allclose(model.predict_proba(corners), expected, atol=0.01)

    @pytest.mark.parametrize("temperature", [1.0, 3.0])
    def test_alpha_zero_is_the_fit_on_hard_labels(self, temperature):
        X, P, y = labeled_blobs(3)
        hard = self.student().fit(X, y).predict_proba(X)
        model = self.student(alpha=0.0, temperature=temperature).fit(X, y, soft_targets=P)
        assert_allclose(model.predict_proba(X), hard, rtol=1e-7)
        # and alpha and temperature do nothing without soft targets
        other = self.student(alpha=0.5, temperature=5.0).fit(X, y)
        assert_allclose(other.predict_proba(X), hard, rtol=1e-12)

    @pytest.mark.parametrize("n_classes", [2, 3])
    def test_at_temperature_one_alpha_mixes_the_targets(self, n_classes):
        X, P, y = labeled_blobs(n_classes)
        model = self.student(alpha=0.3).fit(X, y, soft_targets=P)
        mixed = 0.3 * P + 0.7 * one_hot(y, n_classes)
        other = self.student(alpha=1.0).fit(X, y, soft_targets=mixed)
        assert_allclose(model.predict_proba(X), other.predict_proba(X), rtol=1e-7)

    def test_one_hot_soft_targets_are_hard_labels(self):
        X, _, y = labeled_blobs(3)
        hard = self.student().fit(X, y)
        soft = self.student().fit(X, y, soft_targets=one_hot(y, 3))
        assert_allclose(soft.predict_proba(X), hard.predict_proba(X), rtol=1e-9)

    # Weights

    @pytest.mark.parametrize("options", [{}, {"alpha": 0.5, "temperature": 2.0}], ids=str)
    def test_weight_k_is_k_copies_and_weight_zero_is_absence(self, options):
        X, P, y = labeled_blobs(3)
        rng = np.random.RandomState(0)
        counts = rng.randint(0, 4, size=len(X))
        index = rng.permutation(np.repeat(np.arange(len(X)), counts))
        weighted = self.student(**options).fit(X, y, counts, P)
        repeated = self.student(**options).fit(X[index], y[index], None, P[index])
        assert getattr(weighted, "n_iter_", 0) == getattr(repeated, "n_iter_", 0)
        assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-7, atol=1e-9)


class SoftTargetStudentContract(SoftTargetLossContract):
    """The contract of the package's students: also what they refuse, and how they are interrupted.

    A subclass also has `interrupt(monkeypatch)`, which lets later fits of its `interruptible`
    students raise KeyboardInterrupt after some steps.
    """

    def interrupt(self, monkeypatch):
        raise NotImplementedError

    def interruptible(self, **options):
        return self.student(**options)

    def test_another_number_of_columns_names_the_frame(self):
        X, P, y = labeled_blobs(3)
        with pytest.raises(ValueError, match=r"2 columns.*3 classes.*DataFrame"):
            self.student().fit(X, y, soft_targets=P[:, :2])
        kept = y != 2
        with pytest.raises(ValueError, match=r"3 columns.*2 classes.*DataFrame"):
            self.student().fit(X[kept], y[kept], soft_targets=P[kept])

    def test_rows_sum_to_one_within_the_tolerance(self):
        X, P, y = labeled_blobs(3)
        expected = self.student().fit(X, y, soft_targets=P).predict_proba(X)
        for size in (1 - 0.9e-5, 1 + 0.9e-5):
            near = self.student().fit(X, y, soft_targets=P * size)
            assert_allclose(near.predict_proba(X), expected, rtol=1e-6)
        for size in (1 - 1.1e-5, 1 + 1.1e-5):
            with pytest.raises(ValueError, match="sum to 1"):
                self.student().fit(X, y, soft_targets=P * size)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (np.log, "predict_proba, not decision values or logits"),
            (lambda P: P * [np.nan, 1, 1], "soft_targets contains NaN"),
            (lambda P: P[:-1], "n_samples=60"),
        ],
        ids=["logits", "nan", "length"],
    )
    def test_what_is_no_probabilities_is_refused(self, change, message):
        X, P, y = labeled_blobs(3)
        with pytest.raises(ValueError, match=message):
            self.student().fit(X, y, soft_targets=change(P))

    def test_misaligned_soft_targets_warn(self):
        X, P, y = labeled_blobs(3, n=120)
        with pytest.warns(SoftTargetsAlignmentWarning):
            self.student().fit(X, y, soft_targets=np.roll(P, 1, axis=1))
        self.student().fit(X, y, soft_targets=P)  # no warning

    @pytest.mark.parametrize("early_stopping", [True, False])
    @pytest.mark.parametrize("batch_size", [None, 16])
    def test_an_interrupt_keeps_the_best_weights_and_is_raised_on(
        self, monkeypatch, early_stopping, batch_size
    ):
        X, y = blobs()
        model = self.interruptible(early_stopping=early_stopping, batch_size=batch_size)
        with monkeypatch.context() as patch:
            n_steps = self.interrupt(patch)
            with pytest.raises(KeyboardInterrupt, match="stop it"):
                model.fit(X, y)
        assert model.termination_condition_ == "interrupted"
        assert 0 < model.n_iter_ <= n_steps
        assert model.score(X, y) > 0.9
        # training again is not affected
        assert model.fit(X, y).termination_condition_ != "interrupted"
