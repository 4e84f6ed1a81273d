"""The tree of values that settings are made from, each with the place it came from.

Owns the node and placing a value in the tree. Knows no setting: names and types are checked when
the tree becomes `Settings`. Source: automation.md §13.

Invariant: every node names its origin, `default`, `file <name>:<line>`, `env <variable>` or
`profile <name> of Temporal`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self, TypeAlias

from pydantic import JsonValue

DEFAULT_ORIGIN = "default"
Step: TypeAlias = str | int
Scalar: TypeAlias = str | int | float | bool | None


@dataclass(slots=True)
class Node:
    """A value and its origin; containers hold nodes."""

    value: "Scalar | dict[str, Node] | list[Node]"
    origin: str = DEFAULT_ORIGIN

    @classmethod
    def of(cls, value: JsonValue, origin: str) -> Self:
        """A plain value as a tree, every node of the same origin."""
        if isinstance(value, dict):
            return cls({key: cls.of(item, origin) for key, item in value.items()}, origin)
        if isinstance(value, list):
            return cls([cls.of(item, origin) for item in value], origin)
        return cls(value, origin)

    def plain(self) -> JsonValue:
        """The values alone."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def leaves(self, path: tuple[Step, ...] = ()) -> "Iterator[tuple[tuple[Step, ...], Node]]":
        """Every scalar and every empty container below, with its path."""
        if isinstance(self.value, dict) and self.value:
            for key, node in self.value.items():
                yield from node.leaves((*path, key))
        elif isinstance(self.value, list) and self.value:
            for index, node in enumerate(self.value):
                yield from node.leaves((*path, index))
        else:
            yield path, self

    def child(self, step: Step) -> "Node | None":
        """The node one step below, if there is one."""
        if isinstance(self.value, dict) and isinstance(step, str):
            return self.value.get(step)
        if isinstance(self.value, list) and isinstance(step, int) and step < len(self.value):
            return self.value[step]
        return None

    def at(self, path: Iterable[Step]) -> "Node | None":
        """The node at a path, if there is one."""
        node: Node | None = self
        for step in path:
            node = node.child(step) if node else None
        return node

    def nearest(self, path: Iterable[Step]) -> "Node":
        """The deepest node on the way to a path: where an absent value would have stood."""
        node = self
        for step in path:
            below = node.child(step)
            if below is None:
                break
            node = below
        return node

    def put(self, path: Sequence[Step], leaf: "Node") -> None:
        """Place a node, making the containers on the way.

        A list takes an index up to its length; a scalar that stands in the way is replaced.
        """
        node = self
        for step, below in pairwise(path):
            child = node.child(step)
            if child is None or not isinstance(child.value, dict | list):
                child = Node([] if isinstance(below, int) else {}, leaf.origin)
                node._set(step, child)
            node = child
        node._set(path[-1], leaf)

    def _set(self, step: Step, node: "Node") -> None:
        match self.value, step:
            case list() as items, int() if step == len(items):
                items.append(node)
            case list() as items, int():
                items[step] = node
            case dict() as mapping, str():
                mapping[step] = node
            case _:
                self.value = {str(step): node}


def dotted(path: Iterable[Step]) -> str:
    """`models.0.name`: how errors and origins name a setting."""
    return ".".join(str(step) for step in path)


def place(origin: str) -> str:
    """Where a person finds a value: `temporal-dev.yaml:3`, a variable; empty for defaults."""
    return "" if origin == DEFAULT_ORIGIN else origin.partition(" ")[2]
