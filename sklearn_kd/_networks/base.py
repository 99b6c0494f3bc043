"""Base class of the networks: ``fit`` on checked rows, ``partial_fit`` and predictions."""

from sklearn.callback import CallbackSupportMixin, with_callbacks

from sklearn_kd._networks.input_checks import (
    SINGLE_ROWS,
    check_groups_to_hold_out,
    check_partial_classes,
    check_training_data,
    check_validation_source,
)
from sklearn_kd._tables.encoder_step import set_encoder_tags
from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.base import (
    EncoderParamsMixin,
    FittedClassifierMixin,
    all_or_nothing,
    labels_from_logits,
    log_probabilities_from_logits,
    probabilities_from_logits,
)
from sklearn_kd._utils.containers import warn_if_sliceable
from sklearn_kd._utils.convergence import warn_if_improving
from sklearn_kd._utils.sklearn_compat import fit_context, num_samples
from sklearn_kd._utils.validation import validate_sample_weight


def _ends_by_design(est):
    """Return whether "auto" has chosen a schedule without early stopping."""
    schedule = (getattr(est, name, None) for name in ("max_iter", "max_epochs", "scheduler"))
    is_chosen = est.early_stopping == "auto" and "auto" in schedule
    return is_chosen and est.validation_loss_curve_ is None


class NetworkClassifierMixin(CallbackSupportMixin, EncoderParamsMixin, FittedClassifierMixin):
    """Classifier that trains on hard and soft labels and predicts by logits.

    A subclass has the parameters ``encoder``, ``alpha``, ``temperature``, ``class_weight`` and
    ``early_stopping``, and these methods:

    - ``_check_values(has_soft_targets, holds_out)`` raises ValueError for parameters that do not go
      together; ``holds_out`` says whether early stopping holds rows out.
    - ``_train(rows, *, partial, resume)`` trains on `CheckedRows` of positive weight.
    - ``_logits(X)`` returns the logits of rows, of shape (n_samples,) for two classes, positive for
      the second, else (n_samples, n_classes). It raises NotFittedError before ``fit``.
    """

    def _fit_rows(
        self,
        X,
        y,
        sample_weight,
        soft_targets,
        classes=None,
        *,
        partial=False,
        resume=False,
        validation_rows=None,
        **options,
    ):
        """Check the rows and train on them; a failure leaves the estimator as it was.

        ``validation_rows`` are the keyword arguments of `_check_validation`.
        """
        with all_or_nothing(self):
            rows = self._check_data(
                X, y, sample_weight, soft_targets, classes, reset=not resume, partial=partial
            )
            if validation_rows is not None:
                options["validation"] = self._check_validation(
                    X, rows[1], sample_weight, soft=rows[3], **validation_rows
                )
                warn_if_sliceable(validation_rows.get("X_val"), num_samples(X), "X_val")
            self._fit_targets(*rows, y, X_given=X, partial=partial, resume=resume, **options)
            if not partial and not _ends_by_design(self):
                warn_if_improving(self)
        return self

    @numpy_inputs
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None, soft_targets=None):
        """Train for one epoch on a batch of rows, continuing from the fitted weights.

        The first call must name all labels, and its rows determine the encoding and the scaling of
        the inputs.
        Nothing is held out for early stopping. See the Notes of the class for the parameters that
        act differently here.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        y : array-like of shape (n_samples,)

        classes : array-like of shape (n_classes,), default=None
            All labels there will ever be. The first call needs them.

        sample_weight : array-like of shape (n_samples,), default=None
            As in `fit`.

        soft_targets : array-like or DataFrame of shape (n_samples, n_classes), default=None
            As in `fit`. The columns of an array are in the order of ``classes_``.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            For missing or different ``classes``, for ``class_weight="balanced"``, and as in `fit`.
        """
        resume = self.__sklearn_is_fitted__()
        classes = check_partial_classes(self, classes)
        return self._fit_rows(
            X, y, sample_weight, soft_targets, classes, partial=True, resume=resume
        )

    @with_callbacks  # also where a meta-estimator calls it, outside of fit
    def _fit_targets(
        self,
        X,
        y_encoded,
        weights,
        soft,
        y,
        *,
        X_given=None,
        validation=SINGLE_ROWS,
        **options,
    ):
        """Train on checked data, also for meta-estimators with targets of their own.

        ``y_encoded`` and ``soft`` (n_samples, n_classes) are in the order of ``classes_``. Rows
        have positive weight. ``X_given`` are the rows as they were given, ``validation`` is a
        `ValidationSource`, and ``options`` are those of `_train`.
        """
        from sklearn_kd._networks.training_data import CheckedRows

        return self._train(
            CheckedRows(X, y_encoded, weights, soft, y, validation, X_given), **options
        )

    def _check_data(
        self, X, y, sample_weight, soft_targets, classes=None, *, partial=False, **options
    ):
        """Return checked rows and set ``classes_``, see `check_training_data`."""
        self._check_values(soft_targets is not None, holds_out=self.early_stopping and not partial)
        return check_training_data(self, X, y, sample_weight, soft_targets, classes, **options)

    def _check_validation(
        self, X, y_encoded, sample_weight, *, soft=None, is_joint=False, **validation_rows
    ):
        """Return a `ValidationSource` for rows that `_check_data` has checked.

        ``X``, ``sample_weight`` and ``validation_rows`` (groups, X_val, y_val, sample_weight_val)
        are those of ``fit``, and ``y_encoded`` is what `_check_data` has returned, as ``soft`` is.
        ``is_joint`` leaves it to the joint training to check for each student whether it can hold
        groups out.
        """
        validation = check_validation_source(self, X, sample_weight, **validation_rows)
        if not is_joint and validation.group is not None:
            weights = validate_sample_weight(sample_weight, X)
            weights = weights[weights > 0]
            check_groups_to_hold_out(self, validation, y_encoded, weights, soft)
        return validation

    def _check_fit(self, X, y_encoded, weights):
        """Raise other errors that training on checked rows would begin with: none."""

    def decision_function(self, X):
        """Logits of the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes the log-odds of ``classes_[1]``.
        """
        return self._logits(X)

    def predict(self, X):
        """Most probable class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return labels_from_logits(self._logits(X), self.classes_)

    def predict_proba(self, X):
        """Class probabilities: the sigmoid or the softmax of the logits.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        return probabilities_from_logits(self._logits(X))

    def predict_log_proba(self, X):
        """Logarithm of the class probabilities, finite where they underflow.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        return log_probabilities_from_logits(self._logits(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return set_encoder_tags(self, tags)
