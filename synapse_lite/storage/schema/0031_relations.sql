-- Which event relates to which: by the id of the parent, which may come later or never. What is redacted
-- relates to nothing.
CREATE TABLE relations (
    event_nid BIGINT PRIMARY KEY,
    room_nid BIGINT NOT NULL,
    parent_id TEXT NOT NULL,
    rel_type TEXT NOT NULL,
    key TEXT,                      -- of annotations
    type TEXT NOT NULL,            -- of the event, as its sender, its time and whether it is state
    sender TEXT NOT NULL,
    origin_server_ts BIGINT NOT NULL,
    is_state BOOLEAN NOT NULL
);
CREATE INDEX relations_parent ON relations (parent_id, rel_type, event_nid);
CREATE INDEX relations_room ON relations (room_nid, event_nid);
CREATE INDEX relations_annotations ON relations (parent_id, sender) WHERE rel_type = 'm.annotation';
CREATE INDEX relations_threads ON relations (room_nid, parent_id) WHERE rel_type = 'm.thread';
