"""Attacks that see scores only, by name. Adding one is a file here, or a plugin, and a line in SEARCH."""

from typing import TYPE_CHECKING

from reid.runtime.registry import Registry

if TYPE_CHECKING:
    from reid.attacks.search.square import Square

SEARCH: Registry[type["Square"]] = Registry(
    "search",
    {"square": ("reid.attacks.search.square:Square", "random squares that part matches and strangers; needs scores")},
)
