"""Queries on Generator replicas and served models."""

import time
from dataclasses import asdict

from sqlalchemy import ColumnElement, Select, delete, func, insert, select, update

from models.names import BUILT_IN_NAMES
from storage.db.engine import sanitize_text, translate_db_errors
from storage.db.schema import replicas, served_models
from storage.sql.base import SqlStore
from storage.sql.dialect import conflict_insert
from storage.sql.mapping import profile_value, row_to_replica, row_to_served_model
from storage.tasks import GeneratorReplica, ServedModel

REPLICA_EXPIRY_S = 20.0
"""A replica without a heartbeat for this long counts as dead. It writes one every few seconds."""


class ReplicaQueries(SqlStore):
    """Reads and writes the rows of Generator replicas and served models."""

    def put_replica(self, replica: GeneratorReplica) -> None:
        """Write the status of a Generator replica."""
        with translate_db_errors(), self._engine.begin() as connection:
            connection.execute(delete(replicas).where(replicas.c.id == replica.id))
            written = asdict(replica) | {"message": sanitize_text(replica.message), "updated_at": time.time()}
            connection.execute(insert(replicas).values(written))

    def delete_replica(self, replica_id: str) -> None:
        """Delete the row of a Generator replica, and those of replicas that died."""
        long_gone = replicas.c.updated_at < time.time() - REPLICA_EXPIRY_S
        with translate_db_errors(), self._engine.begin() as connection:
            connection.execute(delete(replicas).where((replicas.c.id == replica_id) | long_gone))

    def live_replicas(self) -> list[GeneratorReplica]:
        """The Generator replicas with a recent heartbeat."""
        return [row_to_replica(row) for row in self._read(select(replicas).where(_lately()))]

    def record_model(self, model: ServedModel) -> None:
        """Record that this database serves `model`, with its profile and free GPU memory.

        The smallest free memory is kept: this one, or that of another live replica.
        """
        with translate_db_errors(), self._engine.begin() as connection:
            free = [model.free_vram_bytes, connection.execute(_least_free_vram(model.name)).scalar()]
            least = min((room for room in free if room is not None), default=None)
            known = {"served_at": time.time(), "profile": profile_value(model.profile), "free_vram_bytes": least}
            # Several Generators may load it at the same moment.
            written = conflict_insert(connection, served_models).values(model=model.name, **known)
            connection.execute(written.on_conflict_do_update(index_elements=["model"], set_=known))

    def served_model(self, name: str) -> ServedModel:
        """What is known about a model. Free memory is the smallest of the live replicas, or else of the last one."""
        least = func.coalesce(_least_free_vram(name).scalar_subquery(), served_models.c.free_vram_bytes)
        known = select(served_models.c.model, served_models.c.profile, least.label("free_vram_bytes"))
        found = self._read(known.where(served_models.c.model == name))
        return row_to_served_model(found[0]) if found else ServedModel(name)

    def delete_model_info(self) -> None:
        """Delete the profiles and free memory of all models. The record that they were served stays."""
        with translate_db_errors(), self._engine.begin() as connection:
            connection.execute(update(served_models).values(profile=None, free_vram_bytes=None))
            connection.execute(update(replicas).values(free_vram_bytes=None))

    def last_real_model(self) -> str | None:
        """The real model, not a built-in one, that this database served last. None if it never served one."""
        real = select(served_models.c.model).where(served_models.c.model.not_in(sorted(BUILT_IN_NAMES)))
        found = self._read(real.order_by(served_models.c.served_at.desc()).limit(1))
        return str(found[0].model) if found else None


def _lately() -> ColumnElement[bool]:
    return replicas.c.updated_at > time.time() - REPLICA_EXPIRY_S


def _least_free_vram(model: str) -> Select[tuple[int | None]]:
    """The smallest free memory among live replicas of `model`: a task may run on any of them."""
    return select(func.min(replicas.c.free_vram_bytes)).where(_lately(), replicas.c.model == model)
