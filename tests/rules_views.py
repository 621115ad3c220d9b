"""What the rules about views (MG2xx) find: for each rule, classes and graphs that break it, and the same put right."""

from __future__ import annotations

import abc
from functools import partial, wraps
from typing import Any, ClassVar, Generic, TypeVar

from drawing import graph_of
from rules_stand import OPENS

from migrate_graph.authoring import SqlView, ViewMigrationManager
from migrate_graph.core.model import Rebuild, Unfinished, UnreachedFile
from migrate_graph.user_files import SourceLocation

T = TypeVar("T")


async def _later(_: Any) -> None: ...


def _one_by_one(_: Any) -> Any:
    yield


SETTINGS = ("uses", "since", "until", "query", "name", "indexes")


class Shared:
    untill = "a"


class Misspelt(Shared):
    """Says four things under names that mean nothing."""

    depends_on = ("Lines",)
    uess = ("Lines",)
    schema = "billing"


class Lazy:
    """Keeps a function as `classproperty` does."""

    def __init__(self, fget: Any) -> None:
        self.fget = fget


def _reads_a_text(view: Any) -> Any:
    return getattr(view, "schema", "")


class Own:
    """Has what its own methods read, and names that are like no setting."""

    index = ("a",)
    indices = ("b",)
    uess = ("c",)
    schema = "d"
    depends: Any = ()
    untill = "e"
    users = ("app",)
    relation = "totals"
    _unitl = ""

    @property
    def up(self) -> Any:
        return self.uess, self.index

    @staticmethod
    def read(view: Any) -> Any:
        return _reads_a_text(view)

    @wraps(lambda self: self.untill)
    def untli(self) -> Any:
        return self.indices

    lazy = Lazy(lambda cls: cls.depends)


class Half(ViewMigrationManager):
    def up(self) -> None: ...


class Foreign(ViewMigrationManager):
    def create(self) -> None: ...

    def drop(self) -> None: ...


class Querry(SqlView):
    grants: ClassVar = {"reader": "SELECT"}
    querry = ""


class Neither(SqlView):
    SELECTS = "\n  with a AS (SELECT 1) SELECT * FROM a"


class HalfBase(ViewMigrationManager):
    def up(self) -> None: ...


class _Half(ViewMigrationManager):
    def up(self) -> None: ...


class Derived(ViewMigrationManager):
    def up(self) -> None: ...


class Deriving(Derived):
    """Says nothing of a view."""


class Asking(ViewMigrationManager):
    def up(self) -> None: ...

    @property
    @abc.abstractmethod
    def columns(self) -> str: ...


class Abstract(ViewMigrationManager, abc.ABC):
    def up(self) -> None: ...


class General(ViewMigrationManager, Generic[T]):
    def up(self) -> None: ...


class Granted(SqlView):
    grants: ClassVar = {"reader": "SELECT"}
    materialized = True
    columns = "id"


_METHOD = "make it an ordinary method that takes nothing besides `self`"


# As in `test_core_rules`: a graph that breaks the rule, what is said of it, and the same graph put right.
VIEW_CASES: dict[str, tuple[dict[str, Any], list[tuple[str, str, str]], dict[str, Any]]] = {
    "MG201": (
        {
            "graph": graph_of(
                migrations={"m": {"declared_views": ("Totls", "Far")}},
                unfinished=[Unfinished(Half, SourceLocation("views.py", 7))],
                views={"Totals": {"uses": "Half Lines Gone"}, "New": {"replaces": "Totalz"}},
                unreached=(UnreachedFile("lines.py", (("Lines", 3),)),),
            )
        },
        [
            ("m", "'m' says it opens view 'Far', which nothing declares", "remove 'Far' from `views`"),
            ("m", "'m' says it opens view 'Totls', which nothing declares", "did you mean 'Totals'?"),
            ("Totals", "view 'Totals' uses 'Gone', which nothing declares", "declare 'Gone', or remove it"),
            (
                "Totals",
                "view 'Totals' uses 'Half', which nothing declares",
                "'Half' (views.py:7) has no down(): write it, or name a class that is a view",
            ),
            (
                "Totals",
                "view 'Totals' uses 'Lines', which nothing declares",
                "defined in lines.py:3, which nothing imports: add `import lines`",
            ),
            ("New", "view 'New' replaces 'Totalz', which nothing declares", "did you mean 'Totals'?"),
        ],
        {
            "graph": graph_of(
                migrations={"m": {"declared_views": ("A",)}}, views={"A": {}, "B": {"uses": "A", "replaces": "A"}}
            )
        },
    ),
    "MG202": (
        {"graph": graph_of(views={"A": {"uses": "B"}, "B": {"uses": "A"}, "C": {"replaces": "C"}})},
        [
            ("A", "'A' uses 'B' uses 'A'", "cut it where 'A' (views.py:1) uses 'B', declared later"),
            ("C", "'C' replaces itself", "take 'C' out of its own `replaces`"),
        ],
        {"graph": graph_of(views={"A": {}, "B": {"uses": "A", "replaces": "A"}})},
    ),
    "MG203": (
        {"graph": graph_of("create_invoice", views={"V": {"since": "create_invioce"}})},
        [
            (
                "V",
                "view 'V' lives since 'create_invioce', which nothing declares: it never would",
                "did you mean 'create_invoice'?",
            )
        ],
        {"graph": graph_of("a", views={"V": {"since": "a"}, "W": {}})},
    ),
    "MG204": (
        {"graph": graph_of("a", views={"V": {"until": "later"}})},
        [
            (
                "V",
                "view 'V' lives until 'later', which nothing declares: it never ends",
                "declare 'later', or remove `until`",
            )
        ],
        {"graph": graph_of("a", views={"V": {"until": "a"}, "W": {}})},
    ),
    "MG205": (
        {"graph": graph_of("a < b", views={"V": {"since": "b", "until": "a"}, "W": {"since": "a", "until": "a"}})},
        [
            (
                "V",
                "view 'V' lives until 'a', which runs before 'b', its `since`",
                "name a migration for `until` that requires 'b'",
            ),
            (
                "W",
                "view 'W' lives until 'a', which is also its `since`",
                "name a migration for `until` that requires 'a'",
            ),
        ],
        {"graph": graph_of("a < b", views={"V": {"since": "a", "until": "b"}, "W": {"since": "b"}})},
    ),
    "MG206": (
        {"graph": graph_of("a < b", views={"Lines": {"until": "b"}, "Totals": {"uses": "Lines"}})},
        [
            (
                "Totals",
                "view 'Totals' uses 'Lines', which does not live after 'b'",
                "give 'Totals' a window inside that of 'Lines', or 'Lines' a successor",
            )
        ],
        {"graph": graph_of("a < b", views={"Lines": {"until": "b"}, "Totals": {"uses": "Lines", "until": "b"}})},
    ),
    "MG207": (
        {"graph": graph_of("a < b", views={"T_V1": {}, "T_V2": {"since": "b"}})},
        [
            (
                "T_V2",
                "views 'T_V1' and 'T_V2' both live after 'b'",
                "add `replaces = T_V1` to 'T_V2', or end 'T_V1' with `until`",
            )
        ],
        {"graph": graph_of("a < b", views={"T_V1": {}, "T_V2": {"since": "b", "replaces": "T_V1"}})},
    ),
    "MG208": (
        {"graph": graph_of("m < s", migrations={"m": OPENS}, views={"V": {"since": "s"}})},
        [
            (
                "m",
                "'m' opens view 'V', but runs before its `since`, 's'",
                "remove the block from 'm', or correct the window",
            )
        ],
        {"graph": graph_of("s < m", migrations={"m": OPENS, "s": OPENS}, views={"V": {"since": "s"}})},
    ),
    "MG209": (
        {"graph": graph_of("s", "m", migrations={"m": OPENS}, views={"V": {"since": "s"}})},
        [("V", "only the tie-break orders 's', the `since` of view 'V', against 'm'", "let 'm' require 's'")],
        {"graph": graph_of("s < m", migrations={"m": OPENS}, views={"V": {"since": "s"}})},
    ),
    "MG210": (
        {"graph": graph_of("a", views={"V": {"since": "a"}, "W": {}})},
        [
            ("V", "no migration brings up view 'V'", "open it in 'a' with `with V(db):`, or remove it"),
            (
                "W",
                "no migration brings up view 'W'",
                "a database that has it keeps it; for an empty one, open it where it should be created, with `with W(db):`",
            ),
        ],
        {"graph": graph_of("a", migrations={"a": OPENS}, views={"V": {}, "W": {"uses": "V"}})},
    ),
    "MG211": (
        {"graph": graph_of("a < b", views={"V": {"until": "b"}}, windows=True)},
        [
            (
                "V",
                "view 'V' ends with 'b' and begins nowhere: an empty database never has it",
                "give 'V' a `since`, or remove it",
            )
        ],
        {"graph": graph_of("a < b", views={"V": {"since": "a", "until": "b"}, "W": {}}, windows=True)},
    ),
    "MG213": (
        {
            "graph": graph_of(
                "a",
                migrations={"a": {"touches": ["V", "W"]}},
                views={
                    "V": {"rebuild": Rebuild.DEFERRED, "can_defer": False},
                    "W": {"rebuild": Rebuild.SWAP, "can_swap": False},
                },
            )
        },
        [
            (
                "V",
                "view 'V' is declared as deferred, and its up() creates it with its rows, or without a need for any",
                "declare a SqlView with `materialized = True`, let up() ask `self.deferred`, or remove `rebuild`",
            ),
            (
                "W",
                "view 'W' cannot be built beside the old one, as `rebuild` says: it is no materialized SqlView with rows",
                "declare a SqlView with `materialized = True`, without up() and down() of its own, or remove `rebuild`",
            ),
        ],
        {
            "graph": graph_of(
                "a",
                migrations={"a": {"touches": ["V", "W", "X"]}},
                views={
                    "V": {"rebuild": Rebuild.DEFERRED, "can_swap": False},
                    "W": {"can_defer": False},
                    "X": {"rebuild": Rebuild.SWAP},
                },
            )
        },
    ),
    "MG214": (
        {
            "graph": graph_of(
                views={
                    name: {"manager": type(name, (), methods)}
                    for name, methods in {
                        "A": {"up": _later, "down": _one_by_one},
                        "B": {"up": "CREATE VIEW b", "down": classmethod(_later)},
                        "C": {"up": lambda self, db: None, "__init__": lambda self: None},
                        "D": {"up": dict},
                    }.items()
                }
            )
        },
        [
            ("A", "down() of view 'A' is a generator function: calling it runs none of it", _METHOD),
            ("A", "up() of view 'A' is a coroutine function: calling it runs none of it", _METHOD),
            ("B", "down() of view 'B' is a coroutine function: calling it runs none of it", _METHOD),
            ("B", "up() of view 'B' is no function", _METHOD),
            (
                "C",
                "__init__() of view 'C' cannot be called: its arguments are (self)",
                "make it an ordinary method that takes `db` besides `self`",
            ),
            ("C", "up() of view 'C' cannot be called: its arguments are (self, db)", _METHOD),
            ("D", "up() of view 'D' is a class: calling it only makes an object of it", _METHOD),
        ],
        {
            "graph": graph_of(
                views={
                    name: {"manager": type(name, (), methods)}
                    for name, methods in {
                        "A": {"up": lambda self, rows=0: None, "down": lambda self: None},
                        "B": {"up": staticmethod(lambda: None), "down": partial(print)},
                        "C": {"__init__": lambda self, db, *, cache=None: None},
                    }.items()
                }
            )
        },
    ),
    "MG215": (
        {"graph": graph_of(views={"V": {"manager": Misspelt, "settings": SETTINGS}})},
        [
            ("V", f"view 'V' sets '{name}'{where}, and no setting is called that", hint)
            for name, where, hint in (
                ("depends_on", "", "did you mean `uses`?"),
                ("schema", "", 'write it before the name: `name = "billing.totals"`'),
                ("uess", "", "did you mean `uses`?"),
                ("untill", " (in Shared)", "did you mean `until`?"),
            )
        ],
        {
            "graph": graph_of(
                views={
                    "V": {"manager": Own, "settings": SETTINGS},
                    "W": {"manager": Own, "settings": SETTINGS[:3]},
                    "X": {"manager": Misspelt},
                }
            )
        },
    ),
    "MG216": (
        {
            "graph": graph_of(
                unfinished=[
                    Unfinished(each, SourceLocation("views.py", 7)) for each in (Half, Querry, Foreign, Neither)
                ],
            )
        },
        [
            (
                "views.py",
                "class 'Foreign' is no view: it has no down() and no up()",
                "did you mean `up` where 'create' stands and `down` where 'drop' stands?",
            ),
            (
                "views.py",
                "class 'Half' is no view: it has no down()",
                "write it; if others are to derive from this class, call it 'HalfBase'",
            ),
            (
                "views.py",
                "class 'Neither' is no view: it has no query",
                "did you mean `query` where 'SELECTS' stands?",
            ),
            ("views.py", "class 'Querry' is no view: it has no query", "did you mean `query` where 'querry' stands?"),
        ],
        {
            "graph": graph_of(
                unfinished=[
                    Unfinished(each, SourceLocation("views.py", 7))
                    for each in (HalfBase, _Half, Derived, Asking, Abstract, General, Granted)
                ]
            )
        },
    ),
    "MG217": (
        {"graph": graph_of(views={"V": {"relations": ("ewh_implemented_features_views",)}})},
        [
            (
                "V",
                "view 'V' is called 'ewh_implemented_features_views' in the database, as a table of this tool is",
                'give it another name: `name = "…"`',
            )
        ],
        {"graph": graph_of(views={"V": {"relations": ("ewh_views", "billing.ewh_implemented_features_views")}})},
    ),
}
