"""Errors about settings that say what is wrong and what there is."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from deployments.settings.constants import ENV_NESTED_DELIMITER, ENV_PREFIX
from deployments.settings.database import URL_VARIABLE, without_password

CREDENTIALS = re.compile(r"//.*@")
"""What a url may hold that no log should."""
SERVICE_HOST = "_SERVICE_HOST"
"""What Kubernetes tells a container about each service ends so; the other variables of a service come with it."""
HIDDEN = frozenset({"api_keys", "secret"})
"""What is wrong there may be a secret, or a key that was taken for its hash: it is not repeated."""


class SettingsError(Exception):
    """A setting is unknown or wrong. Says which, and what is allowed."""


def _names(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """All environment variables that fill `model`."""
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name}".upper()
        yield variable
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _names(field.annotation, f"{variable}{ENV_NESTED_DELIMITER}")


def reject_unknown_variables(settings: type[BaseModel], environment: Mapping[str, str]) -> None:
    """Pydantic passes over a mistyped variable in silence; an operator wants to know."""
    known = list(_names(settings, ENV_PREFIX))
    links = _service_links(environment)
    for name in environment:
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known and not name.startswith(links):
            close = difflib.get_close_matches(name.upper(), known, n=3) or known
            raise SettingsError(f"the environment variable {name} is no setting; did you mean {' or '.join(close)}?")


def _service_links(environment: Mapping[str, str]) -> tuple[str, ...]:
    """How the variables begin that Kubernetes gives a container about the services of its namespace.

    KubeRay names a service ltx2-serve-svc: LTX2_SERVE_SVC_SERVICE_HOST, LTX2_SERVE_SVC_PORT_8004_TCP and others.
    """
    services = [name.removesuffix(SERVICE_HOST) for name in environment if name.endswith(SERVICE_HOST)]
    return tuple(f"{service}_{kind}" for service in services for kind in ("SERVICE_", "PORT"))


def reject_password_in_config(database_url: str, environment: Mapping[str, str]) -> None:
    """Serve writes the `args` of its config into a log, and shows them in its dashboard, word by word."""
    given = {name.upper(): value for name, value in environment.items()}
    if without_password(database_url) != database_url != given.get(URL_VARIABLE):
        raise SettingsError(
            f"setting database_url: a password in it comes from the environment alone, as {URL_VARIABLE}"
        )


def format_error(settings: type[BaseModel], error: ValidationError) -> str:
    """Say which settings are wrong and what is allowed."""
    return "\n".join(
        f"setting {'.'.join(str(part) for part in problem['loc'])}: {_describe_error(settings, problem)}"
        for problem in error.errors(include_url=False)
    )


def _describe_error(settings: type[BaseModel], problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        known = _enclosing_section(settings, problem["loc"]).model_fields
        return f"there is no such setting; there are {', '.join(known)}"
    if HIDDEN.intersection(problem["loc"]):
        return str(problem["msg"])
    return f"{problem['msg']}; {CREDENTIALS.sub('//***@', repr(problem['input']))} was given"


def _enclosing_section(settings: type[BaseModel], location: tuple[str | int, ...]) -> type[BaseModel]:
    """The section, or the record of a list, that the last name of `location` should stand in."""
    room = settings
    for part in location[:-1]:
        if isinstance(part, str):
            annotation = room.model_fields[part].annotation
            kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
            room = next((kind for kind in kinds if issubclass(kind, BaseModel)), room)
    return room
