"""When does a semi-supervised GAN beat the same classifier trained on the labels alone, and at what cost?"""

__version__ = "0.4.0"

PROTOCOL_VERSION = "3.0"
"""Version of the rules in PROTOCOL.md. Results are comparable only within one version; every record carries it."""
