"""Everything of one process, built in one order from its configuration: the only place that does so."""

from typing import Any

from attrs import frozen

from synapse_lite.config.model import Config
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.tasks.metrics import TaskMetrics
from synapse_lite.tasks.packages import register_packages
from synapse_lite.tasks.registry import Catalogue, OtherServers, TaskRegistry, TaskStores
from synapse_lite.tasks.runners import Heartbeat
from synapse_lite.tasks.scheduler import TaskScheduler
from synapse_lite.workers.allocator import Trimmer
from synapse_lite.workers.core import Core, build_core
from synapse_lite.workers.feature import Feature, Life, start_all, stop_all
from synapse_lite.workers.features import build_features
from synapse_lite.workers.infrastructure import build_infrastructure
from synapse_lite.workers.listeners import Listeners, Probes
from synapse_lite.workers.retention import retention_jobs, retention_policy
from synapse_lite.workers.roles import Role
from synapse_lite.workers.tls import TlsFiles


@frozen
class Homeserver:
    """One process: `start` it, and `stop` it in the reverse order."""

    core: Core
    features: tuple[Feature, ...]
    scheduler: TaskScheduler | None
    listeners: Listeners
    trimmer: Trimmer

    @property
    def lives(self) -> tuple[Life, ...]:
        return tuple(life for feature in self.features for life in feature.lives)

    async def start(self) -> None:
        await self.core.start()
        await start_all(self.lives)
        if self.scheduler is not None:
            await self.scheduler.start()
        self.listeners.start()
        self.trimmer.start()

    async def stop(self) -> None:
        self.trimmer.stop()
        await self.listeners.stop()
        if self.scheduler is not None:
            await self.scheduler.stop()
        await stop_all(self.lives)
        await self.core.stop()


def assemble(reactor: Any, config: Config, signing_key: SigningKey, catalogue: Catalogue) -> Homeserver:
    """`catalogue`: the tasks that this process is able to run, if its role is to run any."""
    role = Role.of(config)
    core = build_core(build_infrastructure(reactor, config), config, signing_key, follows=role.serves_clients)
    features = build_features(core)
    listeners = Listeners(
        reactor,
        role.listeners,
        [route for feature in features for route in feature.routes],
        core.authenticator,
        Probes(reactor, core.requests, core.metrics),
        metrics=core.metrics,
        clock=core.clock,
        tls=TlsFiles(config.tls_certificate_path, config.tls_private_key_path),
        serves_metrics=config.enable_metrics,
    )
    scheduler = _scheduler(reactor, config, role, core, catalogue)
    return Homeserver(core, features, scheduler, listeners, Trimmer(core.clock))


def _scheduler(
    reactor: Any, config: Config, role: Role, core: Core, catalogue: Catalogue
) -> TaskScheduler | None:
    if not (role.runs_tasks or role.keeps_files):
        return None
    registry = TaskRegistry()
    stores = TaskStores(
        appender=core.appender,
        events=core.events,
        state=core.state,
        clock=core.clock,
        server_name=core.server_name,
        media=core.media.for_tasks(config),
        others=OtherServers(
            core.requests,
            core.federated.handshakes,
            core.federated.resync,
            core.rooms.invited_joins.join,
            core.rooms.lost_joins.end,
        ),
        task_retention_ms=config.tasks.retention,
        redaction_retention_ms=config.redaction_retention_period,
        audit_log_retention_ms=config.audit_log_retention_period,
        forgotten_room_retention_ms=config.forgotten_room_retention_period,
        stale_device_ms=config.delete_stale_devices_after,
        address_ms=config.user_ips_max_age,
        retention=retention_policy(config.retention),
        retention_jobs=retention_jobs(config.retention),
    )
    registry.register_all(role.tasks(catalogue), stores)
    if role.runs_tasks:
        register_packages(registry, stores)
    for follower in core.extensions.followers:
        registry.register_follower(follower)
    heartbeat = Heartbeat(
        reactor,
        core.clock,
        config.database.dsn_kwargs(),
        name=role.name,
        capabilities=registry.capabilities(),
        lease_seconds=config.tasks.lease / 1000,
    )
    return TaskScheduler(
        core.tasks,
        registry,
        heartbeat,
        bus=core.bus,
        clock=core.clock,
        metrics=TaskMetrics(core.metrics),
        concurrency=config.tasks.concurrency,
        step_target_ms=config.tasks.step_target,
    )
