"""Each alert's story for promtool: what is scraped, the minute at which it must fire, and when it must be silent."""

from collections.abc import Mapping
from dataclasses import dataclass, field

NODE = 'job="entrepot",instance="a"'
PEERS = tuple(f'job="entrepot",instance="{name}"' for name in "abc")
VOLUME = f'{NODE},volume="/data"'
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Story:
    """One series of events. Times are minutes; ``series`` maps a series to promtool's notation of its values, one each
    ``step`` minutes. ``labels`` are the firing alert's, besides its severity; None: it must never fire.
    """

    alert: str
    name: str
    series: Mapping[str, str]
    fires_at: int
    silent_at: tuple[int, ...]
    labels: Mapping[str, str] | None = field(default_factory=dict)
    step: int = 1


def labels(**more: str) -> dict[str, str]:
    """The labels of an alert about node a."""
    return {"job": "entrepot", "instance": "a", **more}


def volume_state(state: str, values: str) -> dict[str, str]:
    """A state's series."""
    return {f'entrepot_volume_state{{{VOLUME},state="{state}"}}': values}


def space(values: str, kind: str = "bytes") -> dict[str, str]:
    """What is available on the volume."""
    return {f'entrepot_volume_{kind}{{{VOLUME},state="available"}}': values}


def unaccounted(values: str) -> dict[str, str]:
    """Leaked bytes on a volume of 100 GiB."""
    return {
        f"entrepot_unaccounted_bytes{{{VOLUME}}}": values,
        f'entrepot_volume_bytes{{{VOLUME},state="size"}}': f"{100 * GIB}x60",
    }


def syncs(slow: str) -> dict[str, str]:
    """Sixty syncs a minute, some of which take more than 2.5 s."""
    return {
        f"entrepot_fsync_seconds_count{{{VOLUME}}}": "0+60x40",
        f'entrepot_fsync_seconds_bucket{{{VOLUME},le="2.5"}}': slow,
    }


def started(*values: str) -> dict[str, str]:
    """When each node says that it started, in seconds since the first minute of the story."""
    return {f"entrepot_node_start_time_seconds{{{peer}}}": each for peer, each in zip(PEERS, values, strict=False)}


def answers(good: str, bad: str, code: str = "no_room") -> dict[str, str]:
    """Uploads taken, and refused with a 5xx."""
    return {
        f'entrepot_upload_answers_total{{{NODE},code="ok",status="2xx"}}': good,
        f'entrepot_upload_answers_total{{{NODE},code="{code}",status="5xx"}}': bad,
    }


def refusals(code: str, values: str) -> dict[str, str]:
    """Refusals of one code."""
    return {f'entrepot_refusals_total{{{NODE},code="{code}"}}': values}


def certificate(values: str) -> dict[str, str]:
    """Days that the certificate has left."""
    return {f"entrepot_tls_certificate_days{{{NODE}}}": values}


DEVICE = labels(errno="EIO", volume="/data")
STORIES: tuple[Story, ...] = (
    Story(
        "EntrepotDeviceError", "the first ever", {f'entrepot_os_errors_total{{{VOLUME},errno="EIO"}}': "_x4 1x40"},
        6, (3, 25), DEVICE,
    ),
    Story(
        "EntrepotDeviceError", "one more than yesterday",
        {f'entrepot_os_errors_total{{{VOLUME},errno="EIO"}}': "3x20 4x40"}, 22, (20, 40), DEVICE,
    ),
    Story(
        "EntrepotDeviceError", "a full disk is no broken one",
        {f'entrepot_os_errors_total{{{VOLUME},errno="ENOSPC"}}': "0+5x30"}, 0, (1, 10, 30), None,
    ),
    Story("EntrepotVolumeBroken", "at once", volume_state("BROKEN", "0x4 1x9"), 5, (4,),
          labels(volume="/data", state="BROKEN")),
    Story("EntrepotVolumeReadonly", "after a minute", volume_state("READONLY", "0x4 1x9"), 6, (4, 5),
          labels(volume="/data", state="READONLY")),
    Story("EntrepotVolumeReadonly", "not for half a minute", volume_state("READONLY", "0x4 1 0x9"), 0, (5, 6, 7), None),
    Story("EntrepotVolumeShed", "after five minutes", volume_state("SHED", "0x4 1x19"), 10, (5, 9),
          labels(volume="/data", state="SHED")),
    # 50 GiB go at 1 GiB a minute: full within the hour from the start, and the page comes after 5 minutes of it.
    Story("EntrepotVolumeFullInAnHour", "a leak of a gibibyte a minute", space(f"{50 * GIB}-{GIB}x40"), 7, (1, 4),
          labels(volume="/data", state="available")),
    Story("EntrepotVolumeFullInAnHour", "inodes go too", space("60000-2000x40", "inodes"), 7, (1, 4),
          labels(volume="/data", state="available")),
    Story("EntrepotVolumeFullInAnHour", "one large upload", space(f"{50 * GIB}x20 {46 * GIB}x40"), 0,
          (10, 22, 25, 40), None),
    Story("EntrepotVolumeFullInSixHours", "a leak of a tenth of that", space(f"{30 * GIB}-{GIB // 10}x90"), 35,
          (10, 25), labels(volume="/data", state="available")),
    Story("EntrepotVolumeFullInSixHours", "room for a day", space(f"{150 * GIB}-{GIB // 10}x90"), 0, (40, 90), None),
    Story("EntrepotUnaccounted", "two hundredths", unaccounted(f"0x4 {2 * GIB}x40"), 10, (4, 9),
          labels(volume="/data")),
    Story("EntrepotUnaccounted", "half a hundredth", unaccounted(f"{GIB // 2}x40"), 0, (10, 40), None),
    Story("EntrepotUnaccountedMuch", "six hundredths", unaccounted(f"0x4 {6 * GIB}x40"), 15, (9, 14),
          labels(volume="/data")),
    Story("EntrepotUnaccountedMuch", "two hundredths", unaccounted(f"{2 * GIB}x40"), 0, (20, 40), None),
    Story("EntrepotLeak", "one that stays", {f'entrepot_leaks{{{NODE},kind="foreign"}}': "0x4 1x20"}, 15, (4, 14),
          labels(kind="foreign")),
    Story("EntrepotLeak", "one that goes by itself", {f'entrepot_leaks{{{NODE},kind="foreign"}}': "0x4 1x3 0x20"},
          0, (6, 15, 20), None),
    Story("EntrepotLeak", "what a crash left", {f'entrepot_leaks{{{NODE},kind="orphan"}}': "3x60"}, 0, (15, 60), None),
    Story("EntrepotSyncStalls", "one in sixty", syncs("0+60x9 599+59x30"), 16, (9, 12), labels(volume="/data")),
    Story("EntrepotSyncStalls", "none", syncs("0+60x40"), 0, (10, 40), None),
    Story("EntrepotDamagedCopies", "the first", {f"entrepot_scrub_damaged_copies{{{NODE}}}": "0x4 1x9"}, 5, (4,),
          labels()),
    # Hours a step; the second round ends on the tenth day, the third never.
    Story("EntrepotScrubLate", "no round for five weeks",
          {f"entrepot_scrub_round_end_time_seconds{{{NODE}}}": "1x239 864000x1000"}, 45 * 1440 + 120,
          (1440 * 20, 45 * 1440 - 60), labels(), 60),
    Story("EntrepotScrubLate", "turned off", {f"entrepot_scrub_round_end_time_seconds{{{NODE}}}": "0x1100"}, 0,
          (60_000,), None, 60),
    Story("EntrepotBackupOld", "two days and an hour", {f"entrepot_last_backup_time_seconds{{{NODE}}}": "1x80"},
          2 * 1440 + 120, (60, 2 * 1440), labels(), 60),
    Story("EntrepotBackupOld", "one each day",
          {f"entrepot_last_backup_time_seconds{{{NODE}}}": "1x24 86400x24 172800x24"},
          0, (1440, 3000, 4200), None, 60),
    Story("EntrepotBackupOld", "none was ever made", {f"entrepot_last_backup_time_seconds{{{NODE}}}": "0x80"}, 0,
          (4800,), None, 60),
    Story("EntrepotAbsent", "nobody is scraped", {"other": "1x20"}, 5, (4,), {}),
    Story("EntrepotNodeDown", "it was there",
          {f"up{{{NODE}}}": "1x9 0x20", **started("0x9 _x20")}, 12, (9, 11), labels()),
    Story("EntrepotNodeDown", "another program's target",
          {f"up{{{NODE}}}": "0x20", 'entrepot_node_start_time_seconds{job="entrepot",instance="b"}': "0x20"}, 0,
          (5, 20), None),
    Story("EntrepotNodeFlaps", "three times", started("0x9 600x9 1200x9 1800x9"), 30, (9, 20, 29), labels()),
    Story("EntrepotNodeFlaps", "a roll-out", started("0x9 600x80"), 0, (12, 40), None),
    Story("EntrepotNodeCannotEnd", "a quarter of an hour",
          {f'entrepot_node_state{{{NODE},state="RECYCLE"}}': "0x4 1x30"}, 20, (5, 19), labels(state="RECYCLE")),
    Story("EntrepotNodesStartedTogether", "within 20 seconds", started("0x90", "10x90", "20x90"), 42, (5, 30, 39),
          {"job": "entrepot"}),
    Story("EntrepotNodesStartedTogether", "a minute and more apart", started("0x90", "60x90", "130x90"), 0, (42, 90),
          None),
    Story("EntrepotNodesStartedTogether", "two are no fleet", started("0x90", "10x90"), 0, (42, 90), None),
    # Two nodes are replaced after a day, one is not. Ten minutes a step.
    Story("EntrepotNodeFarOlder", "one that nothing replaces",
          started("0x170", "0x144 87000x25", "0x144 87060x25"), 1530, (1440, 1450, 1500), labels(), 10),
    Story("EntrepotNodeFarOlder", "all are old", started("0x170", "60x170", "400x170"), 0, (1500, 1700), None, 10),
    Story("EntrepotClockAhead", "by ten seconds", {f"entrepot_clock_seconds{{{NODE}}}": "0+60x4 310+60x20"}, 7, (4, 6),
          labels()),
    Story("EntrepotClockAhead", "behind", {f"entrepot_clock_seconds{{{NODE}}}": "-100+60x20"}, 0, (5, 20), None),
    Story("EntrepotIndexDateAhead", "by ten seconds",
          {f"entrepot_index_date_ahead_seconds{{{NODE}}}": "0x4 10x20"}, 7, (4, 6), labels()),
    Story("EntrepotLoopLag", "a second", {f"entrepot_loop_lag_seconds{{{NODE}}}": "0x4 1x20"}, 10, (4, 9), labels()),
    Story("EntrepotLogLinesDropped", "once", {f"entrepot_log_lines_dropped_total{{{NODE}}}": "0x9 40x30"}, 11, (9, 25),
          labels()),
    # One upload in twenty fails from minute 60: the hour's window crosses 1.44 % a quarter of an hour later.
    Story("EntrepotUploadBudgetBurns", "one in twenty", answers("0+19x60 1159+19x120", "0+1x1 1x59 2+1x120"), 85,
          (30, 60, 70), {"job": "entrepot"}),
    Story("EntrepotUploadBudgetBurns", "it is over", answers("0+20x180", "0+10x20 200x160"), 0, (60, 90), None),
    Story("EntrepotUploadBudgetBurns", "a quota is the owner's business", answers("0+20x120", "0+10x120",
          "quota_exceeded"), 0, (30, 90), None),
    Story("EntrepotUploadBudgetBurns", "one upload a day", answers("0x120", "0x60 1x60"), 0, (62, 65, 90), None),
    Story("EntrepotUploadBudgetBurnsSlowly", "one in a hundred", answers("0+990x48", "0+10x48"), 60, (0,),
          {"job": "entrepot"}, 10),
    Story("EntrepotUploadBudgetBurnsSlowly", "one in a thousand", answers("0+999x48", "0+1x48"), 0, (60, 400), None,
          10),
    Story("EntrepotRefusalsStay", "as many as half an hour ago", refusals("no_room", "0+10x60"), 45, (5, 20),
          labels(code="no_room")),
    Story("EntrepotRefusalsStay", "others take the traffic", refusals("no_room", "0+10x15 150x60"), 0, (20, 45, 60),
          None),
    Story("EntrepotInternalErrors", "the first", refusals("internal", "_x4 1x40"), 6, (3, 25), labels(code="internal")),
    Story("EntrepotInternalErrors", "one more", refusals("internal", "5x20 6x40"), 22, (20, 40),
          labels(code="internal")),
    Story("EntrepotPublicationLags", "five minutes of it",
          {f"entrepot_publication_lag_seconds{{{NODE}}}": "0x4 150+60x20"}, 10, (4, 9), labels()),
    Story("EntrepotPublicationFails", "again and again",
          {f'entrepot_publication_failures_total{{{NODE},format="debian"}}': "0x4 0+1x40"}, 18, (4, 8), labels()),
    Story("EntrepotPublicationFails", "once", {
          f'entrepot_publication_failures_total{{{NODE},format="debian"}}': "0x9 1x40"}, 0, (12, 20), None),
    Story("EntrepotCertificateExpires", "thirteen days", certificate("15x4 13.9x30"), 15, (4, 14), labels()),
    Story("EntrepotCertificateExpires", "no TLS", certificate("inf+0x40"), 0, (20, 40), None),
    Story("EntrepotCertificateExpiresSoon", "and when it has", certificate("2x4 1.9-1x30"), 6, (4, 5), labels()),
    Story("EntrepotCertificateRefused", "a quarter of an hour",
          {f"entrepot_tls_renewal_failed{{{NODE}}}": "0x4 1x30"}, 20, (5, 19), labels()),
    Story("EntrepotSigningKeyEnds", "thirty days before",
          {f"entrepot_signing_key_expiry_days{{{NODE}}}": "30x4 29.9x30"}, 16, (4, 14), labels()),
    Story("EntrepotSigningKeyEnds", "none of them ends",
          {f"entrepot_signing_key_expiry_days{{{NODE}}}": "inf+0x30"}, 0, (12, 30), None),
    Story("EntrepotCanaryFails", "three in a row",
          {f'entrepot_canary_failures_in_row{{{NODE},format="rpm"}}': "0 1 2 3 0"}, 3, (2, 4), labels(format="rpm")),
)  # fmt: skip
