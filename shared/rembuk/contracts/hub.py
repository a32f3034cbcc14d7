"""What the hub records itself: nothing yet. It shows what the regions' services publish."""

from rembuk.codec import Codec

CODEC = Codec(())
