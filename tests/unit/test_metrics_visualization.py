"""The ROC curve and the confusion matrix as figures: what they show, and where they are written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.errors import DataError
from sightline.metrics import compute_auroc, plot_confusion_matrix, plot_roc_curve

STARTS = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


def texts(figure: Any) -> str:
    """Every piece of text in the figure."""
    from matplotlib.text import Text

    return "\n".join(one.get_text() for one in figure.findobj(Text))


def some_scores() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 3000)
    return random.normal(size=3000) + labels, labels


def test_the_curve_is_drawn_with_its_area() -> None:
    scores, labels = some_scores()
    figure = plot_roc_curve(scores, labels)
    area = compute_auroc(scores, labels)
    assert f"AUROC {area:.3f}" in texts(figure)
    assert f"{(labels == 0).sum()} normal, {labels.sum()} anomalous" in texts(figure)
    across, up = (np.asarray(one) for one in figure.axes[0].lines[1].get_data())
    assert (across[0], up[0], across[-1], up[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(up, across) == pytest.approx(area, abs=1e-3)


def test_the_matrix_shows_truth_in_rows() -> None:
    figure = plot_confusion_matrix([1, 1, 1, 0, 0, 1], [1, 1, 0, 0, 0, 0])
    axes = figure.axes[0]
    cells = {tuple(round(x) for x in one.get_position()): one.get_text() for one in axes.texts}
    # Matplotlib's place is (column, row): 2 normal called so, 2 false alarms, none missed, 2 found.
    assert cells == {(0, 0): "2", (1, 0): "2", (0, 1): "0", (1, 1): "2"}
    assert [one.get_text() for one in axes.get_yticklabels()] == ["normal", "anomalous"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.5, 0.5], [0, 1]])


@pytest.mark.parametrize("suffix", STARTS)
def test_both_are_written_where_asked(suffix: str, tmp_path: Path) -> None:
    for number, plot in enumerate((plot_roc_curve, plot_confusion_matrix)):
        path = tmp_path / "new" / f"figure{number}{suffix}"
        plot([0, 1, 1, 0], [0, 1, 0, 1], str(path))
        assert path.read_bytes().startswith(STARTS[suffix])
    assert len(list((tmp_path / "new").iterdir())) == 2, "no half-written file stays"


def test_a_single_class_is_a_sentence(tmp_path: Path) -> None:
    figure = plot_roc_curve([1.0, 2.0], [0, 0], tmp_path / "a.png")
    assert "no ROC curve of one class (2 normal, 0 anomalous)" in texts(figure)
    assert (tmp_path / "a.png").stat().st_size > 0
    assert "no image is anomalous" in texts(plot_confusion_matrix([0, 1], [0, 0]))
    assert "no image is normal" in texts(plot_confusion_matrix([0, 1], [1, 1]))
    assert "There are no images" in texts(plot_confusion_matrix([], []))
    assert "0 normal, 0 anomalous" in texts(plot_roc_curve([], []))


def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for bad in (tmp_path / "a.txt", tmp_path, tmp_path / "noend"):
        with pytest.raises(DataError, match=r"\.pdf, \.png, \.svg"):
            plot_roc_curve([0.0, 1.0], [0, 1], bad)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written") as caught:
        plot_confusion_matrix([0, 1], [0, 1], tmp_path / "file" / "a.png")
    assert str(tmp_path / "file" / "a.png") in str(caught.value)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(DataError, match="alarm = score > threshold"):
        plot_confusion_matrix([0.3, 0.9], [0, 1])
    with pytest.raises(DataError, match="2 predictions"):
        plot_confusion_matrix([0, 1, 1], [0, 1])
    with pytest.raises(DataError, match="NaN"):
        plot_roc_curve([np.nan, 1.0], [0, 1])


def test_no_display_and_no_pyplot_is_needed(tmp_path: Path) -> None:
    code = (
        "import sys, sightline.metrics as m\n"
        "assert 'matplotlib' not in sys.modules and 'numpy' not in sys.modules\n"
        "m.plot_roc_curve([0.1, 0.9], [0, 1], sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    path = tmp_path / "a.png"
    environment = {"PATH": "", "MPLBACKEND": "tkagg", "MPLCONFIGDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, str(path)], env=environment, check=True)
    assert path.exists()
