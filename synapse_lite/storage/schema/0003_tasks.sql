-- Durable tasks, who runs them, and what became of them. Times are milliseconds by the clock of the engine.

CREATE FUNCTION wall_ms() RETURNS BIGINT LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (extract(epoch FROM statement_timestamp()) * 1000)::bigint;

-- The clock of the engine: the database's, and how far it is ahead of it since that was set back. Every sign
-- of life of a process looks after it.
CREATE TABLE task_clock (
    single BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (single),
    wall BIGINT NOT NULL DEFAULT 0,     -- when it was last looked after
    ahead BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
INSERT INTO task_clock DEFAULT VALUES;

-- Set back, the clock goes on from where it was, and falls back to the database's at half its speed. Set forward again,
-- or with nobody there for a minute, it is that at once.
CREATE FUNCTION now_ms() RETURNS BIGINT LANGUAGE sql STABLE PARALLEL SAFE
    RETURN wall_ms() + coalesce((SELECT CASE
        WHEN wall_ms() < wall THEN ahead + wall - wall_ms()
        ELSE greatest(0, ahead - greatest((wall_ms() - wall) / 2, wall_ms() - wall - 60000)) END FROM task_clock), 0);

CREATE TABLE scheduled_tasks (
    id TEXT PRIMARY KEY,
    action TEXT NOT NULL,
    version INTEGER NOT NULL,           -- of the shape of params and cursor
    status TEXT NOT NULL DEFAULT 'scheduled'
        CHECK (status IN ('scheduled', 'active', 'complete', 'failed', 'cancelled')),
    requester TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    parent_id TEXT REFERENCES scheduled_tasks ON DELETE SET NULL, -- the task of which this one is a part
    resource_id TEXT,
    unique_key TEXT,                    -- one pending task per action and key
    lock_key TEXT,                      -- one active task per key
    priority INTEGER NOT NULL,
    run_at BIGINT NOT NULL,
    params JSON NOT NULL,
    cursor JSON,
    phase TEXT,
    done BIGINT NOT NULL DEFAULT 0,
    total BIGINT,
    result JSON,
    error TEXT,
    owner TEXT,                         -- task_runners.runner, living or dead
    epoch BIGINT NOT NULL DEFAULT 0,    -- counts the claims; every write of an owner names it
    attempt INTEGER NOT NULL DEFAULT 0, -- failures since the last progress
    max_attempts INTEGER NOT NULL,
    cancel_requested_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    finished_at BIGINT,
    claimed_at BIGINT,                  -- when the present owner took it,
    claimed_done BIGINT NOT NULL DEFAULT 0,  -- and how much was done then: the pace since tells when it ends
    CHECK ((status = 'active') = (owner IS NOT NULL)),
    CHECK ((status IN ('complete', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX scheduled_tasks_runnable ON scheduled_tasks (priority DESC, run_at, id)
    WHERE status IN ('scheduled', 'active');
CREATE UNIQUE INDEX scheduled_tasks_unique ON scheduled_tasks (action, unique_key)
    WHERE status IN ('scheduled', 'active');
CREATE UNIQUE INDEX scheduled_tasks_lock ON scheduled_tasks (lock_key) WHERE status = 'active';
CREATE INDEX scheduled_tasks_created ON scheduled_tasks (created_at, id);
CREATE INDEX scheduled_tasks_finished ON scheduled_tasks (finished_at, id) WHERE finished_at IS NOT NULL;
CREATE INDEX scheduled_tasks_active ON scheduled_tasks (action) WHERE status = 'active';
CREATE INDEX scheduled_tasks_parent ON scheduled_tasks (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX scheduled_tasks_resource ON scheduled_tasks (resource_id, action);

-- One row per start of a process that runs tasks; alive until `expires_at`, and never again after it.
CREATE TABLE task_runners (
    runner TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE task_runner_actions (
    runner TEXT NOT NULL REFERENCES task_runners ON DELETE CASCADE,
    action TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (runner, action, version)
);
CREATE INDEX task_runner_actions_action ON task_runner_actions (action, version);

-- Outlives the runners: who could run an action that nobody can run now?
CREATE TABLE task_actions_seen (
    action TEXT NOT NULL,
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    PRIMARY KEY (action, version, name)
);

-- The last transitions of each task.
CREATE TABLE task_events (
    task_id TEXT NOT NULL REFERENCES scheduled_tasks ON DELETE CASCADE,
    number BIGINT GENERATED ALWAYS AS IDENTITY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    runner TEXT,
    detail TEXT,
    PRIMARY KEY (task_id, number)
);

-- What became of each item (a room, an event) that a task worked on.
CREATE TABLE task_items (
    task_id TEXT NOT NULL REFERENCES scheduled_tasks ON DELETE CASCADE,
    item TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT,
    PRIMARY KEY (task_id, item)
);
CREATE INDEX task_items_outcome ON task_items (task_id, outcome, item);

-- What an operator says about an action: no row means not paused and no limit.
CREATE TABLE task_controls (
    action TEXT PRIMARY KEY,
    paused BOOLEAN NOT NULL DEFAULT FALSE,
    max_running INTEGER CHECK (max_running >= 1)
);

-- The last slot of each periodic task that became a row: none is run twice.
CREATE TABLE periodic_tasks (
    action TEXT PRIMARY KEY,
    slot BIGINT NOT NULL
);

-- Requests with an Idempotency-Key, and what they started: for as long as that is kept.
CREATE TABLE task_requests (
    requester TEXT NOT NULL,
    key TEXT NOT NULL,
    action TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    digest BYTEA NOT NULL,              -- of method, path and body
    task_id TEXT NOT NULL REFERENCES scheduled_tasks ON DELETE CASCADE,
    PRIMARY KEY (requester, key, action, resource_id)
);
CREATE INDEX task_requests_task ON task_requests (task_id);
