"""Clock, logs, metrics and health."""

import io
import json
import logging
import re
import threading
import time
from collections.abc import Iterator

import pytest

from entrepot.observe import logs, metrics
from entrepot.observe.clock import FixedClock, SystemClock
from entrepot.observe.health import CHECKS_MAX, CheckResult, HealthRegistry, Heartbeat

TOKEN = "0123456789abcdef" * 3


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers = list(root.handlers)
    yield
    logs.close()
    root.handlers = handlers


def _lines(stream: io.StringIO) -> list[dict[str, object]]:
    logs.close()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_system_clock_agrees_with_the_machine() -> None:
    """Goal: wall time in seconds since 1970, monotonic time that moves."""
    clock = SystemClock()
    assert abs(clock.now() - time.time()) < 5
    assert clock.now_s() == pytest.approx(clock.now(), abs=2)
    assert clock.monotonic() <= clock.monotonic()


def test_fixed_clock_moves_only_when_told() -> None:
    """Goal: both clocks advance together, the wall clock alone can be set back."""
    clock = FixedClock(now=100.9)
    before = clock.monotonic()
    assert clock.now_s() == 100
    clock.advance(2.5)
    assert clock.now() == pytest.approx(103.4)
    assert clock.monotonic() == before + 2.5
    clock.set(50)
    assert (clock.now(), clock.monotonic()) == (50, before + 2.5)
    with pytest.raises(ValueError, match="forwards"):
        clock.advance(-1)


def test_a_log_line_is_one_json_object_with_time_level_and_name() -> None:
    """Goal: machine-readable lines, below the level nothing. Method: a fixed clock and a stream in memory."""
    stream = io.StringIO()
    logs.configure("info", stream=stream, clock=FixedClock(0))
    log = logs.get("entrepot.test")
    log.debug("not shown")
    log.info("upload ended", size_bytes=12, text="two\nlines")
    line = {"time": "1970-01-01T00:00:00.000Z", "level": "info", "source": "entrepot.test", "event": "upload ended"}
    assert _lines(stream) == [{**line, "size_bytes": 12, "text": "two\nlines"}]


def test_console_style_is_for_people() -> None:
    """Goal: the other style writes plain text."""
    stream = io.StringIO()
    logs.configure("info", "console", stream=stream)
    logs.get("x").warning("disk is full", free_bytes=0)
    logs.close()
    assert "disk is full" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize(
    "fields",
    [
        {"token": "abc"},
        {"Authorization": "Basic abc"},
        {"path": f"/priv/{TOKEN}/user/repo"},
        {"path": "/priv/short-one-that-is-no-token/user/repo"},
        {"url": f"https://{TOKEN}:@example.org/x"},
        {"url": "postgresql://user:hunter22@db/x"},
        {"header": "Bearer abcdefghijklmnopqrst"},
        {"detail": ["a", TOKEN]},
        {"key": "-----BEGIN PGP PRIVATE KEY BLOCK-----\nabc\n-----END PGP PRIVATE KEY BLOCK-----"},
    ],
)
def test_secrets_are_hidden(fields: dict[str, object]) -> None:
    """Goal: tokens, passwords and keys never reach a log, whatever field they are in."""
    stream = io.StringIO()
    logs.configure(stream=stream)
    logs.get("x").error("mistake", **fields)
    text = str(_lines(stream))
    assert logs.HIDDEN in text
    for secret in (TOKEN, "hunter22", "short-one", "abc", "abcdefgh"):
        assert secret not in text


def test_digests_are_not_taken_for_tokens() -> None:
    """Goal: sha256, sha1 and md5 stay readable in logs: they are what one greps for."""
    stream = io.StringIO()
    logs.configure(stream=stream)
    logs.get("x").info("stored", sha256="ab" * 32, sha1="cd" * 20)
    assert _lines(stream)[0]["sha256"] == "ab" * 32


def test_a_stuck_collector_does_not_stop_the_caller() -> None:
    """Goal: when nobody reads standard output, lines are dropped and counted, and logging returns at once."""

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            released.wait(20)
            return super().write(text)

    released = threading.Event()
    logs.configure(stream=Stuck())
    log = logs.get("x")
    before = metrics.log_lines_dropped_total._value.get()
    began = time.monotonic()
    for number in range(logs.LINES_QUEUED_MAX + 100):
        log.info("line", number=number)
    assert time.monotonic() - began < 15
    assert metrics.log_lines_dropped_total._value.get() - before >= 90
    released.set()


def test_a_closed_stream_does_not_raise() -> None:
    """Goal: a server whose standard output is gone goes on working."""
    stream = io.StringIO()
    logs.configure(stream=stream)
    stream.close()
    logs.get("x").info("nobody hears this")
    logs.close()


def test_what_libraries_say_goes_the_same_way() -> None:
    """Goal: a warning of a library through the standard module comes out as one of our lines."""
    stream = io.StringIO()
    logs.configure(stream=stream)
    logging.getLogger("some.library").warning("odd: %s", 5)
    logging.getLogger("some.library").info("chatter")
    assert [(line["source"], line["event"], line["level"]) for line in _lines(stream)] == [
        ("some.library", "odd: 5", "warning")
    ]


def test_metrics_render_with_our_names_only() -> None:
    """Goal: one registry, one prefix, no secret labels. Method: read the text format back."""
    metrics.uploads_total.labels("debian", "ok").inc()
    text = metrics.render().decode()
    assert 'entrepot_uploads_total{code="ok",format="debian"}' in text
    names = re.findall(r"^# HELP (\S+)", text, re.MULTILINE)
    assert names
    assert all(name.startswith("entrepot_") for name in names)


def test_health_runs_every_check_and_survives_a_broken_one() -> None:
    """Goal: a probe always gets an answer, in a stable order; names are unique and few."""
    health = HealthRegistry()
    health.add("b", lambda: CheckResult(True))

    def broken() -> CheckResult:
        raise OSError("gone")

    health.add("a", broken)
    assert dict(health.run()) == {
        "a": CheckResult(False, "the check itself failed: OSError"),
        "b": CheckResult(True),
    }
    with pytest.raises(ValueError, match="exists"):
        health.add("a", broken)
    for number in range(CHECKS_MAX - 2):
        health.add(f"c{number}", broken)
    with pytest.raises(ValueError, match="more than"):
        health.add("one too many", broken)


def test_heartbeat_fails_after_the_stall_and_recovers() -> None:
    """Goal: a stuck loop is found in time and a beat heals it; a wall clock that jumps does not matter."""
    clock = FixedClock()
    heart = Heartbeat(clock, "The event loop", stall_s_max=10)
    clock.advance(10)
    clock.set(0)
    assert heart.check().ok
    clock.advance(0.5)
    assert heart.check() == CheckResult(False, "The event loop has not moved for 10 s")
    heart.beat()
    assert heart.age_s() == 0
    assert heart.check().ok
