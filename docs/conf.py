"""Configuration of Sphinx for the documentation site.

    sphinx-build -W --keep-going -j 2 docs docs/_build/html

The build runs the scripts ``examples/plot_*.py``. The URLs of the repository and of the site are
read from pyproject.toml.
"""

import inspect
import os
import re
import tomllib
from importlib import import_module
from pathlib import Path

from docutils import nodes
from sphinx_gallery.sorting import ExplicitOrder

import sklearn_kd

DOCS = Path(__file__).parent
ROOT = DOCS.parent
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
SOURCE_URL = URLS["Source"]

project = "sklearn_kd"
copyright = "The sklearn_kd developers"
version = release = sklearn_kd.__version__
REVISION = "main" if ".dev" in release else f"v{release}"

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.linkcode",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "**/GALLERY_HEADER.rst"]
default_role = "literal"  # single backticks in docstrings

# Markdown: links to headings have the anchors that they have on a code host
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

# API pages
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False  # the templates list the members
toc_object_entries_show_parents = "hide"

# The inventories of other projects need a network: they are read on demand, so that a build
# neither warns nor waits where they cannot be had. References to these projects then remain text.
if os.environ.get("INTERSPHINX"):
    intersphinx_mapping = {
        "numpy": ("https://numpy.org/doc/stable", None),
        "pandas": ("https://pandas.pydata.org/docs", None),
        "python": ("https://docs.python.org/3", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "skorch": ("https://skorch.readthedocs.io/en/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }

# The examples in the order of the guide, and the tutorials. Those that are not listed are last.
GALLERY_ORDER = [
    "plot_benchmark.py",
    "plot_width_curve.py",
    "plot_grid_search_width.py",
    "plot_regression.py",
    "plot_intervals.py",
    "plot_kernel_teacher.py",
    "plot_fewer_inputs.py",
    "plot_label_errors.py",
    "plot_compression_curve.py",
    "plot_deploy.py",
    "plot_deferral.py",
    "plot_table_to_service.py",
    "plot_wrong_labels_table.py",
    "plot_small_image_model.py",
    "*",
]

# Gallery: every plot_*.py in examples and in those of its folders that have a GALLERY_HEADER.rst
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "ignore_pattern": r"(^|[/\\])(?!plot_)[^/\\]*$",
    "within_subsection_order": ExplicitOrder(GALLERY_ORDER),
    "backreferences_dir": "api/generated/backreferences",
    "doc_module": ("sklearn_kd",),
    "parallel": 2,
    "download_all_examples": False,
    "write_computation_times": False,
    "abort_on_example_error": True,
}

# Site
html_theme = "pydata_sphinx_theme"
html_title = "sklearn_kd"
html_baseurl = URLS["Documentation"]
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source = False
html_sidebars: dict[str, list[str]] = {"*": []}  # of pages that are not part of a section
html_theme_options = {
    "header_links_before_dropdown": 5,
    "icon_links": [{"name": "Source", "url": SOURCE_URL, "icon": "fa-solid fa-code"}],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
linkcheck_ignore = [re.escape(SOURCE_URL), re.escape(URLS["Documentation"])]  # published later


def linkcode_resolve(domain, info):
    """Return the URL of the lines that define an object of the package."""
    value = import_module(info["module"])
    for name in info["fullname"].split("."):
        value = getattr(value, name, None)
    try:
        value = inspect.unwrap(getattr(value, "fget", value))
        lines, start = inspect.getsourcelines(value)
        path = Path(inspect.getsourcefile(value)).resolve().relative_to(ROOT)
    except (OSError, TypeError, ValueError):  # attributes, and what other packages define
        return None
    return f"{SOURCE_URL}/blob/{REVISION}/{path}#L{start}-L{start + len(lines) - 1}"


# The pages link to files of the repository by relative paths, which work where the repository is
# browsed. On the site they lead to the gallery, or to the file on the code host.
RELATIVE_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def site_links(text, folder, page_folder):
    """Replace the links of a page that is read in `folder` by those of the site."""

    def replace(match):
        target = Path(os.path.normpath(folder / match[1]))
        name = target.relative_to(ROOT).as_posix()
        if name == "CONTRIBUTING.md":
            target = DOCS / "contributing.md"
        elif re.fullmatch(r"examples/(tutorials/)?plot_\w+\.py", name):
            target = DOCS / name.replace("examples/", "auto_examples/", 1).replace(".py", ".rst")
        elif not target.is_relative_to(DOCS):
            return f"{SOURCE_URL}/{'tree' if target.is_dir() else 'blob'}/{REVISION}/{name}"
        return Path(os.path.relpath(target, page_folder)).as_posix()

    return RELATIVE_LINK.sub(replace, text)


def rewrite_page(app, docname, source):
    """Replace the relative links of a page."""
    path = Path(app.env.doc2path(docname))
    if path.suffix == ".md":
        source[0] = site_links(source[0], path.parent, path.parent)


def rewrite_included(app, relative_path, parent_docname, source):
    """Replace the relative links of a file that a page includes."""
    page_folder = Path(app.env.doc2path(parent_docname)).parent
    source[0] = site_links(source[0], (DOCS / relative_path).parent, page_folder)


def plain_reference(app, env, node, contnode):
    """Keep references of inherited docstrings of scikit-learn as text without its inventory."""
    if not node["refdoc"].startswith("api/generated/") or node["reftype"] not in ("ref", "term"):
        return None
    is_label = node["reftype"] == "ref" and not node["refexplicit"]  # no text for readers
    return nodes.Text("the documentation of scikit-learn") if is_label else contnode


def setup(app):
    """Connect the functions above; scikit-learn's references are last, after its inventory."""
    app.connect("source-read", rewrite_page)
    app.connect("include-read", rewrite_included)
    app.connect("missing-reference", plain_reference, priority=900)
