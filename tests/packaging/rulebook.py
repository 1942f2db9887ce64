"""The alert rules as the tests need them: a reader of the few lines of YAML that the file consists of."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "packaging" / "prometheus" / "entrepot.rules.yml"
DASHBOARD = ROOT / "packaging" / "grafana" / "entrepot.json"

_ALERT = re.compile(
    r"- alert: (?P<name>\w+)\n.*?severity: (?P<severity>\w+)\n"
    r'.*?summary: "(?P<summary>[^"]*)"\n +runbook: "(?P<runbook>[^"]*)"',
    re.DOTALL,
)
_METRIC = re.compile(r"\bentrepot_[a-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of the file."""

    name: str
    severity: str
    summary: str
    runbook: str

    def annotations(self, labels: dict[str, str]) -> dict[str, str]:
        """As Prometheus fills them in."""
        summary = re.sub(r"{{ \$labels\.(\w+) }}", lambda match: labels.get(match[1], ""), self.summary)
        return {"summary": summary, "runbook": self.runbook}


def alerts() -> dict[str, Alert]:
    """Every alert by its name; AssertionError when one was not understood."""
    text = RULES.read_text()
    found = {match["name"]: Alert(**match.groupdict()) for match in _ALERT.finditer(text)}
    assert len(found) == text.count("- alert: "), "an alert lacks severity, summary or runbook, or stands there twice"
    return found


def groups(text: str) -> list[str]:
    """Each group of a rules file as a file of its own: a story needs to play against its alert's group alone."""
    return [f"groups:\n  - name: {group}" for group in text.split("  - name: ")[1:]]


def metrics_named(text: str) -> set[str]:
    """Names of our metrics in expressions."""
    return set(_METRIC.findall(text))
