"""What the body of a migration tells by its text: how it ends, which views it opens, its fingerprint."""

from __future__ import annotations

import ast
import dis
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from itertools import pairwise
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from migrate_graph.code_walk import codes_of
from migrate_graph.core.model import BodyFacts
from migrate_graph.loader.declarations import SCOPES
from migrate_graph.loader.endings import what_adds_a_value, what_ends
from migrate_graph.loader.fingerprints import SILENT_FIELDS, fingerprint_of
from migrate_graph.loader.meanings import Reader, is_manager
from migrate_graph.loader.sources import FunctionNode, Sources, chain_of, is_constant, own_nodes, parts_of
from migrate_graph.user_files import SourceLocation, is_user_file

_PYTHONS = sys.stdlib_module_names - {"__main__"}


def facts_with(name: str, function: Callable[..., Any], sources: Sources) -> dict[str, object]:
    """Return one fact about a body, and the others that are found with it when its text is read, by name.

    Args:
        name: as in `BodyFacts`.
        function: the body, decorated or not.
        sources: of this loading.
    """
    chain = chain_of(function)
    if name == "opened_views":
        found: dict[str, object] = {name: _opened_views(chain, sources)}
        # Other facts are read along: later, after a whole project, this part of the text would have to be parsed again.
        was_parsed = any(sources.mentions[each] for each in chain)
        return found | facts_with("returns_value", function, sources) if was_parsed else found
    nodes = [(each, node) for each in chain if (node := sources.node_of(each)) is not None]
    names = (name,) if name in {"fingerprint", "code"} else ("returns_value", *_FINDERS)
    if not nodes or nodes[-1][0] is not chain[-1]:
        return {each: getattr(BodyFacts(), each) for each in names}
    inner, node = nodes[-1]
    if name in {"fingerprint", "code"}:
        return {name: fingerprint_of(inner, sources, with_files=name == "fingerprint")}
    path = sources.shown(inner.__code__.co_filename)
    others = {each: _placed(finder(node), path) for each, finder in _FINDERS.items()}
    return {"returns_value": _returns_value([node for _, node in nodes]), **others}


def _placed(found: int | tuple[int, str] | None, path: str) -> object:
    """Return a found line as a place; with its words, if there are any."""
    if found is None:
        return None
    return (SourceLocation(path, found[0]), found[1]) if isinstance(found, tuple) else SourceLocation(path, found)


def definition_of(function: Callable[..., Any], sources: Sources) -> SourceLocation | None:
    """Return the line of a body's `def`, below its decorators; None when it has no code of its own."""
    chain = chain_of(function)
    if not chain:
        return None
    return SourceLocation(chain[-1].__code__.co_filename, sources.line_of_def(chain[-1]))


# --- facts about one body ----------------------------------------------------------------------------------------


def _returns_value(chain: list[FunctionNode]) -> bool:
    """Return whether a body can return a value: its own, or one of a wrapper around it that is not the result of a call."""
    *wrappers, body = chain
    if isinstance(body, ast.Lambda) or list(_returned(body)):
        return True
    return any(not isinstance(value, ast.Call) for wrapper in wrappers for value in _returned(wrapper))


def _returned(node: FunctionNode) -> Iterator[ast.expr]:
    for found in own_nodes(node):
        if isinstance(found, ast.Return) and found.value is not None and not is_constant(found.value, value=None):
            yield found.value


def _commit_before_return(node: FunctionNode) -> int | None:
    """Return the line of a `….commit()` that stands directly before `return True`."""
    if isinstance(node, ast.Lambda):
        return None
    blocks = [node.body]
    for found in own_nodes(node):
        if isinstance(found, ast.stmt | ast.ExceptHandler | ast.match_case) and not isinstance(found, SCOPES):
            blocks += [getattr(found, name, []) for name in ("body", "orelse", "finalbody")]
    for block in blocks:
        for before, after in pairwise(block):
            if isinstance(after, ast.Return) and is_constant(after.value, value=True) and _is_commit(before):
                return int(before.lineno)
    return None


def _creates_by_definition(node: FunctionNode) -> int | None:
    """Return the line of `db.define_table(…, migrate=True)`, where the body does not switch pyDAL's migrations on."""
    found = list(own_nodes(node))
    if any(isinstance(each, ast.Attribute) and each.attr == "_migrate_enabled" for each in found):
        return None
    calls = (each for each in found if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute))
    lines = [
        call.lineno
        for call in calls
        if call.func.attr in {"define_table", "define"}  # type: ignore[attr-defined] # see above
        and any(word.arg == "migrate" and is_constant(word.value, value=True) for word in call.keywords)
    ]
    return min(lines, default=None)


# Each returns a line, or a line with words.
_FINDERS: dict[str, Callable[[FunctionNode], Any]] = {
    "commits_before_return": _commit_before_return,
    "creates_by_definition": _creates_by_definition,
    "ends_transaction": what_ends,
    "adds_enum_value": what_adds_a_value,
}


def _is_commit(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr == "commit"
    )


# --- views opened by a body --------------------------------------------------------------------------------------


def _opened_views(roots: Iterable[FunctionType], sources: Sources) -> tuple[str, ...]:
    """Follow a body and the helper functions it calls, each once, in the order in which they are met."""
    found: dict[str, None] = {}
    seen: set[FunctionType] = set()
    for root in roots:
        seen.add(root)
        stack = [_mentions_of(root, sources)]
        while stack:
            item = next(stack[-1], None)
            if item is None:
                stack.pop()
            elif isinstance(item, str):
                found[item] = None
            elif item not in seen:
                seen.add(item)
                stack.append(_mentions_of(item, sources))
    return tuple(found)


def _mentions_of(function: FunctionType, sources: Sources) -> Iterator[str | FunctionType]:
    """Return what a function itself mentions, in order: names of view managers, and functions that it calls."""
    if function not in sources.mentions:
        node = sources.node_of(function) if _may_mention(function) else None
        sources.mentions[function] = () if node is None else tuple(_mentions(Reader(function), node))
    return iter(sources.mentions[function])


def _may_mention(function: FunctionType) -> bool:
    """Return whether a function names anything that could be a view manager or lead to one; its text need not be parsed for this."""
    reader = Reader(function)
    codes = list(codes_of(function.__code__))
    if any(_IMPORT_NAME in code.co_code[::2] for code in codes):
        return True
    names = set(function.__code__.co_freevars).union(*(code.co_names for code in codes))
    return any(not _leads_nowhere(reader.named(name)) for name in names)


def _leads_nowhere(value: object) -> bool:
    """Return whether a value is plain data, or a module, class or function of the standard library."""
    if value is None or isinstance(value, str | bytes | int | float):
        return True
    if type(value) not in {ModuleType, type, BuiltinFunctionType, FunctionType} or hasattr(value, "__wrapped__"):
        return False
    module = getattr(value, "__name__" if type(value) is ModuleType else "__module__", None)
    return isinstance(module, str) and module.partition(".")[0] in _PYTHONS


_IMPORT_NAME = dis.opmap["IMPORT_NAME"]


def _mentions(reader: Reader, node: FunctionNode) -> Iterator[str | FunctionType]:
    """Yield names of view managers and user functions called, in the order of the text."""
    stack: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else list(reversed(node.body))
    closed = _only_closed(reader, node)
    while stack:
        found = stack.pop()
        if (rest := _besides_closing(reader, found, closed)) is not None:
            stack += reversed(rest)
        elif isinstance(found, ast.Import | ast.ImportFrom):
            reader.note_import(found)
        elif isinstance(found, ast.Name | ast.Attribute):
            value = reader.meaning(found)
            yield from _managers_in(value)
            if isinstance(found, ast.Attribute) and found.attr == "renew":
                yield from _managers_in(reader.meaning(found.value))
            if isinstance(found, ast.Attribute) and not is_manager(reader.meaning(found.value)):
                stack.append(found.value)
        else:
            if isinstance(found, ast.Call):
                yield from _called(reader, found)
            stack += reversed(_parts(found))


def _besides_closing(reader: Reader, node: ast.AST, closed: Container[str]) -> list[ast.AST] | None:
    """Return the other parts of code that only takes views down by hand; None for other code.

    `V(db).down()` drops a view that does not come up again, as `DROP VIEW` does; only `with V(db)`, `up()` and `renew()` open one.
    The same with a name in between: `view = V(db)`, or `for V in (A, B)`, where the name is used for nothing else.
    """
    if (on := _taken_down(node)) is not None and isinstance(node, ast.Call):
        if isinstance(on, ast.Call) and is_manager(reader.meaning(on.func)):
            return [*on.args, *on.keywords, *node.args, *node.keywords]
    elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
        if all(_is_one_of(each, closed) for each in node.targets) and is_manager(reader.meaning(node.value.func)):
            return [*node.value.args, *node.value.keywords]
    elif isinstance(node, ast.For) and _is_one_of(node.target, closed):
        each = node.iter.elts if isinstance(node.iter, ast.Tuple | ast.List | ast.Set) else [node.iter]
        if all(any(_managers_in(reader.meaning(one))) for one in each):
            return [*node.body, *node.orelse]
    return None


def _taken_down(node: ast.AST) -> ast.expr | None:
    """Return what `down` is called of."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "down":
        return node.func.value
    return None


def _is_one_of(node: ast.expr, names: Container[str]) -> bool:
    return isinstance(node, ast.Name) and node.id in names


def _only_closed(reader: Reader, node: FunctionNode) -> set[str]:
    """Return the names in a function whose every use is `name.down()` or `name(…).down()`."""
    if reader.function is None or not any("down" in code.co_names for code in codes_of(reader.function.__code__)):
        return set()
    nodes = list(ast.walk(node))
    closing = [on for each in nodes if (on := _taken_down(each)) is not None]
    used = [on.func if isinstance(on, ast.Call) else on for on in closing]
    names = [each for each in nodes if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)]
    others = {each.id for each in set(names).difference(used)}
    return {each.id for each in used if isinstance(each, ast.Name)} - others


def _called(reader: Reader, node: ast.Call) -> Iterator[FunctionType]:
    own = reader.function.__code__.co_filename if reader.function else ""
    for function in chain_of(reader.meaning(node.func)):
        name = function.__code__.co_filename
        if name == own or is_user_file(name):
            yield function


_OPEN_NOTHING = SILENT_FIELDS | {"decorator_list"}


def _parts(node: ast.AST) -> list[ast.AST]:
    """Return the child nodes that may open a view: annotations and the arguments of `isinstance` open none."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"isinstance", "issubclass"}:
        return []
    return parts_of(node, without=_OPEN_NOTHING)


def _managers_in(value: object) -> Iterator[str]:
    """Yield the names of one view manager, or of several kept together in a tuple, list, set or dict."""
    if isinstance(value, tuple | list | set | frozenset | dict):
        values = list(value.values() if isinstance(value, dict) else value)
        if all(map(is_manager, values)):
            values = sorted(values, key=lambda kind: kind.__name__) if isinstance(value, set | frozenset) else values
            yield from (kind.__name__ for kind in values)
    elif (
        isinstance(value, MethodType)
        and getattr(value.__func__, "__name__", "") == "renew"
        and is_manager(value.__self__)
    ):
        yield from _managers_in(value.__self__)
    elif is_manager(value):
        yield value.__name__  # type: ignore[attr-defined] # a class
