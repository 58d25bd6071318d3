"""A TorchScript archive as a network whose layers can be seen.

Knows: TorchScript's graph, enough to run its outer levels node by node. Does not know: layers' meaning, weights files.

TorchScript runs its submodules inside its own interpreter, where no hook sees them. `unroll` rebuilds the module tree
and runs the straight-line graphs of containers in Python, so that hooks on their children work; what it cannot run
that way (loops, unknown nodes) stays one opaque TorchScript module. Every node calls the same operator, so numbers
are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

_COLLECT: dict[str, Callable[[Any], Any]] = {"prim::ListConstruct": list, "prim::TupleConstruct": tuple}
_PYTHON: dict[str, Callable[..., Any]] = {
    "prim::NumToTensor": torch.as_tensor,
    "aten::Int": int,
    "aten::Float": float,
    "aten::Bool": bool,
    "aten::len": len,
    "aten::__is__": lambda left, right: left is right,
    "aten::__isnot__": lambda left, right: left is not right,
    "aten::__not__": lambda value: not value,
    "aten::__getitem__": lambda values, index: values[index],
    "prim::unchecked_cast": lambda value: value,
    "aten::eq": lambda left, right: left == right,
    "aten::ne": lambda left, right: left != right,
    "aten::gt": lambda left, right: left > right,
    "aten::lt": lambda left, right: left < right,
}


class Unrolled(nn.Module):
    """One TorchScript module whose graph Python runs, with its children as children."""

    def __init__(self, script: Any) -> None:
        super().__init__()
        self.graph = script.graph
        self.scripts = [script]  # in a list: its parameters belong to the children and to `own` below
        for name, value in script.named_parameters(recurse=False):
            self.register_parameter(name, value)
        for name, value in script.named_buffers(recurse=False):
            self.register_buffer(name, value)
        for name, child in script.named_children():
            self.add_module(name, unroll(child))

    def forward(self, *inputs: Any) -> Any:
        """Run the graph on the inputs of the module."""
        values: dict[str, Any] = {}
        names = [value.debugName() for value in self.graph.inputs()]
        values.update(zip(names, (self, *inputs), strict=True))
        results = _run(self.graph, values)
        return results[0] if len(results) == 1 else tuple(results)


def unroll(script: Any) -> nn.Module:
    """The same network with its containers run by Python; a leaf, or one with nodes not known here, stays as it is."""
    module: nn.Module = script
    if not isinstance(script, torch.jit.ScriptModule) or not hasattr(script, "graph"):
        return module
    has_children = next(iter(script.named_children()), None) is not None
    return Unrolled(script) if has_children and _is_known(script.graph) else module


def _is_known(block: Any) -> bool:
    """Whether every node of a graph or block is one that `_node` runs."""
    for node in block.nodes():
        kind = node.kind()
        if kind == "prim::CallMethod" and node.s("name") != "forward":
            return False
        space, _, name = kind.partition("::")
        known = (
            kind in {"prim::Constant", "prim::GetAttr", "prim::CallMethod", "prim::If", "prim::TupleUnpack"}
            or kind in {"prim::ListUnpack", "prim::RaiseException"}
            or kind in _COLLECT
            or kind in _PYTHON
            or (space == "aten" and hasattr(torch.ops.aten, name))
        )
        if not known or not all(_is_known(inner) for inner in node.blocks()):
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
        return [inputs[0](*inputs[1:])]
    if kind == "prim::If":
        blocks = list(node.blocks())
        return _run(blocks[0 if inputs[0] else 1], values)
    if kind in {"prim::TupleUnpack", "prim::ListUnpack"}:
        return list(inputs[0])
    if kind == "prim::RaiseException":
        raise ValueError(str(inputs[0]))
    if kind in _COLLECT:
        return [_COLLECT[kind](inputs)]
    if kind in _PYTHON and not (kind in {"aten::eq", "aten::ne", "aten::gt", "aten::lt"} and _any_tensor(inputs)):
        return [_PYTHON[kind](*inputs)]
    result = getattr(torch.ops.aten, kind.partition("::")[2])(*inputs)
    return [result] if node.outputsSize() == 1 else list(result or ())


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
    return getattr(owner, name)
