"""The command table as COMMAND INFO and COMMAND DOCS tell it, so that redis-cli completes and explains ADD."""

from eventflowdb.commands.spec import CommandSpec, Group, Order
from eventflowdb.wire.values import Members, Simple, Value

_CATEGORIES = {Order.APPEND: "@write", Order.READ: "@read", Order.AT_ONCE: "@fast"}


def command_info(spec: CommandSpec) -> Value:
    """One entry of COMMAND INFO (server.c, addReplyCommandInfo): no command of ours takes keys."""
    arity = spec.words_min if spec.words_min == spec.words_max else -spec.words_min
    flags = _flags(spec)
    categories = [f"@{spec.group.value}", _CATEGORIES[spec.order]]
    no_keys: tuple[Value, ...] = (0, 0, 0)
    tips, key_specs, subcommands = Members([]), Members([]), Members([])
    return [spec.name.lower(), arity, _words(flags), *no_keys, _words(categories), tips, key_specs, subcommands]


def command_docs(spec: CommandSpec) -> Value:
    """One entry of COMMAND DOCS (server.c, addReplyCommandDocs)."""
    docs: dict[str, Value] = {
        "summary": spec.summary,
        "since": spec.since,
        "group": spec.group.value,
    }
    if spec.hint:
        argument: dict[str, Value] = {"name": spec.hint, "type": "string", "display_text": spec.hint}
        if spec.words_min == 1:
            argument["flags"] = Members([Simple("optional")])
        docs["arguments"] = [argument]
    return docs


def _words(words: list[str]) -> Value:
    return Members([Simple(word) for word in words])


def _flags(spec: CommandSpec) -> list[str]:
    flags = {Order.APPEND: ["write", "denyoom"], Order.READ: ["readonly"], Order.AT_ONCE: ["fast", "loading"]}[
        spec.order
    ]
    if spec.group is Group.PUBSUB:
        flags = ["pubsub", "loading", "stale"]
    return [*flags, "no_auth"] if spec.is_for_anyone else flags
