"""`verify_evidence.py`: the check as one file that needs nothing but Python's standard library.

It is not written a second time but put together from the modules that the service and `expunge verify` run: every
definition that `main` reaches, in the order in which the modules need each other, and nothing else. The one difference
is the arithmetic of signatures, which the service leaves to a package (`SUBSTITUTES`).

    python core/evidence/script.py > verify_evidence.py
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
START = ("core.evidence.command", "main")
SUBSTITUTES = {"core.signing.curves": "core.evidence.curves"}
HEADER = '''#!/usr/bin/env python3
"""Check evidence of a class deletion with nothing but Python 3.11 and this file:

    python -I verify_evidence.py evidence.zip --key 'name+id+key' [--request ID] [--checkpoint FILE] [--weights FILE]

The key must be one that you pinned from a channel you trust. This file was put together from the modules named below.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):
    sys.stderr.write("This program needs Python 3.11 or newer.\\n")
    sys.exit(2)
'''


class NotSelfContained(RuntimeError):
    """What the check needs is not in the standard library, or two modules call different things by one name."""


@dataclass
class _Module:
    name: str
    source: str
    tree: ast.Module
    definitions: dict[str, ast.stmt] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """What a name stands for: a module and a name in it, or a module."""


@dataclass
class _Reached:
    """What the check needs: definitions and the modules that they lead to, by module; imports from the library."""

    names: dict[str, set[str]] = field(default_factory=dict)
    needs: dict[str, set[str]] = field(default_factory=dict)
    standard: set[str] = field(default_factory=set)


@lru_cache(maxsize=1)
def verifier_script() -> str:
    """The text of `verify_evidence.py`; the same for the same version of the service.

    Raises:
        NotSelfContained: the modules do not fit into one file.
    """
    reached = _Reached()
    _reach(*START, reached)
    taken: dict[str, str] = {}
    parts = [HEADER, "\n".join(sorted(reached.standard)), ""]
    for module_name in _in_order(START[0], reached.needs):
        names = reached.names[module_name]
        for name in sorted(names):
            if taken.setdefault(name, module_name) != module_name:
                msg = f"Both {taken[name]} and {module_name} define {name}; rename one of them."
                raise NotSelfContained(msg)
        parts.append(f"\n# {'-' * 20} {module_name}\n")
        parts += _texts(_parsed(module_name), names)
    parts.append('\n\nif __name__ == "__main__":\n    sys.exit(main())\n')
    return "\n".join(parts)


def _reach(module_name: str, name: str, reached: _Reached) -> None:
    """Follow every name that a definition uses."""
    module = _parsed(module_name)
    if name in reached.names.setdefault(module_name, set()):
        return
    reached.names[module_name].add(name)
    needs = reached.needs.setdefault(module_name, set())
    definition = module.definitions[name]
    evaluated = _names(definition)
    for used in sorted(_names(definition, annotations=True)):
        source, inner = module.imports.get(used, (module_name, used))
        if source.split(".")[0] in sys.stdlib_module_names:
            reached.standard.add(f"from {source} import {inner}" if inner else f"import {source}")
        elif source == module_name:
            # Names of types come along; classes that only annotate what cannot be reached do not.
            own = module.definitions.get(used)
            if isinstance(own, ast.Assign) or (own is not None and used in evaluated):
                _reach(source, used, reached)
        elif used not in evaluated:
            continue
        elif source.startswith("core."):
            source = SUBSTITUTES.get(source, source)
            needs.add(source)
            _reach(source, inner or "", reached)
        else:
            msg = f"{module_name}.{name} needs {source}, which is not in the standard library."
            raise NotSelfContained(msg)


def _in_order(start: str, needs: dict[str, set[str]], seen: set[str] | None = None) -> Iterator[str]:
    """The modules, each after those that it needs."""
    seen = set() if seen is None else seen
    seen.add(start)
    for needed in sorted(needs[start] - seen):
        if needed not in seen:
            yield from _in_order(needed, needs, seen)
    yield start


@cache
def _parsed(name: str) -> _Module:
    source = (ROOT / (name.replace(".", "/") + ".py")).read_text(encoding="utf-8")
    module = _Module(name, source, ast.parse(source))
    for statement in module.tree.body:
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                module.imports[alias.asname or alias.name] = (statement.module or "", alias.name)
        elif isinstance(statement, ast.Import):
            module.imports |= {alias.name.split(".")[0]: (alias.name, None) for alias in statement.names}
        for defined in _defined(statement):
            module.definitions[defined] = statement
    return module


def _defined(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))


def _names(node: ast.AST, *, annotations: bool = False) -> set[str]:
    """Names that a definition uses, by default without those of annotations."""
    if isinstance(node, ast.Name):
        return {node.id}
    skipped = () if annotations else ("annotation", "returns")
    found: set[str] = set()
    for label, value in ast.iter_fields(node):
        if label not in skipped:
            for inner in value if isinstance(value, list) else [value]:
                found |= _names(inner, annotations=annotations) if isinstance(inner, ast.AST) else set()
    return found


def _texts(module: _Module, names: set[str]) -> Iterator[str]:
    wanted = {id(module.definitions[name]) for name in names}
    lines = module.source.splitlines()
    for statement, following in zip(module.tree.body, [*module.tree.body[1:], None], strict=True):
        if id(statement) not in wanted:
            continue
        first = min([statement.lineno, *(one.lineno for one in getattr(statement, "decorator_list", []))])
        last = statement.end_lineno
        # A text below an assignment is its documentation.
        if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(following, ast.Expr):
            last = following.end_lineno
        gap = "\n\n" if isinstance(statement, ast.FunctionDef | ast.ClassDef) else ""
        yield gap + "\n".join(lines[first - 1 : last])


if __name__ == "__main__":
    sys.stdout.buffer.write(verifier_script().encode())
