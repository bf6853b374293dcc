"""Counts and sizes as people read them: 0.7M, 2.0 KiB."""


def count_text(count: int) -> str:
    """424,192 is 0.4M; what is below a tenth of a million is given in thousands, then as it is."""
    for name, unit, smallest in (("B", 10**9, 10**9), ("M", 10**6, 10**5), ("k", 10**3, 10**3)):
        if count >= smallest:
            return f"{count / unit:.1f}{name}"
    return str(count)


def bytes_text(num_bytes: int) -> str:
    """2048 is 2.0 KiB."""
    for name, unit in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if num_bytes >= unit:
            return f"{num_bytes / unit:.1f} {name}"
    return f"{num_bytes} B"


def state_text(state_bytes: int, bytes_per_token: int) -> str:
    """What a sequence carries: `2.0 KiB`, what grows with its context in a line of its own."""
    grows = f"{bytes_text(bytes_per_token)}/token"
    if not bytes_per_token:
        return bytes_text(state_bytes)
    return f"{bytes_text(state_bytes)}\n+{grows}" if state_bytes else grows


def short_bytes(power: int) -> str:
    """2**11 is 2K."""
    units = ("B", "K", "M", "G", "T")
    if power < 0:
        return f"{2.0**power:g}B"
    return f"{2 ** (power % 10)}{units[min(power // 10, 4)]}"
