"""How an inventory is stored in the journal: compressed, as ASCII text, which every encoding can store."""

from __future__ import annotations

import base64
import json
import zlib

from migrate_graph.core.drift import Described, Inventory
from migrate_graph.core.footprint import Fact


def packed(inventory: Inventory) -> str:
    """Return an inventory as a short text of plain ASCII."""
    rows = sorted(
        [fact.kind, fact.identity, described.definition, described.relation]
        for fact, described in inventory.facts.items()
    )
    text = json.dumps({"server": inventory.server, "version": inventory.version, "facts": rows}, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("ascii"))).decode("ascii")


def unpacked(text: str) -> Inventory:
    """Return the inventory that `packed` wrote into a text.

    Raises:
        ValueError: the text holds no inventory.
    """
    try:
        kept = json.loads(zlib.decompress(base64.b64decode(text, validate=True)))
        facts = {
            Fact(kind, identity): Described(definition, relation)
            for kind, identity, definition, relation in kept["facts"]
        }
        return Inventory(facts, server=kept["server"], version=kept["version"])
    except (ValueError, TypeError, KeyError, zlib.error) as error:
        raise ValueError(str(error)) from None
