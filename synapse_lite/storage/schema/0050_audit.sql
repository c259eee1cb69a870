-- What administrators changed, or tried to: a row from before the change on. Times are milliseconds since 1970.

CREATE TABLE audit_log (
    audit_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ts BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    ip TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    request TEXT NOT NULL,         -- JSON, without secrets
    finished_ts BIGINT,            -- null: it is being done, or the process died
    status SMALLINT,
    response TEXT                  -- JSON, without secrets
);
CREATE INDEX audit_log_user ON audit_log (user_id, ts, audit_nid);
CREATE INDEX audit_log_ts ON audit_log (ts, audit_nid);
