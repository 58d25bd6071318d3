"""A TorchScript archive as a network whose layers can be seen.

PyTorch refuses hooks on a ScriptModule (`register_forward_hook` raises), so without this file every method that reads a
layer, `--layer` and `--method auto` would be lost to TorchScript users. `unroll` rebuilds the module tree and runs the
straight-line graphs of containers in Python, so that hooks on their children work; what it cannot run that way (loops,
unknown nodes) stays one opaque TorchScript module. Every node calls the same operator, so numbers are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn


def _format(text: str, *values: object) -> str:
    """TorchScript's format: a value for each `{}`; whatever else stands in the text is only text."""
    parts = text.split("{}", len(values))
    told = [*map(str, values)][: len(parts) - 1]
    return "".join(part + value for part, value in zip(parts, [*told, ""], strict=True))


_COLLECT: dict[str, Callable[[list[object]], object]] = {"prim::ListConstruct": list, "prim::TupleConstruct": tuple}
_PYTHON: dict[str, Callable[..., object]] = {
    "prim::NumToTensor": torch.as_tensor,
    "aten::Int": int,
    "aten::Float": float,
    "aten::Bool": bool,
    "aten::len": len,
    "aten::__is__": lambda left, right: left is right,
    "aten::__isnot__": lambda left, right: left is not right,
    "aten::__not__": lambda value: not value,
    "aten::__getitem__": lambda values, index: values[index],
    "aten::format": _format,
    "prim::unchecked_cast": lambda value: value,
    "aten::eq": lambda left, right: left == right,
    "aten::ne": lambda left, right: left != right,
    "aten::gt": lambda left, right: left > right,
    "aten::lt": lambda left, right: left < right,
}


class Opaque(nn.Module):
    """One TorchScript module that its own interpreter runs: PyTorch lets no hook on it, so it has this shell."""

    def __init__(self, script: Any) -> None:
        super().__init__()
        self.script = script

    def forward(self, *inputs: object) -> object:
        """Run it."""
        return self.script(*inputs)


class Unrolled(nn.Module):
    """One TorchScript module whose graphs Python runs, with its children as children."""

    def __init__(self, script: Any) -> None:
        super().__init__()
        self.scripts = [script]  # in a list: its parameters belong to the children and to `own` below
        for name, value in script.named_parameters(recurse=False):
            self.register_parameter(name, nn.Parameter(value.detach(), requires_grad=False))
        for name, value in script.named_buffers(recurse=False):
            self.register_buffer(name, value)
        for name, child in script.named_children():
            self.add_module(name, unroll(child))

    def forward(self, *inputs: object) -> object:
        """Run the graph on the inputs of the module."""
        return self.run("forward", *inputs)

    def run(self, method: str, *inputs: object) -> object:
        """Run the graph of one method."""
        graph = _graph(self.scripts[0], method)
        names = [value.debugName() for value in graph.inputs()]
        results = _run(graph, dict(zip(names, (self, *inputs), strict=True)))
        return results[0] if len(results) == 1 else tuple(results)


def unroll(script: Any) -> nn.Module:
    """The same network with its containers run by Python; a leaf, or one with nodes not known here, is opaque."""
    has_children = next(iter(script.named_children()), None) is not None
    runs = script._c._has_method("forward")  # a list of modules only holds them
    return Unrolled(script) if has_children and (not runs or _is_known(script, "forward")) else Opaque(script)


def _graph(script: Any, method: str) -> Any:
    """The graph of a module's method."""
    return script._c._get_method(method).graph


def _is_known(script: Any, method: str) -> bool:
    """Whether every node of a method, and of the module's other methods that it calls, is one that `_node` runs."""
    graph = _graph(script, method)
    return _knows(graph, script, next(graph.inputs()).debugName())


def _knows(block: Any, script: Any, own: str) -> bool:
    """Whether every node of a graph or block is one that `_node` runs; `own` is the module itself in it."""
    for node in block.nodes():
        kind = node.kind()
        if kind == "prim::CallMethod" and node.s("name") != "forward":
            if next(node.inputs()).debugName() != own or not _is_known(script, node.s("name")):
                return False
            continue
        space, _, name = kind.partition("::")
        known = (
            kind in {"prim::Constant", "prim::GetAttr", "prim::CallMethod", "prim::If", "prim::TupleUnpack"}
            or kind in {"prim::ListUnpack", "prim::RaiseException"}
            or kind in _COLLECT
            or kind in _PYTHON
            or (space == "aten" and hasattr(torch.ops.aten, name))
        )
        if not known or not all(_knows(inner, script, own) for inner in node.blocks()):
            return False
    return True


def _run(block: Any, values: dict[str, Any]) -> list[Any]:
    """Run the nodes of a graph or block in order; the values of its outputs."""
    for node in block.nodes():
        results = _node(node, [values[value.debugName()] for value in node.inputs()], values)
        for output, result in zip(node.outputs(), results, strict=True):
            values[output.debugName()] = result
    return [values[value.debugName()] for value in block.outputs()]


def _node(node: Any, inputs: list[Any], values: dict[str, Any]) -> list[Any]:
    """The values of one node's outputs."""
    kind = node.kind()
    if kind == "prim::Constant":
        output = node.output()
        return [None if output.type().kind() == "NoneType" else output.toIValue()]
    if kind == "prim::GetAttr":
        return [_attribute(inputs[0], node.s("name"))]
    if kind == "prim::CallMethod":
        owner, name = inputs[0], node.s("name")
        return [owner(*inputs[1:]) if name == "forward" else owner.run(name, *inputs[1:])]
    if kind == "prim::If":
        blocks = list(node.blocks())
        return _run(blocks[0 if inputs[0] else 1], values)
    if kind in {"prim::TupleUnpack", "prim::ListUnpack"}:
        return list(inputs[0])
    if kind == "aten::warn":  # to the author of the model, not to who explains it
        return []
    if kind == "prim::RaiseException":
        raise ValueError(str(inputs[0]))
    if kind in _COLLECT:
        return [_COLLECT[kind](inputs)]
    if kind in _PYTHON and not (kind in {"aten::eq", "aten::ne", "aten::gt", "aten::lt"} and _any_tensor(inputs)):
        return [_PYTHON[kind](*inputs)]
    words = _keywords(node.schema())
    plain = len(inputs) - len(words)
    operator = getattr(torch.ops.aten, kind.partition("::")[2])
    result = operator(*inputs[:plain], **dict(zip(words, inputs[plain:], strict=True)))
    return [result] if node.outputsSize() == 1 else list(result or ())


@cache
def _keywords(schema: str) -> tuple[str, ...]:
    """The arguments of an operator that go by name; they come last in a node's inputs."""
    return tuple(argument.name for argument in torch._C.parse_schema(schema).arguments if argument.kwarg_only)


def _any_tensor(values: list[Any]) -> bool:
    """Whether an operator that also works on numbers is asked to work on tensors."""
    return any(isinstance(value, torch.Tensor) for value in values)


def _attribute(owner: Any, name: str) -> Any:
    """An attribute of a module: a child or parameter of ours, else whatever the script keeps under that name."""
    if isinstance(owner, Unrolled):
        for kept in (owner._modules, owner._parameters, owner._buffers):
            if kept.get(name) is not None:
                return kept[name]
        return getattr(owner.scripts[0], name)
    return getattr(owner.script if isinstance(owner, Opaque) else owner, name)
