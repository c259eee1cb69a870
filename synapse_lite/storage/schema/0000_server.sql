-- Whose database this is: one row, written by the first process that starts on it.
CREATE TABLE server_identity (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    server_name TEXT NOT NULL,
    key_id TEXT NOT NULL,          -- of the signing key in use: ed25519:a_abcd
    public_key TEXT NOT NULL       -- unpadded base64
);

-- All runs of three characters, in lower case. A GIN index on them finds a part of a text.
CREATE FUNCTION trigrams(text TEXT) RETURNS TEXT[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ARRAY(SELECT substr(lower(text), n, 3) FROM generate_series(1, length(lower(text)) - 2) AS n);

-- The same of one and of two, for what is shorter.
CREATE FUNCTION short_parts(text TEXT) RETURNS TEXT[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ARRAY(SELECT DISTINCT substr(lower(text), n, size)
        FROM generate_series(1, length(lower(text))) AS n, generate_series(1, 2) AS size);
