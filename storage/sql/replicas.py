"""What is known about Generators and models."""

import time
from dataclasses import asdict

from sqlalchemy import ColumnElement, Select, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from models.names import TINY_MODEL_NAME
from storage.database import answering, is_sqlite, storable
from storage.rows import read_replica, read_served_model, recipe_value
from storage.schema import replicas, served_models
from storage.sql.statements import Statements
from storage.tasks import Replica, ServedModel

REPLICA_EXPIRY_S = 20.0
"""A replica that has not written for so long is taken for dead; it writes every few seconds."""


class ReplicaStatements(Statements):
    """The rows of Generators, and of the models that were served."""

    def put_replica(self, replica: Replica) -> None:  # noqa: D102
        with answering(), self._engine.begin() as connection:
            connection.execute(delete(replicas).where(replicas.c.id == replica.id))
            written = asdict(replica) | {"message": storable(replica.message), "updated_at": time.time()}
            connection.execute(insert(replicas).values(written))

    def drop_replica(self, replica_id: str) -> None:  # noqa: D102
        long_gone = replicas.c.updated_at < time.time() - REPLICA_EXPIRY_S
        with answering(), self._engine.begin() as connection:
            connection.execute(delete(replicas).where((replicas.c.id == replica_id) | long_gone))

    def live_replicas(self) -> list[Replica]:  # noqa: D102
        return [read_replica(row) for row in self._read(select(replicas).where(_lately()))]

    def remember_model(self, model: ServedModel) -> None:  # noqa: D102
        with answering(), self._engine.begin() as connection:
            rooms = [model.working_bytes, connection.execute(_least_room(model.name)).scalar()]
            least = min((room for room in rooms if room is not None), default=None)
            known = {"served_at": time.time(), "recipe": recipe_value(model.recipe), "working_bytes": least}
            dialect = sqlite if is_sqlite(self._engine) else postgresql
            written = dialect.insert(served_models).values(model=model.name, **known)  # others may load it at once
            connection.execute(written.on_conflict_do_update(index_elements=["model"], set_=known))

    def served_model(self, name: str) -> ServedModel:  # noqa: D102
        least = func.coalesce(_least_room(name).scalar_subquery(), served_models.c.working_bytes)
        known = select(served_models.c.model, served_models.c.recipe, least.label("working_bytes"))
        found = self._read(known.where(served_models.c.model == name))
        return read_served_model(found[0]) if found else ServedModel(name)

    def forget_learned(self) -> None:  # noqa: D102
        with answering(), self._engine.begin() as connection:
            connection.execute(update(served_models).values(recipe=None, working_bytes=None))
            connection.execute(update(replicas).values(working_bytes=None))

    def last_real_model(self) -> str | None:  # noqa: D102
        real = select(served_models.c.model).where(served_models.c.model != TINY_MODEL_NAME)
        found = self._read(real.order_by(served_models.c.served_at.desc()).limit(1))
        return str(found[0].model) if found else None


def _lately() -> ColumnElement[bool]:
    return replicas.c.updated_at > time.time() - REPLICA_EXPIRY_S


def _least_room(model: str) -> Select[tuple[int | None]]:
    """The smallest room of those that live: a task may come to any of them."""
    return select(func.min(replicas.c.working_bytes)).where(_lately(), replicas.c.model == model)
