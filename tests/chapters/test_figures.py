import base64
import re

import matplotlib.pyplot as plt
import pandas as pd

from helpers.chapters.figures import show, show_table


def test_a_figure_carries_text_caption_and_numbers():
    figure, axis = plt.subplots()
    axis.plot([1, 2])
    data = pd.DataFrame({"x": [1, 2], "y": [0.5, 0.25]})
    shown = show(figure, 'a "rising" line', "Rate < 10 %.", data)._repr_html_()
    assert 'alt="a &quot;rising&quot; line"' in shown
    assert "Rate &lt; 10 %." in shown
    numbers = re.search(r"data:text/csv;base64,([^\"]+)", shown).group(1)
    assert base64.b64decode(numbers).decode() == data.to_csv(index=False)
    picture = re.search(r"data:image/png;base64,([^\"]+)", shown).group(1)
    assert base64.b64decode(picture).startswith(b"\x89PNG")
    assert not plt.get_fignums()


def test_a_table_is_escaped_and_marks_what_is_missing():
    shown = show_table(pd.DataFrame({"a": ["<b>", None]}), "Caption")._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "–" in shown
    assert "Caption" in shown
