"""What FidelityDisplay draws of classes, and what of numbers."""

import numpy as np

from sklearn_kd.inspection._number_scores import r2
from sklearn_kd.inspection._plotting import quantile_edges

#: Marker and line of means in bins.
BIN_STYLES = {"student": ("o", "-"), "agreement": ("s", ":")}


class ClassView:
    """Probability of the most probable class of the teacher."""

    columns = ("top_class", "teacher", "student", "student_class", "distance", "weight")
    #: What is averaged in bins, besides the teacher's values, and how the lines are called.
    lines = {"student": "bins: mean", "agreement": "bins: share of the same class"}
    labels = (
        "Teacher: probability of its most probable class",
        "Student: probability of that class",
    )

    def __init__(self, frame):
        self.frame = frame
        self.weight = frame["weight"].to_numpy(dtype=float)
        self.agrees = (frame["top_class"] == frame["student_class"]).to_numpy(dtype=bool)

    def edges(self, n_bins):
        """Return the edges of bins of the teacher's values."""
        return np.arange(n_bins + 1) / n_bins

    def binned(self):
        """Return values of rows whose means in bins are drawn."""
        return {"agreement": self.agrees}

    def points(self):
        """Return masks of rows, their colors and names."""
        return ((self.agrees, "C0", "same class"), (~self.agrees, "C3", "other class"))

    def diagonal(self):
        """Return the ends of the diagonal."""
        return [0, 1]

    def limits(self):
        """Return the limits of the axes."""
        return {"xlim": (self.frame["teacher"].min() - 0.03, 1.02), "ylim": (-0.03, 1.03)}

    def title(self):
        """Return scores of the rows."""
        frame, weight = self.frame, self.weight
        title = f"agreement {np.average(self.agrees, weights=weight):.3f}, "
        title += f"fidelity {1 - np.average(frame['distance'], weights=weight):.3f}"
        if "label" in frame:
            right = [frame[name] == frame["label"] for name in ("top_class", "student_class")]
            teacher, student = (np.average(each, weights=weight) for each in right)
            title += f"\naccuracy: teacher {teacher:.3f}, student {student:.3f}"
        return title


class NumberView:
    """Numbers of one target."""

    columns = ("teacher", "student", "weight")
    lines = {"student": "bins: mean"}
    labels = ("Prediction of the teacher", "Prediction of the student")

    def __init__(self, frame):
        self.frame = frame
        self.weight = frame["weight"].to_numpy(dtype=float)
        self.teacher, self.student = (
            frame[name].to_numpy(dtype=float) for name in ("teacher", "student")
        )

    def edges(self, n_bins):
        """Return the edges of bins of the teacher's values, each of about as many rows."""
        return quantile_edges(self.teacher, self.weight, n_bins)

    def binned(self):
        """Return no more values of rows."""
        return {}

    def points(self):
        """Return a mask of all rows, their color and name."""
        return ((np.ones(len(self.frame), dtype=bool), "C0", "rows"),)

    def diagonal(self):
        """Return the ends of the diagonal."""
        both = np.concatenate([self.teacher, self.student])
        return [both.min(), both.max()]

    def limits(self):
        """Return the limits of the axes, which are those that matplotlib takes."""
        return {}

    def title(self):
        """Return scores of the rows."""
        teacher, student, weight = self.teacher, self.student, self.weight
        distance = np.sqrt(np.average((teacher - student) ** 2, weights=weight))
        title = f"fidelity {r2(teacher, student, weight):.3f}, "
        title += f"root mean squared difference {distance:.4g}"
        if "target" in self.frame:
            y = self.frame["target"].to_numpy(dtype=float)
            scores = (r2(y, values, weight) for values in (teacher, student))
            title += "\nR2: teacher {:.3f}, student {:.3f}".format(*scores)
        return title


def view_of(frame):
    """Return what is drawn of a frame."""
    return ClassView if "top_class" in frame or "distance" in frame else NumberView
