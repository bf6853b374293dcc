"""Text that can be sent as UTF-8, whatever a model or an endpoint wrote."""


def well_formed(text: str) -> str:
    """`text` with each lone surrogate as '?': the same length, so offsets stay."""
    if text.isascii():
        return text
    return text.encode("utf-8", errors="replace").decode("utf-8")
