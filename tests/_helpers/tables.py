"""Mixed tables: one with columns of every kind, and a raw table with labels to learn."""

import numpy as np
import pandas as pd


def mixed_frame(n=120, seed=0):
    """Return a DataFrame with columns of every dtype, which transfer rows keep."""
    rng = np.random.RandomState(seed)
    frame = pd.DataFrame(
        {
            "float": rng.normal(size=n),
            "single": rng.normal(size=n).astype(np.float32),
            "count": rng.poisson(30, n),
            "small": rng.randint(0, 200, n).astype(np.uint8),
            "whole": rng.randint(0, 50, n).astype(np.float64),
            "flag": rng.rand(n) < 0.4,
            "word": rng.choice(["a", "b", "c"], n),
            "object": np.array(rng.choice(["x", "y"], n), dtype=object),
            "level": pd.Categorical(
                rng.choice(["l", "m", "h"], n), categories=["l", "m", "h", "u"]
            ),
            "day": pd.date_range("2020-01-01", periods=30).to_numpy()[rng.randint(0, 30, n)],
            "nullable": pd.array(rng.randint(0, 90, n), dtype="Int64"),
            "maybe": pd.array(rng.rand(n) < 0.5, dtype="boolean"),
            "constant": 7,
            "nothing": np.nan,
        },
        index=rng.permutation(n) + 1000,
    )
    for column in ("float", "word", "object", "level", "day", "nullable", "maybe"):
        frame.loc[frame.index[rng.rand(n) < 0.1], column] = None
    return frame


def raw_table(n=120, frame="pandas", seed=0):
    """Return a table with strings, categories and missing cells, and labels that depend on it."""
    rng = np.random.RandomState(seed)
    size, age = rng.normal(size=n), rng.randint(18, 90, n)
    color, job = rng.choice(["red", "green", "blue"], n), rng.choice(["cook", "none"], n)
    score = size + (color == "red") - (age > 60) + 0.5 * rng.normal(size=n)
    y = np.where(score > 0, "yes", "no")
    missing = {name: rng.rand(n) < 0.1 for name in ("size", "color", "level")}
    columns = {
        "size": np.where(missing["size"], None, size).tolist(),
        "age": age.tolist(),
        "color": np.where(missing["color"], None, color).tolist(),
        "job": job.tolist(),
        "flag": (rng.rand(n) < 0.5).tolist(),
        "level": np.where(missing["level"], None, rng.choice(["low", "high"], n)).tolist(),
    }
    if frame == "pandas":
        X = pd.DataFrame(columns)
        return X.astype({"size": float, "level": "category"}), y
    import polars as pl

    return pl.DataFrame(columns, schema_overrides={"level": pl.Categorical}), y
