"""Guards chosen by hand for `mutate.py`, and those that no test can notice."""

# ruff: noqa: E501 (an edit's text stands on one line)

from dataclasses import dataclass

CUT = "tests/fault/test_power_cut.py::test_what_was_answered_survives"
SAME = "tests/fault/test_races.py::test_the_same_file_twice_at_once"
BODIES = "tests/web/test_bad_input.py"
LEDGER = "tests/disk/test_ledger.py"
WATCH = "tests/disk/test_watch.py"
STORE_CUT = "tests/storage/test_power_cut.py::test_what_was_acknowledged_survives"
LEAKS = "tests/upkeep/test_leaks.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One guard chosen by hand: ``edits`` are (file below src/entrepot, text, what replaces it); ``test`` must fail."""

    name: str
    edits: tuple[tuple[str, str, str], ...]
    test: str

    @property
    def tests(self) -> tuple[str, ...]:
        """As a found guard has them."""
        return (self.test,)


MUTANTS = (
    Mutant("file-fsync", (("storage/folder.py", "            fs.fsync(fd)\n        key =", "            pass\n        key ="),), STORE_CUT),
    Mutant("folder-fsync", (("storage/folder.py", "                self._syncs[int(key[:2], 16)].sync()\n", "                pass\n"),), STORE_CUT),
    Mutant("catalog-synchronous", (("catalog/engine.py", '"synchronous = FULL"', '"synchronous = OFF"'),), CUT),
    Mutant(
        "log-copied-at-a-start",
        (("catalog/engine.py", "        self.checkpoint()\n        with self.write() as conn:\n", "        with self.write() as conn:\n"),),
        "tests/catalog/test_engine.py::test_starts_after_kills_take_no_more_room",
    ),
    Mutant(
        "answer-before-publication",
        (("publish/publisher.py", "        waiter = self._register(tickets, lambda: _wake(loop, event))\n        if waiter is None:", "        waiter = None\n        if waiter is None:"),),
        "tests/fault/test_races.py::test_two_publications_in_one_second",
    ),
    Mutant(
        "ledger-lock",
        (
            ("disk/ledger.py", "        with self._lock:\n            self._check(need_bytes, need_inodes, from_floor=from_floor)\n", "        if True:\n            self._check(need_bytes, need_inodes, from_floor=from_floor)\n"),
            ("disk/ledger.py", "            now = self.volume.measure()\n", "            now = self.volume.measure()\n            __import__('time').sleep(0.002)\n"),
        ),
        "tests/disk/test_ledger.py::test_sixteen_at_once_never_share_a_byte",
    ),
    Mutant(
        "lease-epoch",
        (
            ("catalog/publications.py", '        s.scope.c.epoch == bindparam("in_epoch"),\n', ""),
            ("catalog/publications.py", '            "in_epoch": new.epoch,\n', ""),
        ),
        "tests/publish/test_fencing.py::test_a_writer_paused_before_its_transaction_is_fenced",
    ),
    Mutant(
        "reservation-release",
        (("intake/intake.py", "        self._intake._room.release_when_published(self._tickets, self._reservations)\n", ""),),
        "tests/intake/test_flow.py",
    ),
    Mutant(
        "abort-after-a-failed-write",
        (("intake/receive.py", "        if self._staged is not None:\n            self._staged.abort()\n", ""),),
        "tests/intake/test_stages.py::test_a_body_that_fails_leaves_nothing",
    ),
    Mutant(
        "name-taken-back",
        (("storage/folder.py", "                with suppress(OSError):\n                    fs.unlink(path, dir_fd=self._blobs)\n                raise\n", "                raise\n"),),
        "tests/storage/test_faults.py::test_error_at_every_call",
    ),
    Mutant(
        "loser-drops-its-copy",
        (("intake/commit.py", "        self._drop([key for owner, key in copies.items() if owner not in used])\n", ""),),
        SAME,
    ),
    Mutant(
        "length-compared",
        (
            ("intake/receive.py", "        if declared_bytes is not None and total != declared_bytes:\n", "        if False:\n"),
            ("web/body.py", "        if self.declared_bytes is not None and self.received_bytes != self.declared_bytes:\n", "        if False:\n"),
            ("web/body.py", "            if self.gone:\n                raise", "            if self.gone:\n                return\n                raise"),
        ),
        BODIES,
    ),
    Mutant("drain", (("web/body.py", "            await body.drain()\n", "            pass\n"), ("web/body.py", "            await body.drain_all()\n", "            pass\n")), BODIES),
    Mutant(
        "short-write-continued",
        (("disk/fs.py", "    while view:\n        most", "    if view:\n        most"),),
        "tests/disk/test_fs.py::test_short_writes_are_continued",
    ),
    Mutant(
        "doubtful-segments-kept",
        (("publish/scope.py", "                new_segments = []\n            raise", "            raise"),),
        "tests/fault/test_syscalls.py::test_a_crash_after_a_commit_that_failed",
    ),
    Mutant(
        "reservation-before-the-body",
        (("disk/ledger.py", "        if need_bytes > left:\n            raise self._no_room(need_bytes, left)\n", ""),),
        f"{LEDGER}::test_outstanding_reservations_count",
    ),
    Mutant(
        "retry-after",
        (("web/problem.py", "    if refusal.kind.retry_after_s is not None:\n", "    if False:\n"),),
        "tests/web/test_parts.py",
    ),
    Mutant(
        "unread-answers-bounded",
        (("node/ports.py", "    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(unread_s_max * 1000))\n", ""),),
        "tests/node/test_ports.py",
    ),
    Mutant(
        "not-modified-only-when-certain",
        (("publish/reader.py", "safe = not shown.second_shared and now_s > shown.date_s", "safe = True"),),
        "tests/consistency/test_clock.py::test_apt_sees_the_second_of_two_publications_in_one_second",
    ),
    Mutant(
        "date-never-goes-back",
        (("publish/scope.py", "date_s = max(now_s, self._date_s)", "date_s = now_s"),),
        "tests/consistency/test_clock.py::test_apt_takes_the_new_index_after_the_clock_was_set_back",
    ),
    Mutant(
        "pair-of-one-generation",
        (("publish/reader.py", "        if pair and client_key is not None:\n", "        if False:\n"),),
        "tests/consistency/test_pairs.py::test_apt_without_inrelease_never_meets_a_mix",
    ),
    Mutant(
        "pair-goes-on-after-the-key",
        (("publish/reader.py", "held.goes_on = is_key and held.answered", "held.goes_on = False"),),
        "tests/consistency/test_pairs.py::test_zypper_never_meets_a_mix",
    ),
    Mutant(
        "old-generations-by-digest",
        (
            (
                "publish/reader.py",
                "        return self._index_view(version) if version is not None else None\n",
                "        return self._index_view(version) if version in shown.versions.values() else None\n",
            ),
        ),
        "tests/consistency/test_pairs.py::test_apt_finds_the_index_that_its_release_names",
    ),
    Mutant(
        "range-by-date-only-when-certain",
        (("web/conditional.py", "    return validators.date_vouches and ", "    return "),),
        "tests/consistency/test_ranges.py::test_a_shared_second_allows_no_range_by_date",
    ),
    Mutant(
        "merge-keeps-what-came-meanwhile",
        (("publish/scope.py", "        index.append(tail, content)\n", ""),),
        "tests/consistency/test_model.py::test_apt_sees_the_model_after_every_step",
    ),
    Mutant("quota-in-the-commit", (("catalog/quotas.py", "    if more_bytes > 0 and (over or owner_quota_bytes is not None):\n", "    if False:\n"),), "tests/catalog/test_quotas.py::test_sixty_four_commits_at_once_never_exceed_a_quota"),
    Mutant("quota-claim-ends", (("intake/intake.py", "self._reservations)\n        self._claim.end()\n", "self._reservations)\n"),), "tests/web/test_quotas.py::test_uploads_under_way_count"),
    Mutant("quota-claim-counts", (("intake/claims.py", "                others_bytes = promised_bytes - claim.size_bytes\n", "                others_bytes = 0\n"),), "tests/web/test_quotas.py::test_uploads_under_way_count"),
    Mutant(
        "retire-after-uploads",
        (("node/life.py", "            await self._finish_uploads()\n", ""),),
        "tests/node/test_ending.py::test_a_retiring_node_finishes_what_it_holds",
    ),
    Mutant(
        "retire-signal-first",
        (("node/life.py", "EXIT_STOPPED if self._signalled.is_set() else EXIT_RETIRED", "EXIT_RETIRED"),),
        "tests/node/test_ending.py::test_a_signal_counts_more_than_a_retirement",
    ),
    Mutant(
        "retire-least-age",
        (("node/retire.py", "if self.age_s(now_s) < AGE_S_MIN:", "if False:"),),
        "tests/node/test_ending.py::test_a_cause_that_stays_makes_no_loop",
    ),
    Mutant(
        "retire-supervised",
        (("node/retire.py", "if not self._policy.supervised:", "if False:"),),
        "tests/node/test_ending.py::test_nobody_there_nobody_ends",
    ),
    Mutant(
        "retire-permits",
        (("catalog/nodes.py", "if others >= permits_of(live(conn, now_s)):", "if False:"),),
        "tests/node/test_retire.py::test_no_fleet_loops",
    ),
    Mutant(
        "retire-inborn",
        (("node/retire.py", "if cause in self._inborn:", "if False:"),),
        "tests/node/test_retire.py::test_no_fleet_loops",
    ),
    Mutant(
        "watchdog-in-the-loop",
        (("node/steward.py", "        self._look_at_clock()\n", "        self._look_at_clock()\n        self._notifier.tell(WATCHDOG=1)\n"),),
        "tests/node/test_systemd.py::test_what_the_manager_hears",
    ),
    Mutant(
        "weight-never-zero",
        (("node/condition.py", "WEIGHT_LEAST = 1\n", "WEIGHT_LEAST = 0\n"),),
        "tests/node/test_condition.py::test_weights",
    ),
    Mutant(
        "agent-by-state",
        (("node/condition.py", "    if status.state is State.OK:\n        return 100\n", "    if True:\n        return 100\n"),),
        "tests/node/test_haproxy.py::test_traffic_follows_the_room",
    ),
    Mutant(
        "publication-keeps-its-room",
        (("intake/intake.py", "release_when_published(self._tickets, self._reservations)", "release_when_published((), self._reservations)"),),
        "tests/intake/test_flow.py::test_room_is_handed_over_to_the_publication",
    ),
    Mutant(
        "old-generations-keep-their-share",
        (("node/upkeep.py", "            ledger.keep(self._cap_bytes() - left.total_bytes)\n", "            ledger.keep(0)\n"),),
        "tests/node/test_upkeep.py::test_uploads_leave_old_generations_their_share",
    ),
    Mutant(
        "old-generations-counted-once",
        (("node/upkeep.py", "ledger.keep(self._cap_bytes() - left.total_bytes)", "ledger.keep(self._cap_bytes())"),),
        "tests/node/test_upkeep.py::test_uploads_leave_old_generations_their_share",
    ),
    Mutant(
        "half-the-slots-in-pressure",
        (("intake/admit.py", "(max(1, most // 2) if self._pressed() else most)", "most"),),
        "tests/intake/test_stages.py::test_half_as_many_under_pressure",
    ),
    Mutant(
        "refusals-held-back",
        (("web/holdback.py", "            await asyncio.sleep(random.uniform(self._most_s * HELD_BACK_LEAST, self._most_s))\n", "            await asyncio.sleep(0)\n"),),
        "tests/web/test_holdback.py",
    ),
    Mutant("refusals-held-back-are-few", (("web/holdback.py", " or self._waiting >= HELD_BACK_MAX", ""),), "tests/web/test_holdback.py"),
    Mutant(
        "device-checked-at-each-sample",
        (("disk/volume.py", "        if fs.stat(self.path).st_dev != self.device:\n", "        if False:\n"),),
        f"{WATCH}::test_a_volume_that_vanishes",
    ),
    Mutant(
        "device-checked-at-the-start",
        (("storage/folder.py", "            if fs.fstat(self._blobs).st_dev != ledger.volume.device:\n", "            if False:\n"),),
        "tests/storage/test_folder.py::test_a_folder_on_another_volume",
    ),
    Mutant("read-only-noticed", (("disk/watch.py", "                if now.read_only:\n", "                if False:\n"),), f"{WATCH}::test_read_only_and_back"),
    Mutant(
        "stall-noticed",
        (("disk/watch.py", "        if at_s - oldest >= self._settings.stall_s:\n", "        if False:\n"),),
        f"{WATCH}::test_a_stalled_sync_breaks",
    ),
    Mutant(
        "stall-timed",
        (("disk/watch.py", "            with self._timed():\n                yield\n", "            yield\n"),),
        f"{WATCH}::test_a_stalled_sync_breaks",
    ),
    Mutant(
        "allocation-timed",
        (("disk/ledger.py", "            with self._ledger.volume.observer.calling():", "            if True:"),),
        f"{WATCH}::test_a_call_that_hangs_breaks",
    ),
    Mutant(
        "sample-at-admission",
        (("disk/watch.py", "            self._take(now, reserved_bytes, reserved_inodes)\n", ""),),
        f"{WATCH}::test_full_refuses_uploads_and_not_indexes",
    ),
    Mutant(
        "floor-of-readonly",
        (("disk/watch.py", "return Floor(found.readonly_bytes, found.readonly_inodes, closed)", "return Floor(0, 0, closed)"),),
        f"{WATCH}::test_uploads_never_take_what_is_below_readonly",
    ),
    Mutant(
        "broken-refuses",
        (("disk/watch.py", "        if self.state is State.BROKEN:\n            with", "        if False:\n            with"),),
        f"{WATCH}::test_a_failed_sync_breaks_until_a_trial",
    ),
    Mutant(
        "no-room-closes",
        (("disk/watch.py", "                self._pressure.full(at_s, f\"a write found no room ({_errno_name(error)})\")\n", "                pass\n"),),
        f"{WATCH}::test_two_folders_of_one_volume_share_a_watch",
    ),
    Mutant(
        "ballast-given",
        (("disk/watch.py", "        return self._ballast.give(need_bytes, need_inodes)\n", "        return False\n"),),
        f"{WATCH}::test_at_zero_bytes_an_index_finds_room[tmpfs]",
    ),
    Mutant(
        "leaving-takes-time",
        (("disk/pressure.py", "level.allow(at_s, self._settings.leave_s)", "level.allow(at_s, 0.0)"),),
        f"{WATCH}::test_full_refuses_uploads_and_not_indexes",
    ),
    Mutant(
        "leaving-takes-more-room",
        (("disk/pressure.py", "        return enter + min(int(whole * self._settings.leave_percent / 100), enter)\n", "        return enter\n"),),
        "tests/disk/test_pressure.py",
    ),
    Mutant(
        "leaks-incoming-lock",
        (("storage/sweep.py", "        if not fs.flock(fd):\n            return False\n        with suppress", "        with suppress"),),
        f"{LEAKS}::test_incoming_files_without_an_owner_go_at_once",
    ),
    Mutant(
        "leaks-copy-waiting-for-its-row",
        (("upkeep/orphans.py", "        waiting = self._waiting()\n", "        waiting: Mapping[str, float] = {}\n"),),
        f"{LEAKS}::test_a_copy_between_name_and_row_is_left_alone",
    ),
    Mutant(
        "leaks-store-asked-before-the-catalog",
        (("upkeep/orphans.py", "        waiting = self._waiting()\n        with self._catalog.read() as conn:\n            known = blobs.known_keys(conn, f\"{shards[0]:02x}\", _after(shards[-1]))\n", "        with self._catalog.read() as conn:\n            known = blobs.known_keys(conn, f\"{shards[0]:02x}\", _after(shards[-1]))\n        waiting = self._waiting()\n"),),
        f"{LEAKS}::test_an_upload_that_ends_between_two_questions",
    ),
    Mutant(
        "leaks-seal",
        (("upkeep/orphans.py", "(not entry.is_sealed or sealed[entry.name] >= ORPHAN_S)", "True"),),
        f"{LEAKS}::test_a_sealed_copy_without_a_row_is_kept_for_a_day",
    ),
    Mutant(
        "leaks-bound-of-a-crash",
        (("upkeep/orphans.py", "self._trusted = dead <= CRASH_LEAVINGS_MAX", "self._trusted = True"),),
        f"{LEAKS}::test_more_orphans_than_a_crash_leaves",
    ),
    Mutant(
        "leaks-scratch-in-use",
        (("upkeep/leaks.py", "not self._in_use(stray, found.volume)", "True"),),
        f"{LEAKS}::test_side_files_and_scratch_go_after_a_minute",
    ),
    Mutant(
        "leaks-seal-broken-before-the-row-goes",
        (("upkeep/collect.py", "        self._store.condemn(copy.key for copy in copies)\n", ""),),
        f"{LEAKS}::test_bytes_of_garbage_are_no_leak_while_they_go",
    ),
)  # fmt: skip


# Found guards that no test can notice, and why.
EXCUSED: dict[str, str] = {
    "catalog/lane:Lane._lead:finally1": "the handler beside it catches every exception and raises none",
    "publish/publisher:Publisher._merge_work:finally1": "what the handler beside it does not catch ends the thread, and"
    " with it all merging",
}
