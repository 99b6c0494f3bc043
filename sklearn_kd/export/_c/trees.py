"""Decision trees in C: one table of nodes, and a loop over trees."""

import numpy as np

from sklearn_kd.export._c.tokens import double
from sklearn_kd.export._c.unit import each, if_else, indented, numbers_and_scale
from sklearn_kd.export._columns import ExportError

#: Tests of a node, and the bits of the place of its cell.
IS_NUMBER, MISSING_LEFT, IS_SET, SHIFT = 0, 1, 2, 2


def tree_lines(unit, cells, arrays, spec):
    """Return the lines that compute the mean or the sums of the leaves of a row.

    Parameters
    ----------
    unit : CUnit
    cells : Cells
    arrays : list
    spec : dict
        Description of the trees.
    """
    roots, nodes = _preorder(cells, arrays, spec)
    leaves, scale = numbers_and_scale(arrays[spec["leaves"]])
    base, n_trees, outputs = arrays[spec["base"]], len(roots), arrays[spec["output"]]
    n, is_mean = len(base), spec["link"] != "sum"
    if spec["link"] == "mean" and (leaves == 0).all(axis=1).any():
        raise ExportError("rounding makes all probabilities of a leaf zero: take another dtype")
    nodes = unit.nodes(nodes)
    root, table = unit.array("roots", roots), unit.array("leaves", leaves)
    walk = [
        f"const {unit.prefix}_node *node = &{nodes}[{root}[t]];",
        "while (node->test >= 0) {",
        *indented(_step(unit, arrays, spec, nodes)),
        "}",
    ]
    if is_mean:
        walk += each(n, f"out[k] += (double){table}[node->next * {n} + k];")
    else:
        to = "0" if n == 1 else f"{unit.array('output', outputs)}[t]"
        walk.append(f"out[{to}] += (double){table}[node->next];")
    sums = [*each(n, "out[k] = 0.0;"), f"for (int t = 0; t < {n_trees}; ++t) {{"]
    sums += [*indented(walk), "}"]
    scale = None if scale is None else unit.array("scale", scale.astype(np.float64))
    factor = "" if scale is None else f" * {scale}[{'k' if is_mean else 0}]"
    if is_mean:
        return [*sums, *each(n, f"out[k] = out[k]{factor} / {n_trees}.0;")]
    return [*sums, *(f"out[{k}] = {double(b)} + out[{k}]{factor};" for k, b in enumerate(base))]


def _step(unit, arrays, spec, nodes):
    """Return the lines of one step from a node to a child."""
    of_number = [
        "const double x = cells->number[node->test >> 2];",
        "is_left = x <= node->threshold || ((node->test & 1) != 0 && x != x);",
    ]
    of_set, in_set = [], arrays[spec["in_set"]]
    if len(in_set):
        sets = unit.array("sets", in_set.astype(np.int8))
        of_set = [f"is_left = {sets}[(int)node->threshold + cells->state[node->test >> 2]];"]
    has_numbers = any(reader["kind"] == "number" for reader in spec["readers"])
    lines = ["int is_left;"]
    if of_set and has_numbers:
        lines += if_else("(node->test & 2) != 0", of_set, of_number)
    else:
        lines += of_set or of_number
    return [*lines, f"node = is_left ? node + 1 : &{nodes}[node->next];"]


def _preorder(cells, arrays, spec):
    """Return the roots, and the nodes (threshold, next, test), each left child after its parent."""
    reader, left, right, group, missing_left = (
        arrays[spec[name]].tolist() for name in ("reader", "left", "right", "set", "missing_left")
    )
    threshold = arrays[spec["threshold"]].tolist()
    places = [cells.place(each_reader, is_extended=False) for each_reader in spec["readers"]]
    roots, nodes = [], []
    for root in arrays[spec["roots"]].tolist():
        roots.append(len(nodes))
        waiting = [(root, None)]
        while waiting:
            node, parent = waiting.pop()
            if parent is not None:
                nodes[parent][1] = len(nodes)
            if left[node] < 0:
                nodes.append([0.0, right[node], -1])
                continue
            place = places[reader[node]] << SHIFT
            if group[node] >= 0:
                nodes.append([float(group[node]), 0, place | IS_SET])
            else:
                test = MISSING_LEFT if missing_left[node] else IS_NUMBER
                nodes.append([threshold[node], 0, place | test])
            waiting += [(right[node], len(nodes) - 1), (left[node], None)]
    return np.array(roots), nodes
