-- Changes of the stream that a follower failed with, each alone and several times, and went on behind.
CREATE TABLE passed_over (
    follower TEXT NOT NULL,
    shard INTEGER NOT NULL,
    position BIGINT NOT NULL,
    room_nid BIGINT,
    event_id TEXT,
    error TEXT NOT NULL,
    passed_ts BIGINT NOT NULL,
    PRIMARY KEY (follower, shard, position)
);
