"""Error for a table with strings or missing cells that an estimator of scikit-learn cannot read."""

import numpy as np
import pandas as pd
from sklearn.utils import get_tags

from sklearn_kd._tables.cells import numbers_of_dates
from sklearn_kd._tables.columns import iter_columns
from sklearn_kd._utils.containers import as_pandas, is_dataframe
from sklearn_kd._utils.sklearn_compat import check_categorical_features
from sklearn_kd._utils.sub_estimators import is_plain


def check_readable(role, estimator, X):
    """Raise an error for a table that an estimator of scikit-learn cannot be fitted on.

    Nothing is known of estimators of other packages, of pipelines and of other estimators that
    pass their rows on, and of rows that are no table.

    Parameters
    ----------
    role : str
        What the message calls the estimator, "teacher" for example.
    estimator : estimator
        Unfitted.
    X : rows
    """
    is_table = is_dataframe(X) or (isinstance(X, np.ndarray) and X.dtype.kind in "OUS")
    if not (is_table and len(X.shape) == 2 and is_plain(estimator)):
        return
    tags = get_tags(estimator)
    if tags.no_validation or tags.input_tags.categorical or tags.input_tags.string:
        return
    name, is_boosting = type(estimator).__name__, hasattr(estimator, "categorical_features")
    is_encoded = np.zeros(X.shape[1], dtype=bool)
    if is_boosting:
        named = check_categorical_features(X, estimator.categorical_features)
        is_encoded = is_encoded if named is None else named
    columns = [
        (column, values)
        for (column, values), known in zip(iter_columns(X), is_encoded, strict=True)
        if not known
    ]
    codes = {column: numbers_of_dates(column, values) for column, values in columns}
    dates = [column for column, code in codes.items() if code is not None]
    words = [
        column
        for column, values in columns
        if codes[column] is None and not _holds_numbers(column, values)
    ]
    pipeline = f"make_pipeline(TableEncoder(), {name}())"
    errors = []
    if words:
        errors.append(
            f"does not read strings or categories, which the columns {words} of X have: "
            f"{_advice_for_words(estimator, pipeline, is_boosting=is_boosting)}."
        )
    if dates:
        errors.append(
            f"does not read dates or times, which the columns {dates} of X have: make numbers of "
            f"them first, for example {codes[dates[0]]}."
        )
    if errors:
        raise ValueError(f"the {role} {name} {' It '.join(errors)}")
    if not tags.input_tags.allow_nan:
        missing = [column for column, values in columns if pd.isna(values).any()]
        if missing:
            raise ValueError(
                f"the {role} {name} takes no missing cells, which the columns {missing} of X have: "
                f"encode them in front of it, {pipeline}, or take a classifier that takes them, "
                "HistGradientBoostingClassifier() for example."
            )


def _advice_for_words(estimator, pipeline, *, is_boosting):
    """Return what to do about columns of strings and categories that an estimator does not read."""
    if not is_boosting:
        return (
            f"encode them in front of it, {pipeline}, or take HistGradientBoostingClassifier() and "
            "give all of these columns the dtype 'category', or name all of them in its "
            "categorical_features"
        )
    given = estimator.categorical_features
    encode = f"or encode all columns in front of it, {pipeline}"
    if isinstance(given, str):  # "from_dtype"
        return (
            "give them the dtype 'category' in a DataFrame, or name every column of strings and "
            f"categories in its categorical_features, {encode}"
        )
    given = None if given is None else np.asarray(given).tolist()
    return (
        f"they are not in categorical_features={given}, which turns the dtype 'category' off. Add "
        "them there, or give every column of strings the dtype 'category' in a DataFrame and leave "
        f"categorical_features at 'from_dtype', {encode}"
    )


def check_no_missing_cells(X, teacher_name):
    """Raise ValueError for rows with missing cells, which the teacher could not have labeled."""
    if is_dataframe(X):
        # one call, since a loop over the columns takes longer than to predict a row
        has_missing = as_pandas(X).isna().to_numpy().any()
    else:
        X = np.asarray(X)
        has_missing = X.dtype.kind in "fcO" and pd.isna(X).any()
    if has_missing:
        raise ValueError(
            f"X contains NaN or other missing cells, which the teacher {teacher_name} does not "
            "take, so that nothing is known of them: predict with student_, which reads them as a "
            "column's mean, or fit with a teacher that takes them."
        )


def _holds_numbers(column, values):
    """Return whether all cells of a column that are not missing can be read as numbers.

    Cells such as dictionaries, which nothing encodes, are a TypeError.
    """
    cells = getattr(values.dtype, "categories", values)
    if pd.api.types.is_numeric_dtype(cells.dtype):
        return True
    if cells.dtype.kind not in "OUS":
        return False
    cells = np.asarray(cells)
    try:
        cells[~pd.isna(cells)].astype(np.float64)
    except TypeError as error:
        raise TypeError(f"column {column!r} of X: {error}: leave the column out of X.") from error
    except ValueError:
        return False
    return True
