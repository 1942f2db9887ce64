"""Every metric of the product, declared here and nowhere else; :func:`render` gives them in Prometheus' text format.

Labels take values from closed sets only (format names, error codes, volume names), never from
a request: a label per repository or per client would let anyone fill the memory of the server and of its scraper.
"""

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SHORT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_LONG_S = (0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0, 3600.0)

registry = CollectorRegistry(auto_describe=True)
"""Ours alone: the library's default registry would add figures of whatever else is imported."""


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"entrepot_{name}", text, labels, registry=registry)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"entrepot_{name}", text, labels, registry=registry)


def _seconds(name: str, text: str, *labels: str, buckets: tuple[float, ...] = _SHORT_S) -> Histogram:
    return Histogram(f"entrepot_{name}", text, labels, buckets=buckets, registry=registry)


# The way in. `code` of uploads_total is created, same, held, accepted or the code of the refusal.
uploads_total = _counter("uploads_total", "Uploads whose files came whole, by format and outcome", "format", "code")
refusals_total = _counter("refusals_total", "Requests refused, by the code of the error table", "code")
upload_answers_total = _counter(
    "upload_answers_total",
    "Uploads answered, refusals before the body too, by code of the error table (ok: taken) and class of status",
    "code",
    "status",
)
upload_seconds = _seconds("upload_seconds", "From the admission of an upload to its commit", "format", buckets=_LONG_S)
upload_bytes_total = _counter("upload_bytes_total", "Bytes of package files that came whole, refused ones too")
uploads_in_flight = _gauge("uploads_in_flight", "Uploads whose body is being received")
in_flight_bytes = _gauge("in_flight_bytes", "Bytes received by uploads that have not ended")
inspection_seconds = _seconds("inspection_seconds", "Inspection of one package in a child process", "format")
child_deaths_total = _counter("child_deaths_total", "Child processes that crashed or ran out of time or memory")
answers_without_publication_total = _counter(
    "answers_without_publication_total", "Uploads answered before their publication was visible: the wait was over"
)

# Publication.
publications_total = _counter("publications_total", "Publications made visible", "format")
publication_failures_total = _counter(
    "publication_failures_total", "Publications that failed, to be tried again", "format"
)
publication_seconds = _seconds("publication_seconds", "Rendering, signing and committing one publication", "format")
merge_seconds = _seconds("merge_seconds", "Merging one full tail into its base", "format", buckets=_LONG_S)
publication_lag_seconds = _gauge(
    "publication_lag_seconds",
    "Age of the oldest change that no publication of this node shows yet; 0 when there is none",
)
dirty_scopes = _gauge("dirty_scopes", "Scopes whose publication is waited for, runs, or failed and comes again")
signing_key_expiry_days = _gauge(
    "signing_key_expiry_days",
    "Days until the first of the keys that sign now ends; +Inf when none of them does. `entrepot key list` names it",
)
spare_keys = _gauge("spare_keys", "Signing keys made ahead for repositories to come")

# The way out. `route` is a group of routes, `status` a class (2xx).
requests_total = _counter(
    "requests_total", "Requests answered, by group of routes and class of status", "route", "status"
)
request_seconds = _seconds("request_seconds", "From a request's head to the head of its answer", "route")
sent_bytes_total = _counter("sent_bytes_total", "Bytes of package and index files sent")

# Room.
reservation_bytes = _gauge("reservation_bytes", "Bytes promised to uploads and publications", "volume")
# `state` is size, used, reserved or available; of volume_state and volume_threshold_bytes one of the states.
volume_bytes = _gauge("volume_bytes", "Bytes of a volume; available is less what is reserved", "volume", "state")
volume_inodes = _gauge(
    "volume_inodes", "Inodes of a volume, where the file system has a number of them", "volume", "state"
)
volume_state = _gauge("volume_state", "1 for the state that a volume is in, 0 for the others", "volume", "state")
volume_threshold_bytes = _gauge(
    "volume_threshold_bytes", "Available bytes below which a state is entered", "volume", "state"
)
ballast_bytes = _gauge("ballast_bytes", "Bytes kept back to find a way out of a full volume", "volume")
os_errors_total = _counter("os_errors_total", "File calls that failed, by error and volume", "errno", "volume")
fsync_seconds = _seconds("fsync_seconds", "Waiting for the disk: fsync of a file or folder", "volume")
# `kind` is what upkeep.strays calls it.
unaccounted_bytes = _gauge(
    "unaccounted_bytes", "Bytes of a volume that neither the catalog nor a living upload explains", "volume"
)
unaccounted_inodes = _gauge("unaccounted_inodes", "The same for inodes", "volume")
deleted_open_bytes = _gauge(
    "deleted_open_bytes", "Bytes of deleted files that a process leaks by a descriptor", "volume"
)
leaks = _gauge("leaks", "Leaks that are there now, by kind", "kind")
reaper_removed_total = _counter("reaper_removed_total", "Leaks that were removed, by kind", "kind")
incoming_age_seconds_max = _gauge(
    "incoming_age_seconds_max", "Age of the oldest file of a living upload in incoming/, where there are such files"
)
freed_bytes_total = _counter("freed_bytes_total", "Bytes given back by garbage collection")

# Whether the bytes are what they were. A time of 0: never.
scrub_bytes_total = _counter("scrub_bytes_total", "Bytes of copies that were read again and compared")
scrub_copies_total = _counter("scrub_copies_total", "Copies that were read again and compared")
scrub_damaged_copies = _gauge("scrub_damaged_copies", "Copies that are missing or damaged now, as far as is known")
scrub_round_end_time_seconds = _gauge(
    "scrub_round_end_time_seconds",
    "When every copy had been read again the last time, or the first try at it began; seconds since 1970 UTC",
)
last_backup_time_seconds = _gauge(
    "last_backup_time_seconds", "Of when the last complete back-up is, seconds since 1970 UTC; 0: none is known"
)

# The canary: a node's own trial of its front door. `phase` is one of prepare, upload, index, download, yank, gone.
canary_runs_total = _counter(
    "canary_runs_total", "Canary runs by outcome: passed, refused, failed", "format", "outcome"
)
canary_success = _gauge("canary_success", "1 when the last canary run passed, 0 when it failed", "format")
canary_failures_in_row = _gauge(
    "canary_failures_in_row", "Canary runs that failed since the last that passed", "format"
)
canary_seconds = _gauge("canary_seconds", "Seconds of each phase of the last canary run", "format", "phase")

# The node.
clock_seconds = _gauge("clock_seconds", "The node's wall clock at the scrape, seconds since 1970")
loop_lag_seconds = _gauge("loop_lag_seconds", "How late the event loop runs its heartbeat")
node_state = _gauge("node_state", "1 for the state that the node is in, 0 for the others", "state")
node_start_time_seconds = _gauge("node_start_time_seconds", "When the process started, seconds since 1970 UTC")
process_descriptors = _gauge("process_descriptors", "Open descriptors of the server's process, sockets too")
process_resident_bytes = _gauge("process_resident_bytes", "Resident memory of the server's process, without children")
retirements_total = _counter("retirements_total", "The node ended itself to be started anew, by cause", "cause")
index_date_ahead_seconds = _gauge(
    "index_date_ahead_seconds", "By how much the newest index is dated ahead of this clock; apt takes 10"
)
connections_cut_total = _counter(
    "connections_cut_total", "Connections that were cut because their address had too many"
)
tls_certificate_days = _gauge(
    "tls_certificate_days", "Days until the certificate that is served expires; +Inf without TLS of its own"
)
tls_certificate_days.set(math.inf)
tls_renewal_failed = _gauge(
    "tls_renewal_failed", "1 while the certificate's files hold something else than what is served, unfit to be served"
)
log_lines_dropped_total = _counter("log_lines_dropped_total", "Log lines that standard output did not take")


def totals(counter: Counter, label: str) -> dict[str, int]:
    """A counter's values summed up by one of its labels: ``totals(refusals_total, "code")``."""
    found: dict[str, int] = {}
    for family in counter.collect():
        for sample in family.samples:
            if sample.name.endswith("_total"):
                key = sample.labels[label]
                found[key] = found.get(key, 0) + int(sample.value)
    return found


def value(metric: Counter | Gauge) -> float:
    """The value of a counter or a gauge without labels."""
    return next(
        sample.value for family in metric.collect() for sample in family.samples if not sample.name.endswith("_created")
    )


def render() -> bytes:
    """All metrics in the text format that :data:`CONTENT_TYPE` names."""
    return generate_latest(registry)
