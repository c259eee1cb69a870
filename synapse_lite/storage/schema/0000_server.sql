-- Whose database this is: one row, written by the first process that starts on it.
CREATE TABLE server_identity (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    server_name TEXT NOT NULL,
    key_id TEXT NOT NULL,          -- of the signing key in use: ed25519:a_abcd
    public_key TEXT NOT NULL       -- unpadded base64
);
