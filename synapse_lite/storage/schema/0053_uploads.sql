-- How much each user has uploaded, as the list of uploaders shows it: to add it up for each page reads all media.

CREATE TABLE uploads (
    user_id TEXT PRIMARY KEY,
    media_count BIGINT NOT NULL,
    media_length BIGINT NOT NULL
);

-- By triggers: processes of the release before write media, too, and know nothing of this table.
CREATE FUNCTION add_uploads() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO uploads SELECT user_id, count(*), sum(size) FROM added
        WHERE user_id IS NOT NULL AND size IS NOT NULL GROUP BY user_id ORDER BY user_id
        ON CONFLICT (user_id) DO UPDATE SET media_count = uploads.media_count + excluded.media_count,
            media_length = uploads.media_length + excluded.media_length;
    RETURN NULL;
END $$;

CREATE FUNCTION remove_uploads() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    UPDATE uploads u SET media_count = u.media_count - r.media_count, media_length = u.media_length - r.media_length
        FROM (SELECT user_id, count(*) AS media_count, sum(size) AS media_length FROM removed
            WHERE user_id IS NOT NULL AND size IS NOT NULL GROUP BY user_id) AS r
        WHERE u.user_id = r.user_id;
    DELETE FROM uploads WHERE media_count = 0 AND user_id IN (SELECT user_id FROM removed);
    RETURN NULL;
END $$;

CREATE FUNCTION resize_upload() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO uploads VALUES (NEW.user_id, num_nonnulls(NEW.size) - num_nonnulls(OLD.size),
            coalesce(NEW.size, 0) - coalesce(OLD.size, 0))
        ON CONFLICT (user_id) DO UPDATE SET media_count = uploads.media_count + excluded.media_count,
            media_length = uploads.media_length + excluded.media_length;
    RETURN NULL;
END $$;

CREATE TRIGGER media_added AFTER INSERT ON media REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION add_uploads();
CREATE TRIGGER media_removed AFTER DELETE ON media REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION remove_uploads();
CREATE TRIGGER media_resized AFTER UPDATE OF size ON media
    FOR EACH ROW WHEN (NEW.user_id IS NOT NULL AND NEW.size IS DISTINCT FROM OLD.size)
    EXECUTE FUNCTION resize_upload();

-- The triggers keep writers away until the end of this transaction.
INSERT INTO uploads SELECT user_id, count(*), sum(size) FROM media
    WHERE user_id IS NOT NULL AND size IS NOT NULL GROUP BY user_id;
CREATE INDEX uploads_count ON uploads (media_count, user_id);
CREATE INDEX uploads_length ON uploads (media_length, user_id);
