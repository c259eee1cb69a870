-- What an operator says about an action: no row means not paused and no limit.
CREATE TABLE task_controls (
    action TEXT PRIMARY KEY,
    paused BOOLEAN NOT NULL DEFAULT FALSE,
    max_running INTEGER CHECK (max_running >= 1)
);

-- When the present owner took the task, and how much was done then: the pace since tells when it ends.
ALTER TABLE scheduled_tasks ADD COLUMN claimed_at BIGINT, ADD COLUMN claimed_done BIGINT NOT NULL DEFAULT 0;

-- Finished tasks are listed in this order. Checkpoints do not write it.
DROP INDEX scheduled_tasks_finished;
CREATE INDEX scheduled_tasks_finished ON scheduled_tasks (finished_at, id) WHERE finished_at IS NOT NULL;
CREATE INDEX scheduled_tasks_active ON scheduled_tasks (action) WHERE status = 'active';

-- The content of the target is gone from the disk too.
ALTER TABLE redactions ADD COLUMN erased BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX redactions_kept ON redactions (event_nid) WHERE applied AND NOT erased;

-- How far the stream had come, once a day: tells the age of its rows.
CREATE TABLE stream_marks (
    at BIGINT PRIMARY KEY,
    position BIGINT NOT NULL
);
CREATE INDEX stream_passing ON stream (position) WHERE kind IN (2, 3, 5);

-- The last slot of each periodic task that became a row: none is run twice.
CREATE TABLE task_duties (
    action TEXT PRIMARY KEY,
    slot BIGINT NOT NULL
);
