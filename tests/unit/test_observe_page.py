"""The page on observing a server lists the metrics that there are."""

from __future__ import annotations

import re
from pathlib import Path

from outrider.ports import metrics
from outrider.ports.metrics import Metric

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "observe.md"


def row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |"


def test_the_page_lists_every_metric_as_it_is_and_no_other() -> None:
    listed = [line for line in PAGE.read_text().splitlines() if line.startswith("| `outrider_")]
    assert listed == [row(metric) for metric in (*metrics.SERVER, *metrics.VAULT)]


def test_names_carry_their_unit_and_labels_are_few() -> None:
    for metric in (*metrics.SERVER, *metrics.VAULT):
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert len(metric.labels) <= 3, metric.name
        assert (metric.buckets != ()) == (metric.kind == "histogram"), metric.name


def test_queries_on_the_page_name_metrics_that_there_are() -> None:
    names = {metric.name for metric in (*metrics.SERVER, *metrics.VAULT)}
    for found in re.findall(r"\boutrider_[a-z_]+", PAGE.read_text()):
        assert found in names or re.sub(r"_(bucket|sum|count)$", "", found) in names, found
