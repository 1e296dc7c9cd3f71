"""Under which licence a repository of the Hugging Face hub stands, by its own card."""

from dataclasses import dataclass

from models.hub.repo_ref import RepoRef

OTHER = "other"
"""What the hub calls a licence that it has no name for; the card then has one of its own."""


@dataclass(frozen=True)
class License:
    """Its name, and where its text is if the card says so."""

    name: str
    link: str | None

    def __str__(self) -> str:
        return self.name if self.link is None else f"{self.name} ({self.link})"


def find_license(repository: RepoRef) -> License | None:
    """The licence of `repository`. None where its card names none, or the hub cannot be asked."""
    import httpx2
    from huggingface_hub import HfApi, errors

    try:
        card = HfApi().model_info(repository.id, revision=repository.revision).card_data
    except (errors.HfHubHTTPError, errors.HFValidationError, httpx2.TransportError, OSError):
        return None
    if card is None or not card.license:
        return None
    name = card.license_name if card.license == OTHER and card.license_name else card.license
    return License(str(name), _address(repository, card.license_link))


def _address(repository: RepoRef, link: str | None) -> str | None:
    """A card may name a file of its own repository."""
    if not link or link.startswith("http"):
        return link or None
    return f"https://huggingface.co/{repository.id}/blob/{repository.revision or 'main'}/{link}"
