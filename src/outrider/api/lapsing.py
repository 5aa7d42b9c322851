"""Takes items from workers that are gone, whether or not another worker asks for them, and so does each poll.

Each process with an API looks at everything that is held, again and again, and takes away what stood for its lease's
time. An outage of the store ends nothing: what is not looked at for some seconds grows no older meanwhile.
"""

from __future__ import annotations

from outrider import faults
from outrider.api.leases import Place
from outrider.api.pursuit import now_and_then
from outrider.api.services import Services

LOOK_SECONDS = 1.0


class Lapsing:
    """One for a process. `look` is what `run` does each second."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def run(self) -> None:
        await now_and_then(LOOK_SECONDS, self.look, "leases of work items")

    async def look(self) -> None:
        """Raises OutriderError when the store does not answer."""
        services = self._services
        for place in services.leases.look_everywhere(await services.work.all_held_work()):
            for held in services.leases.to_note(place):
                await services.work.note_standing(*place, held)
            await lapse(services, place)


async def lapse(services: Services, place: Place) -> None:
    """Take from the dead what they hold there."""
    for held in services.leases.lapsed(place):
        faults.point("work.lapse.before")
        lapsed = await services.work.lapse_work(
            *place, held, at=services.clock.now(), successor=services.ids.new("work")
        )
        faults.point("work.lapse.after")
        if lapsed:
            services.bell.ring(place[1])
