"""How often one address may fail to log in."""

from collections import OrderedDict
from math import ceil

from entrepot.model.addresses import client_group
from entrepot.observe.clock import Clock

ADDRESSES_MAX = 16_384
PERIOD_S = 60.0


class Attempts:
    """Failed log-ins by address: each costs one of ``per_minute``, which come back over a minute.

    Remembers at most ``ADDRESSES_MAX`` addresses, those of the last failures: a flood from many is a flood of 401.
    """

    def __init__(self, per_minute: int, clock: Clock) -> None:
        """Args: ``per_minute`` 0: nobody is ever held up."""
        self._most = per_minute
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, address: str) -> int:
        """Seconds until this address may try again; 0: now."""
        if not self._left:
            return 0
        left = self._left_now(client_group(address))
        return 0 if left >= 1 else ceil((1 - left) * PERIOD_S / self._most)

    def failed(self, address: str) -> None:
        """Somebody there sent what is no valid token."""
        if not self._most:
            return
        key = client_group(address)
        left = max(0.0, self._left_now(key) - 1)
        self._left[key] = (left, self._clock.monotonic())
        self._left.move_to_end(key)
        while len(self._left) > ADDRESSES_MAX:
            self._left.popitem(last=False)

    def _left_now(self, key: str) -> float:
        left, at = self._left.get(key, (float(self._most), 0.0))
        return min(float(self._most), left + (self._clock.monotonic() - at) * self._most / PERIOD_S)
