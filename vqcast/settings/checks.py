"""Sections of a parameters file as typed dataclasses, each fault in one sentence that names the key."""

import dataclasses
import difflib
import types
import typing

from vqcast.errors import VqcastError


class SettingsError(VqcastError):
    """A parameter is unknown, ill-typed, out of range, or contradicts another one."""


def build(cls: type, document: object, prefix: str):
    """Make dataclass `cls` from a mapping; `prefix` is the dotted path of its section.

    Raises SettingsError for what is unknown, missing or ill-typed, and for what the section itself refuses.
    """
    if not isinstance(document, dict):
        raise SettingsError(f"{prefix.rstrip('.') or 'the file'} must be a mapping of parameters")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in document:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else ""
            raise SettingsError(f"{prefix}{key} is not a parameter{hint}")
    hints = typing.get_type_hints(cls)
    values = {}
    for name in fields:
        if name not in document:
            raise SettingsError(f"{prefix}{name} is missing")
        values[name] = _convert(hints[name], document[name], f"{prefix}{name}")
    try:
        return cls(**values)
    except SettingsError as error:
        section = prefix.rstrip(".")
        text = str(error)
        raise SettingsError(text if not section or section in text else f"{section}: {text}") from None


def _convert(hint: object, value: object, key: str):
    if dataclasses.is_dataclass(hint):
        return build(hint, value, f"{key}.")
    if typing.get_origin(hint) is types.UnionType:  # `X | None`
        return None if value is None else _convert(typing.get_args(hint)[0], value, key)
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        if kinds[1:] == (...,):
            if not isinstance(value, list):
                raise SettingsError(f"{key} must be a list, not {value!r}")
            return tuple(_convert(kinds[0], item, key) for item in value)
        if not isinstance(value, list) or len(value) != len(kinds):
            raise SettingsError(f"{key} must be a list of {len(kinds)} numbers, not {value!r}")
        return tuple(_convert(kind, item, key) for kind, item in zip(kinds, value, strict=True))
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
        raise SettingsError(f"{key} must be {names[hint]}, not {value!r}")
    return value


def positive(section: object, *names: str) -> None:
    """Raise SettingsError unless these fields of `section` are greater than 0."""
    for name in names:
        if not getattr(section, name) > 0:
            raise SettingsError(f"{name} must be greater than 0, not {getattr(section, name)}")


def share(section: object, *names: str) -> None:
    """Raise SettingsError unless these fields of `section` lie in 0..1."""
    for name in names:
        if not 0 <= getattr(section, name) <= 1:
            raise SettingsError(f"{name} must lie in 0..1, not {getattr(section, name)}")


def one_of(section: object, name: str, choices: tuple[str, ...]) -> None:
    """Raise SettingsError unless this field of `section` is one of `choices`."""
    if getattr(section, name) not in choices:
        raise SettingsError(f"{name} must be one of {', '.join(choices)}, not {getattr(section, name)!r}")
