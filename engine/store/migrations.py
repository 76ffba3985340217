"""The shape of studio.db, as steps that are never changed once released.

A step's **function name** is its identity; the number is for reading only. A step imports nothing of Easel (what it
means must stay what it meant when it was written), runs in one transaction, and is never edited: add another one below
it, and list it in MIGRATIONS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Migration = Callable[[Any], None]


def m0001_first_schema(db: Any) -> None:
    """Jobs with their tasks, pictures with two text indexes, the library index, values, events, measurements."""
    for statement in (
        # `seq` is the order of submission; `spec`, `stages`, `notices` and `error` are JSON.
        """CREATE TABLE jobs (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            owner TEXT NOT NULL,
            kind TEXT NOT NULL,
            stages TEXT NOT NULL,
            status TEXT NOT NULL,
            spec TEXT NOT NULL,
            priority TEXT NOT NULL,
            notices TEXT NOT NULL DEFAULT '[]',
            error TEXT,
            created_at REAL NOT NULL,
            started_at REAL,
            finished_at REAL,
            attempts INTEGER NOT NULL DEFAULT 0,
            evaluations INTEGER NOT NULL DEFAULT 0,
            request_id TEXT
        )""",
        "CREATE UNIQUE INDEX jobs_request ON jobs (owner, request_id) WHERE request_id IS NOT NULL",
        "CREATE INDEX jobs_owner ON jobs (owner, seq)",
        "CREATE INDEX jobs_owner_status ON jobs (owner, status, seq)",
        "CREATE INDEX jobs_status ON jobs (status, seq)",
        # One row per picture of a job.
        """CREATE TABLE tasks (
            job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            job_index INTEGER NOT NULL,
            status TEXT NOT NULL,
            image_id TEXT NOT NULL UNIQUE,
            file_name TEXT,
            evaluations INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (job_id, job_index)
        ) WITHOUT ROWID""",
        # `position` is microseconds since the epoch, made unique: newest first is the order of the rowid, here and in
        # the text indexes, so a page never needs a sort.
        """CREATE TABLE images (
            position INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            job_id TEXT NOT NULL,
            job_index INTEGER NOT NULL,
            owner TEXT NOT NULL,
            name TEXT NOT NULL UNIQUE,
            url TEXT NOT NULL,
            media_type TEXT NOT NULL,
            seed INTEGER NOT NULL,
            width INTEGER NOT NULL,
            height INTEGER NOT NULL,
            created_at REAL NOT NULL,
            seconds REAL,
            model TEXT NOT NULL DEFAULT '',
            prompt TEXT NOT NULL DEFAULT '',
            negative_prompt TEXT NOT NULL DEFAULT '',
            infotext TEXT NOT NULL DEFAULT '',
            spec TEXT NOT NULL,
            favourite INTEGER NOT NULL DEFAULT 0,
            tags TEXT NOT NULL DEFAULT '[]',
            deleted_at REAL
        )""",
        "CREATE INDEX images_job ON images (job_id, job_index)",
        # With all that a filter looks at, so that counting reads the index alone.
        "CREATE INDEX images_owner ON images (owner, deleted_at, position)",
        "CREATE INDEX images_owner_model ON images (owner, model, deleted_at, position)",
        "CREATE INDEX images_owner_favourite ON images (owner, favourite, deleted_at, position) WHERE favourite = 1",
        "CREATE INDEX images_owner_bin ON images (owner, position, deleted_at) WHERE deleted_at IS NOT NULL",
        "CREATE INDEX images_bin ON images (deleted_at) WHERE deleted_at IS NOT NULL",
        # The text itself stays in `images`; triggers keep this index in step.
        """CREATE VIRTUAL TABLE images_fts USING fts5 (
            prompt, negative_prompt, model, infotext, tags,
            content = 'images', content_rowid = 'position',
            tokenize = 'unicode61 remove_diacritics 2', prefix = '3'
        )""",
        """CREATE TRIGGER images_fts_insert AFTER INSERT ON images BEGIN
            INSERT INTO images_fts (rowid, prompt, negative_prompt, model, infotext, tags)
            VALUES (new.position, new.prompt, new.negative_prompt, new.model, new.infotext, new.tags);
        END""",
        """CREATE TRIGGER images_fts_delete AFTER DELETE ON images BEGIN
            INSERT INTO images_fts (images_fts, rowid, prompt, negative_prompt, model, infotext, tags)
            VALUES ('delete', old.position, old.prompt, old.negative_prompt, old.model, old.infotext, old.tags);
        END""",
        """CREATE TRIGGER images_fts_update
        AFTER UPDATE OF prompt, negative_prompt, model, infotext, tags ON images BEGIN
            INSERT INTO images_fts (images_fts, rowid, prompt, negative_prompt, model, infotext, tags)
            VALUES ('delete', old.position, old.prompt, old.negative_prompt, old.model, old.infotext, old.tags);
            INSERT INTO images_fts (rowid, prompt, negative_prompt, model, infotext, tags)
            VALUES (new.position, new.prompt, new.negative_prompt, new.model, new.infotext, new.tags);
        END""",
        # Only pictures whose text has a script without spaces; each such character stands alone in `text`.
        "CREATE VIRTUAL TABLE images_cjk USING fts5 (text, tokenize = 'unicode61 remove_diacritics 2')",
        """CREATE TABLE library_files (
            path TEXT PRIMARY KEY,
            size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            info TEXT NOT NULL,
            hash TEXT NOT NULL DEFAULT ''
        )""",
        """CREATE TABLE stored_values (
            owner TEXT NOT NULL,
            key TEXT NOT NULL,
            value TEXT NOT NULL,
            changed_at REAL NOT NULL,
            PRIMARY KEY (owner, key)
        ) WITHOUT ROWID""",
        """CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at REAL NOT NULL,
            kind TEXT NOT NULL,
            job_id TEXT,
            payload TEXT NOT NULL
        )""",
        "CREATE INDEX events_job ON events (job_id, id) WHERE job_id IS NOT NULL",
        """CREATE TABLE measurements (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at REAL NOT NULL,
            kind TEXT NOT NULL,
            key TEXT NOT NULL,
            value REAL NOT NULL,
            context TEXT NOT NULL DEFAULT '{}'
        )""",
        "CREATE INDEX measurements_key ON measurements (kind, key, id)",
    ):
        db.execute(statement)


def m0002_tags_and_narrow_indexes(db: Any) -> None:
    """Tags as rows of their own; indexes that hold all that a filter looks at, so that searching reads no pictures.

    At a million pictures a common word took seconds while each match was looked up in its row.
    """
    for statement in (
        # The list in `images.tags` is what is shown; these rows are for finding.
        """CREATE TABLE IF NOT EXISTS image_tags (
            tag TEXT NOT NULL,
            position INTEGER NOT NULL REFERENCES images (position) ON DELETE CASCADE,
            PRIMARY KEY (tag, position)
        ) WITHOUT ROWID""",
        "CREATE INDEX IF NOT EXISTS image_tags_position ON image_tags (position)",
        """INSERT OR IGNORE INTO image_tags (tag, position)
        SELECT listed.value, images.position FROM images, json_each(images.tags) AS listed""",
        "DROP INDEX IF EXISTS images_owner",
        "DROP INDEX IF EXISTS images_owner_model",
        "DROP INDEX IF EXISTS images_owner_favourite",
        "DROP INDEX IF EXISTS images_owner_bin",
        "CREATE INDEX images_owner ON images (owner, deleted_at, position, favourite)",
        "CREATE INDEX images_owner_model ON images (owner, model, deleted_at, position, favourite)",
        """CREATE INDEX images_owner_favourite ON images (owner, favourite, deleted_at, position, model)
        WHERE favourite = 1""",
        "CREATE INDEX images_owner_bin ON images (owner, position, deleted_at) WHERE deleted_at IS NOT NULL",
    ):
        db.execute(statement)


def m0003_adapters(db: Any) -> None:
    """The words of adapter files for searching, which adapters each picture was made with, and named stacks."""
    for statement in (
        # A copy of what the library knows: `stamp` changes with the words, so that only those rows are written again.
        """CREATE TABLE adapter_words (
            row INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            stamp TEXT NOT NULL,
            name TEXT NOT NULL,
            title TEXT NOT NULL,
            triggers TEXT NOT NULL,
            tags TEXT NOT NULL,
            folder TEXT NOT NULL
        )""",
        """CREATE VIRTUAL TABLE adapter_words_fts USING fts5 (
            name, title, triggers, tags, folder,
            content = 'adapter_words', content_rowid = 'row',
            tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3'
        )""",
        """CREATE TRIGGER adapter_words_insert AFTER INSERT ON adapter_words BEGIN
            INSERT INTO adapter_words_fts (rowid, name, title, triggers, tags, folder)
            VALUES (new.row, new.name, new.title, new.triggers, new.tags, new.folder);
        END""",
        """CREATE TRIGGER adapter_words_delete AFTER DELETE ON adapter_words BEGIN
            INSERT INTO adapter_words_fts (adapter_words_fts, rowid, name, title, triggers, tags, folder)
            VALUES ('delete', old.row, old.name, old.title, old.triggers, old.tags, old.folder);
        END""",
        """CREATE TABLE image_adapters (
            adapter TEXT NOT NULL,
            position INTEGER NOT NULL REFERENCES images (position) ON DELETE CASCADE,
            weight REAL NOT NULL,
            PRIMARY KEY (adapter, position)
        ) WITHOUT ROWID""",
        "CREATE INDEX image_adapters_position ON image_adapters (position)",
        # The spec is what a picture was made with; nobody has to remember to enter its adapters here.
        """CREATE TRIGGER image_adapters_insert AFTER INSERT ON images BEGIN
            INSERT OR IGNORE INTO image_adapters (adapter, position, weight)
            SELECT json_extract(row.value, '$.name'), new.position, json_extract(row.value, '$.unet_weight')
            FROM json_each(new.spec, '$.adapters') AS row WHERE json_extract(row.value, '$.enabled');
        END""",
        """CREATE TRIGGER image_adapters_update AFTER UPDATE OF spec ON images BEGIN
            DELETE FROM image_adapters WHERE position = new.position;
            INSERT OR IGNORE INTO image_adapters (adapter, position, weight)
            SELECT json_extract(row.value, '$.name'), new.position, json_extract(row.value, '$.unet_weight')
            FROM json_each(new.spec, '$.adapters') AS row WHERE json_extract(row.value, '$.enabled');
        END""",
        """INSERT OR IGNORE INTO image_adapters (adapter, position, weight)
            SELECT json_extract(row.value, '$.name'), images.position, json_extract(row.value, '$.unet_weight')
            FROM images, json_each(images.spec, '$.adapters') AS row WHERE json_extract(row.value, '$.enabled')""",
        """CREATE TABLE adapter_stacks (
            owner TEXT NOT NULL,
            name TEXT NOT NULL,
            adapters TEXT NOT NULL,
            changed_at REAL NOT NULL,
            PRIMARY KEY (owner, name)
        ) WITHOUT ROWID""",
    ):
        db.execute(statement)


def m0004_errands(db: Any) -> None:
    """What jobs that paint nothing (an enlargement, a merge) are to do, as JSON."""
    db.execute("ALTER TABLE jobs ADD COLUMN payload TEXT")


def m0005_memory(db: Any) -> None:
    """What the pool held and what is pinned, which model was asked for when, and the memory level."""
    for statement in (
        # `pinned` and `warm` outlive the entry: they hold again when the same weights are loaded again.
        """CREATE TABLE pool_state (
            key TEXT PRIMARY KEY,
            title TEXT NOT NULL,
            part TEXT NOT NULL DEFAULT '',
            nbytes INTEGER NOT NULL,
            pinned INTEGER NOT NULL DEFAULT 0,
            warm INTEGER NOT NULL DEFAULT 0,
            uses INTEGER NOT NULL DEFAULT 0,
            used_at REAL NOT NULL DEFAULT 0,
            loaded INTEGER NOT NULL DEFAULT 0
        ) WITHOUT ROWID""",
        "CREATE TABLE pinned_models (model TEXT PRIMARY KEY, pinned_at REAL NOT NULL) WITHOUT ROWID",
        "CREATE TABLE model_uses (id INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, at REAL NOT NULL)",
        "CREATE INDEX model_uses_at ON model_uses (at, model)",
        # One row a setting: "level", "policy", "pool_gb".
        "CREATE TABLE memory_settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    ):
        db.execute(statement)


MIGRATIONS: tuple[Migration, ...] = (
    m0001_first_schema,
    m0002_tags_and_narrow_indexes,
    m0003_adapters,
    m0004_errands,
    m0005_memory,
)
