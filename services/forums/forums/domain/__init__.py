"""What may happen: to a forum, to its meetings, to the commitments made there. One page each."""

from forums.domain.commitment import COMMITMENT
from forums.domain.forum import FORUM
from forums.domain.meeting import MEETING

__all__ = ["COMMITMENT", "FORUM", "MEETING"]
