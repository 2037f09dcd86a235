"""Settings of a training run as TOML.

A file holds the fields of :class:`TrainConfig`; ``[losses]``, ``[critics]``, ``[optimiser]`` and
``[limits]`` are tables, each ``[[stages]]`` is one stage of the schedule. What is left out takes its default.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from facecodec.errors import ConfigError, MediaError
from facecodec.train.config import Stage, TrainConfig

PRESETS = Path(__file__).with_name("presets")
"""Folder of the shipped presets."""

_T = TypeVar("_T")


def _require_kind(value: object, kind: type, name: str, allowed: str) -> None:
    if not isinstance(value, kind):
        raise ConfigError(name, value, allowed)


def _build(kind: type[_T], table: Mapping[str, Any], where: str) -> _T:
    """Make a settings object from a table of TOML, and say which field is wrong."""
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in table.items():
        full = f"{where}{name}"
        if name not in known:
            raise ConfigError(full, value, ", ".join(f"{where}{each}" for each in known))
        hint = hints[name]
        if name == "stages":
            _require_kind(value, list, full, "a list of tables: [[stages]]")
            values[name] = tuple(_build(Stage, each, "stages.") for each in value)
        elif dataclasses.is_dataclass(hint):
            _require_kind(value, dict, full, f"a table: [{name}]")
            values[name] = _build(hint, value, f"{name}.")  # type: ignore[arg-type]
        else:
            values[name] = _scalar(hint, value, full)
    return kind(**values)


def _scalar(hint: object, value: object, name: str) -> object:
    if hint is float and type(value) is int:
        return float(value)
    if hint in (int, float, bool) and type(value) is not hint:
        raise ConfigError(name, value, f"of type {getattr(hint, '__name__', hint)}")
    if hint not in (int, float, bool) and not isinstance(value, str):
        raise ConfigError(name, value, "text")
    return value


def parse_config(text: str, name: str = "configuration") -> TrainConfig:
    """Read settings from TOML.

    Args:
        text: the file's text.
        name: how errors name it.

    Raises:
        ConfigError: not TOML, an unknown field, or a value outside its range.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise ConfigError(name, str(err), "TOML") from err
    return _build(TrainConfig, table, "")


def load_config(path: str | Path) -> TrainConfig:
    """Read settings from a TOML file; a name alone, ``debug`` or ``debug.toml``, is also that of a preset.

    Raises:
        MediaError: the file cannot be read.
        ConfigError: see :func:`parse_config`.
    """
    chosen = Path(path)
    preset = PRESETS / f"{chosen.name.removesuffix('.toml')}.toml"
    if not chosen.is_file() and chosen.parent == Path() and preset.is_file():
        chosen = preset
    try:
        text = chosen.read_text(encoding="utf-8")
    except OSError as err:
        raise MediaError(path, f"cannot be read: {err.strerror}") from err
    return parse_config(text, str(path))


def _lines(settings: object) -> list[str]:
    out = []
    for item in fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, item.name)
        if isinstance(value, bool):
            out.append(f"{item.name} = {str(value).lower()}")
        elif isinstance(value, str):
            out.append(f'{item.name} = "{value}"')
        elif isinstance(value, (int, float)):
            out.append(f"{item.name} = {value!r}")
    return out


def dump_config(config: TrainConfig) -> str:
    """Write settings as TOML that :func:`parse_config` reads back to the same settings."""
    out = _lines(config)
    for name in ("losses", "critics", "optimiser", "limits"):
        out += ["", f"[{name}]", *_lines(getattr(config, name))]
    for stage in config.stages:
        out += ["", "[[stages]]", *_lines(stage)]
    return "\n".join(out) + "\n"
