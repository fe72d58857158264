"""The loop language. It has its elementary functions as soon as anything of it is imported."""

from tigon.loop import mathematics as mathematics
