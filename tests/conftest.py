"""What holds for every test: property tests are judged by what they find, not by the clock."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
