"""Private parts of scikit-learn under public names. No other module imports private ones."""

from sklearn._loss.link import IdentityLink, LogLink
from sklearn.base import _fit_context as fit_context
from sklearn.linear_model._base import LinearModel as LinearModel
from sklearn.metrics._scorer import _MultimetricScorer as MultimetricScorer
from sklearn.model_selection._search import (
    BaseSearchCV as BaseSearchCV,
    _search_estimator_has as search_estimator_has,
)
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._metadata_requests import (
    _raise_for_params as raise_for_params,
    _routing_enabled as routing_enabled,
)
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils._repr_html.estimator import _VisualBlock as VisualBlock
from sklearn.utils.metaestimators import _safe_split as safe_split
from sklearn.utils.validation import (
    _check_categorical_features as check_categorical_features,
    _check_feature_names as check_feature_names,
    _check_feature_names_in as check_feature_names_in,
    _check_method_params as check_method_params,
    _check_n_features as check_n_features,
    _check_sample_weight as check_sample_weight,
    _check_y as check_y,
    _num_features as num_features,
    _num_samples as num_samples,
)


def encoded_widths(encoder):
    """Return the numbers of columns that a fitted encoder of categories makes of each column."""
    widths = getattr(encoder, "_n_features_outs", None)
    return [1] * len(encoder.categories_) if widths is None else widths


def input_positions(column_transformer):
    """Return name to positions of the columns that each transformer gets."""
    return column_transformer._transformer_to_input_indices


def boosted_trees(model):
    """Return preprocessing or None, start values and trees, (iterations, outputs), of a model.

    The model is a fitted HistGradientBoostingClassifier or its regressor.
    """
    return model._preprocessor, model._baseline_prediction.ravel(), model._predictors


def link_of(model):
    """Return the link of the loss of boosted trees, or of a generalized linear model.

    It is "identity", "log", or the name of the class of another one.
    """
    link = getattr(model, "_loss", None) or model._base_loss
    names = {IdentityLink: "identity", LogLink: "log"}
    return names.get(type(link.link), type(link.link).__name__)


def targets_have_one_dimension(model):
    """Return whether the targets of a fitted TransformedTargetRegressor had one dimension."""
    return model._training_dim == 1
