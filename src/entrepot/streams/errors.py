"""What goes wrong with a stream of bytes. Each is a :class:`Refusal`, so that a format need not translate it."""

from entrepot.model.errors import Refusal


class Damaged(Refusal):
    """The bytes break their own standard: truncated, wrong magic, a size that lies, trailing bytes
    (``package_damaged``)."""

    def __init__(self, detail: str, **numbers: int | float | str | None) -> None:
        super().__init__("package_damaged", detail, **numbers)


class Hostile(Refusal):
    """The bytes are built to mislead or to exhaust: overlapping members, links, far too many entries
    (``package_hostile``)."""

    def __init__(self, detail: str, **numbers: int | float | str | None) -> None:
        super().__init__("package_hostile", detail, **numbers)


class BudgetExceeded(Hostile):
    """More bytes than the budget allows came out of a reader or a decompressor; ``budget_bytes`` is the budget."""

    def __init__(self, budget_bytes: int, what: str = "The data") -> None:
        super().__init__(
            f"{what} is larger than the {budget_bytes} bytes that are allowed; make that part of the package smaller.",
            budget_bytes=budget_bytes,
        )
        self.budget_bytes = budget_bytes


class OutsideWindow(Hostile):
    """A read touched bytes that lie in neither the head nor the tail of a window."""

    def __init__(self, offset_bytes: int, length_bytes: int, size_bytes: int) -> None:
        super().__init__(
            f"The package keeps what has to be read at byte {offset_bytes} of {size_bytes}, too far from both of its "
            "ends; build it"
            " with its metadata first (or, in a zip, last).",
            offset_bytes=offset_bytes,
            length_bytes=length_bytes,
            size_bytes=size_bytes,
        )
