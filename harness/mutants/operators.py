# SPDX-License-Identifier: MIT
"""Makes small changes of C sources by rule: what a mutation score is counted on.

The sources are parsed by tree-sitter. Only the bodies of functions are changed, each time in one
place, and no line moves: what an object holds of line numbers stays as it is. What is printed or
traced is left alone: no change is made in the arguments of such calls, nor is one dropped.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.errors import UserError

if TYPE_CHECKING:
    from tree_sitter import Node

# gcc's attributes behind macros, which are no C to a parser: blanked before it sees them.
_ATTRIBUTES = re.compile(
    rb"\b(?:__(?:init|exit|user|iomem|weak|ref|refdata|initdata|ro_after_init|percpu|rcu|force"
    rb"|always_inline|must_check|maybe_unused|used|meminit|read_mostly|printf|sched|cold|pure)"
    rb"|asmlinkage|noinline|noinline_for_stack)\b"
)
_MESSAGES = re.compile(
    r"(?:pr|dev|netdev)_(?:debug|dbg|info|notice|warn|err|crit|emerg|cont)(?:_once|_ratelimited)?"
    r"|printk\w*|trace_\w+|dump_\w+|seq_printf|MODULE_\w+|BUILD_BUG\w*|lockdep_\w+"
)
_RELATIONAL = {
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    ">": (">=", "<="),
    ">=": (">", "<"),
    "==": ("!=",),
    "!=": ("==",),
}
_LOGICAL = {"&&": ("||",), "||": ("&&",)}
_ARITHMETIC = {
    "+": ("-",),
    "-": ("+",),
    "*": ("/",),
    "/": ("*",),
    "%": ("/",),
    "<<": (">>",),
    ">>": ("<<",),
    "&": ("|",),
    "|": ("&",),
    "^": ("|",),
    "+=": ("-=",),
    "-=": ("+=",),
    "*=": ("/=",),
    "/=": ("*=",),
    "|=": ("&=",),
    "&=": ("|=",),
    "<<=": (">>=",),
    ">>=": ("<<=",),
    "++": ("--",),
    "--": ("++",),
}
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]+|\d+)([uUlL]*)")
_DIRECTIVES = ("preproc_def", "preproc_function_def", "preproc_call", "preproc_include")
_CONDITIONS = ("if_statement", "while_statement", "do_statement", "conditional_expression")


@dataclasses.dataclass(frozen=True)
class Change:
    """One change of one place. Lines and columns count from 1; ends of `lines` and `around` are
    inclusive.
    """

    file: str
    function: str
    operator: str
    start: int
    """Offset of the first byte that is replaced."""
    old: str
    new: str
    line: int
    column: int
    lines: tuple[int, int]
    """Of what is replaced."""
    around: tuple[int, int]
    """Of the statement that it is in."""

    @property
    def name(self) -> str:
        """Tells it from all others of the file, as long as that is the same."""
        return f"{self.file}:{self.line}:{self.column} {self.operator}: {self.what}"

    @property
    def what(self) -> str:
        """The change in one line."""
        return f"`{_one_line(self.old)}` -> `{_one_line(self.new)}`"

    def apply(self, source: bytes) -> bytes:
        """The source with the change; it has as many lines as before."""
        old = self.old.encode()
        if source[self.start : self.start + len(old)] != old:
            raise ValueError(f"{self.file} is not the file that the change was made for")
        return source[: self.start] + self.new.encode() + source[self.start + len(old) :]


def _one_line(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 60 else f"{words[:57]}..."


def changes(source: bytes, file: str, function: str = "*") -> list[Change]:
    """All changes of the functions whose names `function` (a pattern) names, in their order.

    Raises `UserError` where no function is called so, or where tree-sitter is not installed.
    """
    bodies = [body for body in _functions(source) if fnmatch.fnmatchcase(body[0], function)]
    if not bodies:
        raise UserError(f"{file} has no function {function}")
    found = [_Body(source, file, name, node, kind) for name, node, kind in bodies]
    made = [change for body in found for change in body.changes()]
    unique = {(change.start, change.old, change.new): change for change in reversed(made)}
    return sorted(unique.values(), key=lambda change: (change.start, change.operator, change.new))


def _functions(source: bytes) -> Iterator[tuple[str, Node, str]]:
    """Name, body, and what it returns (``void``, ``bool``, ``pointer``, ``int``)."""
    try:
        import tree_sitter
        import tree_sitter_c
    except ImportError as error:
        raise UserError(
            "generated mutants need tree-sitter: pip install 'vexpress-cma-harness[mutation]'"
        ) from error
    language = tree_sitter.Language(tree_sitter_c.language())
    plain = _ATTRIBUTES.sub(lambda match: b" " * len(match[0]), source)
    todo = [tree_sitter.Parser(language).parse(plain).root_node]
    while todo:
        node = todo.pop()
        if node.type == "function_definition":
            declarator = node.child_by_field_name("declarator")
            body = node.child_by_field_name("body")
            if declarator is not None and body is not None:
                yield _declared(declarator), body, _returned(node, declarator)
        else:
            todo.extend(reversed(node.children))


def _declared(declarator: Node) -> str:
    name = re.match(r"[*\s]*(\w+)", _text(declarator))
    return name[1] if name else ""


def _returned(function: Node, declarator: Node) -> str:
    kind = function.child_by_field_name("type")
    if _text(declarator).startswith("*"):
        return "pointer"
    word = _text(kind) if kind is not None else "int"
    return word if word in ("void", "bool") else "int"


def _text(node: Node) -> str:
    return (node.text or b"").decode(errors="replace")


class _Body:
    """The changes of one function."""

    def __init__(self, source: bytes, file: str, name: str, body: Node, returned: str) -> None:
        self._source = source
        self._file = file
        self._name = name
        self._body = body
        self._returned = returned

    def changes(self) -> Iterator[Change]:
        """All of them."""
        todo = list(self._body.children)
        while todo:
            node = todo.pop()
            if _is_message(node) or node.type in _DIRECTIVES:
                continue
            yield from self._of(node)
            condition = node.child_by_field_name("condition")
            mine = condition if node.type in ("preproc_if", "preproc_elif") else None
            todo.extend(child for child in node.children if child != mine)

    def _of(self, node: Node) -> Iterator[Change]:
        if node.type in ("binary_expression", "assignment_expression", "update_expression"):
            yield from self._operators(node)
        elif node.type == "number_literal":
            yield from self._constants(node)
        elif node.type in ("true", "false"):
            yield self._change("constant", node, "false" if node.type == "true" else "true")
        elif node.type == "return_statement":
            yield from self._returns(node)
        elif node.type == "expression_statement":
            yield from self._drops(node)
        if node.type in _CONDITIONS:
            yield from self._negation(node)

    def _operators(self, node: Node) -> Iterator[Change]:
        operator = node.child_by_field_name("operator")
        if operator is None:
            return
        word = _text(operator)
        for kind, table in (
            ("relational", _RELATIONAL),
            ("logical", _LOGICAL),
            ("arithmetic", _ARITHMETIC),
        ):
            for other in table.get(word, ()):
                yield self._change(kind, operator, other)

    def _constants(self, node: Node) -> Iterator[Change]:
        number = _NUMBER.fullmatch(_text(node))
        if number is None:
            return
        value = int(number[1], 16 if number[1][:2].lower() == "0x" else 10)
        for other in {value + 1, value - 1} if value else {1}:
            yield self._change("constant", node, f"{other}{number[2]}")

    def _returns(self, node: Node) -> Iterator[Change]:
        values = [child for child in node.children if child.is_named and child.type != "comment"]
        if not values or self._returned == "void":
            return
        value = values[0]
        text = _text(value).strip()
        if self._returned == "pointer":
            others = [] if text == "NULL" else ["NULL"]
        elif self._returned == "bool":
            others = [word for word in ("true", "false") if word != text]
        else:
            others = ["-1"] if text == "0" else ["0"]
        for other in others:
            yield self._change("return value", value, other)

    def _drops(self, node: Node) -> Iterator[Change]:
        what = node.children[0] if node.children else None
        if what is None or not _text(node).endswith(";") or _is_message(what):
            return
        kinds = {"call_expression": "dropped call", "assignment_expression": "dropped assignment"}
        kinds["update_expression"] = "dropped assignment"
        if what.type in kinds:
            yield self._change(kinds[what.type], node, ";")

    def _negation(self, node: Node) -> Iterator[Change]:
        condition = node.child_by_field_name("condition")
        if condition is None:
            return
        text = _text(condition)
        if condition.type == "parenthesized_expression":
            text = text[1:-1]
            yield self._change("negated condition", condition, f"(!({text}))")
        else:
            yield self._change("negated condition", condition, f"!({text})")

    def _change(self, operator: str, node: Node, new: str) -> Change:
        start, end = node.start_byte, node.end_byte
        old = self._source[start:end].decode()
        if operator == "negated condition":
            # The parser saw attributes blanked; the change is made in what the compiler sees.
            inner = old[1:-1] if old.startswith("(") and new.startswith("(!(") else old
            new = f"(!({inner}))" if new.startswith("(!(") else f"!({inner})"
        new += "\n" * (old.count("\n") - new.count("\n"))
        statement = node
        while statement.parent is not None and not statement.type.endswith("_statement"):
            if statement.type == "declaration":
                break
            statement = statement.parent
        line = node.start_point[0] + 1
        last = min(statement.end_point[0], statement.start_point[0] + 8) + 1
        return Change(
            self._file,
            self._name,
            operator,
            start,
            old,
            new,
            line,
            node.start_point[1] + 1,
            (line, node.end_point[0] + 1),
            (min(statement.start_point[0] + 1, line), max(last, line)),
        )


def _is_message(node: Node) -> bool:
    if node.type != "call_expression":
        return False
    function = node.child_by_field_name("function")
    return function is not None and bool(_MESSAGES.fullmatch(_text(function)))
