"""The Grafana dashboard: of the shape that Grafana imports, without overlaps, and with expressions that parse."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.rulebook import DASHBOARD, metrics_named
from tests.packaging.test_alerts import series_names
from tests.support.process import run

GRID_COLUMNS = 24
KINDS = {"row", "stat", "timeseries", "state-timeline"}


@pytest.fixture(scope="module")
def dashboard() -> Any:
    """The document."""
    return json.loads(DASHBOARD.read_text())


def expressions(dashboard: Any) -> Iterator[str]:
    """Every query of every panel."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def test_grafana_can_import_it(dashboard: Any) -> None:
    """Goal: Grafana 10 and later take the file. Method: what its importer reads is there: schema, unique ids, panels
    of kinds that come with it, the data source as a variable and never by a name of some installation.
    """
    assert dashboard["schemaVersion"] >= 36
    assert dashboard["uid"]
    assert dashboard["title"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    assert {panel["type"] for panel in dashboard["panels"]} == KINDS
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            continue
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
        assert panel["fieldConfig"]["defaults"]["unit"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    assert variables == {"datasource", "job", "instance", "volume"}
    used = set(re.findall(r"\$(\w+)", " ".join(expressions(dashboard)))) - {"__rate_interval"}
    assert used <= variables


def test_panels_lie_side_by_side(dashboard: Any) -> None:
    """Goal: nothing covers anything. Method: each cell of the grid belongs to one panel at most."""
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= GRID_COLUMNS
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} covers {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_every_expression_parses(dashboard: Any, tmp_path: Path) -> None:
    """Goal: no panel shows an error. Method: with Grafana's variables filled in, promtool takes each expression as a
    recording rule.
    """
    rules = []
    for number, text in enumerate(expressions(dashboard)):
        filled = text.replace("$__rate_interval", "5m")
        rules.append({"record": f"panel:{number}", "expr": re.sub(r"\$(job|instance|volume)\b", ".+", filled)})
    assert len(rules) > 20
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert "SUCCESS" in run(["promtool", "check", "rules", file]).stdout


def test_every_metric_exists(dashboard: Any) -> None:
    """Goal: no panel is empty for ever. Method: each name is a series of the registry, or recorded by the rules."""
    named = metrics_named(json.dumps(dashboard))
    assert sorted(named - series_names()) == []


def test_what_an_operator_asks_first_is_there(dashboard: Any) -> None:
    """Goal: the figures that matter are not lost in an edit. Method: their metrics."""
    assert metrics_named(" ".join(expressions(dashboard))) >= {
        "entrepot_volume_bytes",
        "entrepot_volume_state",
        "entrepot_volume_threshold_bytes",
        "entrepot_upload_answers_total",
        "entrepot_refusals_total",
        "entrepot_upload_seconds_bucket",
        "entrepot_publication_lag_seconds",
        "entrepot_node_start_time_seconds",
    }
