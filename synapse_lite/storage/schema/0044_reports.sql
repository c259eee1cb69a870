-- What users told the operators of: events, rooms, users. Times are milliseconds since 1970.

CREATE TABLE event_reports (
    report_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_ts BIGINT NOT NULL,
    room_nid BIGINT NOT NULL REFERENCES rooms,
    event_id TEXT NOT NULL,        -- a purge of the history may have taken the event
    sender TEXT NOT NULL,
    user_id TEXT NOT NULL,         -- who reports
    reason TEXT,
    score BIGINT
);
CREATE INDEX event_reports_room ON event_reports (room_nid, report_nid);
CREATE INDEX event_reports_sender ON event_reports (sender, report_nid);

CREATE TABLE room_reports (
    report_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_ts BIGINT NOT NULL,
    room_nid BIGINT NOT NULL REFERENCES rooms,
    user_id TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX room_reports_room ON room_reports (room_nid, report_nid);

CREATE TABLE user_reports (
    report_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_ts BIGINT NOT NULL,
    target_user_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    reason TEXT NOT NULL
);
