"""Error messages for settings: what is wrong, and what is allowed."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from deployments.settings.base import ENV_NESTED_DELIMITER, ENV_PREFIX
from deployments.settings.sections import URL_VARIABLE, without_password

CREDENTIALS = re.compile(r"//.*@")
"""The credentials in a url, which must not be logged."""
SERVICE_HOST = "_SERVICE_HOST"
"""End of a variable that Kubernetes sets for each service in a container, along with others for the same service."""
HIDDEN = frozenset({"api_key", "api_keys", "secret"})
"""Values of these settings are never shown: they may be secrets, or an API key given instead of its hash."""


class SettingsError(Exception):
    """A setting is unknown or invalid. The message names it and what is allowed."""


def _names(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """Yield the names of all environment variables of `model` and its sections."""
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name}".upper()
        yield variable
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _names(field.annotation, f"{variable}{ENV_NESTED_DELIMITER}")


def reject_unknown_variables(settings: type[BaseModel], environment: Mapping[str, str]) -> None:
    """Raise SettingsError for an unknown LTX2_* variable, which pydantic would silently ignore."""
    known = list(_names(settings, ENV_PREFIX))
    links = _service_links(environment)
    for name in environment:
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known and not name.startswith(links):
            close = difflib.get_close_matches(name.upper(), known, n=3) or known
            raise SettingsError(f"the environment variable {name} is not a setting; did you mean {' or '.join(close)}?")


def _service_links(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Prefixes of the variables that Kubernetes sets in a container for the services of its namespace.

    KubeRay names a service ltx2-serve-svc, so there are LTX2_SERVE_SVC_SERVICE_HOST, LTX2_SERVE_SVC_PORT_8004_TCP and
    others.
    """
    services = [name.removesuffix(SERVICE_HOST) for name in environment if name.endswith(SERVICE_HOST)]
    return tuple(f"{service}_{kind}" for service in services for kind in ("SERVICE_", "PORT"))


def reject_password_in_config(database_url: str, environment: Mapping[str, str]) -> None:
    """Raise SettingsError for a password in the config file: Serve logs `args` and shows them in its dashboard."""
    given = {name.upper(): value for name, value in environment.items()}
    if without_password(database_url) != database_url != given.get(URL_VARIABLE):
        raise SettingsError(f"setting database_url: a password in it must come from the environment, as {URL_VARIABLE}")


def format_error(settings: type[BaseModel], error: ValidationError) -> str:
    """One line for each invalid setting, with what is allowed."""
    return "\n".join(
        f"setting {'.'.join(str(part) for part in problem['loc'])}: {_describe_error(settings, problem)}"
        for problem in error.errors(include_url=False)
    )


def _describe_error(settings: type[BaseModel], problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        known = _enclosing_section(settings, problem["loc"]).model_fields
        return f"there is no such setting here; the settings are {', '.join(known)}"
    if HIDDEN.intersection(problem["loc"]):
        return str(problem["msg"])
    return f"{problem['msg']}; {CREDENTIALS.sub('//***@', repr(problem['input']))} was given"


def _enclosing_section(settings: type[BaseModel], location: tuple[str | int, ...]) -> type[BaseModel]:
    """The section, or the record type of a list or of named records, to which the last name should belong."""
    room = settings
    for part in location[:-1]:
        if isinstance(part, str) and part in room.model_fields:
            annotation = room.model_fields[part].annotation
            kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
            room = next((kind for kind in kinds if issubclass(kind, BaseModel)), room)
    return room
