-- Durable tasks, who runs them, and what became of them. Times are milliseconds by the database's clock.

CREATE FUNCTION now_ms() RETURNS BIGINT LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (extract(epoch FROM statement_timestamp()) * 1000)::bigint;

CREATE TABLE scheduled_tasks (
    id TEXT PRIMARY KEY,
    action TEXT NOT NULL,
    version INTEGER NOT NULL,           -- of the shape of params and cursor
    status TEXT NOT NULL DEFAULT 'scheduled'
        CHECK (status IN ('scheduled', 'active', 'complete', 'failed', 'cancelled')),
    requester TEXT NOT NULL,
    endpoint TEXT NOT NULL,
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
    CHECK ((status = 'active') = (owner IS NOT NULL)),
    CHECK ((status IN ('complete', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX scheduled_tasks_runnable ON scheduled_tasks (priority DESC, run_at, id)
    WHERE status IN ('scheduled', 'active');
CREATE UNIQUE INDEX scheduled_tasks_unique ON scheduled_tasks (action, unique_key)
    WHERE status IN ('scheduled', 'active');
CREATE UNIQUE INDEX scheduled_tasks_lock ON scheduled_tasks (lock_key) WHERE status = 'active';
CREATE INDEX scheduled_tasks_finished ON scheduled_tasks (finished_at) WHERE finished_at IS NOT NULL;
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
