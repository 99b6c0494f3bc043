"""Candidates of a batched grid search: the setting of the parameters, and how a student is reached.

A candidate is a student alone, in a distiller, or as the last step of a pipeline of either. What
precedes the student, the other steps and the labels of a teacher, is fitted once for all candidates
in which it is equal. A `RecordingStudent` in the place of the student keeps the training set that
this fit makes, and the students are trained on it jointly.
"""

import warnings
from numbers import Integral, Real

import joblib
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from sklearn_kd._tables.encoder_step import encoder_key
from sklearn_kd._utils.protocols import Distiller, trains_jointly
from sklearn_kd._utils.sklearn_compat import routing_enabled
from sklearn_kd._utils.sub_estimators import (
    estimator_path,
    inner_estimator,
    innermost_student,
    joint_student,
)
from sklearn_kd._utils.validation import check_target_order
from sklearn_kd.exceptions import SoftTargetsAlignmentWarning

#: Parameters of a distiller for which "auto" is a search, and values to advise in its place.
AUTO_SUBSTITUTES = {"student": None, "alpha": 0.5, "temperature": 1.0, "augmentation": None}

#: Parameters of a student by which rows are checked, besides its encoder.
OF_TARGETS = ("loss", "quantiles")

#: Parameters of a student by which a distiller may hold rows out for it.
HOLDING_OUT = ("early_stopping", "validation_fraction")


class RecordingStudent(BaseEstimator):
    """Student that keeps what it is fitted on, and does not train.

    Parameters
    ----------
    kind : type
        Class of the students that are to be trained, a `JointStudent`.
    alpha, temperature : float, default=1.0
        Loss of the student. A distiller sets them.
    random_state : int, RandomState instance or None, default=None
        Seed of the student. A distiller sets it where it is None.
    early_stopping : bool or "auto", default="auto"
    validation_fraction : float, default=0.1
        Those of the student. A distiller holds rows out by them if rows are ordered in time.
    encoder : "auto", TableEncoder or None, default="auto"
        That of the student, on which the tags depend.

    Attributes
    ----------
    given_ : dict
        Arguments of ``fit``.
    """

    def __init__(
        self,
        kind,
        *,
        alpha=1.0,
        temperature=1.0,
        random_state=None,
        early_stopping="auto",
        validation_fraction=0.1,
        encoder="auto",
    ):
        self.kind = kind
        self.alpha = alpha
        self.temperature = temperature
        self.random_state = random_state
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.encoder = encoder

    def fit(
        self,
        X,
        y,
        sample_weight=None,
        soft_targets=None,
        *,
        groups=None,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
    ):
        """Keep the arguments."""
        self.given_ = {
            "X": X,
            "y": y,
            "sample_weight": sample_weight,
            "soft_targets": soft_targets,
            "groups": groups,
            "X_val": X_val,
            "y_val": y_val,
            "sample_weight_val": sample_weight_val,
        }
        self._checked = {}
        return self

    def forget_rows(self, *, given):
        """Let the checked rows go, and with ``given`` also those that have been given.

        Checked rows are made again, while given ones have to be given again.
        """
        self._checked = {}
        if given:
            self.given_ = None

    def training_set(self, student):
        """Check the rows, and encode them once for all students of an equal `training_set_key`.

        Parameters
        ----------
        student : JointStudent
            Unfitted.

        Returns
        -------
        checked : estimator
            Student that has checked the rows, with the attributes that describe them
            (``classes_``, ``encoder_``, ...). Other parameters than those of the key are defaults.
        training_set : dict
            Arguments of `JointStudent._fit_jointly`: X, y_encoded, weights, soft, y and validation.
        """
        key = training_set_key(student)
        if key not in self._checked:
            self._checked[key] = self._check(student, **self.given_)
        return self._checked[key]

    def _check(self, candidate, X, y, sample_weight, soft_targets, **validation_rows):
        # other parameters are those of the candidates, which are checked one by one
        own = candidate.get_params(deep=False)
        given = {name: own.get(name) for name in ("encoder", *OF_TARGETS)}
        given |= {name: getattr(self, name) for name in ("alpha", "temperature", "random_state")}
        student = self.kind().set_params(**{name: given[name] for name in given if name in own})
        student._validate_params()
        check_target_order(validation_rows["y_val"], "y_val", y)
        rows = student._check_data(X, y, sample_weight, soft_targets)
        validation = student._check_validation(
            X, rows[1], sample_weight, is_joint=True, **validation_rows
        )
        training_set = dict(zip(("X", "y_encoded", "weights", "soft"), rows, strict=True))
        return student, training_set | {"y": y, "validation": validation}

    def predict_proba(self, X):
        """Raise an error; distillers ask whether their student has probabilities."""
        raise NotFittedError("This student keeps its training set and is never trained.")

    def __sklearn_tags__(self):
        return get_tags(self.kind().set_params(encoder=self.encoder))

    @classmethod
    def like(cls, student):
        """Return a recording student with the seed and the metadata requests of a student."""
        own = student.get_params(deep=False)
        names = ("random_state", *HOLDING_OUT, "encoder")
        recording = cls(type(student), **{name: own[name] for name in names if name in own})
        if routing_enabled():
            recording.set_fit_request(**student.get_metadata_routing().fit.requests)
        return recording


def training_set_key(student):
    """Return something hashable that is equal for students that check the same rows equally."""
    own = student.get_params(deep=False)
    return encoder_key(own["encoder"]), joblib.hash([own.get(name) for name in OF_TARGETS])


def candidate_name(params):
    """Return what progress calls a candidate: its parameters, as GridSearchCV prints them."""
    return ", ".join(f"{name}={params[name]}" for name in sorted(params)) or "the only candidate"


class Candidate:
    """One setting of the parameters of a search.

    Parameters
    ----------
    estimator : estimator
        Unfitted.
    params : dict
        Parameters to set on a clone of it.

    Attributes
    ----------
    estimator : estimator
        Unfitted, with the parameters set.
    preprocessing_key : tuple
        Candidates of equal keys share what precedes their students.

    Raises
    ------
    TypeError
        If the student cannot be trained jointly.
    ValueError
        If the estimator has callbacks, or for a parameter that cannot be batched.
    """

    def __init__(self, estimator, params):
        given_path = list(estimator_path(estimator))
        _check_callbacks(given_path)
        _check_student(given_path)
        self.params = params
        self.estimator = clone(estimator).set_params(**clone(params, safe=False))
        path = list(estimator_path(self.estimator))
        _check_nothing_is_searched(path)
        _check_nothing_is_replaced(given_path, path, params)
        #: (prefix, distiller), which sets alpha and temperature of the student, or None
        self._distiller = next((pair for pair in path if isinstance(pair[1], Distiller)), None)
        self.preprocessing_key = self._preprocessing_key(*given_path[-1])

    def _preprocessing_key(self, student_prefix, student):
        """Return the parameters that act before the student, as something hashable."""
        of_student = {f"{student_prefix}{name}" for name in student.get_params(deep=False)}
        if self._distiller is not None and not self._mixes_labels():
            prefix, _ = self._distiller
            of_student |= {f"{prefix}{name}" for name in self._distiller[1]._get_loss()}
        if self._distiller is not None:  # which may hold rows out for the student
            of_student -= {f"{student_prefix}{name}" for name in HOLDING_OUT}
        # a distiller draws a seed for a student without one, and no other
        draws_seed = innermost_student(self.estimator).random_state is None
        of_encoder = f"{student_prefix}encoder__"
        others = sorted(
            (name, each)
            for name, each in self.params.items()
            if name not in of_student and not name.startswith(of_encoder)
        )
        alpha = self._alpha_of_recording()
        return (draws_seed, alpha, *((name, _identity(value)) for name, value in others))

    def _mixes_labels(self):
        """Return whether what reaches the student depends on ``alpha`` of its distiller.

        It does if labels are mixed before they reach the student, or if a prior is corrected.
        """
        _, distiller = self._distiller
        names = ("augmentation", "class_weight", "class_prior")
        return any(getattr(distiller, name, None) is not None for name in names)

    def _alpha_of_recording(self):
        """Return an ``alpha`` for the recording student where each candidate sets its own.

        Rows in time are held out for a student that stops early, which ``early_stopping="auto"``
        does not for an ``alpha`` above 0 and at most 1.
        """
        if self._distiller is None or self._mixes_labels():
            return None
        _, distiller = self._distiller
        alpha = distiller.alpha
        if isinstance(distiller.cv, str | Integral) or not isinstance(alpha, Real):
            return 0.5
        return 0.5 if 0 < alpha <= 1 else float(alpha)

    def fit_preprocessing(self, X, y, fit_params):
        """Fit what precedes the student, and return it with a `RecordingStudent` at its end."""
        prefitted = clone(self.estimator)
        *above, (student_prefix, student) = estimator_path(prefitted)
        recording = RecordingStudent.like(student)
        if above:
            prefitted.set_params(**{student_prefix.removesuffix("__"): recording})
        else:
            prefitted = recording
        if self._distiller is not None and self._mixes_labels():
            self._check_loss()  # by the student itself, so that an error names its class
        elif self._distiller is not None:
            prefix, distiller = self._distiller
            loss = dict.fromkeys(distiller._get_loss(), 1.0)
            loss["alpha"] = self._alpha_of_recording()
            prefitted.set_params(**{f"{prefix}{name}": value for name, value in loss.items()})
        return prefitted.fit(X, y, **fit_params)

    def _check_loss(self):
        """Raise an error for a loss of the distiller that the student cannot have."""
        _, distiller = self._distiller
        distiller._validate_params()
        distiller._check_student()

    def student_to_train(self, recording, seed):
        """Return the student of this candidate, ready for joint training, and its random state.

        Parameters
        ----------
        recording : RecordingStudent
            Fitted.
        seed : int or None
            Of students without a random state. After the training the student has to get back the
            random state that is returned.

        Returns
        -------
        student : JointStudent
        random_state : int, RandomState instance or None
        """
        unfitted, params = innermost_student(self.estimator), {}
        with warnings.catch_warnings():
            if self._distiller is not None:  # which has checked the soft targets of the user
                warnings.simplefilter("ignore", SoftTargetsAlignmentWarning)
            checked, _ = recording.training_set(unfitted)
        if self._distiller is not None:
            self._check_loss()
            # labels that are mixed before reach the student with the loss that is left to it
            params = self._distiller[1]._get_loss()
            if self._mixes_labels():
                params = {name: getattr(recording, name) for name in params}
            params = {name: float(value) for name, value in params.items()}
        if unfitted.random_state is not None:
            student = joint_student(unfitted, params, checked)
            return student, student.random_state
        # a distiller with a seed has drawn one for its student
        of_distiller = recording.random_state
        params["random_state"] = seed if of_distiller is None else of_distiller
        return joint_student(unfitted, params, checked), of_distiller

    def assemble(self, prefitted, student):
        """Return this candidate fitted, of what precedes the student and of the student."""
        return _assemble(clone(self.estimator), prefitted, student)


def _assemble(estimator, prefitted, student):
    """Fill an unfitted estimator with what ``prefitted`` has fitted, and with its own student."""
    inner = inner_estimator(estimator)
    if inner is None:
        return student
    inner, name = inner
    fitted = _assemble(inner, inner_estimator(prefitted, fitted=True)[0], student)
    if isinstance(estimator, Pipeline):
        estimator.steps = [*prefitted.steps[:-1], (name, fitted)]
    else:
        estimator._adopt(prefitted, fitted)
    return estimator


def _check_callbacks(path):
    if any(hasattr(estimator, "_skl_callbacks") for _, estimator in path):
        raise ValueError(
            "the estimator has callbacks, which cannot follow fits that are trained jointly: "
            "remove the callbacks of the estimator (set_callbacks()), or set them on the search."
        )


def _check_student(path):
    """Raise a TypeError for a student that does not train jointly, or in several distillers."""
    n_distillers = sum(isinstance(estimator, Distiller) for _, estimator in path)
    if not trains_jointly(path[-1][1]) or n_distillers > 1:
        found = " > ".join(type(estimator).__name__ for _, estimator in path)
        raise TypeError(
            "BatchedGridSearchCV trains a TwoLayerPGDClassifier or a TwoLayerPGDRegressor, alone, "
            "as the student of a DistilledClassifier or a DistilledRegressor, or as the last step "
            f"of a Pipeline of either; got {found}. Use GridSearchCV for others."
        )


def _check_nothing_is_searched(path):
    """Raise a ValueError for a distiller that makes a search of its own."""
    for prefix, distiller in path:
        if not isinstance(distiller, Distiller):
            continue
        searched = [name for name in AUTO_SUBSTITUTES if getattr(distiller, name, None) == "auto"]
        if searched:
            found = ", ".join(f"{prefix}{name}='auto'" for name in searched)
            advice = ", ".join(f"{prefix}{name}={AUTO_SUBSTITUTES[name]}" for name in searched)
            raise ValueError(
                f"{found} cannot be batched, since it is a search of its own: set {advice}, for "
                "example, or put values in the grid."
            )
        if getattr(distiller, "quantiles", None) is not None:
            raise ValueError(
                f"{prefix}quantiles are calibrated by more fits of each candidate, which cannot be "
                f"batched: set {prefix}quantiles=None, or use GridSearchCV."
            )


def _check_nothing_is_replaced(given_path, path, params):
    """Raise a ValueError for parameters that replace an estimator on the path to the student."""
    replaced = [name for name in params if f"{name}__" in [key for key, _ in [*given_path, *path]]]
    is_same = [(key, type(each)) for key, each in path] == [
        (key, type(each)) for key, each in given_path
    ]
    if replaced or not is_same:
        replaced += [name for name in params if name.split("__")[-1] == "steps"]
        name = replaced[0] if replaced else next(iter(params))
        raise ValueError(
            f"the parameter {name} cannot be batched, since it replaces what is trained: search "
            "over its own parameters, or use GridSearchCV."
        )


def _identity(value):
    """Return something hashable that equal values share."""
    if value is None or isinstance(value, bool | int | float | str):
        return type(value).__name__, value
    return "object", id(value)  # the candidates keep the object alive
