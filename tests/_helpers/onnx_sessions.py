"""Answers of onnxruntime for raw rows, whose inputs are made from what a file says of them."""

import json

import numpy as np
import onnxruntime
import pandas as pd

DTYPES = {"tensor(string)": object, "tensor(double)": np.float64, "tensor(float)": np.float32}


def session_of(graph):
    """Return a session, which prints no warnings."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph.SerializeToString(), options)


def answers(graph, X):
    """Return the labels and the probabilities of raw rows."""
    session = session_of(graph)
    columns = json.loads(session.get_modelmeta().custom_metadata_map["columns"])
    X = X if hasattr(X, "columns") else pd.DataFrame(X)
    inputs = {
        each.name: X[columns[each.name]].to_numpy(dtype=DTYPES[each.type])
        for each in session.get_inputs()
    }
    return session.run(None, inputs)
