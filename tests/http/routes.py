"""Routes to ask for, and requests to send."""

from twisted.internet import reactor
from twisted.internet.task import deferLater

from synapse_lite.http.access import Access
from synapse_lite.http.router import Route


async def ok(request):
    return {"ok": True}


async def echo(request):
    return {"length": len(request.body)}


OK = Route("GET", "/ok", ok, Access.NONE)
ECHO = Route("POST", "/echo", echo, Access.NONE, max_body=20_000)


def route(handler):
    return Route("GET", "/x", handler, Access.NONE)


def failing(error):
    async def handler(request):
        raise error

    return route(handler)


async def some_turns():
    """Of the reactor: more than requests that came in one piece take."""
    for _ in range(4):
        await deferLater(reactor, 0, lambda: None)


CHUNKED_HEAD = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(size):
    return b"%x\r\n" % size + b"x" * size + b"\r\n"
