-- Which events notify those in the room who changed no push rules, and who has read how far by writing there.

-- `notifies`: everybody; `highlights`: everybody, loudly; `mentioned`: those, loudly. Redacted events are not here.
CREATE TABLE notices (
    room_nid BIGINT NOT NULL,
    position BIGINT NOT NULL,
    event_nid BIGINT NOT NULL,
    sender TEXT NOT NULL,
    thread_id TEXT NOT NULL,       -- the root of its thread; 'main'
    notifies BOOLEAN NOT NULL,
    highlights BOOLEAN NOT NULL,
    mentioned TEXT[],
    PRIMARY KEY (room_nid, position)
);
CREATE UNIQUE INDEX notices_event ON notices (event_nid);
CREATE INDEX notices_threads ON notices (room_nid, position) WHERE thread_id <> 'main';

-- Whoever joins has read what was before (`thread_id` ''); whoever writes, what is in that thread.
CREATE TABLE own_reads (
    room_nid BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (room_nid, user_id, thread_id)
) WITH (fillfactor = 70);
