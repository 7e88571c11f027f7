"""Checks of arguments that more than one module needs, with one wording of the error."""

import numbers

__all__ = ["one_of", "whole_number"]


def one_of(name, value, choices):
    """Refuse a value that is not one of an argument's choices.

    Raises
    ------
    ValueError
        That names the argument, its choices and what was given.
    """
    if value not in choices:
        raise ValueError(f"{name}= is one of {', '.join(map(repr, choices))}; got {value!r}.")


def whole_number(name, value, least=1, what=None):
    """The value as an int, if it is a whole number of at least so much; True and 3.0 are none.

    Raises
    ------
    ValueError
        That names the argument, what it counts if that is given, the least and what was given.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name}= is a whole number{f' of {what}' if what else ''}, {least} or more; got {value!r}.")
    return int(value)
