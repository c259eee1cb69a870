"""Medians, ratios and goals as tables, for the terminal and for docs/performance.md."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from benchmarks.bench import Bench
from benchmarks.client import Metrics
from benchmarks.machine import Machine

OURS = "ours"
REFERENCE = "synapse"
MARKS = {"failed": "failed", "not_yet": "had nothing to measure"}
HIGHER_IS_BETTER = ("_per_s", "_gain")

Rounds = Mapping[str, Sequence[Metrics]]  # by side
Scenarios = Mapping[str, Callable[[Bench], object]]


@attrs.frozen
class Goal:
    """A bound on the ratio to the reference, or (`own`) on our figure itself."""

    bound: float
    own: bool = False

    def text(self, metric: str) -> str:
        sign = "≥" if metric.endswith(HIGHER_IS_BETTER) else "≤"
        return f"{sign} {self.bound:g}" + (" (itself)" if self.own else "x")

    def met(self, metric: str, ours: float, ratio: float | None) -> bool | None:
        """None when there is nothing to compare with."""
        figure = ours if self.own else ratio
        if figure is None:
            return None
        return figure >= self.bound if metric.endswith(HIGHER_IS_BETTER) else figure <= self.bound


GOALS = {
    ("send_seq", "p50_ms"): Goal(0.12),
    ("send_rooms", "sends_per_s"): Goal(15),
    ("send_shared", "sends_per_s"): Goal(10),
    ("big_room", "sends_per_s"): Goal(15),
    ("receipts", "receipts_per_s"): Goal(3),
    ("send_beside_busy", "p50_rise"): Goal(2, own=True),
    ("sync_latency", "p50_ms"): Goal(0.12),
    ("sync_fanout", "p50_ms"): Goal(0.1),
    ("initial_sync", "p50_ms"): Goal(0.08),
    ("initial_sync", "other_session_rise"): Goal(0.3, own=True),
    ("initial_sync_unread", "first_ms"): Goal(0.1),
    ("initial_sync_unread", "other_session_p50_ms"): Goal(0.2),
    ("real_clients", "sends_per_s"): Goal(15),
    ("real_clients", "p50_ms"): Goal(0.1),
    ("pushers", "pushes_per_s"): Goal(10),
    ("pushers", "push_p50_ms"): Goal(0.1),
    ("presence", "cpu_ms"): Goal(0.2),
    ("search", "p50_ms"): Goal(0.2),
    ("search", "rank_p50_ms"): Goal(0.2),
    ("search", "element_p50_ms"): Goal(0.2),
    ("search", "chinese_found_gain"): Goal(1, own=True),
    ("hierarchy", "p50_ms"): Goal(0.2),
    ("public_rooms", "p50_ms"): Goal(0.1),
    ("public_rooms", "term_p50_ms"): Goal(0.1),
    ("user_directory", "p50_ms"): Goal(0.2),
    ("sliding_sync", "first_p50_ms"): Goal(0.05),
    ("sliding_sync", "p50_ms"): Goal(0.1),
    ("sliding_sync", "scroll_s"): Goal(0.1),
    ("sliding_sync", "full_s"): Goal(0.2),
    ("sliding_large", "first_p50_ms"): Goal(0.05),
    ("sliding_large", "p50_ms"): Goal(0.1),
    ("sliding_large", "scroll_s"): Goal(0.1),
    ("sliding_large", "full_s"): Goal(0.2),
    ("messages", "requests_per_s"): Goal(10),
    ("keys_query", "p50_ms"): Goal(0.1),
    ("keys_claim", "p50_ms"): Goal(0.1),
    ("to_device", "p50_ms"): Goal(0.1),
    ("to_device", "deliveries_per_s"): Goal(10),
    ("e2ee_send", "p50_ms"): Goal(0.1),
    ("e2ee_latency", "p50_ms"): Goal(0.12),
    ("fed_fanout", "told_per_s"): Goal(10),
    ("fed_inbound", "one_room_per_s"): Goal(10),
    ("fed_inbound", "many_rooms_per_s"): Goal(10),
    ("fed_join", "join_s"): Goal(0.2),
    ("fed_backfill", "whole_s"): Goal(0.2),
    ("fed_resolution", "merged_s"): Goal(0.2),
    ("fed_resolution", "main_mb"): Goal(0.5),
    ("fed_hostile", "p99_rise"): Goal(1.5, own=True),
    ("media", "downloads_per_s"): Goal(5),
    ("media", "crowd_downloads_per_s"): Goal(5),
    ("media", "download_cpu_ms"): Goal(0.2),
    ("media", "peak_mb"): Goal(0.3),
    ("send_beside_media", "p99_rise"): Goal(1.5, own=True),
    ("redact", "redactions_per_s"): Goal(100),
    ("redact_banned", "redactions_per_s"): Goal(100),
    ("redact_spammers", "redactions_per_s"): Goal(50),
    ("redact_spammers", "p99_rise"): Goal(2, own=True),
    ("redact_many", "two_workers_gain"): Goal(1.7, own=True),
    ("redact_many", "single_two_workers_gain"): Goal(1.7, own=True),
    ("purge_room", "events_per_s"): Goal(10),
    ("purge_large", "events_per_s"): Goal(10),
    ("purge_large", "p99_rise"): Goal(1.5, own=True),
    ("purge_large", "oldest_transaction_s"): Goal(1, own=True),
    ("memory", "main_mb"): Goal(0.5),
    ("start", "first_answer_s"): Goal(0.5),
}

# What keeps our figure from being better, once somebody has looked; kept by hand.
BOUNDS: dict[str, str] = {
    "register_login": "One password hash a request (argon2id, two threads; Synapse: bcrypt, 12 rounds).",
    "send_seq": "Waiting: two round trips to PostgreSQL, the second with the commit to disk, and two hops between threads.",
    "send_rooms": "CPU: a send costs 1.06 ms of the main process (HTTP about half, the batch a quarter, the access log "
    "a tenth), 0.41 ms of PostgreSQL and the load generator, on two cores.",
    "send_shared": "As send_rooms.",
    "sliding_sync": "CPU of main: a delivery costs it a send and an answer, both mostly HTTP; neither asks the database for "
    "the client, nor looks at each room, but the answer carries the ids of all rooms in the window. /sync takes as long for "
    "the same messages in the same rhythm: four fifths of a delivery are the send, and a send after a pause of 50 ms takes a fifth "
    "longer than one after 10 ms, as in sync_latency. A first answer costs 2 ms, half of it HTTP, and takes two round trips to "
    "PostgreSQL in one hop: the position, and the row that is written. Scrolling and all state are bound by the events that are "
    "read and written as JSON: 14 ms of main for 100 rooms, 3.6 where they were shown lately.",
    "sliding_large": "As sliding_sync; a first answer looks at all rooms once (0.3 ms). A step of scrolling costs main 25 ms (9 to 13 where the rooms were shown lately): 6 to 10 of "
    "them look at all 5,000 rooms of the list once more, write the ids of those in the window, and what the client knows.",
    "big_room": "As send_seq: one sender. The size of the room costs nothing, because a message changes no state.",
    "receipts": "CPU of main, most of it HTTP: what waits for a commit goes into the next one together.",
    "send_beside_busy": "As send_seq: the batch steps over the room that is held.",
    "sync_latency": "A send and an answered long poll; the poll takes no query.",
    "sync_fanout": "200 answers by one process, 20 a turn of the reactor, and 200 polls that follow.",
    "initial_sync": "Two dozen statements for all rooms together, then writing 100 rooms as JSON; another session only writes.",
    "messages": "CPU, one after the other: where a stretch of the room was read lately a page takes no statement and no hop to a "
    "thread, but 0.2 ms to see what its reader may see, 0.1 ms to write the 100 events, and HTTP. The first page of a walk after "
    "something was said, and what was not read lately, costs 0.5 ms more in main and 0.5 ms in PostgreSQL. The client takes 0.5 to 0.9 ms.",
    "fed_inbound": "CPU: an event costs 0.4 ms of main (format, two hashes, one signature, rules, SQL text) and 0.2 to 0.3 ms of "
    "PostgreSQL; 50 to 100 events come in with one transaction.",
    "fed_resolution": "CPU: the 50 newest events of the branch come in together and are resolved once, which is a quarter of a second; "
    "the 950 before them are fetched as state, of which format, hashes and signature are checked, and stored. The memory is that "
    "of a process at rest, which is more than half of Synapse's, and 25 MB for the events at once.",
    "fed_join": "Waiting: three requests to the other server behind a TLS handshake (a place for the join, the join, the keys), and "
    "fifteen round trips to PostgreSQL, with one commit on the disk; 15 ms are CPU of main and 8 ms of PostgreSQL. The members come "
    "later, from the peer, which writes 5,000 of them as JSON.",
    "fed_fanout": "CPU: a told event costs 0.02 ms of main and 0.04 ms of PostgreSQL, as one transaction hands out for many "
    "servers; the rest are 100 TLS connections, and the peers in the client.",
    "fed_hostile": "CPU: a transaction of 50 events costs 11 ms of main, in slices of 1 ms (format, hashes and signatures of each); what "
    "leads nowhere is asked for 20 times, then once a second. The transactions are signed before: when the process that takes the time "
    "signed them, each kept it from its clock for some milliseconds, which was counted as ours (1.7 and more). Slices of 0.25 ms changed nothing.",
    "fed_backfill": "CPU: an event costs 1.0 ms of main (format, two hashes, a signature, rules, a snapshot of the state around it) "
    "and 0.9 ms of PostgreSQL; each page of 100 is asked for when the one before has been shown.",
    "media": "A download costs 0.45 ms of CPU however small it is (HTTP; who asks again finds the row in memory) and "
    "0.25 ms a MiB: the kernel sends from its page cache, through no buffer of ours, with one call of the system. One after the other, the client's "
    "0.4 ms comes on top (the row is in memory since the upload). An upload waits for the disk: the file, its "
    "directory and two commits are durable before the answer. The memory is that of a process at rest, to which media add 6 MB, and the caches "
    "of the scenarios before, up to 45 MB (alone it is 100 MB beside Synapse's 234): of 93 MB at rest Python has 11, Twisted with TLS 35, psycopg2 5, other libraries 7, our modules 29, the start 6; 27 are pages of shared libraries, which "
    "its workers share. What the goal allows is less than Twisted's reactor takes.",
    "send_beside_media": "CPU: of two cores the two processes that load take most (`busy_p50_rise`). A turn of the reactor, in which "
    "four pieces of 256 KiB are sent, or answers begun, takes 0.5 ms of CPU, 1.5 at the 99th percentile: a send waits for its core.",
    "keys_query": "CPU: 1 to 1.5 ms of main's (a quarter of a millisecond for the ids in the request, HTTP, one hop to a thread), and a third of a "
    "millisecond of PostgreSQL's: one statement asks for changes that main has not heard of. 140 kB of JSON then go out.",
    "keys_claim": "CPU: PostgreSQL counts up 300 narrow rows in place and reads 300 keys, in one statement: 3 ms of its CPU. It is 3 to 4 ms of main's (half "
    "of it the request: ids, HTTP, 60 kB of answer), and the commit to disk.",
    "to_device": "Bytes: 560 kB go to main, to PostgreSQL and into its log (0.7 MB), which a commit has to bring to the disk. 8 ms of CPU in main, "
    "4 to 5 in PostgreSQL. A delivery of ten messages costs 0.5 to 0.6 ms of main, half of it HTTP, 0.2 ms of PostgreSQL, and 0.1 ms of the load generator.",
    "e2ee_send": "As sync_fanout, of 50 clients: what encryption adds to an answer stands in memory.",
    "e2ee_latency": "As sync_latency.",
    "hierarchy": "Every page walks the tree of 201 rooms anew, so that any process answers it, with what its reader may know then: nine "
    "statements, of which those for all rooms (their numbers, summaries, memberships, the children's events) take half of the time; reading "
    "and ordering 200 children takes most of the rest.",
    "user_directory": "CPU: HTTP and one hop to a thread. PostgreSQL takes 0.8 ms to plan, to find the thousand users whose names "
    "begin so, and to put them into order by one number and their ids.",
    "pushers": "CPU: a push costs the worker 0.1 ms for the request and its part of what is read for its user, PostgreSQL 0.09 ms and the "
    "load generator, which is the gateway, 0.09 ms; connections to the gateway are kept. What there is to push is one statement for each "
    "user and six for all that are claimed together, and what was pushed a few rows of a transaction that many share.",
    "search": "CPU: on a busy machine a plain word costs 2.6 ms of main (HTTP, ten hits as JSON, and four statements one after the other, each a switch "
    "of processes) and 1.5 ms of PostgreSQL, a third of it to count 1,000 hits exactly, which only a first page does; what is around the hits is one "
    "statement more. Synapse's plain word is cheap, too: it ranks, and reads what is common, at ten times that.",
    "initial_sync_unread": "PostgreSQL: 100,000 notices are counted, which takes it half a microsecond to one for each; then as initial_sync. Another session "
    "finds the counts in memory.",
    "real_clients": "CPU: to a send come its answers to the 25 clients of the room, and their receipts, which are told to all of them "
    "again: 4 to 5 ms of main, most of it HTTP, and 2 to 2.5 ms of PostgreSQL (a receipt takes two statements, prepared). Counts "
    "come from memory.",
    "presence": "CPU: what somebody says takes PostgreSQL three round trips (the claim and a lock, what is known, the row) and a commit that "
    "several share; the rest is answers to those who wait. They gather for a tenth of a second: at 300 changes a second a change costs "
    "1.5 ms in all, at 20 a second three times as much.",
    "public_rooms": "CPU: HTTP, and 100 rows as JSON. PostgreSQL reads the page from one index, and 100 rows of two tables by their keys "
    "(0.5 ms); a word that is nowhere costs it 1 ms, for all 10,000 rooms.",
    "redact": "CPU: 0.17 ms of the worker (rules, hash, signature, SQL text) and 0.1 ms of PostgreSQL an event, some 20 round trips "
    "for 200 events; beside it the answers to who asks every 5 ms whether it is done (two statements), and the followers.",
    "redact_banned": "As redact: where the redactions hang in the past of the room is found once a step.",
    "redact_spammers": "Waiting and CPU: what a spammer wrote in a room is one commit, so the wave is 1,000 of them. Who writes into the room of such a "
    "step waits for five round trips, in which nothing is built; who writes elsewhere waits for the stream, which each commit holds until it is on the disk, and for "
    "a core: worker, main, PostgreSQL and the load generator share two.",
    "admin_lists": "CPU of PostgreSQL: the first page of a list counts it, once for all orders, and a search that more than a tenth of all users or rooms fit looks at each of "
    "them, for the total is exact; a page behind it reads 600 rows at the most, from the last remembered mark on.",
    "redact_many": "CPU: two cores are full at 7,000 to 8,500 redactions a second. One worker with two steps at a time reaches "
    "4,900 to 5,700 of them, one with a single step 4,100 to 4,900: the second cannot add more than what is left.",
    "purge_room": "Deletes by PostgreSQL, a slice of each table a step.",
    "purge_large": "One step after the other, and rests for half of the time (docs/decisions/007): whoever writes elsewhere "
    "waits for a core about as long as beside a process that only computes (`busy_p99_rise`).",
    "memory": "Imports are 75 MB; the rest of main is events in its cache (32 MiB by the default of caches.global_factor, of "
    "which 26 are counted in objects), the newest 20,000 changes (3 MB), and up to 19 MiB of a password hash until the next trim.",
    "start": "Imports, half of them libraries (Twisted with TLS, pydantic); of ours more than half are the methods that attrs compiles for 550 "
    "classes. All else together, such as migrations and connections, takes 50 ms.",
}


@attrs.frozen
class Row:
    scenario: str
    metric: str
    ours: float | None
    reference: float | None
    doubtful: bool  # the scenario failed in some round

    @property
    def ratio(self) -> float | None:
        return self.ours / self.reference if self.ours is not None and self.reference else None

    @property
    def goal(self) -> Goal | None:
        return GOALS.get((self.scenario, self.metric))

    def cells(self) -> list[str]:
        ratio = "" if self.ratio is None else f"{self.ratio:.3g}x"
        figures = [show(self.reference), show(self.ours), ratio]
        if self.goal is None:
            return [self.scenario, self.metric, *figures, "", ""]
        met = None if self.ours is None else self.goal.met(self.metric, self.ours, self.ratio)
        verdict = "failed rounds" if self.doubtful else {True: "yes", False: "no", None: ""}[met]
        return [self.scenario, self.metric, *figures, self.goal.text(self.metric), verdict]


def show(figure: float | None) -> str:
    if figure is None:
        return "-"
    return f"{figure:.0f}" if figure >= 1000 else f"{figure:.3g}"


def medians(rounds: Sequence[Metrics]) -> Metrics:
    """Of the rounds that have the figure."""
    names = dict.fromkeys(name for metrics in rounds for name in metrics if name not in MARKS)
    return {name: statistics.median(m[name] for m in rounds if name in m) for name in names}


def rows(results: Mapping[str, Rounds]) -> list[Row]:
    """One for each figure that a side has; figures with a goal first, whoever has them."""
    table = []
    for scenario, sides in results.items():
        ours, reference = (medians(sides.get(side, ())) for side in (OURS, REFERENCE))
        aims = [metric for name, metric in GOALS if name == scenario]
        names = dict.fromkeys([*aims, *ours, *reference])
        doubtful = any("failed" in metrics for rounds in sides.values() for metrics in rounds)
        table += [Row(scenario, name, ours.get(name), reference.get(name), doubtful) for name in names]
    return table


def remarks(results: Mapping[str, Rounds]) -> list[str]:
    """Rounds without figures, and why."""
    return [
        f"{scenario}: {side} {words} in {count} of {len(rounds)} rounds"
        for scenario, sides in results.items()
        for side, rounds in sides.items()
        for mark, words in MARKS.items()
        if (count := sum(mark in metrics for metrics in rounds))
    ]


HEADER = ["Scenario", "Figure", "Synapse", "synapse_lite", "Ratio", "Goal", "Met"]


def terminal(results: Mapping[str, Rounds]) -> str:
    table = [HEADER, *(row.cells() for row in rows(results))]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(map(str.ljust, cells, widths)).rstrip() for cells in table]
    return "\n".join([*lines, *remarks(results)])


def markdown_table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    numbers = {"Synapse", "synapse_lite", "Ratio"}
    rule = ["---:" if name in numbers else "---" for name in header]
    return ["| " + " | ".join(cells) + " |" for cells in (header, rule, *lines)]


def document(
    results: Mapping[str, Rounds], scenarios: Scenarios, machine: Machine, command: str, rounds: int
) -> str:
    """The text of docs/performance.md."""
    table = rows(results)
    aims = [row.cells() for row in table if row.goal is not None]
    others = [row.cells()[:-2] for row in table if row.goal is None]
    bounds = [(name, BOUNDS.get(name, "not looked into yet")) for name in results]
    first_lines = [(name, (scenarios[name].__doc__ or "").splitlines()[0]) for name in results]
    missing = [f"- {remark}" for remark in remarks(results)]
    parts = [
        "# Performance",
        f"Written by `{command}` on {machine.date}; edit the tool, not this page.",
        (
            "Both homeservers ran side by side on one machine and one PostgreSQL, each with a database "
            "of its own over a Unix socket, rate limits off, everything else at its defaults. The "
            f"scenarios ran in turn, one server then the other when both were at rest, figures are medians (rounds: {rounds}). "
            "Each scenario checks that the server did what is timed. Load generator, servers and "
            "PostgreSQL share the machine, so **only the ratios mean something**."
        ),
        "\n".join(markdown_table(["Machine", ""], machine.facts())),
        (
            "## Goals\n\nRatio is synapse_lite to Synapse. `_per_s` and `_gain` are better when higher, "
            "`_s`, `_ms`, `_mb` and `_rise` when lower."
        ),
        "\n".join(markdown_table(HEADER, aims)),
        *(["Without figures:", "\n".join(missing)] if missing else []),
        "## What is timed",
        "\n".join(markdown_table(["Scenario", "What"], first_lines)),
        "## What bounds our figure",
        "\n".join(markdown_table(["Scenario", "Bound"], bounds)),
        (
            "## All other figures\n\n`server_cpu_s` is the CPU time of a server's processes (without "
            "PostgreSQL) for a whole scenario with its preparation and checks."
        ),
        "\n".join(markdown_table(HEADER[:-2], others)),
    ]
    return "\n\n".join(parts) + "\n"
