-- Joins that are on their way to another server: what the room says meanwhile waits on the stage until they end.
CREATE TABLE joins_under_way (
    attempt TEXT PRIMARY KEY,
    room_id TEXT NOT NULL,
    held_until TIMESTAMPTZ NOT NULL
);
CREATE INDEX joins_under_way_room ON joins_under_way (room_id);
