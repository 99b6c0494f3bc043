"""Base classes of the networks: ``fit`` on checked rows, ``partial_fit`` and predictions."""

import numpy as np
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils.metaestimators import available_if

from sklearn_kd._networks.batches import (
    check_partial_classes,
    fit_inputs,
    forget_inputs,
    most_probable_labels,
    predicted_numbers,
    warn_of_few_rows,
)
from sklearn_kd._networks.input_checks import (
    SINGLE_ROWS,
    check_groups_to_hold_out,
    check_quantiles,
    check_regression_data,
    check_training_data,
    check_two_groups,
    check_validation_classes,
    check_validation_numbers,
    check_validation_source,
)
from sklearn_kd._networks.resolve import is_warmed_up
from sklearn_kd._tables.encoder_step import set_encoder_tags
from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.base import (
    EncoderParamsMixin,
    FittedClassifierMixin,
    FittedRegressorMixin,
    all_or_nothing,
    labels_from_logits,
    log_probabilities_from_logits,
    probabilities_from_logits,
)
from sklearn_kd._utils.containers import warn_if_sliceable
from sklearn_kd._utils.convergence import warn_if_improving
from sklearn_kd._utils.label_indicators import learns_labels
from sklearn_kd._utils.regression_targets import nearest_to_median
from sklearn_kd._utils.sklearn_compat import fit_context, num_samples
from sklearn_kd._utils.validation import check_target_order, validate_sample_weight


def _ends_by_design(est):
    """Return whether more epochs are not expected to help.

    This is so where "auto" has chosen a schedule without early stopping, and where all targets are
    constant, which any weights predict.
    """
    if not np.any(getattr(est, "target_scale_", 1.0)):
        return True
    schedule = (getattr(est, name, None) for name in ("max_iter", "max_epochs", "scheduler"))
    is_chosen = est.early_stopping == "auto" and "auto" in schedule
    return is_chosen and est.validation_loss_curve_ is None


def _has_quantiles(est):
    if est.loss != "quantile":
        raise AttributeError(
            f"predict_quantiles needs loss='quantile', got loss={est.loss!r}: set it and quantiles."
        )
    return True


class NetworkMixin(CallbackSupportMixin, EncoderParamsMixin):
    """Network that trains on targets of its own and on those of a teacher.

    A subclass has the parameters ``encoder``, ``alpha`` and ``early_stopping``, and these methods:

    - ``_check_values(has_soft_targets, holds_out)`` raises ValueError for parameters that do not go
      together; ``holds_out`` says whether early stopping holds rows out.
    - ``_check_data(X, y, sample_weight, soft_targets, **options)`` returns checked rows, encoded
      targets, weights and encoded soft targets, and sets the attributes ``_target_attributes``.
    - ``_encode_validation_targets(y_val, n_samples)`` checks the targets of validation rows.
    - ``_check_groups(validation, y_encoded, weights, soft)`` raises ValueError for groups that
      cannot be held out.
    - ``_targets_as_given(y_encoded)`` returns targets as ``y`` has them.
    - ``_learning_task()`` returns a task of `tasks`.
    - ``_fit_input_scaling(X, weights)`` returns the offset and the scale of encoded rows.
    - ``_train(rows, *, partial, resume)`` trains on `CheckedRows` of positive weight.
    """

    #: Whether training reads `EncodedRows` in place of an array.
    _reads_rows_lazily = False
    #: Fitted attributes that encoded targets are in the order or in the units of.
    _target_attributes: tuple = ()

    def _fit_given_rows(
        self, X, y, sample_weight, soft_targets, groups, X_val, y_val, sample_weight_val, **options
    ):
        """Fit on the arguments of ``fit``; ``options`` are those of `_fit_rows`."""
        options["validation_rows"] = {
            "groups": groups,
            "X_val": X_val,
            "y_val": y_val,
            "sample_weight_val": sample_weight_val,
        }
        return self._fit_rows(X, y, sample_weight, soft_targets, **options)

    @numpy_inputs
    @fit_context(prefer_skip_nested_validation=True)
    def warm_up(self, X, sample_weight=None):
        """Fit the encoder and the scaling of the inputs, which `partial_fit` then uses.

        Without it they follow from the rows of the first batch. They never change afterwards, since
        the weights that are trained depend on them. `fit` fits both anew.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows that are like those of all batches, some thousands or more.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows.

        Returns
        -------
        self : estimator
            Not fitted yet. It has ``encoder_``, and ``input_offset_`` and ``input_scale_``, which
            have no effect with ``input_scaling=False``.

        Raises
        ------
        ValueError
            After a fit, and for rows that `fit` would not take.

        Warns
        -----
        SmallBatchWarning
            For less than 1,000 rows.
        """
        if self.__sklearn_is_fitted__():
            raise ValueError(
                f"{type(self).__name__} is fitted, and its weights depend on the encoder and on "
                "the scaling of the inputs: call warm_up before the first partial_fit, for example "
                "on a clone."
            )
        with all_or_nothing(self):
            fit_inputs(self, X, sample_weight)
        return self

    def _fit_batch(self, X, y, sample_weight, soft_targets, known=None):
        """Train for one epoch, see ``partial_fit``; ``known`` is that of `_fit_rows`."""
        resume = self.__sklearn_is_fitted__()
        rows = X, y, sample_weight, soft_targets
        return self._fit_rows(*rows, partial=True, resume=resume, known=known)

    def _fit_rows(
        self,
        X,
        y,
        sample_weight,
        soft_targets,
        *,
        partial=False,
        resume=False,
        known=None,
        validation_rows=None,
        **options,
    ):
        """Check the rows and train on them; a failure leaves the estimator as it was.

        ``known`` are keyword arguments of `_check_data` that describe all targets there will ever
        be, and ``validation_rows`` are those of `_check_validation`.
        """
        with all_or_nothing(self):
            is_warm = is_warmed_up(self)
            if not partial and is_warm:
                forget_inputs(self)
            given = X, y, sample_weight, soft_targets
            check_target_order((validation_rows or {}).get("y_val"), "y_val", y)
            rows = self._check_data(*given, reset=not resume, partial=partial, **known or {})
            if partial and not (resume or is_warm):
                warn_of_few_rows(self, len(rows[0]))
            if validation_rows is not None:
                options["validation"] = self._check_validation(
                    X, rows[1], sample_weight, soft=rows[3], **validation_rows
                )
                warn_if_sliceable(validation_rows.get("X_val"), num_samples(X), "X_val")
            self._fit_targets(*rows, y, X_given=X, partial=partial, resume=resume, **options)
            if not partial and not _ends_by_design(self):
                warn_if_improving(self)
        return self

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

        ``y_encoded`` and ``soft`` are what `_check_data` returns. Rows have positive weight.
        ``X_given`` are the rows as they were given, ``validation`` is a `ValidationSource`, and
        ``options`` are those of `_train`.
        """
        from sklearn_kd._networks.training_data import CheckedRows

        return self._train(
            CheckedRows(X, y_encoded, weights, soft, y, validation, X_given), **options
        )

    def _check_validation(
        self, X, y_encoded, sample_weight, *, soft=None, is_joint=False, **validation_rows
    ):
        """Return a `ValidationSource` for rows that `_check_data` has checked.

        ``X``, ``sample_weight`` and ``validation_rows`` (groups, X_val, y_val, sample_weight_val)
        are those of ``fit``, and ``y_encoded`` is what `_check_data` has returned, as ``soft`` is.
        ``is_joint`` leaves it to the joint training to check for each student whether it can hold
        groups out.
        """
        encode_targets = self._encode_validation_targets
        validation = check_validation_source(
            self, X, sample_weight, encode_targets, **validation_rows
        )
        if not is_joint and validation.group is not None:
            weights = validate_sample_weight(sample_weight, X)
            weights = weights[weights > 0]
            self._check_groups(validation, y_encoded, weights, soft)
        return validation

    def _check_fit(self, X, y_encoded, weights):
        """Raise other errors that training on checked rows would begin with: none."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return set_encoder_tags(self, tags)


class NetworkClassifierMixin(NetworkMixin, FittedClassifierMixin):
    """Classifier that trains on hard and soft labels and predicts by logits.

    A subclass has the parameters ``temperature`` and ``class_weight`` too, and this method:

    - ``_logits(X)`` returns the logits of rows, of shape (n_samples,) for two classes, positive for
      the second, else (n_samples, n_classes) or (n_samples, n_labels). It raises NotFittedError
      before ``fit``.
    """

    _target_attributes = ("classes_", "multilabel_")

    @numpy_inputs
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, classes=None, sample_weight=None, soft_targets=None):
        """Train for one epoch on a batch of rows, continuing from the fitted weights.

        The first call must name all labels. Its rows determine the encoding and the scaling of the
        inputs, unless `warm_up` has done so before.
        Nothing is held out for early stopping. See the Notes of the class for the parameters that
        act differently here.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        y : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            None with ``alpha=1`` and ``soft_targets`` for every row, which are then all that is
            learned, as for rows that only a teacher has labeled. Several labels need ``y``.

        classes : array-like of shape (n_classes,), default=None
            All labels there will ever be. The first call needs them, except with ``soft_targets``
            in a DataFrame and without y. For several labels they are the indices of the columns of
            y, ``np.arange(n_labels)``.

        sample_weight : array-like of shape (n_samples,), default=None
            As in `fit`.

        soft_targets : array-like or DataFrame of shape (n_samples, n_classes) or \
                (n_samples, n_labels), default=None
            As in `fit`. The columns of an array are in the order of ``classes_``.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            For missing or different ``classes``, for ``class_weight="balanced"``, for a missing
            ``y`` that has a part in the loss, and as in `fit`.

        Warns
        -----
        SmallBatchWarning
            In the first call with less than 1,000 rows, without `warm_up`.
        """
        if y is None:
            y, classes = most_probable_labels(self, soft_targets, classes)
        known = {"classes": check_partial_classes(self, classes)}
        return self._fit_batch(X, y, sample_weight, soft_targets, known=known)

    def _check_data(
        self, X, y, sample_weight, soft_targets, classes=None, *, partial=False, **options
    ):
        """Return checked rows and set ``classes_``, see `check_training_data`."""
        self._check_values(soft_targets is not None, holds_out=self.early_stopping and not partial)
        return check_training_data(self, X, y, sample_weight, soft_targets, classes, **options)

    _encode_validation_targets = check_validation_classes
    _check_groups = check_groups_to_hold_out

    def _learning_task(self):
        from sklearn_kd._networks.tasks import ClassificationTask, MultilabelTask

        task = MultilabelTask if learns_labels(self) else ClassificationTask
        return task(len(self.classes_))

    def _targets_as_given(self, y_encoded):
        """Return the labels of encoded targets, or the indicator of several labels."""
        return y_encoded if learns_labels(self) else self.classes_[y_encoded]

    def decision_function(self, X):
        """Logits of the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), (n_samples, n_classes) or (n_samples, n_labels)
            For two classes the log-odds of ``classes_[1]``, and for several labels those of each.
        """
        return self._logits(X)

    def predict(self, X):
        """Most probable class of each row, or its labels, whose probability is above one half.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), or (n_samples, n_labels) for several labels
            Of several labels it contains 0 and 1.
        """
        are_labels = learns_labels(self)
        return labels_from_logits(self._logits(X), self.classes_, are_labels=are_labels)

    def predict_proba(self, X):
        """Class probabilities: the sigmoid or the softmax of the logits.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples, n_labels) for several labels
            Columns in the order of ``classes_``. Those of several labels are the probability of
            each label, so that rows do not sum to one.
        """
        return probabilities_from_logits(self._logits(X), are_labels=learns_labels(self))

    def predict_log_proba(self, X):
        """Logarithm of the class probabilities, finite where they underflow.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples, n_labels) for several labels
            Columns in the order of ``classes_``.
        """
        return log_probabilities_from_logits(self._logits(X), are_labels=learns_labels(self))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class NetworkRegressorMixin(NetworkMixin, FittedRegressorMixin):
    """Regressor that trains on numbers and on those of a teacher, in standardized units.

    A subclass has the parameters ``loss``, ``quantiles`` and ``epsilon`` too, and this method:

    - ``_standardized(X)`` returns the outputs of rows in standardized units, (n_samples,) or
      (n_samples, n_outputs). It raises NotFittedError before ``fit``.
    """

    _target_attributes = ("target_offset_", "target_scale_", "quantiles_")

    @numpy_inputs
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None, soft_targets=None):
        """Train for one epoch on a batch of rows, continuing from the fitted weights.

        The rows of the first call determine the units of the targets, and the encoding and the
        scaling of the inputs, unless `warm_up` has done so before.
        Nothing is held out for early stopping. See the Notes of the class for the parameters that
        act differently here.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            None with ``alpha=1`` and ``soft_targets`` for every row, which are then all that is
            learned, as for rows that only a teacher has labeled.

        sample_weight : array-like of shape (n_samples,), default=None
            As in `fit`.

        soft_targets : array-like, same shape as y or (`*y.shape`, n_quantiles), default=None
            As in `fit`.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            For another number of targets or other quantiles than in the first call, for a missing
            ``y`` that has a part in the loss, and as in `fit`.

        Warns
        -----
        SmallBatchWarning
            In the first call with less than 1,000 rows, without `warm_up`.
        """
        y = predicted_numbers(self, soft_targets) if y is None else y
        return self._fit_batch(X, y, sample_weight, soft_targets)

    def _check_data(
        self, X, y, sample_weight, soft_targets, *, partial=False, reset=True, **options
    ):
        """Return checked rows and set the units of the targets, see `check_regression_data`."""
        self._check_values(soft_targets is not None, holds_out=self.early_stopping and not partial)
        levels = check_quantiles(self)
        if not reset and not np.array_equal(levels, self.quantiles_):
            raise ValueError(
                f"loss={self.loss!r} and quantiles={self.quantiles}, but training continues a "
                f"network of the quantiles {self.quantiles_}: set what it was made with, or start "
                "a new fit."
            )
        self.quantiles_ = levels
        rows = X, y, sample_weight, soft_targets
        varies_later = partial or getattr(self, "warm_start", False)
        return check_regression_data(self, *rows, varies_later, reset=reset, **options)

    _encode_validation_targets = check_validation_numbers
    _check_groups = check_two_groups

    def _learning_task(self):
        from sklearn_kd._networks.tasks import RegressionTask

        levels = () if self.quantiles_ is None else tuple(self.quantiles_.tolist())
        return RegressionTask(np.size(self.target_scale_), self.loss, float(self.epsilon), levels)

    def predict(self, X):
        """Target of each row.

        With ``loss="quantile"`` it is the median, or the quantile of the level next to 1/2, the
        lower one of two.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            As ``y`` was.
        """
        return self._numbers_of(self._standardized(X))

    def _numbers_of(self, outputs):
        """Return predictions in the units of the targets, given standardized outputs of rows."""
        if self.quantiles_ is not None:
            return self._quantiles_of(outputs)[..., nearest_to_median(self.quantiles_)]
        outputs = outputs.reshape(len(outputs), *np.shape(self.target_scale_))
        return self._in_units_of_targets(outputs, self.target_offset_, self.target_scale_)

    @available_if(_has_quantiles)
    def predict_quantiles(self, X):
        """Quantiles of the target of each row, which do not cross.

        Those that the network predicts are sorted for each row, which can only lower their pinball
        loss on average (Chernozhukov et al. 2010). Available with ``loss="quantile"``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_quantiles) or (n_samples, n_targets, n_quantiles)
            In the order of ``quantiles_``, which ascends.
        """
        outputs = self._standardized(X)
        if self.quantiles_ is None:
            raise ValueError("the loss of the fit was not 'quantile': call fit again.")
        return self._quantiles_of(outputs)

    def _quantiles_of(self, outputs):
        shape = *np.shape(self.target_scale_), len(self.quantiles_)
        outputs = np.sort(outputs.reshape(len(outputs), *shape), axis=-1)
        units = self.target_offset_, self.target_scale_
        return self._in_units_of_targets(outputs, *(np.asarray(each)[..., None] for each in units))

    @staticmethod
    def _in_units_of_targets(outputs, offset, scale):
        with np.errstate(over="ignore"):
            values = outputs.astype(np.float64)  # a float32 offset and scale would cost digits
            values *= scale
            values += offset
            values = values.astype(outputs.dtype, copy=False)
        # the prediction of a row far away may be beyond the largest number
        return values if np.isfinite(values).all() else np.nan_to_num(values, nan=np.nan)

    def _targets_as_given(self, targets):
        """Return standardized targets, (n_samples, n_targets), in their units and shape."""
        targets = targets.reshape(len(targets), *np.shape(self.target_scale_))
        return self._in_units_of_targets(targets, self.target_offset_, self.target_scale_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
