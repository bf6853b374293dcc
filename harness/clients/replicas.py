"""All addresses of an endpoint: which is asked next, which is left out, and when it is back.

The fewest outstanding requests decide. docs/design/0031 says why.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from harnessapi.values import ModelDescription

from harness.clients.clock import Backoff
from harness.clients.model_client import nobody_listens
from harness.clients.replica import Replica, differing
from harness.errors import EndpointLostError, UnreachableError

# So often a name is looked up again.
_LOOK_UP_EVERY_S: Final = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Naming:
    """The addresses that names have now, and how one of them is spoken to."""

    addresses: Callable[[], Awaitable[Sequence[str]]]
    replica: Callable[[str], Replica]


class Replicas:
    """Belongs to the event loop that it is used on. `naming`: of addresses that come and go."""

    def __init__(
        self,
        replicas: Iterable[Replica],
        *,
        say: Callable[[str], None] = nobody_listens,
        backoff: Backoff | None = None,
        naming: Naming | None = None,
    ) -> None:
        self.all = list(replicas)
        self.say = say
        self._backoff = backoff or Backoff(initial_s=0.5, max_s=30.0)
        self._naming = naming
        self._model: ModelDescription | None = None
        self._prepare: Callable[[Replica], None] = lambda _replica: None
        self._tasks: dict[Replica | None, asyncio.Task[None]] = {}

    @property
    def are_several(self) -> bool:
        """One that fails may be left out."""
        return len(self.all) > 1 or self._naming is not None

    @property
    def first(self) -> Replica:
        """One to ask about the endpoint as a whole."""
        return min(self.all, key=lambda one: (one.is_refused, one.is_out))

    @property
    def heard_at_s(self) -> float:
        """When something last came back from any of them."""
        return max(one.pace.heard_at_s for one in self.all)

    def begin(self, model: ModelDescription) -> None:
        """All have to be as the model is; whoever is out is tried again from now on."""
        self._model = model
        for replica in self.all:
            if replica.is_out:
                self._await_return(replica, is_told=True)
        if self._naming is not None:
            self._tasks[None] = asyncio.create_task(self._follow(self._naming))

    def prepare(self, prepare: Callable[[Replica], None]) -> None:
        """Does this to each, and to those that come later."""
        self._prepare = prepare
        for replica in self.all:
            prepare(replica)

    def begin_cell(self) -> None:
        """Other prompts come, of another length."""
        for replica in self.all:
            replica.pace.begin_cell()

    async def next(self, tried: Collection[Replica]) -> Replica:
        """Who is asked next, of a request that these have failed already.

        Where all are out, one of them all the same: the attempt says what is wrong. Raises
        EndpointLostError where all serve something else.
        """
        while True:
            usable = [one for one in self.all if not one.is_refused]
            if not usable:
                raise EndpointLostError("all of its addresses came back with something else")
            replica = min(usable, key=lambda one: _order(one, tried))
            if not self.are_several or not replica.is_out:
                return replica
            # It may have come back this moment, with another checkpoint.
            await self._is_well(replica)
            if not replica.is_refused:
                return replica

    def leave_out(self, replica: Replica) -> None:
        """It failed: others are asked until it is found well, which is looked for at once."""
        if self.are_several and not (replica.is_out or replica.is_refused):
            replica.is_out = True
            self._await_return(replica)

    def is_silent_alone(self, replica: Replica, since_s: float) -> bool:
        """Others were heard of since."""
        return any(one is not replica and one.pace.heard_at_s > since_s for one in self.all)

    async def close(self) -> None:
        """Looks for nobody any more, and lets go of the connections."""
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for replica in self.all:
            await replica.client.close()

    def _await_return(self, replica: Replica, *, is_told: bool = False) -> None:
        self._tasks[replica] = asyncio.create_task(self._bring_back(replica, is_told=is_told))

    async def _bring_back(self, replica: Replica, *, is_told: bool) -> None:
        generator = random.Random(replica.address)
        for num_failed in count(1):
            if await self._is_well(replica):
                replica.is_out = False
                if is_told:
                    self.say(f"{replica.address} is there, and asked again")
                return
            if replica.is_refused:
                return
            if not is_told:
                is_told = True
                cause = replica.client.cause
                self.say(f"{replica.address} is left out, and tried again: {cause}")
            await replica.pace.clock.sleep(self._backoff.wait_s(num_failed, generator))

    async def _is_well(self, replica: Replica) -> bool:
        """Whether it serves what the others do; one that serves something else is refused."""
        model = await replica.describe()
        if model is None or self._model is None:
            return False
        differences = differing({"the others": self._model, replica.address: model})
        if differences and not replica.is_refused:
            replica.is_refused = True
            told = "; ".join(differences)
            self.say(f"{replica.address} is not asked any more, it serves something else: {told}")
        return not differences

    async def _follow(self, naming: Naming) -> None:
        """New addresses of the names join once they are well; those that are gone leave."""
        while True:
            await self.all[0].pace.clock.sleep(_LOOK_UP_EVERY_S)
            try:
                addresses = await naming.addresses()
            except UnreachableError:
                continue  # those that are known may answer nevertheless
            known = {one.address for one in self.all}
            for address in addresses:
                if address not in known:
                    replica = naming.replica(address)
                    replica.is_out = True
                    self._prepare(replica)
                    self.all.append(replica)
                    self._await_return(replica)
            await self._drop(addresses)

    async def _drop(self, addresses: Collection[str]) -> None:
        for replica in [one for one in self.all if one.is_out and one.address not in addresses]:
            if len(self.all) > 1 and not replica.num_outstanding:
                self.all.remove(replica)
                if (task := self._tasks.pop(replica, None)) is not None:
                    task.cancel()
                await replica.client.close()


def _order(replica: Replica, tried: Collection[Replica]) -> tuple[bool, bool, bool, int, int]:
    return (
        replica.is_out,
        replica.pace.is_shut,
        replica in tried,
        replica.num_outstanding,
        replica.num_asked,
    )
