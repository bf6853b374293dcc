"""An endpoint's addresses as replicas, with a client each."""

from collections.abc import Callable, Sequence

from harness.clients.model_client import ModelClient
from harness.clients.replica import Replica
from harness.clients.replicas import Naming, Replicas
from harness.endpoints.addresses import Place, resolved
from harness.endpoints.endpoint import Endpoint
from harness.errors import UnreachableError


async def open_replicas(
    endpoint: Endpoint, make_client: Callable[[Place], ModelClient], say: Callable[[str], None]
) -> Replicas:
    """Nobody is asked anything yet. Raises UnreachableError for a name that is not known.

    Where the endpoint resolves names, addresses that they gain later join, and others leave.
    """
    if not endpoint.has_replicas:
        address = endpoint.address or ""
        return Replicas([Replica(make_client(Place(address=address, named=address)))])
    places = {one: Place(address=one, named=one) for one in endpoint.addresses}

    def replica(address: str) -> Replica:
        return Replica(make_client(places[address]), address=address)

    async def addresses() -> Sequence[str]:
        try:
            found = {one.address: one for one in await resolved(endpoint.addresses)}
        except UnreachableError as error:
            raise UnreachableError(f"endpoint '{endpoint.name}': {error}") from None
        places.update(found)
        return list(found)

    if not endpoint.resolve:
        return Replicas(map(replica, places), say=say)
    first = await addresses()
    naming = Naming(addresses=addresses, replica=replica)
    return Replicas(map(replica, first), say=say, naming=naming)
