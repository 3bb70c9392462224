"""What became of messages: how many were sent, and with how many something was wrong."""

from dataclasses import dataclass, field, fields
from typing import Any


@dataclass
class Faults:
    """Messages that did not arrive, arrived again, or arrived after a later one."""

    lost: int = 0
    doubled: int = 0
    reordered: int = 0

    def text(self) -> str:
        """For people."""
        return f"{self.lost} lost, {self.doubled} doubled, {self.reordered} out of order"

    def __add__(self, other: "Faults") -> "Faults":
        return Faults(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def __bool__(self) -> bool:
        return any(getattr(self, one.name) for one in fields(self))


@dataclass
class Counts:
    """The messages of some clients, while something was done."""

    sent: int = 0
    faults: Faults = field(default_factory=Faults)
    """Of messages whose sender and receiver kept their sessions."""
    apart: Faults = field(default_factory=Faults)
    """Of messages by or to a client whose session was lost meanwhile, with all that it held."""
    returned: int = 0
    """How many of the latter, of those that did not arrive, came back to their senders as errors."""

    def add(self, traffic: dict[str, Any]) -> None:
        """Adds what a swarm says."""
        apart = traffic["of_lost_sessions"]
        self.sent += traffic["sent"]
        self.returned += apart["returned"]
        for one in fields(Faults):
            of_lost = apart[one.name]
            setattr(self.apart, one.name, getattr(self.apart, one.name) + of_lost)
            setattr(self.faults, one.name, getattr(self.faults, one.name) + traffic[one.name] - of_lost)

    def text(self) -> str:
        """For people."""
        text = f"{self.sent:,} sent; {self.faults.text()}"
        if self.apart:
            text += f"; by or to clients whose sessions were lost {self.apart.text()}"
            if self.returned:
                text += f" ({self.returned} of the lost came back to their senders as errors)"
        return text
