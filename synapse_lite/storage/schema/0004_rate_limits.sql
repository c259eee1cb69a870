-- Leaky buckets that several processes pour into. What a crash of PostgreSQL empties costs nobody anything.
CREATE UNLOGGED TABLE rate_limits (
    key BYTEA PRIMARY KEY,        -- a hash of the limit's name and of whom it is about
    empty_at DOUBLE PRECISION NOT NULL  -- milliseconds since 1970, by this server's clock
);

-- The processes that share them, as long as they say so.
CREATE UNLOGGED TABLE rate_limit_processes (
    process TEXT PRIMARY KEY,
    seen_at TIMESTAMPTZ NOT NULL
);
