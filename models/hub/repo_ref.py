"""A Hugging Face hub repository id, parsed from the `model` setting."""

from dataclasses import dataclass

from models.errors import ModelNotFound


@dataclass(frozen=True)
class RepoRef:
    """A hub repository at one revision: a branch, a tag or a commit. None is the main branch."""

    id: str
    revision: str | None

    @classmethod
    def parse(cls, model: str) -> "RepoRef":
        """Parse `owner/name` or `owner/name@revision`. Raises ModelNotFound for an empty revision."""
        name, at, revision = model.partition("@")
        if at and not revision:
            raise ModelNotFound(f"{model!r} ends in @: a branch, a tag or a commit must follow it (owner/name@main)")
        return cls(name, revision or None)

    def __str__(self) -> str:
        return self.id if self.revision is None else f"{self.id}@{self.revision}"
