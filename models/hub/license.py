"""Finds the license of a Hugging Face hub repository, from its model card."""

from dataclasses import dataclass

from models.hub.files import RepoRef

OTHER = "other"
"""The hub's value for a license without a standard name. The card then has `license_name`."""


@dataclass(frozen=True)
class License:
    """The license's name, and the link to its text if the card has one."""

    name: str
    link: str | None

    def __str__(self) -> str:
        return self.name if self.link is None else f"{self.name} ({self.link})"


def find_license(repository: RepoRef) -> License | None:
    """The license of `repository`, or None if its card has none or the hub cannot be reached."""
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
    """A card's link as a URL. The card may name a file of its own repository."""
    if not link or link.startswith("http"):
        return link or None
    return f"https://huggingface.co/{repository.id}/blob/{repository.revision or 'main'}/{link}"
