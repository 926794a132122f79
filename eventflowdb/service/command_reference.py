"""The command table as COMMAND INFO and COMMAND DOCS tell it, so that redis-cli completes and explains ADD."""

from eventflowdb.commands.spec import CommandSpec, Order
from eventflowdb.wire.values import Members, Simple, Value


def command_info(spec: CommandSpec) -> Value:
    """One entry of COMMAND INFO (server.c, addReplyCommandInfo): no command of ours takes keys."""
    arity = spec.words_min if spec.words_min == spec.words_max else -spec.words_min
    flags = _flags(spec)
    categories = Members([Simple(f"@{spec.group.value}"), Simple("@write" if "write" in flags else "@read")])
    no_keys: tuple[Value, ...] = (0, 0, 0)
    return [spec.name.lower(), arity, Members([Simple(flag) for flag in flags]), *no_keys, categories, [], [], []]


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


def _flags(spec: CommandSpec) -> list[str]:
    flags = {Order.APPEND: ["write", "denyoom"], Order.READ: ["readonly"], Order.AT_ONCE: ["fast", "loading"]}[
        spec.order
    ]
    return [*flags, "no_auth"] if spec.is_for_anyone else flags
