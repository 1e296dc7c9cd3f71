"""Values as forms and careless programs send them: blanks for what is left out, and numbers as text."""


def is_blank(value: object) -> bool:
    """Whether the value is None or a text of white space."""
    return value is None or (isinstance(value, str) and not value.strip())


def parse_number(value: object) -> float | None:
    """The number, which may be given as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def refuse_bool(value: object) -> object:
    """The value, for a field that is a number. Raises ValueError for true and false, which Python counts as numbers."""
    if isinstance(value, bool):
        raise ValueError("a number, not true or false")
    return value
