"""Resources that are not there say so, and why."""

from __future__ import annotations

from anthropic import Anthropic
from turns import refused

from conformance.requirements import requirement


@requirement("absent:user-profiles")
def test_there_are_no_user_profiles(client: Anthropic) -> None:
    with refused(404, "Messages API"):
        client.beta.user_profiles.list()
    with refused(404, "Messages API"):
        client.beta.user_profiles.retrieve("uprof_1")


@requirement("absent:tunnels")
def test_there_are_no_tunnels(client: Anthropic) -> None:
    with refused(404, "needs no tunnels"):
        client.beta.tunnels.list()
    with refused(404, "needs no tunnels"):
        client.beta.tunnels.certificates.list("tnl_1")
