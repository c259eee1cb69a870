"""What is done to the processes: a seed decides, so that a run can be had again, as far as clocks permit."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from random import Random

from attrs import define, field

from tests.chaos.actions import ACTIONS, NOBODYS, AppendParams
from tests.chaos.ledger import Ledger, Verdict
from tests.chaos.workers import LEASE, Workers
from tests.processes.harness import wait_until

ABILITIES = {
    "anna": ("copy",),
    "ben": ("copy", "move"),
    "cleo": ("move", "tidy"),
    "dora": ("tidy", "copy"),
}
BEAT = (0.25, 0.45)  # seconds from one operation to the next
FROZEN_BEATS = (5, 9)  # so that a freeze outlasts the lease
TASKS_PER_BEAT = (1, 4)
MOST_PENDING = 60
MOST_FROZEN = 2
DEAF = 0.3
SILENT = 0.5
PAUSES = (0.0, 0.0, 0.01, 0.03, 0.03, 0.06, 0.1)
LONG = 0.03
LOCKS = (None, None, None, "left", "right")
POLL = 0.1


@define
class Chaos:
    """`restart_database` is told whether by a crash; None: the database stays up."""

    workers: Workers
    ledger: Ledger
    seed: int
    restart_database: Callable[[bool], None] | None = None
    done: Counter[str] = field(factory=Counter)
    asked: list[str] = field(factory=list)
    _thaw_at: dict[str, int] = field(factory=dict)
    _random: Random = field(init=False)
    _ears: dict[str, Random] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._random = Random(self.seed)
        # Each its own: who is started again when is a matter of time.
        self._ears = {name: Random(f"{self.seed} {name}") for name in self.workers.names}

    def run(self, beats: Iterable[int]) -> None:
        """One fault and some new tasks a beat, and somebody to meet them, however slow the machine starts processes."""
        self.asked.append(self.ledger.enqueue(NOBODYS, AppendParams(items=1), announce=True))
        for name in self.workers.names:
            self._start(name)
        faults = self._faults()
        for beat in beats:
            next_beat = time.monotonic() + self._random.uniform(*BEAT)
            self._thaw(beat)
            self._enqueue()
            wait_until(lambda: any(map(self.ledger.is_alive, self.workers.names)), "a worker")
            (fault,) = self._random.choices([*faults], [weight for _, weight in faults.values()])
            victim = self._random.choice(self.workers.names)
            faults[fault][0](victim, beat)
            self._tend()
            time.sleep(max(0.0, next_beat - time.monotonic()))

    def settle(self, seconds: float) -> Verdict:
        """Let everything run to its end, for so long at most; then stop all processes, and count."""
        deadline = time.monotonic() + seconds
        for name in self.workers.names:
            self.workers.thaw(name)
        while (self.ledger.pending() or self.ledger.lag()) and time.monotonic() < deadline:
            self._tend()
            time.sleep(POLL)
        self._tend()
        self.workers.stop()
        return self.ledger.count(self.asked, self.workers.abilities)

    def __str__(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in sorted(self.done.items()))

    def _faults(self) -> dict[str, tuple[Callable[[str, int], None], int]]:
        faults: dict[str, tuple[Callable[[str, int], None], int]] = {
            "kill": (self._kill, 30),
            "freeze": (self._freeze, 35),
            "cut": (self._cut, 20),
            "drain": (self._drain, 15),
        }
        if self.restart_database is not None:
            faults["database"] = (self._restart_database, 2)
        return faults

    def _kill(self, name: str, _beat: int) -> None:
        self.workers.kill(name)
        self.done["kills"] += 1

    def _freeze(self, name: str, beat: int) -> None:
        beats = self._random.randint(*FROZEN_BEATS)
        if name not in self._thaw_at and len(self._thaw_at) < MOST_FROZEN:
            self.workers.freeze(name)
            self._thaw_at[name] = beat + beats
            self.done["freezes"] += 1

    def _thaw(self, beat: int) -> None:
        for name in [name for name, at in self._thaw_at.items() if at <= beat]:
            del self._thaw_at[name]
            self.workers.thaw(name)

    def _cut(self, _name: str, _beat: int) -> None:
        self.done["cut connections"] += self.ledger.cut(self._random.random())

    def _drain(self, name: str, _beat: int) -> None:
        if name not in self._thaw_at:
            self.workers.drain(name)
            self.done["drains"] += 1

    def _restart_database(self, _name: str, _beat: int) -> None:
        assert self.restart_database is not None
        self.restart_database(self._random.random() < 0.5)
        self.done["database restarts"] += 1

    def _enqueue(self) -> None:
        is_full = self.ledger.pending() > MOST_PENDING
        for _ in range(self._random.randint(*TASKS_PER_BEAT)):
            action, params = self._random.choice(ACTIONS), self._params()
            announce = self._random.random() > SILENT
            if not is_full:
                self.asked.append(self.ledger.enqueue(action, params, announce=announce))
                self.done["lost wake-ups"] += not announce

    def _params(self) -> AppendParams:
        is_long = self._random.random() < LONG
        return AppendParams(
            items=self._random.randint(1, 40) if not is_long else 8,
            pause=self._random.choice(PAUSES) if not is_long else 1.3 * LEASE,
            lock=self._random.choice(LOCKS),
            rests=self._random.random() < 0.2,
        )

    def _tend(self) -> None:
        for name in self.workers.names:
            if self.workers.has_ended(name):
                self._start(name)

    def _start(self, name: str) -> None:
        self.workers.start(name, is_deaf=self._ears[name].random() < DEAF)
        self.done["starts"] += 1
