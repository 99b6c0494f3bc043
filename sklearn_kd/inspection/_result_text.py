"""Text and HTML of results: a sentence and a table."""

import html


def text_of_result(sentence, table):
    """Return a sentence and the text of a DataFrame below it, if there is one."""
    if table is None:
        return sentence
    return f"{sentence}\n\n{table.to_string()}"


def html_of_result(sentence, table):
    """Return a sentence and a DataFrame as HTML, for notebooks."""
    text = f"<p>{html.escape(sentence)}</p>"
    return text if table is None else f"{text}\n{table.to_html()}"
