-- Tokens by which others ask who their bearer is. They give no access to anything.

CREATE TABLE openid_tokens (
    token_hash BYTEA PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users,
    valid_until_ts BIGINT NOT NULL
);
CREATE INDEX openid_tokens_expiring ON openid_tokens (valid_until_ts);
CREATE INDEX openid_tokens_user ON openid_tokens (user_id, valid_until_ts);
