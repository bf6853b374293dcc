"""Requests that nobody should send, by chance from one generator: messages, mutations, garbage."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_MAX_DEPTH: Final = 4
_MAX_REPEATED: Final = 5
# Of a message's fields: with few, more messages get past the first check.
_SHARES: Final = (0.1, 0.3, 0.6, 0.9)
_MAX_GARBAGE_BYTES: Final = 4096
# Words of the vocabulary too: what is nearly right comes furthest.
_STRINGS: Final = (
    *("", "bab", "bab dok ; fem gik ;", "assoc_recall ; bab dok ; <dense> bab", "is_tree ;"),
    *(" ", "\x00", "\ufeff", "é" * 99, "\U0001f600", "bab " * 3000, "x" * 5000, "(a*)*", "(((("),
    *("$1", "user", "system", "</search>", "<search> bab </search>", "<eos>", "\n", ";"),
)
_INTEGERS: Final = (0, 1, 2, 3, 7, 16, 64, 255, 256, 65_536, 2**31 - 1, 2**31, 2**32 - 1)
_LONG_INTEGERS: Final = (*_INTEGERS, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
_FLOATS: Final = (0.0, -0.0, 0.5, 1.0, 2.0, -1.0, 1e-45, 1e38, math.nan, math.inf, -math.inf)
_ENUM_NUMBERS: Final = (0, 1, 2, 3, 4, 7, 99, 2**31 - 1, -1)


def by_chance(rng: random.Random, kind: type[Message], depth: int = 0) -> Message:
    """A message with some of its fields set, to values at the edges."""
    message, share = kind(), rng.choice(_SHARES)
    for field in message.DESCRIPTOR.fields:
        if rng.random() < share:
            _set(rng, message, field, depth)
    return message


def one_field_off(rng: random.Random, good: Message) -> Message:
    """A good message but for one field of it, or of a message in it: what comes furthest."""
    message = type(good)()
    message.CopyFrom(good)
    inner: Any = message
    while nested := _nested(inner):
        if rng.random() < 0.4:
            break
        inner = rng.choice(nested)
    if fields := inner.DESCRIPTOR.fields:
        field = rng.choice(fields)
        inner.ClearField(field.name)
        _set(rng, inner, field, 0)
    return message


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Of bytes that are a message, some that may be none."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(5):
            case 0 if at < len(changed):
                changed[at] = rng.randrange(256)
            case 1:
                del changed[at : at + rng.randint(1, 8)]
            case 2:
                changed[at:at] = rng.randbytes(rng.randint(1, 8))
            case 3:
                changed[at:at] = changed[at : at + rng.randint(1, 64)]
            case _:
                del changed[at:]
    return bytes(changed)


def request(
    rng: random.Random, kinds: Mapping[str, type[Message]], good: Sequence[Message]
) -> tuple[str, str, bytes]:
    """What is wrong with it, a method of these, and what it is sent; `good`: what it might be."""
    method = rng.choice(list(kinds))
    own = [message for message in good if isinstance(message, kinds[method])]
    draw = rng.random()
    if draw < 0.2:
        return "garbage", method, rng.randbytes(rng.randrange(_MAX_GARBAGE_BYTES))
    if draw < 0.4 and own:
        return "mutated", method, mutated(rng, rng.choice(own).SerializeToString())
    if draw < 0.7 and own:
        return "one field off", method, one_field_off(rng, rng.choice(own)).SerializeToString()
    if draw < 0.75:
        return "another method's", method, rng.choice(good).SerializeToString()
    return "by chance", method, by_chance(rng, kinds[method]).SerializeToString()


def _nested(message: Message) -> list[Message]:
    """The messages that are set in it."""
    found: list[Message] = []
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            found += list(value) if field.is_repeated else [value]
    return found


def _set(rng: random.Random, message: Message, field: Any, depth: int) -> None:
    is_message = field.type == FieldDescriptor.TYPE_MESSAGE
    if is_message and depth >= _MAX_DEPTH:
        return
    if field.is_repeated:
        many = getattr(message, field.name)
        for _ in range(rng.randrange(_MAX_REPEATED)):
            if is_message:
                many.add().CopyFrom(by_chance(rng, type(many.add()), depth + 1))
            else:
                many.append(_value(rng, field))
    elif is_message:
        one = getattr(message, field.name)
        one.CopyFrom(by_chance(rng, type(one), depth + 1))
        one.SetInParent()
    else:
        setattr(message, field.name, _value(rng, field))


def _value(rng: random.Random, field: Any) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            text = rng.choice(_STRINGS)
            return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
        case FieldDescriptor.CPPTYPE_BOOL:
            return rng.random() < 0.5
        case FieldDescriptor.CPPTYPE_ENUM:
            return rng.choice(_ENUM_NUMBERS)
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return rng.choice(_FLOATS)
        case FieldDescriptor.CPPTYPE_UINT64 | FieldDescriptor.CPPTYPE_INT64:
            return rng.choice(_LONG_INTEGERS)
        case _:
            return rng.choice(_INTEGERS)
