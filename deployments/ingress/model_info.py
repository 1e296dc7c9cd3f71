"""Information about the served model.

It comes from the Generator once that has loaded the model, and before that from the model's files.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from models.checkpoint.locate import find_checkpoint
from models.checkpoint.profile import CheckpointProfile, CheckpointType, matches, read_profile
from models.checkpoint.upsampler import AUTO, OFF, note_upsampler
from models.errors import ModelUnavailable, StoreUnavailable
from models.lora.distilled import OFF as NO_DISTILLED_LORA
from models.names import model_setting
from models.request.request import VideoRequest
from models.request.upscaling import check_upscale, lacks_distilled_lora, refuse_upscale
from storage.sql.replicas import ReplicaQueries
from storage.tasks import ServedModel
from storage.ttl_cache import TtlCache

CACHE_TTL_S = 5.0


@dataclass
class ModelInfoCache:
    """Caches what it reads for a few seconds, so that not every submit queries the store. Blocks on the store."""

    store: ReplicaQueries
    name: str
    cache_dir: Path
    checkpoint_type: CheckpointType
    latent_upsampler: str = AUTO
    distilled_lora: str = NO_DISTILLED_LORA
    _from_files: CheckpointProfile | None = None

    def __post_init__(self) -> None:
        self._known = TtlCache(self._look, CACHE_TTL_S)

    def stored(self) -> ServedModel:
        """Return what the Generator wrote after it loaded the model. Without a profile, none has loaded it yet."""
        return self._known.get()[0]

    def profile(self) -> CheckpointProfile | None:
        """Return how the model should be run; None while neither a Generator nor files on this machine tell."""
        known, from_files = self._known.get()
        if known.profile is not None and matches(self.checkpoint_type, known.profile):
            return self._as_set(known.profile)
        return None if from_files is None else self._as_set(from_files)

    def _as_set(self, profile: CheckpointProfile) -> CheckpointProfile:
        """Return the profile with what the settings tell of two stages; a Generator may have stored it before them.

        A Generator that does not find what a setting names does not load the model.
        """
        named = self.latent_upsampler not in (AUTO, OFF)
        upsampler = True if named else profile.upsampler
        return replace(profile, upsampler=upsampler, distilled_lora=self.distilled_lora != NO_DISTILLED_LORA)

    def defaults(self) -> dict[str, float]:
        """Return the model's own defaults for fields, if they are known and differ from those of `VideoRequest`."""
        try:
            profile = self.profile()
        except StoreUnavailable:
            return {}
        return {} if profile is None else profile.defaults

    def can_upscale(self) -> bool | None:
        """Return whether the model renders in two stages; None while that is unknown."""
        if self.latent_upsampler == OFF:
            return False
        profile = self.profile()
        if profile is None:
            return None
        return False if lacks_distilled_lora(profile) else profile.upsampler

    def check_upscale(self, request: VideoRequest) -> None:
        """Raise InvalidRequest for two stages that this server is known not to render. Blocks on the store."""
        if not request.is_upscaled:
            return
        if (profile := self.profile()) is not None:
            check_upscale(request, profile)
        if self.latent_upsampler == OFF:
            refuse_upscale(request)

    def _look(self) -> tuple[ServedModel, CheckpointProfile | None]:
        known = self.store.served_model(self.name)
        told = known.profile
        if self._from_files is None and (told is None or not matches(self.checkpoint_type, told)):
            self._from_files = self._read_files()
        return known, self._from_files

    def _read_files(self) -> CheckpointProfile | None:
        """Read a checkpoint on this machine. The Generator reports one that is broken or not LTX-2."""
        try:
            folder = find_checkpoint(model_setting(self.name), self.cache_dir, self.checkpoint_type)
            if folder is None:
                return None
            return note_upsampler(read_profile(folder, self.checkpoint_type, self.name), self.latent_upsampler, folder)
        except ModelUnavailable:
            return None
