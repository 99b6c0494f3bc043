"""Documentation links of the estimators in scikit-learn's HTML representation."""

__all__ = ["DocumentationLinkMixin"]


class DocumentationLinkMixin:
    """Mixin for public estimators: they have no documentation link of scikit-learn's.

    The template is empty as long as the package has no site, and an empty link is not shown.
    """

    _doc_link_module = "sklearn_kd"
    _doc_link_template = ""
