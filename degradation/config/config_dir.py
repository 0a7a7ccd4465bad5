"""The files of a `--config-dir`: YAML of bounded size, or the line and column of what is wrong."""

from pathlib import Path
from typing import Any

import yaml

from degradation.config.validation import ConfigError
from degradation.system.console import escape_control_chars, short_repr

MAX_BYTES, MAX_NODES = 100_000, 20_000


def check(folder: str | None, own: Path) -> None:
    """Refuse files of a `--config-dir` that aren't YAML of ours, with file, line and column.

    `own` holds our files: one of the same name would be passed over, silently. Raises ConfigError.
    """
    if folder is None:
        return
    top = Path(folder)
    if not top.is_dir():
        where = escape_control_chars(str(top.absolute()))
        raise ConfigError(f"--config-dir={short_repr(folder)}: must be a folder; {where} is none")
    groups = [*(p.name for p in own.iterdir() if p.is_dir()), "sweeps"]
    for group in groups:
        for path in sorted((top / group).rglob("*.yaml")):
            if (own / path.relative_to(top)).exists():
                raise ConfigError(f"{path}: conf/{path.relative_to(top)} has that name and would be "
                              "taken; rename yours")  # fmt: skip
            _check_file(path)


def _check_file(path: Path) -> None:
    try:
        content = path.read_bytes()
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{path}: {len(content):,} bytes; must be at most {MAX_BYTES:,}")
        text = content.decode("utf-8-sig")
        if (nodes := _nodes(yaml.compose(text, yaml.SafeLoader), {})) > MAX_NODES:
            raise ConfigError(f"{path}: holds {nodes:,} values with its aliases; must be at most "
                          f"{MAX_NODES:,}")  # fmt: skip
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; let this user read it") from error
    except UnicodeDecodeError as error:
        at = content[: error.start].count(b"\n") + 1
        byte = f"byte 0x{content[error.start]:02x}"
        raise ConfigError(f"{path}, line {at}: {byte} is not UTF-8; save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        raise ConfigError(fault(error, path)) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}; remove that character") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deep; write it flat") from error


def fault(error: yaml.MarkedYAMLError, path: Path) -> str:
    """File, line, column, and what is wrong there."""
    mark = error.problem_mark or error.context_mark
    at = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    tab = "; indent with spaces, not tabs" if "'\\t'" in str(error.problem) else ""
    return escape_control_chars(f"{path}{at}: {error.problem}{tab}; mend that line")


def _nodes(node: Any, seen: dict[int, int]) -> int:
    """How many nodes `node` stands for, each alias counted in full. Raises ConfigError for a key given
    twice, and for a node that holds itself."""
    if id(node) in seen:
        if not seen[id(node)]:
            raise yaml.MarkedYAMLError(problem="it holds itself", problem_mark=node.start_mark)
        return seen[id(node)]
    seen[id(node)] = 0
    count = 1
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if key.value in keys:
                raise yaml.MarkedYAMLError(problem=f"the key {short_repr(key.value)} is there twice",
                                           problem_mark=key.start_mark)  # fmt: skip
            if isinstance(key.value, str):
                keys.add(key.value)
            count += 1 + _nodes(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        count += sum(_nodes(item, seen) for item in node.value)
    seen[id(node)] = count
    return count
