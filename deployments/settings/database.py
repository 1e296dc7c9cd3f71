"""Removes the password from `database_url`, and restores it from the environment."""

from collections.abc import Mapping

from sqlalchemy import URL, make_url

from deployments.settings.base import ENV_PREFIX

URL_VARIABLE = f"{ENV_PREFIX}DATABASE_URL"


def without_password(url: str) -> str:
    """The url without its password, for logs and dashboards."""
    parsed = make_url(url)
    if not parsed.password and "password" not in parsed.query:
        return url
    query = parsed.difference_update_query(["password"]).query
    bare = URL.create(parsed.drivername, parsed.username, None, parsed.host, parsed.port, parsed.database, query)
    return bare.render_as_string(hide_password=False)


def with_password(url: str, environment: Mapping[str, str]) -> str:
    """The url with the password from LTX2_DATABASE_URL, when that url is the same apart from the password."""
    found = next((value for name, value in environment.items() if name.upper() == URL_VARIABLE), url)
    return found if without_password(found) == url else url
