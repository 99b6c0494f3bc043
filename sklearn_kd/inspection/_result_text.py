"""Text and HTML of results: a sentence and a table."""

import html


def text_of_result(sentence, table):
    """Return a sentence and the text of a DataFrame below it."""
    return f"{sentence}\n\n{table.to_string()}"


def html_of_result(sentence, table):
    """Return a sentence and a DataFrame as HTML, for notebooks."""
    return f"<p>{html.escape(sentence)}</p>\n{table.to_html()}"
