"""Write the kernel of a KernelTeacher in ONNX, in float64."""

import math

import numpy as np

from sklearn_kd.export._onnx.graph import DOUBLE

#: Coefficients of the rational approximation of (asin(x) - x) / x of fdlibm, for |x| <= 1/2, from
#: the lowest power of x^2: accurate to a unit in the last place of float64. onnxruntime has no
#: arc cosine of float64.
ASIN_NUMERATOR = (
    1.66666666666666657415e-01, -3.25565818622400915405e-01, 2.01212532134862925881e-01,
    -4.00555345006794114027e-02, 7.91534994289814532176e-04, 3.47933107596021167570e-05,
)  # fmt: skip
ASIN_DENOMINATOR = (
    1.0, -2.40339491173441421878e00, 2.02094576023350569471e00, -6.88283971605453293030e-01,
    7.70381505559019352791e-02,
)  # fmt: skip


def kernel_values(graph, spec, arrays, rows):
    """Return the kernel of encoded, scaled rows and the rows of the fit, (n, n_centers).

    Parameters
    ----------
    graph : Graph
    spec : dict
        Of the kind "kernel".
    arrays : list
    rows : str
        Tensor (n, n_inputs).
    """
    lengths = None
    if spec["has_intercept"]:
        ones = graph.filled_like(graph.columns(rows, [0]), 1.0)
        rows = graph.concatenated([rows, ones])
    if spec["on_sphere"] or spec["name"] != "laplace":
        rows, lengths = _directions(graph, rows)
    if spec["on_sphere"]:  # but for rows of zeros
        lengths = graph.cast(graph.add("Greater", lengths, np.array(0.0)), DOUBLE)
    centers, center_lengths = arrays[spec["centers"]], arrays[spec["center_lengths"]]
    if spec["name"] == "laplace":
        values = _laplace(graph, rows, centers, spec)
    else:
        cosine = graph.add("MatMul", rows, graph.double(centers.T))
        # rounded directions do not have the length one, and the arc cosine of a number that is
        # smaller than one by 1e-7 differs from zero by 4e-4
        norms = np.linalg.norm(centers.astype(np.float64), axis=1)
        cosine = graph.add("Div", cosine, np.where(norms > 0, norms, 1.0)[None])
        cosine = graph.add("Min", graph.add("Max", cosine, np.array(-1.0)), np.array(1.0))
        values, of_bias = _arc_cosine_kernel(graph, cosine, spec)
        values = graph.add("Mul", values, graph.double(center_lengths[None]))
        values = graph.add("Mul", values, lengths)
        if of_bias is not None:
            values = graph.add("Add", values, of_bias)
    return values


def _directions(graph, rows):
    """Return rows of length one, and their lengths. A row of zeros stays zero.

    The largest number of a row is divided out first, so that no square overflows.
    """
    largest = graph.max_over(graph.add("Abs", rows), 1)
    rows = graph.add("Div", rows, _nonzero(graph, largest))
    length = graph.add("Sqrt", graph.sum_over(graph.add("Mul", rows, rows), 1, keep=True))
    directions = graph.add("Div", rows, _nonzero(graph, length))
    return directions, graph.add("Mul", largest, length)


def _nonzero(graph, numbers):
    is_zero = graph.add("Equal", numbers, np.array(0.0))
    return graph.add("Where", is_zero, np.array(1.0), numbers)


def _laplace(graph, rows, centers, spec):
    """Return exp(-|x - c| / bandwidth) from the differences, which lose no digits."""
    n_inputs = centers.shape[1]
    each = graph.add("Reshape", rows, np.array([-1, 1, n_inputs]))
    difference = graph.add("Sub", each, graph.double(centers[None]))
    square = graph.sum_over(graph.add("Mul", difference, difference), 2)
    distance = graph.add("Sqrt", square)
    return graph.add("Exp", graph.add("Mul", distance, np.array(-1 / spec["bandwidth"])))


def _arc_cosine_kernel(graph, cosine, spec):
    """Return the kernel of rows of length one, and what the biases add to it, or None.

    The recursion is that of ``sklearn_kd._core.kernel.kernels``.
    """
    if spec["name"] == "ntk":
        supplement = graph.add("Sub", np.array(math.pi), _arc_cosine(graph, cosine))
        product = graph.add("Mul", supplement, cosine)
        return graph.add("Mul", product, np.array(0.5 / math.pi)), None
    total, of_bias = cosine, None
    for layer in range(spec["depth"]):
        angle = _arc_cosine(graph, cosine)
        share = graph.add("Mul", graph.add("Sub", np.array(math.pi), angle), np.array(1 / math.pi))
        square = graph.add("Sub", np.array(1.0), graph.add("Mul", cosine, cosine))
        sine = graph.add("Sqrt", graph.add("Max", square, np.array(0.0)))
        after = graph.add("Mul", sine, np.array(1 / math.pi))
        after = graph.add("Add", after, graph.add("Mul", share, cosine))
        if spec["name"] == "nngp":
            return graph.add("Mul", after, np.array(0.5)), None
        total = graph.add("Add", graph.add("Mul", total, share), after)
        if spec["bias"]:
            grown = share if layer == 0 else graph.add("Mul", of_bias, share)
            of_bias = graph.add("Add", grown, np.array(1.0))
        cosine = graph.add("Min", after, np.array(1.0))
    scale = 1 / ((spec["depth"] + 1) * (1 + spec["bias"] ** 2))
    total = graph.add("Mul", total, np.array(scale))
    if of_bias is not None:
        of_bias = graph.add("Mul", of_bias, np.array(scale * spec["bias"] ** 2))
    return total, of_bias


def _arc_cosine(graph, cosine):
    """Return the arc cosine, by the formula acos(c) = 2 asin(sqrt((1 - c) / 2)) if |c| > 1/2."""
    size = graph.add("Abs", cosine)
    is_near = graph.add("Less", size, np.array(0.5))
    half = graph.add("Mul", graph.add("Sub", np.array(1.0), size), np.array(0.5))
    small = graph.add("Where", is_near, size, graph.add("Sqrt", half))
    arc = _arc_sine(graph, small)
    # of the absolute value
    far = graph.add("Mul", arc, np.array(2.0))
    near = graph.add("Sub", np.array(math.pi / 2), arc)
    angle = graph.add("Where", is_near, near, far)
    is_negative = graph.add("Less", cosine, np.array(0.0))
    return graph.add("Where", is_negative, graph.add("Sub", np.array(math.pi), angle), angle)


def _arc_sine(graph, x):
    """Return the arc sine of numbers from zero to a half."""
    square = graph.add("Mul", x, x)
    numerator, denominator = (
        _polynomial(graph, square, each) for each in (ASIN_NUMERATOR, ASIN_DENOMINATOR)
    )
    ratio = graph.add("Div", graph.add("Mul", square, numerator), denominator)
    return graph.add("Add", x, graph.add("Mul", x, ratio))


def _polynomial(graph, x, coefficients):
    value = graph.constant(np.array(coefficients[-1]))
    for coefficient in reversed(coefficients[:-1]):
        value = graph.add("Add", graph.add("Mul", value, x), np.array(coefficient))
    return value
