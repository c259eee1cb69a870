-- The orders in which administrators list destinations, but for the one by what was sent last: that changes with
-- everything that is sent, and what is sent renews no index for its sake.
ALTER TABLE destinations ADD COLUMN failed_ts BIGINT NOT NULL
    GENERATED ALWAYS AS (CASE WHEN failing_since IS NULL THEN 0 ELSE attempted_ts END) STORED;
CREATE INDEX destinations_failed_ts ON destinations (failed_ts, server_name);
CREATE INDEX destinations_retry_interval ON destinations (retry_interval, server_name);
CREATE INDEX destinations_failing_since
    ON destinations ((failing_since IS NOT NULL), (coalesce(failing_since, 0)), server_name);
