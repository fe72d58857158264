"""The loop language. It has its elementary functions as soon as anything of it is imported."""

from tigon.loop import fingerprint as fingerprint  # notes which functions are the package's own
from tigon.loop import mathematics as mathematics
