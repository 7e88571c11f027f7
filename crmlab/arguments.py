"""Checks of arguments that more than one module needs, with one wording of the error."""

__all__ = ["one_of"]


def one_of(name, value, choices):
    """Refuse a value that is not one of an argument's choices.

    Raises
    ------
    ValueError
        That names the argument, its choices and what was given.
    """
    if value not in choices:
        raise ValueError(f"{name}= is one of {', '.join(map(repr, choices))}; got {value!r}.")
