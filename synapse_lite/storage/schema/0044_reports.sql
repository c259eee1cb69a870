-- What users told the operators of: events, rooms, users. Times are milliseconds since 1970. A report holds what it is
-- about, as it was then: whoever was reported cannot make it vanish, and a purge does not.

CREATE TABLE event_reports (
    report_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_ts BIGINT NOT NULL,
    room_id TEXT NOT NULL,
    room_name TEXT,
    room_alias TEXT,
    event_id TEXT NOT NULL,
    sender TEXT NOT NULL,
    event TEXT NOT NULL,           -- as servers exchange it, with its id
    user_id TEXT NOT NULL,         -- who reports
    reason TEXT,
    score BIGINT
);
CREATE INDEX event_reports_parts ON event_reports USING gin (trigrams(user_id || E'\n' || room_id));
CREATE INDEX event_reports_sender ON event_reports (sender, report_nid);

CREATE TABLE room_reports (
    report_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_ts BIGINT NOT NULL,
    room_id TEXT NOT NULL,
    room_name TEXT,
    room_alias TEXT,
    user_id TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX room_reports_parts ON room_reports USING gin (trigrams(user_id || E'\n' || room_id));

CREATE TABLE user_reports (
    report_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_ts BIGINT NOT NULL,
    target_user_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX user_reports_parts ON user_reports USING gin (trigrams(user_id || E'\n' || target_user_id));
