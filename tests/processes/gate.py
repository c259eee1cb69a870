"""Gates for a server of this test: they hold its tasks, or whoever writes, in the middle, however slow the test is to look."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psycopg2

from synapse_lite.cli.demo.connection import User
from tests.processes.harness import wait_until
from tests.processes.site import Site

_LOCK = 4711  # the steps wait as long as somebody else holds this advisory lock
_BUILD = f"""
CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared({_LOCK}); RETURN NEW; END $$;
CREATE TRIGGER gate BEFORE UPDATE ON scheduled_tasks FOR EACH ROW
    WHEN (OLD.done > 0 AND NEW.done > OLD.done) EXECUTE FUNCTION wait_at_gate();
"""
_WAITING = "SELECT count(*) FROM pg_locks WHERE relation = ANY(%s::regclass[]) AND NOT granted"
_AT_GATE = """
SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
WHERE d.datname = current_database() AND locktype = 'advisory' AND mode = 'ShareLock' AND NOT granted
"""


def build_gate(site: Site) -> None:
    """Once for a site. It is open."""
    site.execute(_BUILD)


@contextmanager
def closed_gate(site: Site) -> Iterator[Callable[[], None]]:
    """A task that has got on waits at its next step, until the function that is given is called, or the end."""
    with closing(psycopg2.connect(**site._database)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        yield connection.close


def wait_at_gate(site: Site) -> None:
    """Returns when a step waits there."""
    wait_until(lambda: site.value(_AT_GATE), "a step at the gate")


@contextmanager
def resting(site: Site, admin: User, ask: Callable[[], str]) -> Iterator[str]:
    """The task that is asked for has got on, and rests between two steps, without any lock, until the end."""
    with closed_gate(site):
        task_id = ask()
        wait_at_gate(site)
        action = site.value("SELECT action FROM scheduled_tasks WHERE id = %s", task_id)
        _control(admin, action, paused=True)
    wait_until(lambda: site.task(task_id).owner is None, "the pause")
    yield task_id
    _control(admin, action, paused=False)


def _control(admin: User, action: str, *, paused: bool) -> None:
    with admin.connect() as connection:
        connection.call("PUT", f"/_synapse/admin/v1/task_actions/{action}", {"paused": paused})


@contextmanager
def locked(site: Site, *tables: str) -> Iterator[None]:
    """Nobody writes into these tables; all may read."""
    with closing(psycopg2.connect(**site._database)) as connection, connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        yield


def wait_at(site: Site, *tables: str, writers: int = 1) -> None:
    """Returns when so many wait for any of the tables."""
    wait_until(lambda: site.value(_WAITING, list(tables)) >= writers, f"{writers} writers of {tables}")
