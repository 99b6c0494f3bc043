"""Declarations of a C header: constant arrays and functions, each written once."""

import re
from string import Template

from sklearn_kd.export._c.tokens import MAX_LITERAL, characters, constants, double, literal, type_of

#: Characters of a line of constants.
LINE = 96


class CUnit:
    """Declarations of a C header, in the order in which they are needed.

    Parameters
    ----------
    prefix : str
        Start of all identifiers.
    """

    def __init__(self, prefix):
        self.prefix, self.parts = prefix, []
        self._arrays, self._helpers, self._numbers = {}, set(), {}

    def new_name(self, label):
        """Return an identifier that no other declaration has."""
        number = self._numbers.get(label, 0)
        self._numbers[label] = number + 1
        return f"{self.prefix}_{label}{number}"

    def array(self, label, values):
        """Return the name of an array of the values of an ndarray, which is not empty."""
        return self._array(label, type_of(values), constants(values))

    def texts(self, label, texts):
        """Return the name of an array of texts, given as bytes."""
        return self._array(label, "char *const", [self.text(text) for text in texts])

    def text(self, text):
        """Return an expression of a text, given as bytes."""
        if len(text) <= MAX_LITERAL:
            return literal(text)
        return self._array("text", "char", characters(text))

    def nodes(self, nodes):
        """Return the name of an array of nodes of trees, (threshold, next, test)."""
        self.helper("node")
        items = [f"{{{double(threshold)}, {after}, {test}}}" for threshold, after, test in nodes]
        return self._array("nodes", f"{self.prefix}_node", items)

    def _array(self, label, kind, items):
        key = kind, tuple(items)
        if key not in self._arrays:
            self._arrays[key] = name = self.new_name(label)
            self.parts.append(array_text(name, kind, items))
        return self._arrays[key]

    def helper(self, name):
        """Declare a function of `HELPERS` once, and return its name."""
        if name not in self._helpers:
            self._helpers.add(name)
            self.parts.append(self.filled(HELPERS[name]))
        return f"{self.prefix}_{name}"

    def function(self, label, parameters, body):
        """Declare a function without a result, and return its name.

        Parameters
        ----------
        label, parameters : str
        body : list of str
            Lines.
        """
        name = self.new_name(label)
        lines = [f"static inline void {name}({parameters})", "{", *(f"    {x}" for x in body), "}"]
        self.parts.append("\n".join(lines))
        return name

    def filled(self, template, **values):
        """Return a template in which $p is the prefix, without the empty lines at its ends."""
        return Template(template).substitute(p=self.prefix, **values).strip("\n")


def array_text(name, kind, items):
    """Return the declaration of a constant array."""
    lines, line = [], ""
    for item in items:
        if line and len(line) + len(item) > LINE:
            lines.append(line)
            line = ""
        line += ("    " if not line else " ") + item + ","
    head = f"static const {kind} {name}[{len(items)}] = {{"
    return "\n".join([head, *lines, line, "};"])


def indented(lines):
    """Return lines of a block."""
    return [f"    {line}" for line in lines]


def loop(index, n, lines):
    """Return a loop over an index."""
    return [f"for (int {index} = 0; {index} < {n}; ++{index}) {{", *indented(lines), "}"]


def each(n, line):
    """Return a loop of one line over k, or the line for k = 0 if there is no other."""
    return loop("k", n, [line]) if n > 1 else [re.sub(r"\bk\b", "0", line)]


def if_else(condition, first, second):
    """Return the lines of a condition."""
    return [f"if ({condition}) {{", *indented(first), "} else {", *indented(second), "}"]


def numbers_and_scale(array):
    """Return the numbers of an array of a description, and their scale or None."""
    return array if isinstance(array, tuple) else (array, None)


#: Functions that several parts of a model need. Numbers of states and of edges start from zero.
HELPERS = {
    "find_text": """
/* Place of a text among n sorted ones, or -1. */
static inline int ${p}_find_text(const char *const *texts, int n, const char *text)
{
    int low = 0;
    while (low < n) {
        const int middle = low + (n - low) / 2;
        const int order = strcmp(text, texts[middle]);
        if (order == 0) {
            return middle;
        }
        if (order < 0) {
            n = middle;
        } else {
            low = middle + 1;
        }
    }
    return -1;
}
""",
    "find_number": """
/* Place of a number among n sorted ones, or -1. */
static inline int ${p}_find_number(const double *numbers, int n, double x)
{
    int low = 0;
    while (low < n) {
        const int middle = low + (n - low) / 2;
        if (numbers[middle] < x) {
            low = middle + 1;
        } else if (numbers[middle] > x) {
            n = middle;
        } else {
            return middle;
        }
    }
    return -1;
}
""",
    "place": """
/* The piece of a number between n + 1 sorted edges, and its place in the piece. */
static inline void ${p}_place(const double *edges, int n, double x, int *state, double *number)
{
    int piece = 0, rest = n;
    while (rest > 1) {
        const int half = rest / 2;
        piece = edges[piece + half] <= x ? piece + half : piece;
        rest -= half;
    }
    *state = piece;
    *number = (x - edges[piece]) / (edges[piece + 1] - edges[piece]);
}
""",
    "is_finite": """
static inline int ${p}_is_finite(double x)
{
    return x - x == 0.0;
}
""",
    "sort": """
/* Sort n numbers. */
static inline void ${p}_sort(double *numbers, int n)
{
    for (int i = 1; i < n; ++i) {
        const double x = numbers[i];
        int k = i;
        for (; k > 0 && numbers[k - 1] > x; --k) {
            numbers[k] = numbers[k - 1];
        }
        numbers[k] = x;
    }
}
""",
    "interpolate": """
/* Value at x of the curve through n points. */
static inline double ${p}_interpolate(const double *xs, const double *ys, int n, double x)
{
    int low = 0, rest = n;
    while (rest > 0) {
        const int half = rest / 2;
        if (xs[low + half] <= x) {
            low += half + 1;
            rest -= half + 1;
        } else {
            rest = half;
        }
    }
    if (low == 0) {
        return ys[0];
    }
    if (low == n || xs[low - 1] == x) {
        return ys[low - 1];
    }
    return (ys[low] - ys[low - 1]) / (xs[low] - xs[low - 1]) * (x - xs[low - 1]) + ys[low - 1];
}
""",
    "logistic": """
/* 1 / (1 + exp(-z)), also where exp would overflow. */
static inline double ${p}_logistic(double z)
{
    const double e = exp(-fabs(z));
    return z < 0.0 ? e / (1.0 + e) : 1.0 / (1.0 + e);
}
""",
    "two_classes": """
/* Probabilities of two classes from log-odds. */
static inline void ${p}_two_classes(double z, double *proba)
{
    const double e = exp(-fabs(z));
    const double likely = 1.0 / (1.0 + e);
    const double other = e * likely;
    proba[0] = z < 0.0 ? likely : other;
    proba[1] = z < 0.0 ? other : likely;
}
""",
    "softmax": """
/* Probabilities from logits, in place. */
static inline void ${p}_softmax(double *z, int n)
{
    double highest = z[0], total = 0.0;
    for (int k = 1; k < n; ++k) {
        highest = z[k] > highest ? z[k] : highest;
    }
    for (int k = 0; k < n; ++k) {
        z[k] = exp(z[k] - highest);
        total += z[k];
    }
    for (int k = 0; k < n; ++k) {
        z[k] /= total;
    }
}
""",
    "log_total": """
/* Logarithm of the sum of exp(z[k * step]) over n values. */
static inline double ${p}_log_total(const double *z, int n, int step)
{
    double highest = z[0], total = 0.0;
    for (int k = 1; k < n; ++k) {
        highest = z[k * step] > highest ? z[k * step] : highest;
    }
    for (int k = 0; k < n; ++k) {
        total += exp(z[k * step] - highest);
    }
    return highest + log(total);
}
""",
    "node": """
/* A node of a tree. Its left child is the node after it, and the right child is "next". "test" is 4
   times the place of the cell, plus 0 for a number, 1 for a number whose missing cells go to the
   left, or 2 for a set of states, which starts at "threshold". It is -1 for a leaf, "next". */
typedef struct {
    double threshold;
    int next;
    int test;
} ${p}_node;
""",
}
