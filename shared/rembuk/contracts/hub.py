"""What the hub records itself: nothing yet. It shows what the regions' services publish."""

from rembuk.events.codec import Codec

CODEC = Codec(())
