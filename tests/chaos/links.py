"""The network between servers on the loopback address: any two of them can be cut off from each other, and connected again.

In front of each server is a proxy for the port of its name. Who connects to it is told by the process that has the other end.
"""

import asyncio
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Self

import psutil
from attrs import define, field

HOST = "127.0.0.1"
_PIECE = 65536
_SECONDS = 10.0


@define
class Links:
    """`ports` are those of the names, and of the servers behind them; `processes` tells whose processes are whose now."""

    ports: Mapping[str, tuple[int, int]]
    processes: Callable[[], Mapping[str, Collection[int]]]
    _cut: set[frozenset[str]] = field(factory=set)
    _open: dict[frozenset[str], set[asyncio.StreamWriter]] = field(factory=dict)
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.new_event_loop)
    _ready: threading.Event = field(factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)

    def cut(self, one: str, other: str) -> None:
        """What is open between the two ends, too."""
        self._loop.call_soon_threadsafe(self._end, frozenset((one, other)))

    def heal(self) -> None:
        """All of them."""
        self._loop.call_soon_threadsafe(self._cut.clear)

    def _end(self, pair: frozenset[str]) -> None:
        self._cut.add(pair)
        for writer in self._open.pop(pair, ()):
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        proxies = [
            self._loop.run_until_complete(asyncio.start_server(self._serve(name), HOST, port))
            for name, (port, _) in self.ports.items()
        ]
        self._loop.call_soon(self._ready.set)
        self._loop.run_forever()
        for proxy in proxies:
            proxy.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    def _serve(self, name: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            port = writer.get_extra_info("peername")[1]
            caller = await asyncio.to_thread(self._caller, port)
            pair = frozenset((name, caller))
            writers = [writer]
            try:
                if pair not in self._cut:
                    there, back = await asyncio.open_connection(HOST, self.ports[name][1])
                    writers.append(back)
                    if pair not in self._cut:
                        self._open.setdefault(pair, set()).update(writers)
                        await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
            except (OSError, asyncio.CancelledError):
                return  # the server is down, or the test is over
            finally:
                for one in writers:
                    self._open.get(pair, set()).discard(one)
                    one.transport.abort()

        return serve

    def _caller(self, port: int) -> str:
        for name, pids in self.processes().items():
            for pid in pids:
                with suppress(psutil.Error):
                    if any(one.laddr[1] == port for one in psutil.Process(pid).net_connections("tcp4")):
                        return name
        return "somebody else"


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
    writer.transport.close()
