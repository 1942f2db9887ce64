"""Templates and the filters that they share."""

from functools import cache
from typing import TYPE_CHECKING

from entrepot.model.units import size_text

if TYPE_CHECKING:
    from jinja2 import Template


@cache
def template(name: str) -> "Template":
    """A template of this package; everything it shows is escaped, and a name it does not know is an error."""
    # Imported at the first page: apt and dnf never ask for one, and the start is a tenth of a second shorter.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("entrepot.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["size"] = size_text
    environment.filters["duration"] = human_duration
    return environment.get_template(name)


def human_duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3.5 h``, ``4.2 days``."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= (2 if unit == "days" else 1) * length:
            value = seconds / length
            return f"{value:.0f} {unit}" if unit == "min" else f"{value:.1f} {unit}"
    return f"{seconds:.0f} s"
