"""A cache of an LMM's replies in an SQLite file, which several processes may share."""

import hashlib
import json
import sqlite3
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from img2loc.core.errors import ConfigError, UnreadablePhoto
from img2loc.core.guess_json import reply_from
from img2loc.core.protocols import LMM
from img2loc.core.types import Prompt, Reply
from img2loc.lmm.concurrent import Concurrent, in_flight, only_reply


class Cached:
    """An LMM whose replies are stored, and given again to the same prompt and photograph.

    `identity` is everything else that the reply depends on: model, endpoint, sampling. Replies are
    stored as they come, so that a killed run loses none; failures are not stored. A stored reply
    costs 0 US dollars: it was paid for before. Raises ConfigError where the file cannot be used.
    """

    def __init__(self, lmm: LMM, identity: Mapping[str, Any], file: Path) -> None:
        self._lmm = lmm
        self._identity = json.dumps(identity, sort_keys=True, default=str)
        self._file = file
        self._lock = threading.Lock()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            # Autocommit: each reply is on disk when the call returns.
            self._store = sqlite3.connect(
                file, timeout=60, check_same_thread=False, isolation_level=None
            )
            self._store.execute("PRAGMA journal_mode=WAL")
            self._store.execute(
                "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL)"
                " WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"The reply cache {file} cannot be used ({error}). Delete it, or ask without"
                " --cache."
            ) from error

    def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        """One reply for each prompt, in order: stored, or by the LMM."""
        if isinstance(self._lmm, Concurrent):
            return in_flight(self._prepare, self._answer, prompts, self._lmm.concurrency)
        return self._one_by_one(prompts)

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def _prepare(self, prompt: Prompt) -> tuple[str, Any]:
        """The key, and the stored reply or what the LMM prepares."""
        assert isinstance(self._lmm, Concurrent)
        key = self._key(prompt)
        return key, self._get(key) or self._lmm.prepare(prompt)

    def _answer(self, prompt: Prompt, prepared: tuple[str, Any]) -> Reply:
        assert isinstance(self._lmm, Concurrent)
        key, ready = prepared
        if isinstance(ready, Reply):
            return ready
        return self._put(key, self._lmm.answer(prompt, ready))

    def _one_by_one(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        for prompt in prompts:
            key = self._key(prompt)
            yield self._get(key) or self._put(key, only_reply(self._lmm, prompt))

    def _key(self, prompt: Prompt) -> str:
        try:
            return hashlib.sha256(f"{self._identity}\n{prompt.key()}".encode()).hexdigest()
        except UnreadablePhoto:
            return ""

    def _get(self, key: str) -> Reply | None:
        try:
            select = "SELECT reply FROM replies WHERE key = ?"
            with self._lock, closing(self._store.execute(select, (key,))) as rows:
                row = rows.fetchone()
        except sqlite3.Error as error:
            raise ConfigError(
                f"The reply cache {self._file} is damaged ({error}). Delete it, or ask without"
                " --cache."
            ) from error
        try:
            return reply_from(json.loads(row[0])).again() if row else None
        except (ValueError, TypeError, KeyError):
            return None  # A row that cannot be read is asked for again.

    def _put(self, key: str, reply: Reply) -> Reply:
        if key and reply.status != "failed":
            insert, row = "INSERT OR REPLACE INTO replies VALUES (?, ?)", json.dumps(asdict(reply))
            try:
                with self._lock:
                    self._store.execute(insert, (key, row))
            except sqlite3.Error as error:  # A full disk, say: the reply was paid for and goes on.
                warnings.warn(f"A reply could not be stored in {self._file}: {error}", stacklevel=2)
        return reply
