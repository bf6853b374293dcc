"""The options of every channel and server of ours, in one place: the two ends have to agree."""

from typing import Final

from harnessapi.rpc.targets import Target

Option = tuple[str, int]

MAX_MESSAGE_BYTES: Final = 64 * 2**20
# Clients ping an idle connection this often; servers take pings that come at most so often.
_PING_EVERY_MS: Final = 30_000
_PING_AT_MOST_EVERY_MS: Final = 20_000
_MAX_PENDING: Final = 65_536
_RECEIVED: Final = "grpc.max_receive_message_length"
_MESSAGE_SIZE: Final[tuple[Option, ...]] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    (_RECEIVED, MAX_MESSAGE_BYTES),
)

SERVER_OPTIONS: Final[tuple[Option, ...]] = (
    *_MESSAGE_SIZE,
    # Two servers on one port would share its calls at random.
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", _PING_AT_MOST_EVERY_MS),
    ("grpc.http2.max_ping_strikes", 0),
    # Past these gRPC ends calls that nobody has looked at, as CANCELLED: the interceptor says more.
    ("grpc.server.max_pending_requests", _MAX_PENDING),
    ("grpc.server.max_pending_requests_hard_limit", _MAX_PENDING),
    ("grpc.keepalive_permit_without_calls", 1),
)

_CHANNEL_OPTIONS: Final[tuple[Option, ...]] = (
    *_MESSAGE_SIZE,
    # A restarted server is found again within a second, not within gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # What one attempt to connect is given, whatever its name says.
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", _PING_EVERY_MS),
    # Two servers one after the other on one socket must not share a connection.
    ("grpc.use_local_subchannel_pool", 1),
)


def server_options(max_request_bytes: int) -> tuple[Option, ...]:
    """Those of a server; gRPC ends a call with a longer request unread, as RESOURCE_EXHAUSTED."""
    at_most = min(max_request_bytes, MAX_MESSAGE_BYTES)
    others = [option for option in SERVER_OPTIONS if option[0] != _RECEIVED]
    return (*others, (_RECEIVED, at_most))


def channel_options(target: Target) -> tuple[Option, ...]:
    """How to dial a target; a proxy of the environment is not meant for this machine."""
    proxy: tuple[Option, ...] = (("grpc.enable_http_proxy", 0),) if target.is_this_machine else ()
    return (*_CHANNEL_OPTIONS, *proxy)
