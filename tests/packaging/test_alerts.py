"""The alert rules: valid, each shown to fire at its minute and to be silent before, each with a runbook that exists."""

import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from entrepot.observe import metrics
from tests.packaging.alerts import STORIES, Story
from tests.packaging.rulebook import ROOT, RULES, alerts, groups, metrics_named
from tests.support.process import run


def series_names() -> set[str]:
    """Every series that /metrics can have."""
    endings = {"counter": ("_total",), "histogram": ("", "_bucket", "_sum", "_count")}
    families = list(metrics.registry.collect())
    return {family.name + ending for family in families for ending in endings.get(family.type, ("",))}


def as_test(story: Story) -> dict[str, object]:
    """A story as a test of promtool (its files are YAML, and JSON is YAML)."""
    alert = alerts()[story.alert]
    expected: list[dict[str, object]] = []
    if story.labels is not None:
        annotations = alert.annotations(dict(story.labels))
        shown = {"severity": alert.severity, **story.labels}
        expected.append({"exp_labels": shown, "exp_annotations": annotations})
    moments: list[tuple[int, list[dict[str, object]]]] = [(minute, []) for minute in story.silent_at]
    if expected:
        moments.append((story.fires_at, expected))
    return {
        "name": f"{story.alert}: {story.name}",
        "interval": f"{story.step}m",
        "input_series": [{"series": series, "values": values} for series, values in story.series.items()],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": story.alert, "exp_alerts": wanted} for minute, wanted in moments
        ],
    }


def judge(folder: Path, text: str, stories: Iterable[Story]) -> subprocess.CompletedProcess[str]:
    """Let promtool play the stories against the text of a rules file. Each step of a story evaluates each rule of a
    file, so a file is one group and the stories of one step.
    """
    files = []
    for number, group in enumerate(groups(text)):
        rules = folder / f"rules{number}.yml"
        rules.write_text(group)
        chosen = [story for story in stories if f"- alert: {story.alert}\n" in group]
        for step in sorted({story.step for story in chosen}):
            tests = [as_test(story) for story in chosen if story.step == step]
            file = folder / f"stories{number}-{step}.yml"
            file.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": f"{step}m", "tests": tests}))
            files.append(file)
    assert files
    return subprocess.run(["promtool", "test", "rules", *files], capture_output=True, text=True, check=False)


def test_promtool_accepts_the_rules() -> None:
    """Goal: Prometheus loads the file. Method: promtool check rules."""
    assert "SUCCESS" in run(["promtool", "check", "rules", RULES]).stdout


def test_every_alert_fires_at_its_minute_and_not_before(tmp_path: Path) -> None:
    """Goal: an alert that was never seen to fire is a hope. Method: promtool plays each story, with the exact minute,
    labels and annotations.
    """
    done = judge(tmp_path, RULES.read_text(), STORIES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_story_that_fires_and_one_moment_of_silence() -> None:
    """Goal: no alert joins the file untested. Method: the stories cover the rules, and nothing else."""
    firing = {story.alert for story in STORIES if story.labels is not None}
    silent = {story.alert for story in STORIES if story.silent_at}
    assert firing == set(alerts())
    assert silent == set(alerts())


@pytest.mark.parametrize(
    ("alert", "right", "wrong"),
    [
        ("EntrepotVolumeReadonly", "for: 1m", "for: 3m"),
        ("EntrepotVolumeBroken", 'state="BROKEN"} == 1', 'state="BROKEN"} == 2'),
        ("EntrepotDeviceError", "offset 15m) > 0", "offset 15m) > 1"),
        ("EntrepotDeviceError", 'errno=~"EIO', 'errno=~"ENOSPC|EIO'),
    ],
)
def test_a_wrong_rule_is_noticed(tmp_path: Path, alert: str, right: str, wrong: str) -> None:
    """Goal: the stories judge. Method: a threshold, a wait and a condition are changed; promtool says no."""
    text = RULES.read_text()
    assert right in text
    done = judge(tmp_path, text.replace(right, wrong), [story for story in STORIES if story.alert == alert])
    assert done.returncode != 0
    assert "exp" in done.stdout + done.stderr


def test_every_metric_exists() -> None:
    """Goal: a rule over a metric that is gone is silent for ever. Method: each name is a series of the registry."""
    assert sorted(metrics_named(RULES.read_text()) - series_names()) == []


def test_every_runbook_leads_somewhere() -> None:
    """Goal: who is woken finds what to do. Method: each link's anchor is in the page, and each row's alert exists."""
    page = (ROOT / "docs" / "troubleshoot.md").read_text()
    anchors = set(re.findall(r'<a id="(Entrepot\w+)">', page))
    wanted = set()
    for alert in alerts().values():
        path, _, anchor = alert.runbook.partition("#")
        assert path == "docs/troubleshoot.md"
        wanted.add(anchor)
    assert wanted == anchors
