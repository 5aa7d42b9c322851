"""What one session may reach, as its owner said it with its claim. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from outrider.githosts import GitHost
from outrider.ports.egress import EgressClaim, EgressCredential
from outrider.proxy.egress.hosts import Target, covers
from outrider.proxy.git.attached import Attached, attached

SETTING = "[egress.package_hosts]"


@dataclass(frozen=True, slots=True)
class Policy:
    """`packages` holds the hosts of package managers by manager, where the environment lets them in. `build`: it is no
    session's, but a sandbox's in which packages are installed."""

    session: str
    epoch: int
    workspace: str
    limited: bool
    allowed_hosts: tuple[str, ...] = ()
    mcp_hosts: tuple[str, ...] = ()
    package_managers: bool = False
    packages: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    credentials: tuple[EgressCredential, ...] = ()
    repositories: tuple[Attached, ...] = ()
    places: tuple[str, ...] = ()
    build: bool = False

    def credentials_for(self, host: str) -> list[EgressCredential]:
        """Those that are for this host."""
        return [one for one in self.credentials if _is_for(one, host)]

    def opens(self, target: Target) -> bool:
        """Whether TLS towards this target ends at the proxy: a credential or a repository is there."""
        return bool(self.credentials_for(target.host)) or self._has_repository_at(target)

    def _has_repository_at(self, target: Target) -> bool:
        return any((target.host, target.port) in one.place.hosts() for one in self.repositories)

    def used_by(self, target: Target, method: bytes, path: bytes) -> Attached | None:
        """The repository that a request is to."""
        found = (one for one in self.repositories if one.place.use(target.host, target.port, method, path))
        return next(found, None)

    def connect_refusal(self, target: Target) -> str | None:
        """As `refusal`, but a repository's host may be connected to: each request inside is judged by itself."""
        return None if self._has_repository_at(target) else self.refusal(target)

    def refusal(self, target: Target) -> str | None:
        """Why the environment's networking does not let the target in; None: it does."""
        if not self.limited:
            return None
        rules = (*self.allowed_hosts, *self.mcp_hosts, *(rule for rules in self.packages.values() for rule in rules))
        if any(covers(rule, target.host) for rule in rules):
            return None
        if self.build:
            return f"{target.host} is no host of a package registry ({SETTING})"
        said = f"{target.host} is not in the environment's config.networking.allowed_hosts"
        if self.package_managers and not any(self.packages.values()):
            said += f", and the operator has set no package hosts ({SETTING})"
        return said


def build_policy(name: str, packages: Mapping[str, tuple[str, ...]]) -> Policy:
    """Of a sandbox in which packages are installed: the registries' hosts and nothing else, and no credential."""
    return Policy(name, 1, "", limited=True, package_managers=True, packages=packages, build=True)


def _is_for(credential: EgressCredential, host: str) -> bool:
    networking = credential.networking
    if networking.get("type") == "unrestricted":
        return True
    return any(covers(rule, host) for rule in networking.get("allowed_hosts", ()))


def policy(claim: EgressClaim, packages: Mapping[str, tuple[str, ...]], hosts: Sequence[GitHost] = ()) -> Policy:
    networking = claim.networking
    limited = networking.get("type") != "unrestricted"
    return Policy(
        session=claim.session,
        epoch=claim.epoch,
        workspace=claim.workspace,
        limited=limited,
        allowed_hosts=tuple(networking.get("allowed_hosts", ())),
        mcp_hosts=claim.mcp_hosts if networking.get("allow_mcp_servers") else (),
        package_managers=bool(networking.get("allow_package_managers")),
        packages=packages if networking.get("allow_package_managers") else {},
        credentials=claim.credentials,
        repositories=attached(claim.repositories, hosts),
        places=claim.places,
    )
